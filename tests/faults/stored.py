"""What lies in a spool, read without the library's help: its processes' directories, and the records in their segments.

That these tests know the format is meant: what a released version has written must be read by the next one.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAGIC: Final = b"CSP1"
SPAN: Final = 3
_HEADER: Final = struct.Struct("<4sBxHHxxIIQQI")
_PROCESS: Final = re.compile(r"[0-9a-f]{16}-[0-9]+-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's file; `spans` are where each span's record begins and ends."""

    path: Path
    spans: tuple[tuple[int, int], ...]


def processes(spool: Path) -> list[Path]:
    """Lists the directories of processes, oldest first."""
    return sorted(path for path in spool.iterdir() if _PROCESS.fullmatch(path.name))


def segments(spool: Path) -> list[Segment]:
    """Reads all segments, oldest first."""
    return [
        Segment(path, tuple(_spans(path.read_bytes())))
        for directory in processes(spool)
        for path in sorted(directory.glob("*.segment"))
    ]


def _spans(content: bytes) -> list[tuple[int, int]]:
    found, at = [], 0
    while at < len(content):
        magic, kind, _, _, size, *_ = _HEADER.unpack_from(content, at)
        assert magic == MAGIC, f"no record at {at}"
        end = at + _HEADER.size + size
        if kind == SPAN:
            found.append((at, end))
        at = end
    return found
