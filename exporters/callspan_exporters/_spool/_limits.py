"""How much the spool may hold, and for how long."""

import contextlib
import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from callspan_exporters._spool._directory import (
    process_directories,
    remove,
    segment_numbers,
    segment_path,
    try_lock,
)
from callspan_exporters._spool._process_spool import ProcessSpool
from callspan_exporters.environment_variables import CALLSPAN_SPOOL_MAX_AGE, CALLSPAN_SPOOL_MAX_BYTES

_logger = logging.getLogger(__name__)

_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)")
_BYTES: Final = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SEGMENT_BYTES: Final = 4 << 20
_SMALLEST_SEGMENT_BYTES: Final = 64 << 10
_MEMORY_BYTES: Final = 32 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the spool.

    Attributes:
        max_bytes: of all segments in the spool together.
        max_age_s: how long a span is kept for a destination, in seconds.
        segment_bytes: at what size a segment is closed and another begun.
        memory_bytes: of the ring in memory where there is no disk.
    """

    max_bytes: int = 512 << 20
    max_age_s: float = 3 * 86400.0
    segment_bytes: int = _SEGMENT_BYTES
    memory_bytes: int = _MEMORY_BYTES

    @classmethod
    def from_environment(cls) -> "Limits":
        """Return what the environment asks for. What it says wrongly is warned of, and the default taken."""
        default = cls()
        max_bytes = int(_quantity(CALLSPAN_SPOOL_MAX_BYTES, _BYTES, default.max_bytes, "bytes, such as 200MB or 1GiB"))
        return cls(
            max_bytes=max_bytes,
            max_age_s=_quantity(CALLSPAN_SPOOL_MAX_AGE, _SECONDS, default.max_age_s, "a time, such as 90m, 12h or 3d"),
            segment_bytes=min(_SEGMENT_BYTES, max(max_bytes // 8, _SMALLEST_SEGMENT_BYTES)),
            memory_bytes=min(_MEMORY_BYTES, max_bytes),
        )


def _quantity(variable: str, units: dict[str, int], default: float, meaning: str) -> float:
    text = os.environ.get(variable, "").strip().lower()
    if not text:
        return default
    match = _QUANTITY.fullmatch(text)
    value = float(match[1]) * units.get(match[2], 0) if match is not None else 0.0
    if value <= 0:
        _logger.warning("%s=%r is not understood and is ignored: set it to %s", variable, text, meaning)
        return default
    return value


def trim(root: Path, held: Iterable[ProcessSpool], max_bytes: int) -> int:
    """Remove the oldest segments in the spool until it is within its limit.

    Touches the directories that this process holds and those of dead processes, not those of live ones, which see to
    it themselves.

    Returns:
        How many segments went.
    """
    sizes = {directory: _sizes(directory) for directory in process_directories(root)}
    excess = sum(sum(segments.values()) for segments in sizes.values()) - max_bytes
    ours = {spool.path: spool for spool in held}
    removed = 0
    for directory in sorted(sizes):
        if excess <= 0:
            break
        gone = _trim_ours(ours[directory], excess) if directory in ours else _trim_dead(directory, excess)
        excess -= sum(sizes[directory].get(number, 0) for number in gone)
        removed += len(gone)
    return removed


def _sizes(directory: Path) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for number in segment_numbers(directory):
        with contextlib.suppress(OSError):
            sizes[number] = segment_path(directory, number).stat().st_size
    return sizes


def _trim_ours(spool: ProcessSpool, excess: int) -> list[int]:
    gone: list[int] = []
    while excess > 0 and (number := spool.oldest_closed_segment()) is not None:
        excess -= _sizes(spool.path).get(number, 0)
        spool.drop_segment(number)
        gone.append(number)
    return gone


def _trim_dead(directory: Path, excess: int) -> list[int]:
    lock = try_lock(directory)
    if lock is None:
        return []
    spool = ProcessSpool.adopt(directory, lock)
    gone = _trim_ours(spool, excess)
    if not segment_numbers(directory):
        remove(directory)
    spool.close()
    return gone
