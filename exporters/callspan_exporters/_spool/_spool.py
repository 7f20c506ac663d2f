"""The spool as one process sees it: its own directory, those it has adopted, and memory where there is no disk."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from callspan_exporters._spool import _ledger
from callspan_exporters._spool._adoption import Adoption
from callspan_exporters._spool._backlog import Backlog
from callspan_exporters._spool._cursor import Mark, Start, cursor_names, file_name
from callspan_exporters._spool._directory import open_root, process_directories
from callspan_exporters._spool._disk_backlog import DiskBacklog
from callspan_exporters._spool._limits import Limits, SizeLimit
from callspan_exporters._spool._memory import MemorySpool
from callspan_exporters._spool._notices import Notices, forget_what_is_due, say_what_is_due
from callspan_exporters._spool._parking import Parking
from callspan_exporters._spool._process_spool import ProcessSpool
from callspan_exporters._spool._rescue import Rescue
from callspan_exporters._spool._segment import StoredSpan, is_of_application
from callspan_exporters._spool._tally import IN_MEMORY, UNSTORABLE, Tally

_RETRY_DISK_S: Final = 5.0


class Spool:
    """Takes ended spans from any thread, and gives each destination's sender what waits for it.

    The directory of the process is made for the first span. Where the disk refuses, spans go to memory, and to the
    disk again when it takes them.
    """

    def __init__(self, root: Path | None, limits: Limits, destinations: Iterable[str]) -> None:
        """Begin with nothing on disk.

        Args:
            root: the spool's directory, as `spool_directory` returns it; None keeps to memory.
            limits: how much it may hold.
            destinations: identities of the destinations that spans are for.
        """
        self.root = root
        self.limits = limits
        self.destinations = list(destinations)
        self.tally = Tally()
        self._abandoned: list[ProcessSpool] = []
        self._reset()

    def append(self, resource: bytes, scope: bytes, span: bytes) -> None:
        """Store a span. When this returns, it survives the death of the process, unless only memory takes spans.

        A collection of garbage may end a span in the middle of storing another, in the same thread. That one is
        stored right after the other, before that other's ``append`` returns.
        """
        with self._lock:
            if self._busy:
                self._deferred.append((resource, scope, span))
                return
            try:
                self._busy = True
                self._store(resource, scope, span)
                while self._deferred:
                    self._store(*self._deferred.popleft())
            finally:
                self._busy = False
        say_what_is_due()

    def drop(self, reason: str) -> None:
        """Count a span that ended and cannot be kept.

        Args:
            reason: one of those in `_tally`.
        """
        with self._lock:
            self.tally.add(reason)

    def backlogs(self, destination: str) -> list[Backlog]:
        """Return where spans wait for a destination: of this process first."""
        found: list[Backlog] = []
        own = self._own
        if (backlog := self.memory.backlogs.get(destination)) is not None:
            found.append(backlog)
        found += [self._backlog_of(spool, destination) for spool in self._taken_over(destination, left_by_us=True)]
        if own is not None and destination in own.cursors:
            found.append(self._backlog_of(own, destination))
        if (aside := self._aside.get(destination)) is not None:
            found.append(aside.backlogs[destination])
        return found

    def pending_in_memory(self, destination: str) -> int:
        """Return how many spans for a destination end with this process."""
        spools = [self.memory, *([self._aside[destination]] if destination in self._aside else [])]
        return sum(spool.backlogs[destination].pending for spool in spools if destination in spool.backlogs)

    def put_aside(self, destination: str, spans: Sequence[StoredSpan]) -> None:
        """Store spans once more, for a destination that has an account of its own for what is put aside for it.

        They are on disk where that can be, and in memory otherwise.
        """
        if self._parking is not None:
            with contextlib.suppress(OSError):
                self._parking.put(destination, spans)
                return
        aside = self._aside.get(destination)
        if aside is None:
            aside = self._aside[destination] = MemorySpool(self.limits.memory_bytes, self.limits.memory_spans)
            aside.add_destination(destination)
        for span in spans:
            aside.append(*span.encoded)

    def leave_aside(self, destinations: Iterable[str]) -> None:
        """Have what was put aside for some destinations sent: by this process if it adopts for them, else by others."""
        for destination, spool in (self._parking.take(destinations) if self._parking is not None else {}).items():
            if destination in self._adopted_for:
                self.adoption.keep(spool)
            else:
                spool.release()

    def adopt_for(self, destination: str) -> None:
        """Take over what waits for a further destination, for which no span that ends is stored."""
        if destination not in self._adopted_for:
            self._adopted_for = [*self._adopted_for, destination]

    def adopt_no_more_for(self, destination: str) -> None:
        """Leave that to others again."""
        self._adopted_for = [other for other in self._adopted_for if other != destination]
        self._aside.pop(destination, None)

    def with_accounts(self, destinations: Iterable[str]) -> list[str]:
        """Return those of some destinations for which something may wait here, of whatever process."""
        names: set[str] = set()
        with contextlib.suppress(OSError):  # for now
            for directory in process_directories(self.root) if self.root is not None else ():
                names.update(cursor_names(directory))
        return [each for each in destinations if each in self._aside or file_name(each) in names]

    def adopted_backlogs(self, destination: str) -> list[Backlog]:
        """Return where spans wait for a destination that processes left that died."""
        return [self._backlog_of(spool, destination) for spool in self._taken_over(destination, left_by_us=False)]

    def adopt(self, patience_s: float = 0.0) -> None:
        """Take over what dead processes left for the destinations of this one, and let go of what is done.

        Args:
            patience_s: how long to wait while another thread is at it, in seconds.
        """
        if self.root is not None:
            # Left behind at the last look or before: by now no sender reads in them any more.
            self._close_abandoned()
            self.leave_removed_directory()
            own = self._own
            with contextlib.suppress(OSError):  # for now: the next look finds what this one cannot open
                self._size.look(self.root, own, self.adoption.held)
                ours = [*self.destinations, *self._adopted_for]
                held = own.path if own is not None else None
                self.adoption.look(self.root, ours, held, self.limits.max_age_s, patience_s)
            held = {spool.path for spool in self._held()}
            for key in [key for key in list(self._backlogs) if key[0] not in held]:
                self._backlogs.pop(key).close()
            say_what_is_due()

    def add_destination(self, destination: str) -> None:
        """Have the spans that end from now on go to a further destination."""
        with self._lock:
            if destination in self.destinations:
                return
            self.destinations.append(destination)
            self.memory.add_destination(destination, self.tally.dropped)
            if self._own is not None:
                self._incomplete = True
                with contextlib.suppress(OSError):
                    self._complete(self._own)

    def replace_destination(self, old: str, new: str) -> None:
        """Give all that is pending for one destination, and what follows, to another. No sender may be reading."""
        with self._lock:
            self.destinations = [new if destination == old else destination for destination in self.destinations]
            self.memory.replace_destination(old, new)
            for spool in self._held():
                with contextlib.suppress(OSError):
                    spool.replace_destination(old, new)
            for key in [key for key in self._backlogs if key[1] == old]:
                self._backlogs.pop(key).close()

    def remove_destination(self, destination: str) -> None:
        """Take no more spans for a destination. What is pending stays, and its account.

        Where something in memory waits, that goes on with the directory, and it takes more until this process ends.
        """
        with self._lock:
            self.destinations = [other for other in self.destinations if other != destination]
            own, in_memory = self._own, any(backlog.pending for backlog in self.memory.backlogs.values())
            if own is not None and not in_memory:
                own.remove_destination(destination)
                if destination not in own.cursors and (own.path, destination) in self._backlogs:
                    self._backlogs.pop((own.path, destination)).close()
                elif destination in own.cursors:
                    self._begin_another_directory(own)
            if self._own is None or destination not in self._own.cursors:
                self.memory.backlogs.pop(destination, None)
        say_what_is_due()

    def _begin_another_directory(self, own: ProcessSpool) -> None:
        """Leave the directory of this process as it is, and go on sending from it as if it had been adopted."""
        own.stop_writing()
        self.adoption.keep(own)
        self._own = None
        self._begin_anew()

    def close(self) -> None:
        """Let go of all directories; what is pending stays in them. A span that ends later begins a new one."""
        with self._lock:
            own, self._own = self._own, None
            self._begin_anew()
            if own is not None:
                own.release()
            if self._parking is not None:
                self.leave_aside(list(self._parking.open))
            self.adoption.release()
            self._close_abandoned()
            for backlog in self._backlogs.values():
                backlog.close()
            self._backlogs.clear()
        say_what_is_due()

    def before_fork(self) -> None:
        """Let no other thread be in the middle of storing a span, or of taking a lock that the child would keep."""
        self.adoption.before_fork()
        self._size.before_fork()
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """Go on."""
        self._lock.release()
        self._size.after_fork_in_parent()
        self.adoption.after_fork_in_parent()

    def after_fork_in_child(self) -> None:
        """Forget the parent's directories and their locks: this process has a directory of its own."""
        forget_what_is_due()
        self._close_abandoned()
        for spool in self._held():
            with contextlib.suppress(OSError):
                spool.close()
        for backlog in self._backlogs.values():
            backlog.close()
        self._reset()

    def leave_removed_directory(self) -> bool:
        """Begin a new directory where somebody has removed this process's, with what can still be read of it.

        Returns:
            Whether that was so.
        """
        with self._lock:
            own = self._own
            if self.root is None or own is None or not own.gone:
                return False
            self._own, own.abandoned = None, True
            self._abandoned.append(own)
            self._retry_disk_at = 0.0
            rescue = Rescue(own)
            with contextlib.suppress(OSError):
                self._own = self._new_directory(self.root, rescue.starts())
                _ledger.replace(own.path, rescue.accounts())
            for span in rescue.spans:
                if self._own is not None:
                    rescue.arrive(span.ordinal, self._own)
                self._append(span.encoded.resource, span.encoded.scope, span.encoded.span)
            if self._own is not None:
                rescue.arrive(rescue.next_ordinal, self._own)
                self._catch_up()
            self._notices.removed(own.path, len(rescue.spans), rescue.lost)
            said_by_another = self._busy
        if not said_by_another:
            say_what_is_due()
        return True

    def _close_abandoned(self) -> None:
        abandoned, self._abandoned = self._abandoned, []
        for spool in abandoned:
            with contextlib.suppress(OSError):
                spool.close()

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._busy = False
        self._deferred: deque[tuple[bytes, bytes, bytes]] = deque()
        self._own: ProcessSpool | None = None
        self._notices = Notices()
        self._retry_disk_at = 0.0
        self._incomplete = False
        self._backlogs: dict[tuple[Path, str], DiskBacklog] = {}
        self.stored = 0
        self.adoption = Adoption()
        self._aside: dict[str, MemorySpool] = {}
        self._adopted_for: list[str] = []
        self._parking = Parking(self.root, self.limits.segment_bytes, fsync=self.limits.fsync) if self.root else None
        self.memory = MemorySpool(0)
        self._size = SizeLimit(self.limits.max_bytes, self._notices)
        self._expired_in_memory = 0
        self._begin_anew()

    def _begin_anew(self) -> None:
        """Begin the numbers of a directory to come."""
        self._size.due = True
        self._expired_in_memory += self.memory.expired
        self.tally.close()
        self.tally = Tally()
        self.memory = MemorySpool(self.limits.memory_bytes, self.limits.memory_spans, self._keep_memory_mark)
        for destination in self.destinations:
            self.memory.add_destination(destination)

    def _store(self, resource: bytes, scope: bytes, span: bytes) -> None:
        own, memory = self._own, self.memory.next_ordinal
        on_disk = own.next_ordinal if own is not None else 0
        try:
            self._append(resource, scope, span)
        except BaseException:
            # An interrupt, as from a signal handler: after the write or before it.
            now = self._own
            after = now.next_ordinal - (on_disk if now is own else 0) if now is not None else 0
            if after <= 0 and self.memory.next_ordinal <= memory:
                self.tally.add(UNSTORABLE)
            else:
                self.stored += 1
            raise
        self.stored += 1

    def _append(self, resource: bytes, scope: bytes, span: bytes) -> None:
        failed = self._notices.disk_failed
        if self.root is not None and (not failed or time.monotonic() >= self._retry_disk_at):
            try:
                self._append_to_disk(self.root, resource, scope, span)
            except OSError as error:
                if is_of_application(error):
                    raise
                if self.leave_removed_directory():
                    self._append(resource, scope, span)
                    return
                self._retry_disk_at = time.monotonic() + _RETRY_DISK_S
                self._notices.disk_refused(error, self.limits.memory_bytes, self.tally[IN_MEMORY])
            else:
                return
        self.memory.append(resource, scope, span)
        self.tally.add(IN_MEMORY)

    def _append_to_disk(self, root: Path, resource: bytes, scope: bytes, span: bytes) -> None:
        own = self._own
        if own is None:
            own = self._own = self._new_directory(root, self._starts())
            self._catch_up()
        if self._incomplete:
            self._complete(own)
        if own.append(resource, scope, span, self.limits.segment_bytes):
            self._size.keep(root, own, self.adoption.held)
        if own.writer is not None and own.writer.sync_error is not None:
            self._notices.sync_refused(own.writer.sync_error)
        if self._notices.disk_failed:
            self._notices.disk_took(root, self.tally[IN_MEMORY])

    def _complete(self, own: ProcessSpool) -> None:
        """Begin the accounts of destinations that came while the disk refused: before them, no span goes to disk."""
        for destination in self.destinations:
            if destination not in own.cursors:
                backlog = self.memory.backlogs[destination]
                own.add_destination(destination, backlog.mark, backlog.dropped_before)
        self._catch_up()
        self._incomplete = False

    def _catch_up(self) -> None:
        """Enter what was sent from memory while the accounts were begun."""
        for destination, backlog in self.memory.backlogs.items():
            self._keep_memory_mark(destination, backlog.mark)

    @property
    def expired(self) -> int:
        """How many spans that this process has stored went at the limit of size, before they had arrived everywhere."""
        return self._size.expired + self._expired_in_memory + self.memory.expired

    def _new_directory(self, root: Path, starts: dict[str, Start]) -> ProcessSpool:
        open_root(root)
        _ledger.prepare(root)
        return ProcessSpool.create(root, starts, self.tally, fsync=self.limits.fsync)

    def _starts(self) -> dict[str, Start]:
        backlogs = self.memory.backlogs.items()
        return {name: Start(Mark(segment=1), backlog.mark, backlog.dropped_before) for name, backlog in backlogs}

    def _keep_memory_mark(self, destination: str, mark: Mark) -> None:
        own = self._own
        cursor = own.cursors.get(destination) if own is not None else None
        if cursor is not None:
            with contextlib.suppress(OSError):
                cursor.advance_memory(mark)

    def _taken_over(self, destination: str, *, left_by_us: bool) -> list[ProcessSpool]:
        waiting = self.adoption.waiting_for(destination)
        return [spool for spool in waiting if (spool.path in self.adoption.former) is left_by_us]

    def _held(self) -> list[ProcessSpool]:
        filling = self._parking.open.values() if self._parking is not None else ()
        return [*([self._own] if self._own is not None else []), *self.adoption.held, *filling]

    def _backlog_of(self, spool: ProcessSpool, destination: str) -> DiskBacklog:
        key = (spool.path, destination)
        backlog = self._backlogs.get(key)
        if backlog is None:
            backlog = self._backlogs[key] = DiskBacklog(spool, spool.cursors[destination])
        return backlog
