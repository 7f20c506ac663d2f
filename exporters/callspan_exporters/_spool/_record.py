"""The bytes of one record: found again in any file, whatever happened to the bytes before it.

A record is a header of 40 bytes and a payload. The header has a checksum of its own, so that a length is believed
only when it is intact: a reader that meets garbage never waits for, or skips, bytes that an invented length names.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

# The last character is the version of the format. A file that starts with another one is left alone.
MAGIC: Final = b"CSP1"
_MAGIC_OF_ANY_VERSION: Final = MAGIC[:3]

_FIELDS: Final = struct.Struct("<4sBxHHxxIIQQ")
_CHECKSUM: Final = struct.Struct("<I")
_HEADER: Final = struct.Struct(_FIELDS.format + "I")
HEADER_SIZE: Final = _HEADER.size
_WINDOW: Final = 1 << 20


class Kind(IntEnum):
    """What a record's payload is."""

    SEGMENT = 0
    """The first record of a segment: JSON about who wrote it, with the ordinal of its first span."""
    RESOURCE = 1
    SCOPE = 2
    SPAN = 3
    REFUSAL = 4
    """In a dead-letter file, before the span it is about: JSON that says who refused it and why."""


class Record(NamedTuple):
    """One intact record.

    Attributes:
        kind: a `Kind`, or the number of one that a later version has added.
        resource: number of the resource in this segment; for ``RESOURCE`` the number it defines.
        scope: number of the scope in this segment; for ``SCOPE`` the number it defines.
        ordinal: how many spans this process had stored before this one.
        time_ns: when it was stored, nanoseconds since the epoch.
        payload: the bytes.
        end: offset of the byte after it in the file.
    """

    kind: int
    resource: int
    scope: int
    ordinal: int
    time_ns: int
    payload: bytes
    end: int


def pack(kind: Kind, payload: bytes, *, resource: int = 0, scope: int = 0, ordinal: int = 0, time_ns: int = 0) -> bytes:
    """Return the bytes of one record, for one ``write``."""
    crc32 = zlib.crc32
    fields = _FIELDS.pack(MAGIC, kind, resource, scope, len(payload), crc32(payload), ordinal, time_ns)
    return fields + _CHECKSUM.pack(crc32(fields)) + payload


def of_another_version(descriptor: int) -> bool:
    """Tell whether a file was written in a format that this version does not know.

    Raises:
        OSError: the file cannot be read.
    """
    head = os.pread(descriptor, len(MAGIC), 0)
    if head[:3] != _MAGIC_OF_ANY_VERSION or not head[3:].isalnum() or head == MAGIC:
        return False
    # With a record of this version in it, it is damage that made its beginning look like another.
    return next(scan(descriptor, 0, os.fstat(descriptor).st_size), None) is None


def scan(descriptor: int, start: int, end: int) -> Iterator[Record]:
    """Yield the intact records that lie between two offsets of a file, and pass over everything else.

    Args:
        descriptor: of the open file.
        start: offset to begin at, in bytes.
        end: offset that no record may reach beyond, in bytes.

    Raises:
        OSError: the file cannot be read.
    """
    window, base, at = b"", start, start
    while at + HEADER_SIZE <= end:
        if at + HEADER_SIZE > base + len(window):
            window, base = os.pread(descriptor, min(_WINDOW, end - at), at), at
            if len(window) < HEADER_SIZE:  # somebody cut the file
                return
        header = _header(window, at - base)
        if header is not None:
            kind, resource, scope, size, checksum, ordinal, time_ns = header
            stop = at + HEADER_SIZE + size
            if base + len(window) < stop <= end:
                window, base = os.pread(descriptor, max(min(_WINDOW, end - at), stop - at), at), at
            payload = window[at - base + HEADER_SIZE : stop - base]
            if stop <= end and len(payload) == size and zlib.crc32(payload) == checksum:
                yield Record(kind, resource, scope, ordinal, time_ns, payload, stop)
                at = stop
                continue
        at = _next_magic(window, at - base + 1) + base


def _header(window: bytes, at: int) -> tuple[int, int, int, int, int, int, int] | None:
    """Return the fields of the header at ``at`` but the magic, None where it is not intact."""
    magic, kind, resource, scope, size, checksum, ordinal, time_ns, of_fields = _HEADER.unpack_from(window, at)
    if magic != MAGIC or of_fields != zlib.crc32(window[at : at + _FIELDS.size]):
        return None
    return kind, resource, scope, size, checksum, ordinal, time_ns


def _next_magic(window: bytes, at: int) -> int:
    """Return where in the window the next record may begin: at its end at the latest, less a magic cut in two."""
    found = window.find(MAGIC, at)
    return found if found >= 0 else max(at, len(window) - len(MAGIC) + 1)
