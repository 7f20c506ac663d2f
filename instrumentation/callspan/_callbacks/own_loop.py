"""A loop of ours in a thread of its own, for asynchronous callbacks of synchronous calls."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from callspan._callbacks import lanes
from callspan._callbacks.job import Job


class OwnLoop:
    """Started by the first job. A daemon: what is waited for at exit is its work."""

    def __init__(self, prepare: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        """Start nothing yet.

        Args:
            prepare: what is done with a loop before it runs.
        """
        self._prepare = prepare
        self._starting = threading.RLock()  # a finalizer may come in the middle of it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: deque[tuple[object, Job]] = deque()

    def is_mine(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether ``loop`` is this one."""
        return loop is self._loop

    def add(self, key: object, job: Job) -> None:
        """Have a job run soon, after those with the same key that were added before it. From any thread."""
        self._inbox.append((key, job))
        loop = self._loop or self._start()
        if loop is None:
            self._run_here()
            return
        job.place = loop
        loop.call_soon_threadsafe(self._take)

    def _start(self) -> asyncio.AbstractEventLoop | None:
        with self._starting:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._prepare(loop)
                thread = threading.Thread(target=_serve, args=[loop], name="callspan callback loop", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is about to end
                    loop.close()
                    return None
                self._loop = loop
            return self._loop

    def _take(self) -> None:
        loop = self._loop
        with contextlib.suppress(IndexError):
            while loop is not None:
                key, job = self._inbox.popleft()
                lanes.runs_on(loop).add(key, job)

    def _run_here(self) -> None:
        """Run what is due in this thread, which is the last."""
        with contextlib.suppress(IndexError):
            while True:
                _, job = self._inbox.popleft()
                job.started = True
                try:
                    job.context.run(self._run_alone, job.work())
                finally:
                    job.finish()

    def _run_alone(self, coroutine: Coroutine[Any, Any, None]) -> None:
        loop = asyncio.new_event_loop()  # not asyncio.Runner, which starts a thread to end
        self._prepare(loop)
        try:
            loop.run_until_complete(coroutine)
        finally:
            loop.close()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
