"""Threads for synchronous callbacks, so that they hold up neither a loop nor the caller.

Not those of ``concurrent.futures``: the interpreter joins them at exit without any limit, and before that refuses new
work. These are daemons; what is waited for is their work, and only within the budget.
"""

import threading
import time
from collections import deque
from typing import Final

from callspan._callbacks.job import Job, current

_MOST_THREADS: Final = 40
_AT_ONCE: Final = 32
"""Threads for one callback: one that hangs leaves some to the others."""
_IDLE_S: Final = 10.0


class _Lane:
    """The runs of one callback; ``offered`` of those waiting stand in the queue that threads take from."""

    __slots__ = ("offered", "running", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self.running = 0
        self.offered = 0


class Pool:
    """Runs jobs, for each key in the order in which they were added.

    Its lock may be taken again by the thread that holds it: a finalizer, which may run anywhere, can add a job.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lanes: dict[object, _Lane] = {}
        self._offers: deque[_Lane] = deque()
        self._threads = 0
        self._idle = 0

    def add(self, key: object, job: Job) -> None:
        """Have a job run soon, after those with the same key that were added before it."""
        with self._changed:
            lane = _Lane() if job.nested else self._lanes.setdefault(key, _Lane())
            lane.waiting.append(job)
            self._offer(lane)
            new = self._idle < len(self._offers) and (job.nested or self._threads < _MOST_THREADS)
            if new:
                self._threads += 1
            else:
                self._changed.notify()
        if new:
            self._start_thread()

    def _start_thread(self) -> None:
        try:
            threading.Thread(target=self._serve, name="callspan callbacks", daemon=True).start()
        except RuntimeError:  # the interpreter is about to end
            with self._changed:
                self._threads -= 1
                alone = self._threads == 0
            if alone:
                while (taken := self._take(0.0)) is not None:
                    self._run(*taken)

    def _serve(self) -> None:
        while (taken := self._take(_IDLE_S)) is not None:
            self._run(*taken)
            del taken  # the call's objects are not to wait with the thread

    def _offer(self, lane: _Lane) -> None:
        if lane.offered < len(lane.waiting) and lane.running + lane.offered < _AT_ONCE:
            lane.offered += 1
            self._offers.append(lane)

    def _take(self, patience_s: float) -> tuple[_Lane, Job] | None:
        """Take the next job; ``None``, and one thread less, where there is none for so many seconds."""
        until = time.monotonic() + patience_s
        with self._changed:
            while not self._offers:
                left_s = until - time.monotonic()
                if left_s <= 0:
                    self._threads -= patience_s > 0
                    return None
                self._idle += 1
                self._changed.wait(left_s)
                self._idle -= 1
            lane = self._offers.popleft()
            lane.offered -= 1
            lane.running += 1
            return lane, lane.waiting.popleft()

    def _run(self, lane: _Lane, job: Job) -> None:
        try:
            job.context.run(_work, job)
        finally:
            job.finish()
            with self._changed:
                lane.running -= 1
                self._offer(lane)


def _work(job: Job) -> None:
    job.started = True
    token = current.set(job)
    try:
        job.work()
    finally:
        current.reset(token)
