"""Streams in the callers' hands when the process exits: their calls end, as one that nobody can read any more."""

import atexit
import functools
import weakref
from typing import Protocol


class _Endable(Protocol):
    """A call whose stream is in the caller's hands."""

    def abandon(self) -> None: ...


_unread: "weakref.WeakSet[_Endable]" = weakref.WeakSet()


def end_at_exit(call: _Endable) -> None:
    """See to it that ``call``, whose stream is in the caller's hands, has ended when the process exits.

    A stream kept in a global variable is torn down after the exporters are.
    """
    _register_exit()
    _unread.add(call)


@functools.cache
def _register_exit() -> None:
    # Registered at the first stream and not at import: exit functions run last in, first out, and by now those that
    # flush and shut down the tracer provider are in.
    atexit.register(_abandon_unread)


def _abandon_unread() -> None:
    for call in list(_unread):
        call.abandon()
