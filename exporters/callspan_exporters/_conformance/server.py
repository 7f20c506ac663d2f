"""A server on loopback that answers as it is told, by the standard library alone."""

import contextlib
import json
import socket
import socketserver
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.client import parse_headers
from io import BufferedIOBase
from typing import Any, Final, Self, cast

from callspan_exporters._conformance.answers import Answer, Reply

_EITHER_HEADER: Final = 32 + zlib.MAX_WBITS  # gzip's or zlib's


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came.

    Attributes:
        method: of HTTP.
        path: with its query.
        headers: by their names in small letters.
        body: unpacked, where it was packed by gzip or deflate.
        answer: what it was answered.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    answer: Answer

    def json(self) -> Any:
        """Return what the body says in JSON."""
        return json.loads(self.body)


class Server:
    """Listens on a free port of 127.0.0.1 while its ``with`` block runs.

    Attributes:
        default: what is answered to whatever nothing else was said about.
        requests: what came, each from before its answer on.
    """

    def __init__(self, default: Answer | None = None, understands: Callable[[Request], object] | None = None) -> None:
        """Listen to nobody yet.

        Args:
            default: what is answered.
            understands: raises for a request that cannot be read, which is then answered with 400.
        """
        self.default: Answer = default if default is not None else Reply()
        self._understands = understands
        self.requests: list[Request] = []
        self._next: deque[Answer] = deque()
        self._lock = threading.Lock()
        self._tcp = _Tcp(self)

    def __enter__(self) -> Self:
        threading.Thread(target=self._tcp.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._tcp.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._tcp.server_address[1]}"

    def answer(self, *answers: Answer) -> None:
        """Say what is answered to the next requests, one each."""
        with self._lock:
            self._next.extend(answers)

    def forget(self) -> None:
        """Take back what was said, and forget what came."""
        with self._lock:
            self._next.clear()
            self.requests.clear()

    def taken(self) -> list[Request]:
        """Return the requests that were answered as what is taken is answered."""
        with self._lock:
            return [request for request in self.requests if request.answer is self.default]

    def wait_for_requests(self, count: int, timeout_s: float) -> bool:
        """Wait until so many have come."""
        deadline = time.monotonic() + timeout_s
        while len(self.requests) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(self.requests) >= count

    def at_once(self) -> Answer | None:
        """Return what is done before anything is read, if that is to be done."""
        with self._lock:
            if (self._next[0] if self._next else self.default).at_once:
                return self._next.popleft() if self._next else self.default
            return None

    def take(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Keep a request, and return its answer."""
        with self._lock:
            answer = self._next.popleft() if self._next else self.default
        request = Request(method, path, headers, body, answer)
        if answer is self.default and self._understands is not None:
            try:
                self._understands(request)
            except Exception:  # noqa: BLE001  whatever is wrong with it
                request = Request(method, path, headers, body, Reply(400))
        with self._lock:
            self.requests.append(request)
        return request.answer


class _Tcp(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, owner: Server) -> None:
        self.owner = owner
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Connection)

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: whoever speaks to it may break off whenever it likes."""

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        # Not `shutdown` before `close`, where a connection is to be reset.
        with contextlib.suppress(OSError):
            if not request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
                request.shutdown(socket.SHUT_WR)
        self.close_request(request)


class _Connection(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True
    connection: socket.socket

    def handle(self) -> None:
        server = cast("_Tcp", self.server)
        server.connections.add(self.connection)
        answer = server.owner.at_once()
        if answer is not None:
            answer.give(self.connection)
            return
        while (request := self._read()) is not None:
            if not server.owner.take(*request).give(self.connection):
                return

    def _read(self) -> tuple[str, str, dict[str, str], bytes] | None:
        """Return the next request; None where there is none, or what comes is not HTTP."""
        source = self.rfile
        words = source.readline(1 << 16).decode("latin-1").split()
        if len(words) != 3 or not words[2].startswith("HTTP/1"):  # noqa: PLR2004
            return None
        headers = {name.lower(): value for name, value in parse_headers(source).items()}
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b"".join(_chunks(source))
        else:
            body = source.read(int(headers.get("content-length", 0)))
        packed = headers.get("content-encoding", "")
        return words[0], words[1], headers, zlib.decompress(body, _EITHER_HEADER) if packed else body


def _chunks(source: BufferedIOBase) -> Iterator[bytes]:
    while size := int(source.readline().partition(b";")[0], 16):
        yield source.read(size)
        source.readline()
    source.readline()
