"""Threads for synchronous callbacks, so that they hold up neither a loop nor the caller.

Not those of ``concurrent.futures``: the interpreter joins them at exit without any limit, and before that refuses new
work. These are daemons; what is waited for is their work, and only within the budget.
"""

import contextlib
import queue
import threading
from collections import deque
from typing import Final

from callspan._callbacks.job import Job, current

_MOST_THREADS: Final = 40
_AT_ONCE: Final = 32
"""Threads for one callback: one that hangs leaves some to the others."""
_IDLE_S: Final = 10.0


class _Lane:
    """The runs of one callback. A run takes a permit out before it is offered to the threads, and puts it back."""

    __slots__ = ("permits", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Job] = deque()
        self.permits: deque[None] = deque([None] * _AT_ONCE)


class Pool:
    """Runs jobs, for each key in the order in which they were added.

    Adding takes no lock, only steps that no thread can interrupt: a lock that a thread holds while it waits for the
    interpreter makes the caller wait for both, and finalizers, which may run anywhere, add jobs too.
    """

    def __init__(self) -> None:
        self._lanes: dict[object, _Lane] = {}
        self._offers: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        self._idle: deque[None] = deque()
        self._starting = threading.RLock()
        self._threads = 0

    def add(self, key: object, job: Job) -> None:
        """Have a job run soon, after those with the same key that were added before it."""
        lane = _Lane() if job.nested else self._lanes.get(key) or self._lanes.setdefault(key, _Lane())
        # First the job, then the permit; a thread puts its permit back first, then looks: one of them sees the other.
        lane.waiting.append(job)
        self._offer(lane, more=job.nested)

    def _offer(self, lane: _Lane, *, more: bool) -> None:
        try:
            lane.permits.pop()
        except IndexError:  # as many run as may: one of them goes on with it
            return
        self._offers.put(lane)
        try:
            self._idle.pop()
        except IndexError:
            if more or self._threads < _MOST_THREADS:
                self._start_thread()

    def _start_thread(self) -> None:
        with self._starting:
            self._threads += 1
        try:
            threading.Thread(target=self._serve, name="callspan callbacks", daemon=True).start()
        except RuntimeError:  # the interpreter is about to end
            with self._starting:
                self._threads -= 1
                alone = self._threads == 0
            if alone:
                with contextlib.suppress(queue.Empty):
                    while True:
                        self._run_next(self._offers.get_nowait())

    def _serve(self) -> None:
        while (lane := self._wait()) is not None:
            self._run_next(lane)
        with self._starting:
            self._threads -= 1

    def _wait(self) -> _Lane | None:
        """Wait for something to do; ``None`` after a while without."""
        with contextlib.suppress(queue.Empty):
            return self._offers.get_nowait()
        self._idle.append(None)
        while True:
            with contextlib.suppress(queue.Empty):
                return self._offers.get(timeout=_IDLE_S)
            with contextlib.suppress(IndexError):
                self._idle.pop()
                return None
            # Somebody counts on this thread, and is about to offer something.

    def _run_next(self, lane: _Lane) -> None:
        try:
            job = lane.waiting.popleft() if lane.waiting else None
            if job is not None:
                _run(job)
        finally:
            lane.permits.append(None)
            if lane.waiting:
                self._offer(lane, more=False)


def _run(job: Job) -> None:
    try:
        job.context.run(_work, job)
    finally:
        job.finish()


def _work(job: Job) -> None:
    job.started = True
    token = current.set(job)
    try:
        job.work()
    finally:
        current.reset(token)
