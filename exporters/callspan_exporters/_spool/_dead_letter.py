"""Where spans go that a destination refused for good: read by people, sent by nobody."""

import contextlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._spool._directory import SEGMENT_SUFFIX, make_directory, names_in, open_private
from callspan_exporters._spool._record import Kind, Record, pack, scan

_logger = logging.getLogger(__name__)

_DIRECTORY: Final = "rejected"
_MAX_FILE_BYTES: Final = 16 << 20
_MAX_REASON_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """A span that a destination refused.

    Attributes:
        span: its bytes.
        destination: who refused it.
        reason: why, as the destination put it.
        time_ns: when, nanoseconds since the epoch.
    """

    span: EncodedSpan
    destination: str
    reason: str
    time_ns: int


class DeadLetters:
    """Appends refused spans to a file per day, which all processes share."""

    def __init__(self, root: Path | None, max_age_s: float) -> None:
        self._root = root
        self._max_age_s = max_age_s

    def refused(self, destination: str, span: EncodedSpan, reason: str) -> None:
        """Keep a refused span. Where it cannot be kept, it is counted all the same, by its destination's cursor."""
        now_ns = time.time_ns()
        about = {"destination": destination, "reason": reason}
        self._keep(
            pack(Kind.REFUSAL, json.dumps(about).encode(), time_ns=now_ns),
            pack(Kind.RESOURCE, span.resource)
            + pack(Kind.SCOPE, span.scope)
            + pack(Kind.SPAN, span.span, time_ns=now_ns),
        )

    def refused_some(self, destination: str, count: int, reason: str) -> None:
        """Keep why spans of a batch were refused, of which the destination does not say which they are."""
        about = {"destination": destination, "reason": reason, "count": count}
        self._keep(pack(Kind.REFUSAL, json.dumps(about).encode(), time_ns=time.time_ns()), b"")

    def _keep(self, refusal: bytes, span: bytes) -> None:
        if self._root is None:
            return
        try:
            self._append(self._root / _DIRECTORY, refusal, span)
        except OSError as error:
            _logger.debug("A refused span could not be kept: %s", error)

    def _append(self, directory: Path, refusal: bytes, span: bytes) -> None:
        with contextlib.suppress(FileExistsError):
            make_directory(directory)
        self._remove_old(directory)
        path = directory / (time.strftime("%Y%m%d", time.gmtime()) + SEGMENT_SUFFIX)
        descriptor = open_private(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            room = _MAX_FILE_BYTES - os.fstat(descriptor).st_size - len(refusal)
            # Where the spans take too much, the reasons are still kept for a while. In one piece: others append to
            # the same file.
            if room + _MAX_REASON_BYTES >= 0:
                os.write(descriptor, refusal + span if len(span) <= room else refusal)
        finally:
            os.close(descriptor)

    def _remove_old(self, directory: Path) -> None:
        horizon = time.time() - self._max_age_s
        for name in names_in(directory):
            with contextlib.suppress(OSError):
                if name.endswith(SEGMENT_SUFFIX) and (directory / name).stat().st_mtime < horizon:
                    (directory / name).unlink()


def read_refusals(directory: Path) -> Iterator[Refusal]:
    """Yield the spans in a spool that destinations refused, oldest first. What is damaged is passed over.

    Args:
        directory: the spool, as `spool_directory` returns it.
    """
    about: dict[str, Any] = {}
    resource = scope = b""
    for record in _records(directory):
        if record.kind == Kind.REFUSAL:
            about, resource, scope = _about(record.payload), b"", b""
        elif record.kind == Kind.RESOURCE:
            resource = record.payload
        elif record.kind == Kind.SCOPE:
            scope = record.payload
        elif record.kind == Kind.SPAN:
            span = EncodedSpan(resource, scope, record.payload)
            yield Refusal(span, str(about.get("destination", "")), str(about.get("reason", "")), record.time_ns)


def read_reasons(directory: Path) -> dict[str, Counter[str]]:
    """Return why destinations refused spans, and how many for each reason, as far as that is kept.

    Args:
        directory: the spool, as `spool_directory` returns it.
    """
    reasons: dict[str, Counter[str]] = {}
    for record in _records(directory):
        if record.kind == Kind.REFUSAL:
            about = _about(record.payload)
            counts = reasons.setdefault(str(about.get("destination", "")), Counter())
            count = about.get("count", 1)
            counts[str(about.get("reason", ""))] += count if isinstance(count, int) else 1
    return reasons


def _records(directory: Path) -> Iterator[Record]:
    for name in sorted(names_in(directory / _DIRECTORY)):
        if name.endswith(SEGMENT_SUFFIX):
            with contextlib.suppress(OSError):
                yield from _records_in(directory / _DIRECTORY / name)


def _records_in(path: Path) -> Iterator[Record]:
    descriptor = open_private(path, os.O_RDONLY)
    try:
        yield from scan(descriptor, 0, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)


def _about(payload: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        content: Any = json.loads(payload)
        if isinstance(content, dict):
            return cast("dict[str, Any]", content)
    return {}
