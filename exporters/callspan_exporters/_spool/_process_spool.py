"""The segments of one process, under its lock: of this process while it lives, or of one that died."""

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from callspan_exporters._spool import _cursor, _ledger
from callspan_exporters._spool._account import beginning_of, last_ordinal
from callspan_exporters._spool._cursor import Cursor, Mark, Start, cursor_names
from callspan_exporters._spool._directory import new_process_directory, remove, segment_numbers, segment_path, sync
from callspan_exporters._spool._segment import SegmentReader, SegmentWriter, StoredSpan, first_ordinal
from callspan_exporters._spool._tally import IN_MEMORY, Tally, read_tally

FORK_PATIENCE_S: Final = 1.0
"""How long a fork waits for a thread that is taking over, or giving back, a dead process's directory."""


class ProcessSpool:
    """One process's directory, with its lock held and every destination's cursor open.

    Senders of several threads read it, each by its own cursor, while one thread at a time may be writing. What they
    share are dictionaries and numbers that change in one step.

    Attributes:
        path: the directory.
        cursors: by destination.
        writer: of the newest segment; None in the directory of a process that died.
        next_ordinal: of the next span to be stored.
        abandoned: whether nothing is to be sent from here any more: it was let go of, or moved elsewhere.
    """

    def __init__(self, path: Path, lock: int, cursors: dict[str, Cursor], writer: SegmentWriter | None) -> None:
        self.path = path
        self.cursors = cursors
        self.writer = writer
        self.abandoned = False
        self._lock = lock
        self.next_ordinal = 0
        if writer is None:
            self._segments: dict[int, int | None] = dict.fromkeys(segment_numbers(path))
            passed = max((cursor.mark.ordinal for cursor in cursors.values()), default=0)
            self.next_ordinal = max(passed, last_ordinal(path, list(self._segments)))
        else:
            self._segments = {writer.number: writer.first_ordinal}

    @classmethod
    def create(cls, root: Path, starts: Mapping[str, Start], tally: Tally, *, fsync: bool = False) -> "ProcessSpool":
        """Make this process's directory, whole before anybody else sees it.

        Args:
            root: the spool.
            starts: what every destination's account begins with.
            tally: of the process; from now on it is in the directory as well.
            fsync: have it survive the loss of power.

        Raises:
            OSError: it cannot be made.
        """
        newborn, path, lock = new_process_directory(root)
        cursors: dict[str, Cursor] = {}
        writer: SegmentWriter | None = None
        try:
            tally.create(newborn)
            writer = SegmentWriter(newborn, 1, 0, fsync=fsync)
            for destination, start in starts.items():
                cursor = cursors[destination] = _cursor.create(newborn, destination, start)
                if fsync:
                    cursor.sync()
            newborn.rename(path)
            if fsync:
                sync(path)
                sync(root)
        except BaseException:
            tally.close()
            remove(newborn)
            for file in [*cursors.values(), *([writer] if writer is not None else [])]:
                file.close()
            os.close(lock)
            raise
        for cursor in cursors.values():
            cursor.path = path / cursor.path.name
        return cls(path, lock, cursors, writer)

    @classmethod
    def adopt(cls, path: Path, lock: int) -> "ProcessSpool":
        """Take over the directory of a process that died, with its lock in hand.

        Raises:
            OSError: it cannot be read for now; the lock is still in hand.
        """
        begin, in_memory = beginning_of(path), read_tally(path)[IN_MEMORY]
        cursors = _cursor.load_all(path, begin=begin)
        for cursor in cursors.values():
            mark = cursor.memory
            if mark.ordinal < in_memory:  # what it had in memory died with it
                lost = in_memory - mark.ordinal
                with contextlib.suppress(OSError):
                    cursor.move_memory(replace(mark, ordinal=in_memory, damaged=mark.damaged + lost))
        try:
            return cls(path, lock, cursors, None)
        except OSError:
            for cursor in cursors.values():
                cursor.close()
            raise

    def append(self, resource: bytes, scope: bytes, span: bytes, segment_bytes: int, time_ns: int = 0) -> bool:
        """Store a span, now or as of when it was stored before.

        Returns:
            Whether that began a new segment.

        Raises:
            OSError: it could not be stored; nothing of it stays.
        """
        writer = self.writer
        if writer is None:
            raise OSError(errno.EBADF, "this is no longer written")
        rolled = writer.size >= segment_bytes or writer.full
        if rolled:
            # By what there is: an interrupt may have left one behind that nobody knows of.
            number = max(segment_numbers(self.path), default=writer.number) + 1
            following = SegmentWriter(self.path, number, self.next_ordinal, fsync=writer.fsync)
            self._segments[following.number] = following.first_ordinal
            self.writer = following
            writer.close()
            writer = following
        # First, for a signal handler may raise anywhere: a number without a span is damage, two with one are a lie.
        self.next_ordinal += 1
        try:
            writer.append(resource, scope, span, self.next_ordinal - 1, time_ns)
        except BaseException:
            if not writer.has_stored():
                self.next_ordinal -= 1
            raise
        return rolled

    def add_destination(self, destination: str, memory: Mark, dropped: int) -> None:
        """Begin an account for a destination: the spans that end from now on are for it too.

        Args:
            destination: its identity.
            memory: where its spans in memory begin.
            dropped: how many spans were dropped before.

        Raises:
            OSError: it cannot be written.
        """
        writer = self.writer
        if destination not in self.cursors and writer is not None:
            disk = Mark(writer.number, writer.size, start=self.next_ordinal, ordinal=self.next_ordinal)
            self.cursors[destination] = _cursor.create(self.path, destination, Start(disk, memory, dropped))

    def remove_destination(self, destination: str) -> None:
        """End an account, unless something is pending in it, which another process may send."""
        cursor = self.cursors.get(destination)
        if cursor is not None and cursor.mark.ordinal >= self.next_ordinal and _ledger.enter_one(cursor.path):
            del self.cursors[destination]
            cursor.close()

    def replace_destination(self, old: str, new: str) -> None:
        """Give what is pending for one destination to another, that takes its place.

        Raises:
            OSError: it cannot be written; all stays as it was.
        """
        cursor = self.cursors.get(old)
        if cursor is None or new in self.cursors:
            return
        cursor.rename(new)
        self.cursors[new] = self.cursors.pop(old)

    def following(self, number: int) -> int | None:
        """Return the number of the oldest segment after one."""
        return min((other for other in list(self._segments) if other > number), default=None)

    def remove_passed(self) -> None:
        """Remove the segments that every destination has passed."""
        if not self.cursors or self.abandoned:
            return
        oldest = min(cursor.mark.segment for cursor in list(self.cursors.values()))
        for number in list(self._segments):
            if number < oldest:
                self.drop_segment(number)

    def oldest_closed_segment(self) -> int | None:
        """Return the number of the oldest segment but the newest, which says how many spans there were."""
        return min(sorted(self._segments)[:-1], default=None)

    @property
    def first_ordinal(self) -> int:
        """The ordinal of the oldest span that there is."""
        oldest = min(list(self._segments), default=None)
        return 0 if oldest is None else self._first_ordinal(oldest)

    def _first_ordinal(self, number: int) -> int:
        known = self._segments.get(number)
        if known is None:
            with contextlib.suppress(OSError):
                known = first_ordinal(segment_path(self.path, number))
            if number in self._segments:
                self._segments[number] = known
        return known or 0

    def expire_segment(self, number: int) -> int:
        """Remove the oldest segment, since the spool is at its limit.

        Returns:
            How many spans in it had not arrived everywhere.
        """
        passed = min((cursor.mark.ordinal for cursor in list(self.cursors.values())), default=0)
        begin = max(passed, self._first_ordinal(number))
        self.drop_segment(number)
        return max(0, self.first_ordinal - begin)

    def drop_segment(self, number: int) -> None:
        """Remove a segment, and with it what is pending in it: who reads on finds it expired."""
        self._segments.pop(number, None)
        with contextlib.suppress(OSError):
            segment_path(self.path, number).unlink()

    @property
    def gone(self) -> bool:
        """Whether somebody has removed the directory, or what is being written in it."""
        writer = self.writer
        if writer is None:
            return False
        try:
            segment_path(self.path, writer.number).stat()
        except OSError as error:  # one that is closed to us now is still there
            return isinstance(error, (FileNotFoundError, NotADirectoryError))
        return False

    def unsent(self) -> list[StoredSpan]:
        """Return what waits in the segment that is being written, also when its file has been removed.

        Raises:
            OSError: it cannot be read.
        """
        writer = self.writer
        position = min((cursor.mark.ordinal for cursor in self.cursors.values()), default=self.next_ordinal)
        if writer is None:
            return []
        reader = SegmentReader(os.dup(writer.descriptor))
        try:
            return [span for span in reader.spans(0, reader.file_size) if span.ordinal >= position]
        finally:
            reader.close()

    def settled(self, destinations: Iterable[str]) -> bool:
        """Tell whether nothing is pending here for these."""
        cursors = [self.cursors[destination] for destination in destinations if destination in self.cursors]
        return all(cursor.mark.ordinal >= self.next_ordinal for cursor in cursors)

    def release(self, patience_s: float = _ledger.PATIENCE_S) -> bool:
        """Close all, give the lock back, and remove the directory where nothing is pending in it for anybody.

        Args:
            patience_s: how long to wait for who reads or writes the ledger, in seconds.

        Returns:
            Whether that did not fail on one who does.
        """
        retired = self.abandoned = True
        self.stop_writing()
        if self._done():
            # First the bytes: on a full disk the account takes their room. It needs none of them, for all is settled.
            for number in list(self._segments):
                self.drop_segment(number)
            retired = _ledger.retire(self.path, patience_s)
        self.close()
        return retired

    def _done(self) -> bool:
        """Tell whether nothing is pending for anybody, by what is on disk."""
        with contextlib.suppress(OSError):
            if self.cursors and self.settled(list(self.cursors)):
                for cursor in self.cursors.values():
                    cursor.save()
                return len(self.cursors) == len(cursor_names(self.path))
        return False

    def stop_writing(self) -> None:
        """Take no more spans; what there is goes on being sent."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.close()

    def close(self) -> None:
        """Close all files, and thereby give the lock back. A forked child does no more than this."""
        self.abandoned = True
        self.stop_writing()
        # Once only: by then the number may be that of somebody else's file.
        lock, self._lock = self._lock, -1
        if lock >= 0:
            for cursor in self.cursors.values():
                cursor.close()
            os.close(lock)
