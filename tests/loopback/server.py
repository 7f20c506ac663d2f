"""The HTTP server under our loopback servers: quick to answer, quick to stop, and able to break a connection."""

import contextlib
import queue
import select
import socket
import ssl
import struct
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

RST_ON_CLOSE = struct.pack("ii", 1, 0)


class ClientGoneError(ConnectionError):
    """The client closed its connection while the server was still busy with its request."""


class Handler(BaseHTTPRequestHandler):
    """One connection. Subclasses answer `do_GET` and `do_POST` with the methods below."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a small answer waits 40 ms for the client's delayed acknowledgement
    server: "_Server"

    def read_body(self) -> bytes:
        """Reads the request's body, with a length or chunked."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def reply(self, status: int, body: bytes, headers: dict[str, str], *, cut_at: int | None = None) -> None:
        """Sends a whole answer in one write; with `cut_at`, breaks the connection after so many bytes of the body."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self._headers_buffer.append(b"\r\n")
        head = b"".join(self._headers_buffer)
        self._headers_buffer = []
        self.wfile.write(head + body[:cut_at])
        if cut_at is not None:
            self.drop()

    def start_chunked(self, headers: dict[str, str]) -> None:
        """Sends the head of an answer whose body follows in chunks."""
        self.send_response(200)
        for name, value in {**headers, "Transfer-Encoding": "chunked"}.items():
            self.send_header(name, value)
        self.end_headers()

    def write_chunk(self, data: bytes) -> None:
        """Sends one chunk; empty data ends the body."""
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def pause(self, seconds: float) -> None:
        """Waits, but no longer than the client does.

        Raises:
            ClientGoneError: the client closed the connection, or the server is stopping.
        """
        deadline = time.monotonic() + seconds
        while True:
            ready, _, _ = select.select([self.connection], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise ClientGoneError
            if (left := deadline - time.monotonic()) <= 0:
                return
            time.sleep(min(left, 0.01))  # a pipelined request is waiting: it is not for now

    def drop(self, *, reset: bool = False) -> None:
        """Closes the connection as it stands; with `reset`, by a TCP RST."""
        self.close_connection = True
        self.wfile.flush()
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
        else:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        """Keeps the test's output clean."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, port: int, handler: type[Handler], owner: "LoopbackServer") -> None:
        self.owner = owner
        self.stopping = False
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), handler)

    def server_bind(self) -> None:
        # HTTPServer's own asks the resolver for the host's name, which can take seconds without a network.
        self.allow_reuse_port = False
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        # `shutdown` before `close`, as socketserver does, would turn a wanted RST into a FIN.
        if request.fileno() >= 0 and not request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_WR)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        if not isinstance(error, ConnectionError) and not self.stopping:
            self.owner.errors.put("".join(traceback.format_exception(error)))

    def stop(self) -> None:
        self.stopping = True
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):  # wakes the handlers that wait for their client
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class LoopbackServer:
    """A server on a free port of 127.0.0.1, running while its `with` block does."""

    handler: type[Handler]

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.errors: queue.Queue[str] = queue.Queue()
        self.changed = threading.Condition()
        self.port = 0
        self._tls = tls
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, *args: object) -> None:
        self.down()
        if not self.errors.empty():
            raise AssertionError(f"the loopback server itself failed:\n{self.errors.get()}")

    def up(self) -> None:
        """Listens, on the port it had before if it had one."""
        if self._server is None:
            self._server = _Server(self.port, self.handler, self)
            self.port = self._server.server_port
            if self._tls is not None:
                self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
            serve = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="loopback", daemon=True)
            serve.start()

    def down(self) -> None:
        """Refuses new connections and breaks the open ones."""
        if self._server is not None:
            self._server.stop()
            self._server = None
