"""Calls by gRPC, and what is done about them at a fork. Imported before gRPC is.

In a child that was forked in the middle of a call, or right after one, making a channel waits for ever for a lock that
a thread of the parent's held, and holds the interpreter's own lock meanwhile: the whole child stands still. What gRPC
has for forks mends that where no call is on its way, which is seen to here.
"""

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

# Read when it is imported. An application that has imported it before has decided for itself.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")

_PATIENCE_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.001


class _Calls:
    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._running: set[Any] = set()

    def made(self, start: Callable[[], Any]) -> Any:
        with self._starting:
            call = start()
            self._running.add(call)
        try:
            return call.result()
        finally:
            self._running.discard(call)

    def before_fork(self) -> None:
        self._starting.acquire()
        for call in list(self._running):
            call.cancel()
        deadline = time.monotonic() + _PATIENCE_S
        while any(not call.done() for call in list(self._running)) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S)

    def after_fork_in_parent(self) -> None:
        self._starting.release()

    def after_fork_in_child(self) -> None:
        self._starting = threading.Lock()
        self._running = set()


_calls = _Calls()
os.register_at_fork(
    before=_calls.before_fork,
    after_in_parent=_calls.after_fork_in_parent,
    after_in_child=_calls.after_fork_in_child,
)


def made(start: Callable[[], Any]) -> Any:
    """Return the result of a call that is cancelled where the process forks.

    Args:
        start: begins the call, and returns it as a ``grpc.Future``.

    Raises:
        grpc.RpcError: it failed.
        grpc.FutureCancelledError: the process has forked.
    """
    return _calls.made(start)


def can_be_cancelled() -> bool:
    """Tell whether a call can be made that a fork cancels, for which gRPC starts a thread.

    From Python 3.12 on there are no new threads once the interpreter ends. gRPC then sends the request all the same,
    raises, and waits for the call for ever when its channel is closed. Nobody forks by then.
    """
    try:
        threading.Thread(target=_nothing, daemon=True).start()
    except RuntimeError:
        return False
    return True


def _nothing() -> None:
    """Take no time."""
