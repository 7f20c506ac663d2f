"""Runs on an event loop: for each callback in the order in which they became due, and so many at once."""

import asyncio
import threading
import weakref
from collections import deque
from typing import Any, Final

from callspan._callbacks.job import Job, current

_AT_ONCE: Final = 128
"""Runs of one callback that are under way on one loop. Enough for slow ones to overlap, few enough for memory."""


class Lane:
    """The runs of one callback on one loop."""

    __slots__ = ("_at_once", "_loop_runs", "running", "waiting")

    def __init__(self, loop_runs: "LoopRuns", at_once: float) -> None:
        self._loop_runs = loop_runs
        self._at_once = at_once
        self.waiting: deque[Job] = deque()
        self.running = 0

    def start_some(self) -> None:
        """Start runs up to the limit."""
        while self.waiting and self.running < self._at_once and not self._loop_runs.ending:
            job = self.waiting.popleft()
            self.running += 1
            self._loop_runs.start(self, job)


class LoopRuns:
    """All runs on one loop. Used in the thread that runs the loop, or, while nothing does, in the one that ends it.

    Runs become tasks in a later step of the loop and never at once: an eager task factory would have the caller run
    the callback. What has become no task yet cannot be cancelled with the loop's tasks, and is moved elsewhere.

    Attributes:
        loop: the loop.
        thread: the thread that ran it when the first job came.
        ending: whether nothing is started on it any more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread = threading.current_thread()
        self.ending = False
        self._lanes: dict[object, Lane] = {}
        self._tasks: dict[asyncio.Task[None], tuple[Lane, Job]] = {}
        self._pump_due = False

    def add(self, key: object, job: Job) -> None:
        """Have a job run soon, after those with the same key that were added before it."""
        job.place = self.loop
        if job.nested:
            key = ("nested", key)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self, float("inf") if job.nested else _AT_ONCE)
        lane.waiting.append(job)
        if not self._pump_due:
            self._pump_due = True
            self.loop.call_soon(self._pump)

    @property
    def idle(self) -> bool:
        """Whether nothing is due or running."""
        return not self._tasks and not any(lane.waiting for lane in self._lanes.values())

    @property
    def running(self) -> list[Job]:
        """What has started."""
        return [job for _, job in self._tasks.values()]

    def take_waiting(self) -> list[tuple[object, Job]]:
        """Take out what has not started, oldest first in each lane."""
        taken = [(key, job) for key, lane in self._lanes.items() for job in lane.waiting]
        for lane in self._lanes.values():
            lane.waiting.clear()
        return taken

    def take_running(self) -> list[Job]:
        """Take out what has started, for a loop that is closed: it will not go on."""
        taken = self.running
        self._tasks.clear()
        return taken

    async def settle(self, limit_s: float) -> None:
        """Run until nothing is due, or for so many seconds."""
        until = self.loop.time() + limit_s
        while not self.idle and (left := until - self.loop.time()) > 0:
            self._pump()
            tasks = [task for task, (_, job) in self._tasks.items() if job is not current.get()]
            if tasks:
                await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)

    def start(self, lane: Lane, job: Job) -> None:
        """Make a task of a job."""
        task = asyncio.Task(_drive(job), loop=self.loop, context=job.context)
        self._tasks[task] = lane, job
        task.add_done_callback(self._ended)

    def _pump(self) -> None:
        self._pump_due = False
        for lane in list(self._lanes.values()):
            lane.start_some()

    def _ended(self, task: asyncio.Task[None]) -> None:
        entry = self._tasks.pop(task, None)
        if entry is None:
            return
        lane, job = entry
        lane.running -= 1
        if not task.cancelled():
            task.exception()  # has been reported; asyncio would report it again
        if job.started:
            job.finish()
        else:  # cancelled before its first step, with the rest of the loop's tasks: it is due as before
            lane.waiting.appendleft(job)
        lane.start_some()
        if self.idle:
            _by_loop.pop(self.loop, None)


async def _drive(job: Job) -> None:
    job.started = True
    current.set(job)  # in the context of this run alone
    work: Any = job.work
    await work()


_by_loop: Final[dict[asyncio.AbstractEventLoop, LoopRuns]] = {}


_used: Final[weakref.WeakSet[asyncio.AbstractEventLoop]] = weakref.WeakSet()


def runs_on(loop: asyncio.AbstractEventLoop) -> LoopRuns:
    """The runs on ``loop``."""
    runs = _by_loop.get(loop)
    if runs is None:
        runs = _by_loop[loop] = LoopRuns(loop)
        _used.add(loop)
    return runs


def was_used(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether there were runs on a loop, now or before."""
    return loop in _used


def busy_loops() -> list[LoopRuns]:
    """Those with something due or running."""
    return list(_by_loop.values())


def leave(runs: LoopRuns) -> None:
    """Forget a loop that has ended."""
    _by_loop.pop(runs.loop, None)


def forget_all() -> None:
    """Drop what a forked child has inherited."""
    _by_loop.clear()
