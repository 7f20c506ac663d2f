"""An OTLP/HTTP receiver that costs next to nothing: it reads what it is sent, discards it and answers 200.

``python tests/benchmarks/discarding_receiver.py [answer|hang]`` prints its port and serves until its standard input
ends. The answer to a GET is how many bytes of requests it has read. One that hangs takes connections and says nothing.
"""
# ruff: noqa: T201  what it prints is how it is found

import os
import socket
import sys
import threading

_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n"
_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class _Received:
    """How many bytes of requests came on all connections."""

    bytes = 0


def _serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    space = memoryview(bytearray(1 << 20))
    pending = b""
    while True:
        while _END not in pending:
            more = connection.recv(1 << 16)
            if not more:
                return
            pending += more
        head, _, pending = pending.partition(_END)
        if head.startswith(b"GET "):
            text = str(_Received.bytes).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text))
            continue
        length = _content_length(head)
        left = length - len(pending)
        pending = pending[length:]
        while left > 0:
            read = connection.recv_into(space, min(left, len(space)))
            if not read:
                return
            left -= read
        _Received.bytes += length
        connection.sendall(_ANSWER)


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(_LENGTH):
            return int(line[len(_LENGTH) :])
    return 0


def _accept(listener: socket.socket, *, hang: bool) -> None:
    held: list[socket.socket] = []
    while True:
        connection, _ = listener.accept()
        if hang:
            held.append(connection)
        else:
            threading.Thread(target=_serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(listening.getsockname()[1], flush=True)
    hanging = sys.argv[1:] == ["hang"]
    threading.Thread(target=_accept, args=(listening,), kwargs={"hang": hanging}, daemon=True).start()
    sys.stdin.read()
    os._exit(0)
