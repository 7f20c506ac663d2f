"""Where jobs run: on the loop that made the call, on a loop of ours, or on a thread."""

import asyncio
import os
from collections.abc import Coroutine
from typing import Any

from callspan._callbacks import job, lanes
from callspan._callbacks.job import Job
from callspan._callbacks.own_loop import OwnLoop
from callspan._callbacks.pool import Pool


class _Places:
    """What this process has, and a forked child begins anew."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.own_loop = OwnLoop()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def start(key: object, due: Job, loop: asyncio.AbstractEventLoop | None) -> None:
    """Have a job run soon; those with the same key start in the order in which they came.

    Args:
        key: whose runs stay in order.
        due: the job.
        loop: the loop that runs in this thread, for a job that awaits; without one it runs on a loop of ours.
    """
    if not due.awaits:
        _places.pool.add(key, due)
    elif loop is not None:
        lanes.runs_on(loop).add(key, due)
    else:
        _places.own_loop.add(key, due)


def start_on_own_loop(key: object, due: Job) -> None:
    """Have a job that awaits run on our loop."""
    _places.own_loop.add(key, due)


def start_apart(key: object, due: Job) -> None:
    """Have a job that awaits run on a thread, with a loop for itself."""
    awaitable, due.awaits = due.work, False
    due.work = lambda: run_here(awaitable())
    _places.pool.add(key, due)


def run_here(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in this thread, in which no loop runs, without a trace of it for ``asyncio.get_event_loop``."""
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(coroutine)


def is_own_loop(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether it is our loop, which nobody closes."""
    return _places.own_loop.is_mine(loop)


def _begin_anew_in_child() -> None:
    global _places  # noqa: PLW0603  # threads and loops are the parent's
    _places = _Places()
    job.forget_all()
    lanes.forget_all()


_places: _Places = _Places()
os.register_at_fork(after_in_child=_begin_anew_in_child)
