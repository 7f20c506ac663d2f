"""Says once when the spool gets into trouble, and once when it is well again."""

import logging
from collections import deque
from pathlib import Path
from typing import Final

from callspan_exporters.environment_variables import CALLSPAN_SPOOL_DIR, CALLSPAN_SPOOL_MAX_BYTES

_logger = logging.getLogger(__name__)

_NEAR: Final = 0.8
_WELL: Final = 0.6

_unsaid: deque[tuple[str, tuple[object, ...]]] = deque()


def later(text: str, *arguments: object) -> None:
    """Have a warning logged by :func:`say_what_is_due`, once no lock is held.

    A handler of the application's may hold a lock of its own, and end a span while it does.
    """
    _unsaid.append((text, arguments))


def say_what_is_due() -> None:
    """Log the warnings that wait. Not to be called with a lock in hand that storing a span takes."""
    while _unsaid:
        try:
            text, arguments = _unsaid.popleft()
        except IndexError:  # another thread was quicker
            return
        _logger.warning(text, *arguments)


def forget_what_is_due() -> None:
    """In a forked child: the parent says it."""
    _unsaid.clear()


class Notices:
    """What was said about one spool."""

    def __init__(self) -> None:
        self._near = False
        self._at_limit = False
        self._disk_failed = False
        self._sync_refused = False
        self._in_memory_before = 0

    @property
    def disk_failed(self) -> bool:
        """Whether it was said that the disk takes no spans."""
        return self._disk_failed

    @property
    def near_limit(self) -> bool:
        """Whether it was said that the spool is near its limit."""
        return self._near

    def filled(self, root: Path, size: int, max_bytes: int, pending: int, *, trimmed: bool) -> None:
        """Note how full the spool is.

        Args:
            root: its directory.
            size: of all that is in it, in bytes.
            max_bytes: its limit.
            pending: how many spans of this process wait in it.
            trimmed: whether the oldest had to go.
        """
        if trimmed and not self._at_limit:
            self._near = self._at_limit = True
            later(
                "The spool in %s has reached its limit of %d bytes, with %d spans of this process: the oldest go, "
                "counted as expired. %s raises the limit; `callspan status` says which destination they wait for",
                root,
                max_bytes,
                pending,
                CALLSPAN_SPOOL_MAX_BYTES,
            )
        elif size >= _NEAR * max_bytes and not self._near:
            self._near = True
            later(
                "The spool in %s holds %d of at most %d bytes, with %d spans of this process: at the limit the oldest "
                "go. %s raises it; `callspan status` says which destination they wait for",
                root,
                size,
                max_bytes,
                pending,
                CALLSPAN_SPOOL_MAX_BYTES,
            )
        elif size < _WELL * max_bytes and self._near:
            self._near = self._at_limit = False
            later("The spool in %s is within its limit again: it holds %d bytes", root, size)

    def sync_refused(self, error: OSError) -> None:
        """Note that the disk does not sync, of which nobody is told twice."""
        if not self._sync_refused:
            self._sync_refused = True
            later("Spans do not survive the loss of power, for the disk refuses to sync: %s", error)

    def disk_refused(self, error: OSError, memory_bytes: int, in_memory: int) -> None:
        """Note that spans go to memory, of which so many have been there before."""
        if self._disk_failed:
            return
        self._disk_failed = True
        self._in_memory_before = in_memory
        later(
            "Spans are kept in memory only, up to %d bytes, because the spool cannot be written: %s. "
            "Set %s to a directory that only this user can write, on a disk with room",
            memory_bytes,
            error,
            CALLSPAN_SPOOL_DIR,
        )

    def disk_took(self, root: Path, in_memory: int) -> None:
        """Note that a span went to disk."""
        if self._disk_failed:
            self._disk_failed = False
            count = in_memory - self._in_memory_before
            later("The spool in %s takes spans again; %d were kept in memory meanwhile", root, count)

    @staticmethod
    def removed(path: Path, rescued: int, lost: int) -> None:
        """Say that somebody removed the directory of this process."""
        text = "%s was removed: of the spans that waited in it, %d were saved and %d are lost"
        later(text, path, rescued, lost)
