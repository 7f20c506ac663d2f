"""One run of something that has to be done before there is nowhere left to run it."""

import asyncio
import contextlib
import contextvars
import itertools
import threading
from collections.abc import Callable, Generator
from typing import Any, Final


class Job:
    """A run that is waited for, from the moment it is due until it is done.

    Attributes:
        name: whose run it is, for the line that says what was cut off. It may change while the run goes on.
        work: does it, and never raises an ``Exception``; gives a coroutine where ``awaits``.
        context: the context to run it in.
        awaits: whether ``work`` gives a coroutine.
        place: what runs it: an event loop, or ``None`` for a thread.
        nested: whether it was made in the run of another, which may wait for it: no limit is to hold it back.
        since: grows from job to job; one that was made in another's run has the other's.
        started: whether its first step was taken.
        done: whether it is over.
        flushing: whether it waits for others, which do not wait for it in turn.
    """

    __slots__ = (
        "_wake",
        "awaits",
        "context",
        "done",
        "flushing",
        "name",
        "nested",
        "place",
        "since",
        "started",
        "work",
    )

    def __init__(
        self, name: str, work: Callable[[], Any], context: contextvars.Context, *, awaits: bool = False
    ) -> None:
        self.name = name
        self.work = work
        self.context = context
        self.awaits = awaits
        self.place: asyncio.AbstractEventLoop | None = None
        maker = current.get()
        self.nested = maker is not None
        self.since = next(_counter) if maker is None else maker.since
        self.started = False
        self.done = False
        self.flushing = False
        self._wake: list[Callable[[], None]] = []
        pending[self] = None

    def finish(self) -> None:
        """Be over, and wake who waits. Harmless when repeated; safe from any thread."""
        self.done = True
        pending.pop(self, None)
        for wake in self._wake:
            wake()

    def wait(self, timeout: float | None) -> bool:
        """Wait so many seconds in this thread; returns whether it is over."""
        over = threading.Event()
        # First to the list, then look: `finish` does it the other way round, so that one of the two sees the other.
        self._wake.append(over.set)
        return self.done or over.wait(timeout)

    async def joined(self) -> None:
        """Wait on the running loop. To cancel the wait leaves the run alone."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not over.done():
                over.set_result(None)

        def wake_from_afar() -> None:
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:  # the loop is closed, and nobody waits
                return

        self._wake.append(wake if self.place is loop else wake_from_afar)
        if not self.done:
            await over


pending: Final[dict[Job, None]] = {}
"""Every job that is due or running, oldest first. Changed by single steps that no thread can interrupt."""

current: Final[contextvars.ContextVar[Job | None]] = contextvars.ContextVar("callspan-job", default=None)
"""The job that the running code is part of: it cannot wait for its own end."""

_counter: Final = itertools.count(1)


@contextlib.contextmanager
def due_until_now() -> Generator[Callable[[], list[Job]]]:
    """Give what lists the jobs that are due now, and those that come of them, as long as they are not over.

    Where a job asks, it is not among them, nor what comes of it, nor are others that ask: they would wait for
    themselves, or for one another.
    """
    mark, asking = next(_counter), current.get()

    def still_due() -> list[Job]:
        due = [job for job in list(pending) if job.since < mark]
        return due if asking is None else [job for job in due if job.since != asking.since and not job.flushing]

    if asking is not None:
        asking.flushing = True
    try:
        yield still_due
    finally:
        if asking is not None:
            asking.flushing = False


def forget_all() -> None:
    """Drop what a forked child has inherited: the parent runs it."""
    pending.clear()
    current.set(None)
