"""How much the spool may hold, and for how long."""

import contextlib
import logging
import os
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from callspan_exporters._spool._directory import (
    process_directories,
    segment_numbers,
    segment_path,
    try_lock,
)
from callspan_exporters._spool._ledger import retire
from callspan_exporters._spool._notices import Notices
from callspan_exporters._spool._process_spool import FORK_PATIENCE_S, ProcessSpool
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
        memory_spans: how many spans may be in it, None for no bound but that of bytes.
        fsync: have each span survive the loss of power as well.
    """

    max_bytes: int = 512 << 20
    max_age_s: float = 3 * 86400.0
    segment_bytes: int = _SEGMENT_BYTES
    memory_bytes: int = _MEMORY_BYTES
    memory_spans: int | None = None
    fsync: bool = False

    @classmethod
    def of_size(cls, max_bytes: int, max_age_s: float) -> "Limits":
        """Return limits with what goes with a size."""
        return cls(
            max_bytes=max_bytes,
            max_age_s=max_age_s,
            segment_bytes=min(_SEGMENT_BYTES, max(max_bytes // 8, _SMALLEST_SEGMENT_BYTES)),
            memory_bytes=min(_MEMORY_BYTES, max_bytes),
        )

    @classmethod
    def from_environment(cls) -> "Limits":
        """Return what the environment asks for. What it says wrongly is warned of, and the default taken."""
        default = cls()
        max_bytes = int(_quantity(CALLSPAN_SPOOL_MAX_BYTES, _BYTES, default.max_bytes, "bytes, such as 200MB or 1GiB"))
        age = _quantity(CALLSPAN_SPOOL_MAX_AGE, _SECONDS, default.max_age_s, "a time, such as 90m, 12h or 3d")
        return cls.of_size(max_bytes, age)


def _quantity(variable: str, units: dict[str, int], default: float, meaning: str) -> float:
    text = os.environ.get(variable, "").strip().lower()
    if not text:
        return default
    match = _QUANTITY.fullmatch(text)
    value = float(match[1]) * units.get(match[2], 0) if match is not None else 0.0
    if value < 1:
        _logger.warning("%s=%r is not understood and is ignored: set it to %s", variable, text, meaning)
        return default
    return value


def size_of(root: Path) -> int:
    """Return what the segments in a spool take, in bytes."""
    return sum(sum(_sizes(directory).values()) for directory in process_directories(root))


class SizeLimit:
    """Keeps a spool to its limit of bytes, and says when it is near. By any thread, one at a time.

    Attributes:
        due: whether the next look is to keep to the limit.
        expired: how many spans of this process went for it, which had not arrived everywhere.
    """

    def __init__(self, max_bytes: int, notices: Notices) -> None:
        self.due = True
        self.expired = 0
        self._max_bytes = max_bytes
        self._notices = notices
        self._keeping = threading.Lock()
        self._fork_waited = False

    def look(self, root: Path, own: ProcessSpool | None, adopted: Iterable[ProcessSpool]) -> None:
        """Keep to the limit also where no process stores enough to reach it by itself."""
        if self.due and own is not None:
            self.keep(root, own, adopted)
        elif self._notices.near_limit:
            self._note(root, own, size_of(root), trimmed=False)

    def keep(self, root: Path, own: ProcessSpool, adopted: Iterable[ProcessSpool]) -> None:
        """Remove the oldest segments beyond the limit. Does nothing while another thread is at it."""
        self.due = True
        if not self._keeping.acquire(blocking=False):
            return
        try:
            # The span is stored already: what goes wrong here is for the next look.
            with contextlib.suppress(OSError):
                trimmed = trim(root, own, adopted, self._max_bytes)
                self.due = False
                self.expired += trimmed.expired
                self._note(root, own, trimmed.size, trimmed=trimmed.any)
        finally:
            self._keeping.release()

    def before_fork(self) -> None:
        """Let no thread hold a dead process's lock that the child would keep without knowing."""
        self._fork_waited = self._keeping.acquire(timeout=FORK_PATIENCE_S)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._fork_waited:
            self._keeping.release()

    def _note(self, root: Path, own: ProcessSpool | None, size: int, *, trimmed: bool) -> None:
        marks = [cursor.mark.ordinal for cursor in list(own.cursors.values())] if own is not None else []
        pending = own.next_ordinal - min(marks) if own is not None and marks else 0
        self._notices.filled(root, size, self._max_bytes, pending, trimmed=trimmed)


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What became of a spool that was at its limit.

    Attributes:
        size: how many bytes are left.
        any: whether anything had to go.
        expired: how many spans of this process that was, which had not arrived everywhere.
    """

    size: int
    any: bool
    expired: int


def trim(root: Path, own: ProcessSpool | None, adopted: Iterable[ProcessSpool], max_bytes: int) -> Trimmed:
    """Remove the oldest segments in the spool until it is within its limit.

    Touches the directories that this process holds and those of dead processes, not those of live ones, which see to
    it themselves.

    Args:
        root: the spool.
        own: the directory of this process.
        adopted: those that it has taken over.
        max_bytes: the limit.
    """
    sizes = {directory: _sizes(directory) for directory in process_directories(root)}
    size = sum(sum(segments.values()) for segments in sizes.values())
    ours = {spool.path: spool for spool in [*adopted, *([own] if own is not None else [])]}
    any_gone, expired = False, 0
    for directory in sorted(sizes):
        excess = size - max_bytes
        if excess <= 0:
            break
        known = sizes[directory]
        if directory in ours:
            gone, count = _trim_ours(ours[directory], excess, known)
            expired += count if ours[directory] is own else 0
        else:
            gone = _trim_dead(directory, excess, known)
        size -= sum(known.get(number, 0) for number in gone)
        any_gone = any_gone or bool(gone)
    return Trimmed(size, any_gone, expired)


def _sizes(directory: Path) -> dict[int, int]:
    sizes: dict[int, int] = {}
    for number in segment_numbers(directory):
        with contextlib.suppress(OSError):
            sizes[number] = segment_path(directory, number).stat().st_size
    return sizes


def _trim_ours(spool: ProcessSpool, excess: int, sizes: dict[int, int]) -> tuple[list[int], int]:
    gone: list[int] = []
    expired = 0
    while excess > 0 and (number := spool.oldest_closed_segment()) is not None:
        excess -= sizes.get(number, 0)
        expired += spool.expire_segment(number)
        gone.append(number)
    return gone, expired


def _trim_dead(directory: Path, excess: int, sizes: dict[int, int]) -> list[int]:
    lock = try_lock(directory)
    if lock is None:
        return []
    try:
        spool = ProcessSpool.adopt(directory, lock)
    except OSError:  # for now
        os.close(lock)
        return []
    gone, _ = _trim_ours(spool, excess, sizes)
    # Without waiting: a span is about to be stored.
    if sum(sizes[number] for number in gone) < excess and retire(directory, patience_s=0.0):
        gone = list(sizes)
    spool.close()
    return gone
