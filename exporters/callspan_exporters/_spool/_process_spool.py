"""The segments of one process, under its lock: of this process while it lives, or of one that died."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from callspan_exporters._spool import _cursor
from callspan_exporters._spool._cursor import Cursor, Mark
from callspan_exporters._spool._directory import new_process_directory, remove, segment_numbers, segment_path
from callspan_exporters._spool._segment import SegmentWriter, ordinals


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


def last_ordinal(path: Path, numbers: list[int]) -> int:
    """Return how many spans a process stored, by the newest segment that says so."""
    for number in reversed(numbers):
        with contextlib.suppress(OSError):
            found = ordinals(segment_path(path, number))
            if found is not None:
                return found[1]
    return 0
