"""Where spans wait when they cannot be on disk: a ring of bounded size, whose oldest go first, counted."""

import sys
import time
from collections.abc import Callable

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._spool._cursor import Mark
from callspan_exporters._spool._segment import StoredSpan


class MemorySpool:
    """Ended spans in memory. One thread at a time appends, each destination's sender reads.

    Attributes:
        first_ordinal: of the oldest span that is still there.
        next_ordinal: of the next span to be stored.
        expired: how many spans made room before they had arrived everywhere.
        backlogs: what waits for each destination.
    """

    def __init__(
        self, max_bytes: int, max_spans: int | None = None, moved: Callable[[str, Mark], None] | None = None
    ) -> None:
        """Begin with nothing.

        Args:
            max_bytes: of the ring.
            max_spans: of the ring, where the number is bounded too.
            moved: told of every destination's mark when it moves.
        """
        self._max_bytes = max_bytes
        self._max_spans = sys.maxsize if max_spans is None else max_spans
        self._moved = moved
        self._spans: dict[int, StoredSpan] = {}
        self._bytes = 0
        self.first_ordinal = 0
        self.next_ordinal = 0
        self.expired = 0
        self.backlogs: dict[str, MemoryBacklog] = {}

    def append(self, resource: bytes, scope: bytes, span: bytes) -> None:
        """Store a span. The oldest go where it takes the room of theirs, and expire for those who wait for them."""
        ordinal = self.next_ordinal
        self._spans[ordinal] = StoredSpan(EncodedSpan(resource, scope, span), ordinal, time.time_ns(), 0)
        self._bytes += len(span)
        self.next_ordinal = ordinal + 1
        passed = self._all_passed()
        while self.first_ordinal < passed:
            self._forget_first()
        while (self._bytes > self._max_bytes or len(self._spans) > self._max_spans) and self.first_ordinal < ordinal:
            self._forget_first()
            self.expired += 1

    def add_destination(self, destination: str, dropped: int = 0) -> None:
        """Begin an account for a destination.

        Args:
            destination: its identity.
            dropped: how many spans the process had dropped before.
        """
        if destination not in self.backlogs:
            mark = Mark(start=self.next_ordinal, ordinal=self.next_ordinal)
            self.backlogs[destination] = MemoryBacklog(self, destination, mark, dropped)

    def replace_destination(self, old: str, new: str) -> None:
        """Give what is pending for one destination to another, that takes its place."""
        if old in self.backlogs and new not in self.backlogs:
            backlog = self.backlogs[new] = self.backlogs.pop(old)
            backlog.destination = new

    def get(self, ordinal: int) -> StoredSpan | None:
        """Return a span, None where it has gone."""
        return self._spans.get(ordinal)

    def moved(self, destination: str, mark: Mark) -> None:
        """Tell who keeps the marks."""
        if self._moved is not None:
            self._moved(destination, mark)

    def _all_passed(self) -> int:
        return min((backlog.position for backlog in list(self.backlogs.values())), default=self.next_ordinal)

    def _forget_first(self) -> None:
        span = self._spans.pop(self.first_ordinal, None)
        self._bytes -= len(span.encoded.span) if span is not None else 0
        self.first_ordinal += 1


class MemoryBacklog:
    """What waits in memory for one destination."""

    def __init__(self, spool: MemorySpool, destination: str, mark: Mark, dropped_before: int) -> None:
        self._spool = spool
        self.destination = destination
        self.dropped_before = dropped_before
        self.mark = mark

    @property
    def pending(self) -> int:
        """How many spans wait."""
        return self._spool.next_ordinal - max(self.mark.ordinal, self._spool.first_ordinal)

    @property
    def end(self) -> int:
        """The ordinal that the next span to be stored here will have."""
        return self._spool.next_ordinal

    @property
    def position(self) -> int:
        """The ordinal of the next span to be sent."""
        return self.mark.ordinal

    def next_batch(self, max_spans: int, max_bytes: int) -> list[StoredSpan]:
        """Return the next spans."""
        batch: list[StoredSpan] = []
        size = 0
        for ordinal in range(max(self.mark.ordinal, self._spool.first_ordinal), self._spool.next_ordinal):
            span = self._spool.get(ordinal)
            if span is None:
                continue
            size += len(span.encoded.span)
            if batch and (size > max_bytes or len(batch) >= max_spans):
                break
            batch.append(span)
        return batch

    def settle(
        self, last: StoredSpan, *, delivered: int = 0, rejected: int = 0, expired: int = 0, moved: int = 0
    ) -> None:
        """Enter what became of the spans up to and with ``last``, and pass them. Those missing made room: expired."""
        mark = self.mark
        gone = last.ordinal + 1 - mark.ordinal - delivered - rejected - expired - moved
        if gone < 0:  # another sender has been at them, whose answer came first
            return
        self.mark = Mark(
            start=mark.start + moved,
            ordinal=last.ordinal + 1,
            delivered=mark.delivered + delivered,
            rejected=mark.rejected + rejected,
            expired=mark.expired + expired + gone,
        )
        self._spool.moved(self.destination, self.mark)
