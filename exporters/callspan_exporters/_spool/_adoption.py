"""Taking over the directories of processes that died, for the destinations that this process has."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from callspan_exporters._spool import _cursor, _record
from callspan_exporters._spool._cursor import cursor_names, file_name
from callspan_exporters._spool._directory import (
    names_in,
    open_private,
    passed_over,
    process_directories,
    remove_half_made,
    segment_numbers,
    segment_path,
    try_lock,
)
from callspan_exporters._spool._ledger import PATIENCE_S, retire
from callspan_exporters._spool._process_spool import FORK_PATIENCE_S, ProcessSpool

_logger = logging.getLogger(__name__)

# Each takes a few file descriptors, which the application has other uses for.
_MAX_HELD: Final = 16


class Adoption:
    """The directories that this process has taken over. Senders of several threads ask it to look for more."""

    def __init__(self) -> None:
        self.held: list[ProcessSpool] = []
        self._lock = threading.Lock()
        self._fork_waited = False
        # Dead, and without anything for us: nothing is ever added to them.
        self._passed_over: set[tuple[Path, tuple[str, ...]]] = set()

    def with_cursor(self, destination: str) -> list[ProcessSpool]:
        """Return those that hold spans for a destination."""
        return [spool for spool in list(self.held) if destination in spool.cursors]

    def look(self, root: Path, destinations: Sequence[str], own: Path | None, max_age_s: float) -> None:
        """Let go of what is done for these destinations, and take over what has become orphaned.

        Does nothing while another thread is at it.

        Args:
            root: the spool.
            destinations: those of this process.
            own: the directory of this process.
            max_age_s: after how long what no process has a destination for goes, in seconds.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._let_go(destinations)
            remove_half_made(root)
            held = {spool.path for spool in self.held}
            directories = process_directories(root)
            self._passed_over = {key for key in self._passed_over if key[0] in directories}
            for directory in directories:
                key = (directory, tuple(destinations))
                if len(self.held) >= _MAX_HELD:
                    break
                if directory != own and directory not in held and key not in self._passed_over:
                    self._take(directory, destinations, max_age_s)
        finally:
            self._lock.release()

    def release(self) -> None:
        """Let go of all; what is pending stays for others."""
        held, self.held = self.held, []
        patience_s = PATIENCE_S
        for spool in held:
            if not spool.release(patience_s):
                patience_s = 0.0

    def before_fork(self) -> None:
        """Let no thread be in the middle of taking a lock that the child would keep without knowing."""
        self._fork_waited = self._lock.acquire(timeout=FORK_PATIENCE_S)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._fork_waited:
            self._lock.release()

    def _let_go(self, destinations: Sequence[str]) -> None:
        for spool in list(self.held):
            if spool.settled(destinations):
                self.held.remove(spool)
                spool.release()
                self._passed_over.add((spool.path, tuple(destinations)))

    def _take(self, directory: Path, destinations: Sequence[str], max_age_s: float) -> None:
        ours, expired = _for_any(directory, destinations), _has_expired(directory, max_age_s)
        if not ours and not expired:
            return
        lock = try_lock(directory)
        if lock is None:
            return
        try:
            if _of_another_version(directory):
                os.close(lock)
                self._passed_over.add((directory, tuple(destinations)))
                return
            if expired:
                retire(directory)
                os.close(lock)
                _logger.warning("What was left in %s has expired: nobody has sent it for %d s", directory, max_age_s)
                return
            spool = ProcessSpool.adopt(directory, lock)
        except OSError:  # for now
            os.close(lock)
            return
        if spool.settled(destinations):
            spool.release()
            self._passed_over.add((directory, tuple(destinations)))
        else:
            self.held.append(spool)


def left_for_any(root: Path, destinations: Sequence[str]) -> bool:
    """Tell cheaply whether other processes, dead or alive, have spans for any of these destinations in a spool."""
    return any(_for_any(directory, destinations) for directory in process_directories(root))


def _for_any(directory: Path, destinations: Iterable[str]) -> bool:
    # Not `exists()`: one that is closed to us is passed over, whoever put it there.
    return any(os.path.lexists(directory / file_name(destination)) for destination in destinations)


def _has_expired(directory: Path, max_age_s: float) -> bool:
    """Tell whether nobody has stored or sent anything in a directory for as long as spans are kept."""
    try:
        newest = max((directory / name).stat().st_mtime for name in names_in(directory))
    except (OSError, ValueError):
        return False
    return time.time() - newest >= max_age_s


def _of_another_version(directory: Path) -> bool:
    segments = (segment_path(directory, number) for number in segment_numbers(directory))
    cursors = (directory / name for name in cursor_names(directory))
    return any(_is(_record.of_another_version, path) for path in segments) or any(
        _is(_cursor_of_another_version, path) for path in cursors
    )


def _is(of_another_version: Callable[[int], bool], path: Path) -> bool:
    with passed_over():
        descriptor = open_private(path, os.O_RDONLY)
        try:
            return of_another_version(descriptor)
        finally:
            os.close(descriptor)
    return False


def _cursor_of_another_version(descriptor: int) -> bool:
    return _cursor.of_another_version(os.pread(descriptor, 4, 0))
