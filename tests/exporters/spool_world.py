"""A machine with a spool: processes that share it and die, a disk that fills up."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from callspan_exporters._spool import Limits, Spool, StoredSpan
from callspan_exporters._spool._backlog import Backlog
from callspan_exporters._spool._disk_backlog import DiskBacklog
from exporters.spool_books import Books
from exporters.spool_faults import fill_disk
from exporters.spool_model import Home, IsLost, Lane

DESTINATIONS = ("otlp http://a/v1/traces", "otlp http://b/v1/traces", "callback c")
RESOURCES = (b"resource", b"another resource")
SCOPE = b"scope"
LIMITS = Limits(max_bytes=12_000, segment_bytes=1000, memory_bytes=1500)


@dataclass(eq=False)
class Process:
    """A simulated process, and where its next span goes."""

    spool: Spool
    destinations: list[str]
    home: Home

    @property
    def writing(self) -> int:
        """The number of the segment that its next span goes to; 0 before there is one."""
        own = self.spool._own
        return own.writer.number if own is not None and own.writer is not None else 0

    @property
    def held(self) -> list[Path]:
        """The directories that it has adopted."""
        return [spool.path for spool in self.spool.adoption.held]


class World:
    """Does to the spool what befalls one, to the model what must come of it, and compares the two.

    Attributes:
        root: the spool.
        processes: those that live.
        books: what the account must be.
        full: how the disk refuses bytes and files; empty while it takes them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.processes: list[Process] = []
        self.books = Books(root, LIMITS.max_bytes)
        self.full = ""
        self._by_path: dict[Path, Home] = {}
        self._spans = 0

    def start(self, destinations: Iterable[str]) -> Process:
        """A process begins."""
        names = list(destinations)
        process = Process(Spool(self.root, LIMITS, names), names, Home(names))
        self.processes.append(process)
        return process

    def append(self, process: Process, size: int, resource: bytes) -> None:
        """A span ends."""
        self._spans += 1
        span = b"%d " % self._spans + b"." * size
        spool, before = process.spool, process.spool.memory.next_ordinal
        self.books.grow([span])
        self._do(process, lambda: spool.append(resource, SCOPE, span))
        home, own = process.home, spool._own
        self._begin_lanes(process)
        if spool.memory.next_ordinal > before:
            assert self.full, "the disk takes spans, and memory was used"
            home.keep_in_memory(span)
        else:
            assert own is not None
            assert set(process.destinations) <= set(own.cursors), "a destination without an account"
            home.store(span, process.writing)

    def drop(self, process: Process, reason: str) -> None:
        """A span ends that cannot be kept."""
        self._do(process, lambda: process.spool.drop(reason))
        process.home.drops.update({*process.home.disk, *process.home.memory})

    def add(self, process: Process, destination: str) -> None:
        """A destination is added."""
        self._do(process, lambda: process.spool.add_destination(destination))
        process.destinations.append(destination)
        process.home.memory.setdefault(destination, Lane(process.home.in_memory))
        self._begin_lanes(process)

    def remove(self, process: Process, destination: str) -> None:
        """A destination is removed. Its account stays where something is pending in it."""
        self._do(process, lambda: process.spool.remove_destination(destination))
        process.destinations.remove(destination)
        home, own = process.home, process.spool._own
        if own is None and home.path is not None:  # what waits there is sent as if that process had died
            home.alive = False
            process.home = Home(process.destinations)
        elif own is None or destination not in own.cursors:
            if destination in home.disk:
                assert not any(not home.is_gone(span) for span in home.disk[destination].waiting), "removed too early"
                self.books.enter(destination, home.account(destination))
            for lanes in (home.disk, home.memory, home.drops):
                lanes.pop(destination, None)

    def replace(self, process: Process, old: str, new: str) -> None:
        """A destination takes the place of another, in all that this process holds."""
        self._do(process, lambda: process.spool.replace_destination(old, new))
        process.destinations[process.destinations.index(old)] = new
        for home in [process.home, *(home for home in self.books.homes if home.path in process.held)]:
            # What a directory that was left had in memory is over; only what has an account on disk goes on.
            if new not in home.disk and (home is not process.home or new not in home.memory):
                for lanes in (home.disk, home.memory, home.drops):
                    if old in lanes:
                        lanes[new] = lanes.pop(old)

    def adopt(self, process: Process) -> None:
        """A process looks for what dead ones left."""
        self._do(process, process.spool.adopt)
        self.check()  # it may also have kept the spool to its limit

    def backlogs(self, process: Process, destination: str) -> list[Backlog]:
        """Return where spans wait."""
        spool = process.spool
        return [*spool.backlogs(destination), *spool.adopted_backlogs(destination)]

    def lane(self, process: Process, destination: str, backlog: Backlog) -> tuple[Lane, IsLost]:
        """Return what a backlog must hold, and which of that may be lost."""
        if isinstance(backlog, DiskBacklog):
            home = self._by_path[backlog.spool.path]
            return home.disk[destination], home.is_gone
        lane = process.home.memory[destination]
        return lane, lambda span: sum(map(len, lane.spans[lane.spans.index(span) :])) > LIMITS.memory_bytes

    def send(self, process: Process, destination: str, backlog: Backlog, count: int) -> list[StoredSpan]:
        """A batch goes to its destination. What was read is what must have been."""
        lane, is_lost = self.lane(process, destination, backlog)
        with self._disk():
            batch = backlog.next_batch(count, 2000)
        if not batch:
            assert all(map(is_lost, lane.waiting)), "intact spans wait, and are not read"
        lane.receive([span.encoded.span for span in batch], is_lost)
        return batch

    def settle(
        self, process: Process, destination: str, backlog: Backlog, last: StoredSpan, outcomes: dict[str, int]
    ) -> None:
        """What became of spans up to the last is entered."""
        lane, _ = self.lane(process, destination, backlog)
        with self._disk():
            backlog.settle(last, **outcomes)
        lane.settle(last.encoded.span, **outcomes)

    def crash(self, process: Process) -> None:
        """A process is killed: its locks are free, its memory is lost."""
        process.spool.after_fork_in_child()
        self.processes.remove(process)
        process.home.alive = False

    def close(self, process: Process) -> None:
        """A process lets go of all, as at its end, and begins anew."""
        self.adopt(process)
        self._do(process, process.spool.close)
        process.home.alive = False
        process.home = Home(process.destinations)

    def recover(self) -> None:
        """The disk takes bytes again, and it is time to try."""
        self.full = ""
        for process in self.processes:
            process.spool._retry_disk_at = 0.0

    def abandoned(self) -> list[Home]:
        """Return the directories that nobody holds."""
        held = [path for process in self.processes for path in process.held]
        return [home for home in self.books.homes if not home.alive and home.path not in held]

    def check(self) -> None:
        """The account, as anybody reads it, is what the model says."""
        self.books.check()

    def _begin_lanes(self, process: Process) -> None:
        home, own = process.home, process.spool._own
        for destination in own.cursors if own is not None else ():
            home.disk.setdefault(destination, Lane(len(home.stored)))

    def _do(self, process: Process, act: Callable[[], None]) -> None:
        """Have a process do something, and see whether that gave it a directory."""
        own = process.spool._own
        with self._disk():
            act()
        now = process.spool._own
        if now is None or now is own:
            return
        assert own is None, "a directory was left that nobody has removed"
        process.home.path = now.path
        self._by_path[now.path] = process.home
        self.books.homes.append(process.home)

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Have the kernel answer as the disk is."""
        with pytest.MonkeyPatch.context() as patch:
            if self.full:
                fill_disk(patch, part=self.full == "takes a part")
            yield
