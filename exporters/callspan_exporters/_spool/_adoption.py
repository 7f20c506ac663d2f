"""Taking over the directories of processes that died, for the destinations that this process has."""

import logging
import os
import threading
import time
from collections import Counter
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

# Each takes a few file descriptors, which the application has other uses for. For each destination: one that takes
# nothing is not to stand in the way of the others.
_MAX_WAITING: Final = 8


class Adoption:
    """The directories that this process has taken over. Senders of several threads ask it to look for more.

    Attributes:
        held: all of them.
        former: paths of those that this process has written itself.
    """

    def __init__(self) -> None:
        self.held: list[ProcessSpool] = []
        self.former: set[Path] = set()
        self._lock = threading.Lock()
        self._fork_waited = False
        # For which of our destinations something waits in those that are dead and not held: nothing is ever added.
        self._let_be: dict[tuple[Path, tuple[str, ...]], frozenset[str]] = {}

    def waiting_for(self, destination: str) -> list[ProcessSpool]:
        """Return those whose spans a destination's sender has its turn at.

        No others: one of these is not let go of while something waits in it for that destination, and the rest may be.
        """
        waiting = [spool for spool in list(self.held) if not spool.settled([destination])]
        others = [spool for spool in waiting if spool.path not in self.former][:_MAX_WAITING]
        return [spool for spool in waiting if spool.path in self.former or spool in others]

    def keep(self, spool: ProcessSpool) -> None:
        """Hold a directory that this process has written itself, until it is done for all destinations."""
        self.former.add(spool.path)
        self.held.append(spool)

    def look(
        self, root: Path, destinations: Sequence[str], own: Path | None, max_age_s: float, patience_s: float = 0.0
    ) -> None:
        """Let go of what is done for these destinations, and take over what has become orphaned.

        Args:
            root: the spool.
            destinations: those of this process.
            own: the directory of this process.
            max_age_s: after how long what no process has a destination for goes, in seconds.
            patience_s: how long to wait while another thread is at it, in seconds; nothing is done then.
        """
        if not self._lock.acquire(timeout=patience_s):
            return
        try:
            held_for = self._let_go(destinations)
            remove_half_made(root)
            passed_over = {spool.path for spool in self.held} | {own}
            directories = process_directories(root)
            self._let_be = {key: waiting for key, waiting in self._let_be.items() if key[0] in directories}
            for directory in directories:
                if all(held_for[destination] >= _MAX_WAITING for destination in destinations):
                    break
                if directory not in passed_over:
                    self._take(directory, destinations, held_for, max_age_s)
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

    def _let_go(self, destinations: Sequence[str]) -> Counter[str]:
        """Let go of what is done, and of what waits for those alone that have enough to do.

        Returns:
            In how many of the others something waits, by destination.
        """
        held_for: Counter[str] = Counter()
        for spool in list(self.held):
            waiting = _waiting(spool, destinations)
            if spool.path in self.former:
                stays = bool(waiting)
            else:
                stays = _has_room(held_for, waiting)
                held_for.update(waiting)
            if not stays:
                self.held.remove(spool)
                spool.release()
                self._let_be[spool.path, tuple(destinations)] = waiting
        return held_for

    def _take(self, directory: Path, destinations: Sequence[str], held_for: Counter[str], max_age_s: float) -> None:
        key = (directory, tuple(destinations))
        waiting = self._let_be.get(key)
        if waiting is not None and not _has_room(held_for, waiting):
            return
        ours, expired = _for_any(directory, destinations), _has_expired(directory, max_age_s)
        if not ours and not expired:
            return
        lock = try_lock(directory)
        if lock is None:
            return
        try:
            if _of_another_version(directory):
                os.close(lock)
                self._let_be[key] = frozenset()
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
        waiting = _waiting(spool, destinations)
        if _has_room(held_for, waiting):
            self.held.append(spool)
            held_for.update(waiting)
        else:
            spool.release()
            self._let_be[key] = waiting


def _waiting(spool: ProcessSpool, destinations: Iterable[str]) -> frozenset[str]:
    return frozenset(destination for destination in destinations if not spool.settled([destination]))


def _has_room(held_for: Counter[str], waiting: Iterable[str]) -> bool:
    return any(held_for[destination] < _MAX_WAITING for destination in waiting)


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
