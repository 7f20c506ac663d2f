"""Where jobs run: on the loop that made the call, on a loop of ours, or on a thread."""

import asyncio
import contextvars
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from callspan._callbacks import job, lanes
from callspan._callbacks.job import Job
from callspan._callbacks.own_loop import OwnLoop
from callspan._callbacks.pool import Pool


class _Places:
    """What this process has, and a forked child begins anew."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.own_loop = OwnLoop(lend_threads)


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


class _PoolExecutor(ThreadPoolExecutor):
    """Our threads as a loop's executor: for ``asyncio.to_thread`` and name resolution when no thread can be started."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Have a function run on a thread of ours or, where there is none and can be none, here."""
        result: Future[Any] = Future()

        def work() -> None:
            if result.set_running_or_notify_cancel():
                try:
                    result.set_result(fn(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001  # as any executor does
                    result.set_exception(error)

        _places.pool.add(self, Job(f"{fn}", work, contextvars.copy_context()))
        return result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the threads, which are not this executor's alone."""


def lend_threads(loop: asyncio.AbstractEventLoop) -> None:
    """Have a loop use our threads: from Python 3.12 on, none is started any more once the interpreter is ending."""
    loop.set_default_executor(_PoolExecutor())


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
