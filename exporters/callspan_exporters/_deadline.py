"""One time for a whole request.

HTTP clients bound each wait by itself, so that who sends a byte now and then is waited for without end.
"""

import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpcore

_OPENED: Final = ("connect_tcp.complete", "start_tls.complete")
_PIECE: Final = 1 << 16  # bytes that are written between two looks at the time


class Deadline:
    """Until when one client's request may take. For a client that makes one at a time."""

    def __init__(self) -> None:
        self._until = math.inf

    def begin(self, timeout_s: float) -> Mapping[str, Any]:
        """Begin a request, and return the extensions that it is to be made with.

        https://www.encode.io/httpcore/extensions/#trace describes the one that tells of connections.
        """
        self._until = time.monotonic() + timeout_s
        return {"trace": self._trace}

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith(_OPENED):
            stream = info["return_value"]
            stream.read = functools.partial(self._read, stream.read)
            stream.write = functools.partial(self._write, stream.write)

    def _read(self, read: Callable[..., bytes], max_bytes: int, timeout: float | None = None) -> bytes:
        left_s = self._left_s(timeout)
        if left_s <= 0:
            raise httpcore.ReadTimeout("the answer took too long")
        return read(max_bytes, timeout=left_s)

    def _write(self, write: Callable[..., None], buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _PIECE):
            left_s = self._left_s(timeout)
            if left_s <= 0:
                raise httpcore.WriteTimeout("the request took too long")
            write(buffer[start : start + _PIECE], timeout=left_s)

    def _left_s(self, timeout: float | None) -> float:
        return min(math.inf if timeout is None else timeout, self._until - time.monotonic())
