"""What became of the spans of one process, as any process can read it, also after that one was killed."""

import contextlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from callspan_exporters._spool._cursor import Cursor, Mark, load_all
from callspan_exporters._spool._directory import open_private, passed_over, segment_numbers, segment_path
from callspan_exporters._spool._record import Kind, scan
from callspan_exporters._spool._segment import first_ordinal, ordinals
from callspan_exporters._spool._tally import IN_MEMORY, REASONS, read_tally

DAMAGED: Final = "could not be read back"
"""Why an accepted span was dropped after all: its record was damaged, or somebody removed it."""

MEMORY_LOST: Final = "in the memory of a process that ended"
"""Why an accepted span was dropped after all: the disk had refused it, and nobody took it in time."""

_TRIES: Final = 10


@dataclass(frozen=True, slots=True)
class Account:
    """The spans that ended for one destination.

    ``offered == accepted + dropped`` and ``accepted == delivered + rejected + expired + pending``.

    Attributes:
        destination: its identity.
        accepted: spans stored for it that were not lost since.
        delivered: spans that it acknowledged.
        rejected: spans that it refused for good.
        expired: spans that reached the limit of age or of bytes first.
        pending: spans that wait.
        drops: how many spans callspan itself has lost, by reason.
        bytes: what the waiting spans take on disk.
        oldest_ns: when the oldest waiting span was stored, nanoseconds since the epoch; None where none waits on disk.
        live_segments: files with waiting spans, of processes that live.
        orphaned_segments: the same of processes that died.
    """

    destination: str
    accepted: int = 0
    delivered: int = 0
    rejected: int = 0
    expired: int = 0
    pending: int = 0
    drops: Mapping[str, int] = field(default_factory=dict[str, int])
    bytes: int = 0
    oldest_ns: int | None = None
    live_segments: int = 0
    orphaned_segments: int = 0

    @property
    def dropped(self) -> int:
        """Spans that callspan itself has lost, for whatever reason."""
        return sum(self.drops.values())

    @property
    def offered(self) -> int:
        """Spans that ended."""
        return self.accepted + self.dropped

    def __add__(self, other: "Account") -> "Account":
        oldest = [time for time in (self.oldest_ns, other.oldest_ns) if time is not None]
        return Account(
            self.destination,
            accepted=self.accepted + other.accepted,
            delivered=self.delivered + other.delivered,
            rejected=self.rejected + other.rejected,
            expired=self.expired + other.expired,
            pending=self.pending + other.pending,
            drops=dict(Counter(self.drops) + Counter(other.drops)),
            bytes=self.bytes + other.bytes,
            oldest_ns=min(oldest, default=None),
            live_segments=self.live_segments + other.live_segments,
            orphaned_segments=self.orphaned_segments + other.orphaned_segments,
        )


def accounts_of(directory: Path, *, live: bool) -> dict[str, Account]:
    """Return every destination's account in the directory of one process.

    Takes no lock and changes nothing: what its process does meanwhile is seen, or not, but never by halves.

    Args:
        directory: of the process.
        live: whether the process lives; what one that died had in memory is lost.

    Raises:
        OSError: it cannot be read for now.
    """
    accounts: dict[str, Account] = {}
    for _ in range(_TRIES):
        cursors = _cursors(directory)
        # After the cursors: what is stored since waits.
        stored = _Stored(directory, live=live)
        accounts = {destination: stored.account(cursor) for destination, cursor in cursors.items()}
        # Segments that were sent and removed meanwhile look as if they had been removed before.
        if stored.whole and not any(stored.has_lost(cursor) for cursor in cursors.values()):
            break
        if stored.whole and _marks(_cursors(directory)) == _marks(cursors):
            break
    return accounts


def _cursors(directory: Path) -> dict[str, Cursor]:
    cursors = load_all(directory, writable=False, begin=beginning_of(directory))
    for cursor in cursors.values():
        cursor.close()
    return cursors


def _marks(cursors: Mapping[str, Cursor]) -> dict[str, Mark]:
    return {destination: cursor.mark for destination, cursor in cursors.items()}


class _Stored:
    """What a process's directory holds, for every destination to be measured against.

    Attributes:
        whole: whether nothing of it was removed while it was looked at.
    """

    def __init__(self, directory: Path, *, live: bool) -> None:
        self._live = live
        self._directory = directory
        self._tally = read_tally(directory)
        self._sizes: dict[int, int] = {}
        for number in segment_numbers(directory):
            with passed_over():
                self._sizes[number] = segment_path(directory, number).stat().st_size
        self._after = last_ordinal(directory, list(self._sizes))
        self._oldest = 0
        with passed_over(), contextlib.suppress(ValueError):
            self._oldest = first_ordinal(segment_path(directory, min(self._sizes))) or 0
        self.whole = set(self._sizes) <= set(segment_numbers(directory))

    def has_lost(self, cursor: Cursor) -> bool:
        """Tell whether the segment was removed in which this destination's next span should be."""
        return cursor.mark.segment not in self._sizes

    def account(self, cursor: Cursor) -> Account:
        """Return a destination's account."""
        disk, memory = cursor.mark, cursor.memory
        after = max(self._after, disk.ordinal)
        lost = self._lost(disk)
        waiting = after - disk.ordinal - lost
        in_memory = max(0, self._tally[IN_MEMORY] - memory.ordinal)
        forgotten = 0 if self._live else in_memory
        accepted_in_memory = memory.ordinal - memory.start - memory.damaged + in_memory - forgotten
        segments = [number for number in self._sizes if number >= disk.segment] if waiting else []
        return Account(
            cursor.destination,
            accepted=after - disk.start - disk.damaged + accepted_in_memory,
            delivered=disk.delivered + memory.delivered,
            rejected=disk.rejected + memory.rejected,
            expired=disk.expired + memory.expired + lost,
            pending=waiting + in_memory - forgotten,
            drops=self._drops(cursor, forgotten),
            bytes=sum(self._sizes[number] for number in segments) - (disk.offset if disk.segment in segments else 0),
            oldest_ns=self._time_of_next(disk) if waiting else None,
            live_segments=len(segments) if self._live else 0,
            orphaned_segments=0 if self._live else len(segments),
        )

    def _lost(self, mark: Mark) -> int:
        return max(0, min(self._oldest, self._after) - mark.ordinal) if self._sizes else 0

    def _drops(self, cursor: Cursor, forgotten: int) -> dict[str, int]:
        # Those before a destination was added were not meant for it; which they were does not matter.
        before = cursor.dropped_before
        drops = {DAMAGED: cursor.mark.damaged, MEMORY_LOST: cursor.memory.damaged + forgotten}
        for reason in REASONS:
            count = self._tally[reason]
            drops[reason] = max(0, count - before)
            before = max(0, before - count)
        return {reason: count for reason, count in drops.items() if count}

    def _time_of_next(self, mark: Mark) -> int | None:
        for number in sorted(self._sizes):
            if number >= mark.segment:
                path = segment_path(self._directory, number)
                time_ns = _time_of_first(path, mark.offset if number == mark.segment else 0)
                if time_ns is not None:
                    return time_ns
        return None


def _time_of_first(path: Path, offset: int) -> int | None:
    try:
        descriptor = open_private(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        records = scan(descriptor, offset, os.fstat(descriptor).st_size)
        return next((record.time_ns for record in records if record.kind == Kind.SPAN), None)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def beginning_of(directory: Path) -> Mark:
    """Return where the spans that are in a process's directory begin."""
    for number in segment_numbers(directory):
        with passed_over():
            first = first_ordinal(segment_path(directory, number))
            if first is not None:
                return Mark(segment=number, start=first, ordinal=first)
    return Mark()


def last_ordinal(directory: Path, numbers: list[int]) -> int:
    """Return how many spans a process stored, by the newest segment that says so."""
    for number in reversed(numbers):
        with passed_over():
            found = ordinals(segment_path(directory, number))
            if found is not None:
                return found[1]
    return 0
