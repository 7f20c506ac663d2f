"""What a server on loopback can be told to answer, right or wrong."""

import http
import itertools
import select
import socket
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

_MOST: Final = 256 << 20  # bytes: what has not been given up by then is read whole
_LONGEST_S: Final = 300.0
_RST_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_WITHOUT_BODY: Final = (204, 205, 304)


class Answer(Protocol):
    """What is done on a connection, of which the request has been read; then it is closed, unless it may be kept.

    Attributes:
        at_once: do it as soon as somebody connects, and read nothing.
    """

    @property
    def at_once(self) -> bool: ...

    def give(self, connection: socket.socket) -> bool:
        """Answer, and tell whether another request may follow on the connection."""
        ...


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as HTTP has it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    at_once: bool = False

    def give(self, connection: socket.socket) -> bool:
        """Send it."""
        body = b"" if self.status in _WITHOUT_BODY else self.body
        headers = {"content-type": "application/octet-stream", "content-length": str(len(body)), **self.headers}
        connection.sendall(_head(self.status, headers) + body)
        return True


@dataclass(frozen=True, slots=True)
class Endless:
    """An answer whose body does not end until whoever reads it leaves."""

    part: bytes
    first: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    pause_s: float = 0.0
    at_once: bool = False

    def give(self, connection: socket.socket) -> bool:
        """Send it."""
        headers = {"content-type": "application/octet-stream", "transfer-encoding": "chunked", **self.headers}
        connection.sendall(_head(self.status, headers))
        _send_slowly(connection, map(_chunk, self._parts()), self.pause_s)
        return False

    def _parts(self) -> Iterator[bytes]:
        if self.first:
            yield self.first
        yield from itertools.repeat(self.part, _MOST // len(self.part) or 1)


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes as they are, whatever they are, and then the end."""

    data: bytes = b""
    then: bytes = b""
    pause_s: float = 0.0
    reset: bool = False
    at_once: bool = False

    def give(self, connection: socket.socket) -> bool:
        """Send it: ``data`` in one piece, then ``then`` again and again, a byte at a time."""
        connection.sendall(self.data)
        if self.then:
            _send_slowly(connection, (bytes([byte]) for byte in itertools.cycle(self.then)), self.pause_s)
        if self.reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        return False


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing, until the other side leaves."""

    at_once: bool = False

    def give(self, connection: socket.socket) -> bool:
        """Wait."""
        _send_slowly(connection, itertools.repeat(b""), 1.0)
        return False


def bomb() -> Endless:
    """Return an answer that is a few hundred times as large unpacked as it is packed."""
    packing = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    first = packing.compress(zeros) + packing.flush(zlib.Z_FULL_FLUSH)
    # What follows a full flush refers to nothing before it, and may be repeated.
    again = packing.compress(zeros) + packing.flush(zlib.Z_FULL_FLUSH)
    return Endless(again * 64, first, headers={"content-encoding": "gzip"}, pause_s=0.001)


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "Whatever"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


def _send_slowly(connection: socket.socket, parts: Iterable[bytes], pause_s: float) -> None:
    """Send one after the other until the other side leaves."""
    until = time.monotonic() + _LONGEST_S
    for part in parts:
        if part:
            connection.sendall(part)
        ready, _, _ = select.select([connection], [], [], pause_s)
        if (ready and not connection.recv(1 << 16)) or time.monotonic() > until:
            return
