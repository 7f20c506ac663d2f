"""How far one destination has acknowledged the spans of one process, and what became of them."""

import os
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from callspan_exporters._spool._directory import names_in, open_private

SUFFIX: Final = ".cursor"
_MAGIC: Final = b"CSC1"
_FIELDS: Final = struct.Struct("<4sQQQQQQQQQ")
_CHECKSUM: Final = struct.Struct("<I")
# Two places, written in turn: a write that is cut short leaves the other.
_PLACE_SIZE: Final = 128
_IDENTITY_OFFSET: Final = 2 * _PLACE_SIZE
_MAX_NAME: Final = 180


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in the spans of one process, and the account of those before it.

    ``ordinal - start == delivered + rejected + expired + damaged`` at every moment.

    Attributes:
        segment: number of the segment that holds the next span.
        offset: of the next span in it, in bytes.
        start: ordinal of the first span that was meant for this destination.
        ordinal: of the next span.
        delivered: spans that the destination acknowledged.
        rejected: spans that it refused for good.
        expired: spans that reached the limit of age or of bytes first.
        damaged: spans that could not be read back.
        sequence: number of this write; the higher of two places counts.
    """

    segment: int
    offset: int
    start: int
    ordinal: int
    delivered: int = 0
    rejected: int = 0
    expired: int = 0
    damaged: int = 0
    sequence: int = 0


class Cursor:
    """A destination's mark in the directory of one process. One thread at a time moves it."""

    def __init__(self, path: Path, destination: str, mark: Mark, descriptor: int) -> None:
        self.path = path
        self.destination = destination
        self.mark = mark
        self._descriptor = descriptor

    def move(self, mark: Mark) -> None:
        """Put the mark elsewhere. The new one is in the file whole, or the old one is.

        Raises:
            OSError: it cannot be written; this process keeps the new one.
        """
        self.mark = mark = replace(mark, sequence=self.mark.sequence + 1)
        os.pwrite(self._descriptor, _pack(mark), mark.sequence % 2 * _PLACE_SIZE)

    def close(self) -> None:
        """Close the file. A sender that still moves the mark fails then, instead of writing to another file."""
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)

    def rename(self, destination: str) -> "Cursor":
        """Give what is pending here to another destination, with the account so far.

        Raises:
            OSError: the new file cannot be written; the old one stays.
        """
        renamed = create(self.path.parent, destination, self.mark)
        self.close()
        self.path.unlink(missing_ok=True)
        return renamed


def file_name(destination: str) -> str:
    """Return what a destination's file is called: its identity, legible, as file systems take it."""
    quoted = quote(destination, safe="")
    if len(quoted) > _MAX_NAME:
        quoted = f"{quoted[:_MAX_NAME]}-{zlib.crc32(destination.encode()):08x}"
    return quoted + SUFFIX


def create(directory: Path, destination: str, mark: Mark) -> Cursor:
    """Begin an account.

    Raises:
        OSError: it cannot be written.
    """
    path = directory / file_name(destination)
    newborn = path.with_suffix(".new")
    descriptor = open_private(newborn, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        os.pwrite(descriptor, destination.encode(), _IDENTITY_OFFSET)
        os.pwrite(descriptor, _pack(mark), mark.sequence % 2 * _PLACE_SIZE)
        newborn.rename(path)
    except OSError:
        os.close(descriptor)
        raise
    return Cursor(path, destination, mark, descriptor)


def load(path: Path, *, writable: bool = True) -> Cursor | None:
    """Open an account that another process began, None where the file is not one or is damaged.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = open_private(path, os.O_RDWR if writable else os.O_RDONLY)
    content = os.pread(descriptor, 1 << 16, 0)
    marks = [mark for place in (0, _PLACE_SIZE) if (mark := _unpack(content[place : place + _PLACE_SIZE])) is not None]
    destination = content[_IDENTITY_OFFSET:].decode(errors="replace")
    if not marks or not destination:
        os.close(descriptor)
        return None
    return Cursor(path, destination, max(marks, key=lambda mark: mark.sequence), descriptor)


def load_all(directory: Path, *, writable: bool = True) -> dict[str, Cursor]:
    """Open all accounts in a process's directory, by destination. What cannot be read is passed over."""
    cursors: dict[str, Cursor] = {}
    for name in names_in(directory):
        if name.endswith(SUFFIX):
            try:
                cursor = load(directory / name, writable=writable)
            except OSError:
                continue
            if cursor is not None:
                cursors[cursor.destination] = cursor
    return cursors


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
