"""The segments of one process, under its lock: of this process while it lives, or of one that died."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from callspan_exporters._spool import _cursor
from callspan_exporters._spool._cursor import Cursor, Mark
from callspan_exporters._spool._directory import new_process_directory, remove, segment_numbers, segment_path
from callspan_exporters._spool._segment import SegmentReader, SegmentWriter, StoredSpan, first_ordinal, ordinals


class ProcessSpool:
    """One process's directory, with its lock held and every destination's cursor open.

    Senders of several threads read it, each by its own cursor, while one thread at a time may be writing. What they
    share are dictionaries and numbers that change in one step.
    """

    def __init__(self, path: Path, lock: int, cursors: dict[str, Cursor], writer: SegmentWriter | None) -> None:
        self.path = path
        self.cursors = cursors
        self.writer = writer
        self._lock = lock
        self.next_ordinal = 0
        if writer is None:
            self._segments = dict.fromkeys(segment_numbers(path))
            passed = max((cursor.mark.ordinal for cursor in cursors.values()), default=0)
            self.next_ordinal = max(passed, last_ordinal(path, list(self._segments)))
        else:
            self._segments = {writer.number: None}

    @classmethod
    def create(cls, root: Path, destinations: Iterable[str]) -> "ProcessSpool":
        """Make this process's directory, whole before anybody else sees it.

        Raises:
            OSError: it cannot be made.
        """
        newborn, path, lock = new_process_directory(root)
        try:
            writer = SegmentWriter(newborn, 1, 0)
            for destination in destinations:
                _cursor.create(newborn, destination, Mark(segment=1, offset=0, start=0, ordinal=0)).close()
            newborn.rename(path)
        except OSError:
            remove(newborn)
            os.close(lock)
            raise
        return cls(path, lock, _cursor.load_all(path), writer)

    @classmethod
    def adopt(cls, path: Path, lock: int) -> "ProcessSpool":
        """Take over the directory of a process that died, with its lock in hand."""
        return cls(path, lock, _cursor.load_all(path), None)

    def append(self, resource: bytes, scope: bytes, span: bytes, segment_bytes: int) -> bool:
        """Store a span.

        Returns:
            Whether that began a new segment.

        Raises:
            OSError: it could not be stored; nothing of it stays.
        """
        writer = self.writer
        if writer is None:
            raise OSError("this is no longer written")
        rolled = writer.size >= segment_bytes or writer.full
        if rolled:
            # By what there is: an interrupt may have left one behind that nobody knows of.
            number = max(segment_numbers(self.path), default=writer.number) + 1
            following = SegmentWriter(self.path, number, self.next_ordinal)
            self._segments[following.number] = None
            self.writer = following
            writer.close()
            writer = following
        # First, for a signal handler may raise anywhere: a number without a span is damage, two with one are a lie.
        self.next_ordinal += 1
        try:
            writer.append(resource, scope, span, self.next_ordinal - 1)
        except OSError:
            self.next_ordinal -= 1
            raise
        return rolled

    def add_destination(self, destination: str) -> None:
        """Begin an account for a destination: the spans that end from now on are for it too.

        Raises:
            OSError: it cannot be written.
        """
        writer = self.writer
        if destination not in self.cursors and writer is not None:
            mark = Mark(writer.number, writer.size, start=self.next_ordinal, ordinal=self.next_ordinal)
            self.cursors[destination] = _cursor.create(self.path, destination, mark)

    def remove_destination(self, destination: str) -> None:
        """End an account, unless something is pending in it, which another process may send."""
        cursor = self.cursors.get(destination)
        if cursor is not None and cursor.mark.ordinal >= self.next_ordinal:
            del self.cursors[destination]
            cursor.close()
            cursor.path.unlink(missing_ok=True)

    def replace_destination(self, old: str, new: str) -> None:
        """Give what is pending for one destination to another, that takes its place.

        Raises:
            OSError: it cannot be written; all stays as it was.
        """
        cursor = self.cursors.get(old)
        if cursor is None or new in self.cursors:
            return
        self.cursors[new] = cursor.rename(new)
        del self.cursors[old]

    def following(self, number: int) -> int | None:
        """Return the number of the oldest segment after one."""
        return min((other for other in list(self._segments) if other > number), default=None)

    def remove_passed(self) -> None:
        """Remove the segments that every destination has passed."""
        if not self.cursors:
            return
        oldest = min(cursor.mark.segment for cursor in list(self.cursors.values()))
        for number in list(self._segments):
            if number < oldest:
                self.drop_segment(number)

    def oldest_closed_segment(self) -> int | None:
        """Return the number of the oldest segment that nothing is written to any more."""
        writing = self.writer.number if self.writer is not None else None
        return min((number for number in list(self._segments) if number != writing), default=None)

    def drop_segment(self, number: int) -> None:
        """Remove a segment, and with it what is pending in it: who reads on finds it expired."""
        self._segments.pop(number, None)
        with contextlib.suppress(OSError):
            segment_path(self.path, number).unlink()

    @property
    def gone(self) -> bool:
        """Whether somebody has removed the directory."""
        return not self.path.exists()

    def settled(self, destinations: Iterable[str]) -> bool:
        """Tell whether nothing is pending here for these."""
        cursors = [self.cursors[destination] for destination in destinations if destination in self.cursors]
        return all(cursor.mark.ordinal >= self.next_ordinal for cursor in cursors)

    def release(self) -> None:
        """Close all, give the lock back, and remove the directory where nothing is pending in it for anybody."""
        if self.cursors and self.settled(list(self.cursors)):
            remove(self.path)
        self.close()

    def close(self) -> None:
        """Close all files, and thereby give the lock back. A forked child does no more than this."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.close()
        for cursor in self.cursors.values():
            cursor.close()
        os.close(self._lock)


class DiskBacklog:
    """What is pending for one destination in the directory of one process."""

    def __init__(self, spool: ProcessSpool, cursor: Cursor) -> None:
        self.spool = spool
        self._cursor = cursor
        self._reader: SegmentReader | None = None
        self._reading = -1

    @property
    def pending(self) -> int:
        """How many spans wait."""
        return self.spool.next_ordinal - self._cursor.mark.ordinal

    @property
    def end(self) -> int:
        """The ordinal that the next span to be stored here will have."""
        return self.spool.next_ordinal

    @property
    def position(self) -> int:
        """The ordinal of the next span to be sent."""
        return self._cursor.mark.ordinal

    def next_batch(self, max_spans: int, max_bytes: int) -> list[StoredSpan]:
        """Return the next spans, all of one segment.

        Raises:
            OSError: they cannot be read.
        """
        while self.pending > 0:
            # Before reading: a segment that began meanwhile does not make the end of this one its last word.
            following = self.spool.following(self._cursor.mark.segment)
            batch = self._read(max_spans, max_bytes)
            if batch or not self._go_on(following):
                return batch
        return []

    def settle(self, last: StoredSpan, *, delivered: int = 0, rejected: int = 0, expired: int = 0) -> None:
        """Enter what became of the spans up to and with ``last``, and pass them."""
        mark = self._cursor.mark
        damaged = last.ordinal + 1 - mark.ordinal - delivered - rejected - expired
        moved = replace(
            mark,
            offset=last.end,
            ordinal=last.ordinal + 1,
            delivered=mark.delivered + delivered,
            rejected=mark.rejected + rejected,
            expired=mark.expired + expired,
            damaged=mark.damaged + damaged,
        )
        self._move(moved)

    def close(self) -> None:
        """Close the segment that was being read."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _read(self, max_spans: int, max_bytes: int) -> list[StoredSpan]:
        mark = self._cursor.mark
        reader = self._open(mark.segment)
        if reader is None:
            return []
        batch: list[StoredSpan] = []
        size = 0
        for span in reader.spans(mark.offset, reader.file_size):
            size += len(span.encoded.span)
            if batch and size > max_bytes:
                break
            if span.ordinal >= mark.ordinal:
                batch.append(span)
            if len(batch) >= max_spans:
                break
        return batch

    def _open(self, number: int) -> SegmentReader | None:
        if self._reading != number:
            self.close()
            self._reading = number
            with contextlib.suppress(FileNotFoundError):
                self._reader = SegmentReader(segment_path(self.spool.path, number))
        return self._reader

    def _go_on(self, number: int | None) -> bool:
        """Go on to the next segment. Spans between here and there are lost: expired with a segment, or damaged."""
        mark = self._cursor.mark
        removed = self._reader is None
        if number is not None:
            first = first_ordinal(segment_path(self.spool.path, number))
        elif self.spool.writer is None or removed:
            first = self.spool.next_ordinal
        else:
            return False
        lost = max(0, (mark.ordinal if first is None else first) - mark.ordinal)
        moved = replace(
            mark,
            segment=mark.segment if number is None else number,
            offset=mark.offset if number is None else 0,
            ordinal=mark.ordinal + lost,
            expired=mark.expired + (lost if removed else 0),
            damaged=mark.damaged + (0 if removed else lost),
        )
        self._move(moved)
        return number is not None

    def _move(self, mark: Mark) -> None:
        with contextlib.suppress(OSError):  # at worst these spans are sent twice
            self._cursor.move(mark)
        if mark.segment != self._reading or self.pending <= 0:
            self.spool.remove_passed()


def last_ordinal(path: Path, numbers: list[int]) -> int:
    """Return how many spans a process stored, by the newest segment that says so."""
    for number in reversed(numbers):
        with contextlib.suppress(OSError):
            found = ordinals(segment_path(path, number))
            if found is not None:
                return found[1]
    return 0
