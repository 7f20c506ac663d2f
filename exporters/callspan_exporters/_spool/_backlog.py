"""What waits for one destination in one place, on disk or in memory."""

from typing import Protocol

from callspan_exporters._spool._segment import StoredSpan


class Backlog(Protocol):
    """Spans in the order they were stored, from a destination's cursor on. One sender reads and settles it."""

    @property
    def pending(self) -> int:
        """How many spans wait."""
        ...

    @property
    def end(self) -> int:
        """The ordinal that the next span to be stored here will have."""
        ...

    @property
    def position(self) -> int:
        """The ordinal of the next span to be sent."""
        ...

    def next_batch(self, max_spans: int, max_bytes: int) -> list[StoredSpan]:
        """Return the next spans, at least one where any can be read.

        Raises:
            OSError: they cannot be read.
        """
        ...

    def settle(
        self, last: StoredSpan, *, delivered: int = 0, rejected: int = 0, expired: int = 0, moved: int = 0
    ) -> None:
        """Enter what became of the spans up to and with ``last``, and pass them.

        Those that were moved have an account elsewhere, and count in this one no longer. Spans before ``last`` that
        none of the numbers speaks for are those that could not be read: damaged.
        """
        ...
