"""Runs are waited for where they would be cut off: before a loop's tasks are cancelled, and before the process ends."""

import asyncio
import contextlib
import contextvars
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable
from typing import Final

from callspan._callbacks import lanes, running
from callspan._callbacks.job import Job, due_until_now, pending
from callspan._callbacks.lanes import LoopRuns
from callspan._guard import guarded

_logger = logging.getLogger("callspan")

_LOOK_EVERY_S: Final = 0.05
_BY_BUDGET: Final = "by the end of the exit budget (CALLSPAN_EXIT_BUDGET)"

Flush = Callable[[], Awaitable[object]]


class _Process:
    """This process: whether it ends, so that no thread may be started any more."""

    ends = False


_process = _Process()

flushers: Final[list[Callable[[], Iterable[tuple[str, Flush]]]]] = []
"""Each names what holds back what callbacks gave it, with what has it let go. Asked when a loop or the process ends."""


def flush(timeout: float) -> bool:
    """Wait in this thread for the runs that are due now.

    Args:
        timeout: seconds to wait at most.

    Returns:
        Whether all are over. Those on a loop that this very thread runs cannot go on meanwhile, and are not waited for.
    """
    with due_until_now() as still_due:
        return _wait(still_due, time.monotonic() + timeout)


async def aflush(timeout: float) -> bool:  # noqa: ASYNC109  # the public name
    """Wait on the running loop for the runs that are due now; otherwise as :func:`flush`."""
    until = time.monotonic() + timeout
    with due_until_now() as still_due:
        while due := still_due():
            _tend_loops(until)
            for job in due:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                try:
                    await asyncio.wait_for(job.joined(), min(left, _LOOK_EVERY_S))
                except TimeoutError:
                    break
    return True


def _wait(still_due: Callable[[], list[Job]], until: float) -> bool:
    here = running.running_loop()
    while due := still_due():
        _tend_loops(until)
        awaited = [job for job in due if here is None or job.place is not here]
        if not awaited or time.monotonic() >= until:
            return not still_due()
        for job in awaited:
            if not job.wait(max(0.0, min(_LOOK_EVERY_S, until - time.monotonic()))):
                break
    return True


def _tend_loops(until: float) -> None:
    """Run what is due on loops that nobody runs now, and take what is left from those that were closed."""
    for runs in lanes.busy_loops():
        loop = runs.loop
        if loop.is_closed():
            say_cut_off(move(runs), "by the end of their loop")
        elif not loop.is_running() and not running.is_own_loop(loop) and _is_ours_to_run(runs):
            _settle(runs, until)


def _is_ours_to_run(runs: LoopRuns) -> bool:
    # Another thread's may run again at any moment.
    mine = runs.thread is threading.current_thread() or not runs.thread.is_alive()
    return mine and running.running_loop() is None


def _settle(runs: LoopRuns, until: float) -> None:
    coroutine = runs.settle(max(0.0, until - time.monotonic()))
    if _process.ends:
        running.lend_threads(runs.loop)
    try:
        with contextlib.suppress(RuntimeError):  # somebody else has just begun to run it, or has closed it
            runs.loop.run_until_complete(coroutine)
    finally:
        coroutine.close()


def move(runs: LoopRuns) -> list[Job]:
    """Move what has not started from a loop that has ended to ours; returns what had started: it is cut off."""
    runs.ending = True
    lanes.leave(runs)
    for key, job in runs.take_waiting():
        running.start_on_own_loop(key, job)
    cut_off = runs.take_running()
    for job in cut_off:
        job.finish()
    return cut_off


@contextlib.contextmanager
def ending(loop: asyncio.AbstractEventLoop, timeout: float) -> Generator[None]:
    """Around what cancels the tasks of a loop or closes it: run what is due, and have what was held back let go.

    Args:
        loop: a loop that does not run and is not closed.
        timeout: seconds to take at most.
    """
    runs = lanes.runs_on(loop)
    try:
        _drain(runs, time.monotonic() + timeout)
    finally:
        runs.ending = True
        cut_off = runs.running
        try:
            yield
        finally:
            say_cut_off(cut_off, _BY_BUDGET)
            move(runs)


@guarded
def _drain(runs: LoopRuns, until: float) -> None:
    if not runs.idle:
        _settle(runs, until)
    for job in _due_flushes():
        runs.add(job, job)
    if not runs.idle:
        _settle(runs, until)


def drain_process(timeout: float, *, last: bool) -> None:
    """Wait for what is due in this process, then have what was held back let go.

    Args:
        timeout: seconds to take at most.
        last: whether nothing can run afterwards: what is due then is cut off, and named.
    """
    until, _process.ends = time.monotonic() + timeout, True
    with due_until_now() as still_due:  # threads of the application may go on, and make further calls
        _wait(still_due, until)
    flushes = _due_flushes()
    for job in flushes:
        running.start_on_own_loop(job, job)
    if flushes:
        with due_until_now() as still_due:
            _wait(still_due, until)
    if last:
        say_cut_off(pending, _BY_BUDGET)


def holds_back() -> bool:
    """Whether something holds back what callbacks gave it."""
    return any(True for flusher in flushers for _ in flusher())


def _due_flushes() -> list[Job]:
    return [
        Job(name, _quietly(let_go), contextvars.copy_context(), awaits=True)
        for flusher in flushers
        for name, let_go in flusher()
    ]


def _quietly(let_go: Flush) -> Flush:
    async def run() -> None:
        try:
            await let_go()
        except Exception:  # theirs
            _logger.warning("A LiteLLM logger could not send what it holds", exc_info=True)

    return run


def say_cut_off(jobs: Iterable[Job], why: str) -> None:
    """Name in one line the callbacks whose runs were cut off, with how many of each. Never raises."""
    counted = Counter(job.name for job in list(jobs))
    if not counted:
        return
    total = sum(counted.values())
    named = ", ".join(f"{name} ({count})" if count > 1 else name for name, count in counted.items())
    runs = "1 run of a callback was" if total == 1 else f"{total} runs of callbacks were"
    with contextlib.suppress(Exception):  # there may be no stderr any more
        sys.stderr.write(f"callspan: {runs} cut off {why}: {named}\n")
        sys.stderr.flush()
