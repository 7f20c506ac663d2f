"""One append-only file of spans, with each resource and scope they come from once."""

import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._spool._directory import open_private, process_directories, segment_numbers, segment_path, sync
from callspan_exporters._spool._record import HEADER_SIZE, Kind, Record, pack, scan

_MAX_NUMBER: Final = 0xFFFF  # of resources and of scopes in one segment


class StoredSpan(NamedTuple):
    """A span as it lies in a segment.

    Attributes:
        encoded: its bytes.
        ordinal: how many spans its process had stored before.
        time_ns: when it was stored, nanoseconds since the epoch.
        end: offset of the byte after it, in its segment.
    """

    encoded: EncodedSpan
    ordinal: int
    time_ns: int
    end: int


class SegmentWriter:
    """The segment that a process is writing. The caller sees to it that one thread at a time does."""

    def __init__(self, directory: Path, number: int, first_ordinal: int, *, fsync: bool = False) -> None:
        """Create the file.

        Args:
            directory: of the process.
            number: of the segment.
            first_ordinal: of the first span that will be in it.
            fsync: have each span survive the loss of power as well, which costs as much as the disk takes.

        Raises:
            OSError: it cannot be created or written.
        """
        self.number = number
        self.first_ordinal = first_ordinal
        self.fsync = fsync
        self.size = 0
        self.sync_error: OSError | None = None
        self._end = 0
        self._resources: dict[int, tuple[int, bytes]] = {}
        self._scopes: dict[int, tuple[int, bytes]] = {}
        # Read as well, by who finds that somebody has removed the file.
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND
        path = segment_path(directory, number)
        self.descriptor = open_private(path, flags)
        about = json.dumps({"pid": os.getpid(), "number": number}).encode()
        try:
            self._write(pack(Kind.SEGMENT, about, ordinal=first_ordinal, time_ns=time.time_ns()))
            if fsync:
                sync(directory)
        except BaseException:
            self.close()
            path.unlink(missing_ok=True)
            raise

    @property
    def full(self) -> bool:
        """Whether it can number no further resource or scope."""
        return max(len(self._resources), len(self._scopes)) >= _MAX_NUMBER

    def append(self, resource: bytes, scope: bytes, span: bytes, ordinal: int, time_ns: int = 0) -> None:
        """Store a span, now or as of when it was stored before.

        Raises:
            OSError: it could not be stored; nothing of it stays.
        """
        self._end = 0
        # By identity: the processor hands out the same object for the same resource, and hashing one costs.
        known = self._resources.get(id(resource))
        number = known[0] if known is not None else self._define(Kind.RESOURCE, self._resources, resource)
        known = self._scopes.get(id(scope))
        scope_number = known[0] if known is not None else self._define(Kind.SCOPE, self._scopes, scope)
        time_ns = time_ns or time.time_ns()
        record = pack(Kind.SPAN, span, resource=number, scope=scope_number, ordinal=ordinal, time_ns=time_ns)
        self._end = self.size + len(record)
        self._write(record)
        if self.fsync:
            self._sync()

    def has_stored(self) -> bool:
        """Tell whether the span is in the file that was about to be stored when something interrupted that.

        A signal handler of the application's may raise anywhere, also between the write and what follows it.
        """
        size = os.fstat(self.descriptor).st_size
        stored = 0 < self._end <= size
        self.size = size
        return stored

    def close(self) -> None:
        """Close the file."""
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)

    def _sync(self) -> None:
        try:
            getattr(os, "fdatasync", os.fsync)(self.descriptor)  # macOS has the one only
        except OSError as error:
            if is_of_application(error):
                raise
            # The span is stored all the same, and not to be stored again: what is lost is the promise about power.
            self.fsync, self.sync_error = False, error

    def _define(self, kind: Kind, known: dict[int, tuple[int, bytes]], payload: bytes) -> int:
        number = len(known)
        self._write(pack(kind, payload, resource=number, scope=number))
        # The bytes are kept alive, for their identity not to be given to others.
        known[id(payload)] = (number, payload)
        return number

    def _write(self, data: bytes) -> None:
        written = os.write(self.descriptor, data)
        if written != len(data):  # a full disk takes what fits
            os.ftruncate(self.descriptor, os.fstat(self.descriptor).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.size += written


def is_of_application(error: OSError) -> bool:
    """Tell whether an error is none of the disk's: a signal handler of the application's raised it in our code."""
    return isinstance(error, TimeoutError) and error.errno is None


class SegmentReader:
    """Reads the spans of one segment in order, beginning anywhere."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._resources: dict[int, bytes] = {}
        self._scopes: dict[int, bytes] = {}
        self._defined_until = 0

    @classmethod
    def open(cls, path: Path) -> "SegmentReader":
        """Open a file.

        Raises:
            OSError: it cannot be opened.
        """
        return cls(open_private(path, os.O_RDONLY))

    @property
    def file_size(self) -> int:
        """Size of the file as it is now, in bytes."""
        return os.fstat(self.descriptor).st_size

    def spans(self, start: int, end: int) -> Iterator[StoredSpan]:
        """Yield the intact spans between two offsets.

        A span is passed over where the record of its resource or scope is damaged: nobody could say whose it is.

        Raises:
            OSError: the file cannot be read.
        """
        if start > self._defined_until:
            for record in scan(self.descriptor, self._defined_until, start):
                self._note(record)
        for record in scan(self.descriptor, start, end):
            kind, resource_number, scope_number, ordinal, time_ns, payload, after = record
            if kind != Kind.SPAN:
                self._note(record)
                continue
            self._defined_until = max(self._defined_until, after)
            resource, scope = self._resources.get(resource_number), self._scopes.get(scope_number)
            if resource is not None and scope is not None:
                yield StoredSpan(EncodedSpan(resource, scope, payload), ordinal, time_ns, after)

    def close(self) -> None:
        """Close the file."""
        descriptor, self.descriptor = self.descriptor, -1
        os.close(descriptor)

    def _note(self, record: Record) -> None:
        # Not again: framing groups by the identity of these bytes.
        if record.end <= self._defined_until:
            return
        if record.kind == Kind.RESOURCE:
            self._resources[record.resource] = record.payload
        elif record.kind == Kind.SCOPE:
            self._scopes[record.scope] = record.payload
        self._defined_until = record.end


def ordinals(path: Path) -> tuple[int, int] | None:
    """Return the ordinal of a segment's first span and the one after its last, None where nothing is intact.

    Raises:
        OSError: the file cannot be read.
    """
    descriptor = open_private(path, os.O_RDONLY)
    try:
        first, after = -1, -1
        for record in scan(descriptor, 0, os.fstat(descriptor).st_size):
            if record.kind in (Kind.SEGMENT, Kind.SPAN):
                first = record.ordinal if first < 0 else first
                after = max(after, record.ordinal + (record.kind == Kind.SPAN))
        return (first, after) if first >= 0 else None
    finally:
        os.close(descriptor)


def first_ordinal(path: Path) -> int | None:
    """Return the ordinal of a segment's first span, None where its beginning is damaged.

    Raises:
        OSError: the file cannot be read.
    """
    descriptor = open_private(path, os.O_RDONLY)
    try:
        size = min(os.fstat(descriptor).st_size, HEADER_SIZE + 4096)
        record = next(scan(descriptor, 0, size), None)
        return record.ordinal if record is not None and record.kind in (Kind.SEGMENT, Kind.SPAN) else None
    finally:
        os.close(descriptor)


def read_spans(directory: Path) -> Iterator[EncodedSpan]:
    """Yield every span in a spool, of processes dead and alive, oldest process first.

    Takes no lock and changes nothing. What is damaged, unreadable, or removed meanwhile is passed over.

    Args:
        directory: the spool, as `spool_directory` returns it.
    """
    for process in process_directories(directory):
        for number in segment_numbers(process):
            yield from _read_segment(segment_path(process, number))


def _read_segment(path: Path) -> Iterator[EncodedSpan]:
    try:
        reader = SegmentReader.open(path)
    except OSError:
        return
    try:
        for span in reader.spans(0, reader.file_size):
            yield span.encoded
    except OSError:
        return
    finally:
        reader.close()
