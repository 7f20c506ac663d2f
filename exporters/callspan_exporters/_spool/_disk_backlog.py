"""What waits on disk for one destination, segment after segment."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path

from callspan_exporters._spool._cursor import Cursor, Mark
from callspan_exporters._spool._directory import passed_over, segment_path
from callspan_exporters._spool._process_spool import ProcessSpool
from callspan_exporters._spool._segment import SegmentReader, StoredSpan, first_ordinal


class DiskBacklog:
    """What is pending for one destination in the directory of one process."""

    def __init__(self, spool: ProcessSpool, cursor: Cursor) -> None:
        self.spool = spool
        self._cursor = cursor
        self._reader: SegmentReader | None = None
        self._reading = -1
        self._gone = False
        self._closed = False

    @property
    def pending(self) -> int:
        """How many spans wait that are still there."""
        return max(0, self.spool.next_ordinal - max(self._cursor.mark.ordinal, self.spool.first_ordinal))

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
        while self.position < self.end and not self._over:
            # Before reading: a segment that began meanwhile does not make the end of this one its last word.
            following = self.spool.following(self._cursor.mark.segment)
            batch = self._read(max_spans, max_bytes)
            if batch or not self._go_on(following):
                return batch
        return []

    def settle(
        self, last: StoredSpan, *, delivered: int = 0, rejected: int = 0, expired: int = 0, moved: int = 0
    ) -> None:
        """Enter what became of the spans up to and with ``last``, and pass them. Those that were passed stay so."""
        mark = self._cursor.mark
        damaged = last.ordinal + 1 - mark.ordinal - delivered - rejected - expired - moved
        if damaged < 0:  # another sender has been at them, whose answer came first
            return
        passed = replace(
            mark,
            offset=last.end,
            start=mark.start + moved,
            ordinal=last.ordinal + 1,
            delivered=mark.delivered + delivered,
            rejected=mark.rejected + rejected,
            expired=mark.expired + expired,
            damaged=mark.damaged + damaged,
        )
        self._move(passed)

    def close(self) -> None:
        """Read no more. A sender that waits for an answer may come back all the same, and finds nothing."""
        self._closed = True
        self._close_reader()

    @property
    def _over(self) -> bool:
        return self._closed or self.spool.abandoned

    def _close_reader(self) -> None:
        reader, self._reader, self._reading = self._reader, None, -1
        if reader is not None:
            reader.close()

    def _read(self, max_spans: int, max_bytes: int) -> list[StoredSpan]:
        mark = self._cursor.mark
        reader = self._open(mark.segment)
        if reader is None:
            return []
        batch: list[StoredSpan] = []
        size = 0
        with passed_over():  # what the disk cannot read is damaged
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
            self._close_reader()
            path = segment_path(self.spool.path, number)
            self._reader = _opened(path)
            # Only once it is known: where descriptors are short for a moment, it is not gone.
            self._gone = self._reader is None and not os.path.lexists(path)
            self._reading = number
        return self._reader

    def _go_on(self, number: int | None) -> bool:
        """Go on to the next segment. Spans between here and there are lost: expired with a segment, or damaged."""
        if self._over:  # what cannot be read any more is not gone
            return False
        mark = self._cursor.mark
        # They are numbered without a gap: the limit has made one, of this segment or of those after it.
        removed = self._gone or (number is not None and number > mark.segment + 1)
        first = None
        if number is not None:
            path = segment_path(self.spool.path, number)
            with passed_over():
                first = first_ordinal(path)
            if first is None and not os.path.lexists(path):  # somebody removed it
                if self.spool.writer is not None:
                    return False
                self.spool.drop_segment(number)
                return True
        elif self.spool.writer is None:
            first = self.spool.next_ordinal
        else:  # more is to come; or somebody removed the file, and what can still be read of it is about to be moved
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
        if mark.segment != self._reading or mark.ordinal >= self.end:
            self.spool.remove_passed()


def _opened(path: Path) -> SegmentReader | None:
    with passed_over():
        return SegmentReader.open(path)
    return None
