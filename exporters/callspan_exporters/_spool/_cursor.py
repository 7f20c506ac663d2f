"""How far one destination has acknowledged the spans of one process, and what became of them.

A file has four places for marks, and a header. Two places are for the spans on disk and two for those that the process
kept in memory while the disk refused; of each pair the marks are written in turn, so that a write that is cut short
leaves the other.
"""

import contextlib
import errno
import os
import struct
import threading
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from callspan_exporters._spool._directory import names_in, open_private, passed_over

SUFFIX: Final = ".cursor"
# The last character is the version of the format, as in records: see `_record.MAGIC`.
_MAGIC: Final = b"CSC2"
_FIELDS: Final = struct.Struct("<4sQQQQQQQQQ")
_CHECKSUM: Final = struct.Struct("<I")
_PLACE_SIZE: Final = 128
_DISK_PLACES: Final = (0, _PLACE_SIZE)
_MEMORY_PLACES: Final = (2 * _PLACE_SIZE, 3 * _PLACE_SIZE)
_HEADER_OFFSET: Final = 4 * _PLACE_SIZE
_HEADER: Final = struct.Struct("<4sQI")
_MAX_NAME: Final = 180


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the spans of one process, and the account of those before it.

    ``ordinal - start == delivered + rejected + expired + damaged`` at every moment.

    Attributes:
        segment: number of the segment that holds the next span.
        offset: of the next span in it, in bytes.
        start: ordinal of the first span that was meant for this destination, and one more for each that was moved to
            another account.
        ordinal: of the next span.
        delivered: spans that the destination acknowledged.
        rejected: spans that it refused for good.
        expired: spans that reached the limit of age or of bytes first.
        damaged: spans that could not be read back.
        sequence: number of this write; the higher of two places counts.
    """

    segment: int = 0
    offset: int = 0
    start: int = 0
    ordinal: int = 0
    delivered: int = 0
    rejected: int = 0
    expired: int = 0
    damaged: int = 0
    sequence: int = 0


NOWHERE: Final = Mark()


@dataclass(frozen=True, slots=True)
class Start:
    """What a destination's account in one directory begins with.

    Attributes:
        disk: where its spans on disk begin.
        memory: what became of those in memory so far, in a process that had no directory before.
        dropped: how many spans the process had dropped that were not meant for it.
    """

    disk: Mark
    memory: Mark = NOWHERE
    dropped: int = 0


class Cursor:
    """A destination's marks in the directory of one process."""

    def __init__(self, path: Path, destination: str, start: Start, descriptor: int) -> None:
        self.path = path
        self.destination = destination
        self._marks: dict[tuple[int, int], Mark] = {_DISK_PLACES: start.disk, _MEMORY_PLACES: start.memory}
        self.dropped_before = start.dropped
        self._descriptor = descriptor
        self._written = {places: mark.sequence for places, mark in self._marks.items()}
        # Its sender moves it, and who stores a span after an outage of the disk, maybe in a signal handler.
        self._moving = threading.RLock()

    @property
    def mark(self) -> Mark:
        """The mark of what is on disk."""
        return self._marks[_DISK_PLACES]

    @property
    def memory(self) -> Mark:
        """The mark of what was kept in memory."""
        return self._marks[_MEMORY_PLACES]

    def move(self, mark: Mark) -> None:
        """Put the mark of what is on disk elsewhere. The new one is in the file whole, or the old one is.

        Raises:
            OSError: it cannot be written; this process keeps the new one.
        """
        self._move(mark, _DISK_PLACES)

    def move_memory(self, mark: Mark) -> None:
        """Do the same for what was kept in memory.

        Raises:
            OSError: it cannot be written; this process keeps the new one.
        """
        self._move(mark, _MEMORY_PLACES)

    def advance_memory(self, mark: Mark) -> None:
        """Do so, unless a later one is there.

        Raises:
            OSError: it cannot be written; this process keeps the new one.
        """
        with self._moving:
            if mark.ordinal > self.memory.ordinal:
                self.move_memory(mark)

    def save(self) -> None:
        """Write what could not be written when it was moved.

        Raises:
            OSError: it still cannot.
        """
        with self._moving:
            for places, mark in self._marks.items():
                if mark.sequence != self._written[places]:
                    self._put(mark, places)

    def close(self) -> None:
        """Close the file. A sender that still moves the mark fails then, instead of writing to another file."""
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def sync(self) -> None:
        """Have the file survive the loss of power as well.

        Raises:
            OSError: the disk cannot.
        """
        os.fsync(self._descriptor)

    def rename(self, destination: str) -> None:
        """Give what is pending here to another destination, with the account so far.

        Raises:
            OSError: it cannot be done; all stays as it was.
        """
        renamed = self.path.parent / file_name(destination)
        # In one step for whoever reads, also where this process dies after it: then the header is known to be stale.
        self.path.rename(renamed)
        self.path, self.destination = renamed, destination
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, _header(destination, self.dropped_before), _HEADER_OFFSET)

    def _move(self, mark: Mark, places: tuple[int, int]) -> None:
        with self._moving:
            mark = replace(mark, sequence=self._written[places] + 1)
            try:
                # Before anybody sees it: who finds all settled removes the spans, and goes by the file for the account.
                self._put(mark, places)
            finally:
                self._marks[places] = mark

    def _put(self, mark: Mark, places: tuple[int, int]) -> None:
        # In the place of the older one, also where the write before this one failed: the newer is whole.
        os.pwrite(self._descriptor, _pack(mark), places[mark.sequence % 2])
        self._written[places] = mark.sequence


def file_name(destination: str) -> str:
    """Return what a destination's file is called: its identity, legible, as file systems take it."""
    quoted = quote(destination, safe="")
    if len(quoted) > _MAX_NAME:
        quoted = f"{quoted[:_MAX_NAME]}-{zlib.crc32(destination.encode()):08x}"
    return quoted + SUFFIX


def create(directory: Path, destination: str, start: Start) -> Cursor:
    """Begin an account.

    Raises:
        OSError: it cannot be written.
    """
    path = directory / file_name(destination)
    newborn = path.with_suffix(".new")
    descriptor = open_private(newborn, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        # Every place is written at once: on a disk that is full later, what has its blocks can still be changed.
        places = b"".join(_pack(mark).ljust(_PLACE_SIZE, b"\0") for mark in (start.disk,) * 2 + (start.memory,) * 2)
        _write_whole(descriptor, places + _header(destination, start.dropped))
        newborn.rename(path)
    except OSError:
        os.close(descriptor)
        newborn.unlink(missing_ok=True)
        raise
    return Cursor(path, destination, start, descriptor)


def _write_whole(descriptor: int, content: bytes) -> None:
    if os.pwrite(descriptor, content, 0) != len(content):  # a full disk takes what fits
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def load(path: Path, *, writable: bool = True, begin: Mark = NOWHERE) -> Cursor | None:
    """Open an account that another process began, None where the file is not one.

    Args:
        path: the file.
        writable: to move the marks.
        begin: where the spans on disk begin, for a file whose marks are both damaged: they are sent once more, which
            is better than not at all.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = open_private(path, os.O_RDWR if writable else os.O_RDONLY)
    content = os.pread(descriptor, 1 << 16, 0)
    header = None if of_another_version(content) else _identified(path.name, content)
    if header is None:
        os.close(descriptor)
        return None
    disk, memory = (_newest(content, places) for places in (_DISK_PLACES, _MEMORY_PLACES))
    return Cursor(path, header[0], Start(disk or begin, memory or NOWHERE, header[1]), descriptor)


def load_all(directory: Path, *, writable: bool = True, begin: Mark = NOWHERE) -> dict[str, Cursor]:
    """Open all accounts in a process's directory, by destination. What cannot be read is passed over.

    Raises:
        OSError: they cannot be read for now.
    """
    cursors: dict[str, Cursor] = {}
    try:
        for name in cursor_names(directory):
            with passed_over():
                cursor = load(directory / name, writable=writable, begin=begin)
                if cursor is not None:
                    cursors[cursor.destination] = cursor
    except OSError:
        for cursor in cursors.values():
            cursor.close()
        raise
    return cursors


def cursor_names(directory: Path) -> list[str]:
    """Return the names of the files that are accounts, whether or not this version can read them."""
    return [name for name in names_in(directory) if name.endswith(SUFFIX)]


def of_another_version(content: bytes) -> bool:
    """Tell whether a file with this content is an account in a format that this version does not know."""
    # A letter or a digit: what was cut off and written again has a zero there.
    return content[:3] == _MAGIC[:3] and content[3:4].isalnum() and content[:4] != _MAGIC


def _identified(name: str, content: bytes) -> tuple[str, int] | None:
    """Return the destination of a file, and how many spans were dropped before it.

    By its header, unless that is damaged, or stale since the file was given to another: then by its name, where that
    is whole.
    """
    header = _read_header(content[_HEADER_OFFSET:])
    if header is not None and file_name(header[0]) == name:
        return header
    destination = unquote(name.removesuffix(SUFFIX))
    return (destination, header[1] if header is not None else 0) if file_name(destination) == name else None


def _header(destination: str, dropped: int) -> bytes:
    identity = destination.encode()
    header = _HEADER.pack(_MAGIC, dropped, len(identity)) + identity
    return header + _CHECKSUM.pack(zlib.crc32(header))


def _read_header(data: bytes) -> tuple[str, int] | None:
    if len(data) < _HEADER.size:
        return None
    magic, dropped, size = _HEADER.unpack_from(data)
    end = _HEADER.size + size
    if magic != _MAGIC or len(data) < end + _CHECKSUM.size:
        return None
    if _CHECKSUM.unpack_from(data, end)[0] != zlib.crc32(data[:end]):
        return None
    return data[_HEADER.size : end].decode(errors="replace"), dropped


def _newest(content: bytes, places: tuple[int, int]) -> Mark | None:
    marks = (_unpack(content[place : place + _PLACE_SIZE]) for place in places)
    return max((mark for mark in marks if mark is not None), key=lambda mark: mark.sequence, default=None)


def _pack(mark: Mark) -> bytes:
    fields = _FIELDS.pack(
        _MAGIC,
        mark.sequence,
        mark.segment,
        mark.offset,
        mark.start,
        mark.ordinal,
        mark.delivered,
        mark.rejected,
        mark.expired,
        mark.damaged,
    )
    return fields + _CHECKSUM.pack(zlib.crc32(fields))


def _unpack(place: bytes) -> Mark | None:
    if len(place) < _FIELDS.size + _CHECKSUM.size:
        return None
    fields = place[: _FIELDS.size]
    if fields[:4] != _MAGIC or _CHECKSUM.unpack_from(place, _FIELDS.size)[0] != zlib.crc32(fields):
        return None
    _, sequence, segment, offset, start, ordinal, delivered, rejected, expired, damaged = _FIELDS.unpack(fields)
    return Mark(segment, offset, start, ordinal, delivered, rejected, expired, damaged, sequence)
