"""Whatever befalls the spool, in whatever order: the account is exact, and every span that can be read arrives."""

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from callspan_exporters._spool import AFTER_SHUTDOWN, UNSTORABLE
from callspan_exporters._spool._backlog import Backlog
from exporters.spool_model import Home
from exporters.spool_world import DESTINATIONS, RESOURCES, Process, World

which = st.integers(0, 11)
subsets = st.lists(st.sampled_from(DESTINATIONS), min_size=1, unique=True)
resources = st.sampled_from(RESOURCES)
booleans = st.booleans()


class SpoolMachine(RuleBasedStateMachine):
    """Processes that share a spool, with all that may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self._scratch = tempfile.TemporaryDirectory()
        self._descriptors = descriptors()
        self.world = World(Path(self._scratch.name) / "spool")

    @initialize(names=st.tuples(subsets, subsets), count=st.integers(0, 12), resource=resources)
    def begin(self, names: tuple[list[str], list[str]], count: int, resource: bytes) -> None:
        for some in names:
            process = self.world.start(some)
            for _ in range(count):
                self.world.append(process, 100, resource)

    @precondition(lambda self: len(self.world.processes) < 3)
    @rule(names=subsets)
    def start(self, names: list[str]) -> None:
        self.world.start(names)

    @precondition(lambda self: self.world.processes)
    @rule(number=which, sizes=st.lists(st.integers(0, 400), min_size=1, max_size=8), resource=resources, retry=booleans)
    def append(self, number: int, sizes: list[int], resource: bytes, retry: bool) -> None:
        process = self._process(number)
        for size in sizes:
            if retry and self.world.full:
                process.spool._retry_disk_at = 0.0
            self.world.append(process, size, resource)

    @precondition(lambda self: self.world.processes)
    @rule(number=which, count=st.integers(5, 30), resource=resources)
    def append_many(self, number: int, count: int, resource: bytes) -> None:
        for _ in range(count):
            self.world.append(self._process(number), 100, resource)

    @precondition(lambda self: self.world.processes)
    @rule(number=which, reason=st.sampled_from([AFTER_SHUTDOWN, UNSTORABLE]))
    def drop(self, number: int, reason: str) -> None:
        self.world.drop(self._process(number), reason)

    @precondition(lambda self: self.world.processes)
    @rule(number=which, at=which, how=st.sampled_from(["add", "remove", "replace"]))
    def change_destinations(self, number: int, at: int, how: str) -> None:
        process = self._process(number)
        old = process.destinations[at % len(process.destinations)]
        new = next((name for name in DESTINATIONS if name not in process.destinations), None)
        if how == "add" and new is not None:
            self.world.add(process, new)
        elif how == "remove" and len(process.destinations) > 1:
            self.world.remove(process, old)
        elif how == "replace" and new is not None and not self.world.full:
            self.world.replace(process, old, new)

    @precondition(lambda self: self.world.processes)
    @rule(number=which, at=which, count=st.integers(1, 12), refused=st.integers(0, 3), expired=st.integers(0, 2))
    def send(self, number: int, at: int, count: int, refused: int, expired: int) -> None:
        """As a sender does it: those that are too old first, and then the others in two parts."""
        process = self._process(number)
        destination, backlog = self._backlog(process, at)
        if backlog is None or not (batch := self.world.send(process, destination, backlog, count)):
            return
        old, young = batch[:expired], batch[expired:]
        first, second = young[: len(young) // 2], young[len(young) // 2 :]
        refused = min(refused, len(second))
        for part, outcomes in (
            (old, {"expired": len(old)}),
            (first, {"delivered": len(first)}),
            (second, {"delivered": len(second) - refused, "rejected": refused}),
        ):
            if part:
                self.world.settle(process, destination, backlog, part[-1], outcomes)

    @precondition(lambda self: self.world.processes)
    @rule(number=which, adopt=booleans)
    def send_all(self, number: int, adopt: bool) -> None:
        process = self._process(number)
        if adopt:
            self.world.adopt(process)
        for destination in process.destinations:
            for backlog in self.world.backlogs(process, destination):
                self._drain(process, destination, backlog)

    @precondition(lambda self: self.world.processes)
    @rule(number=which)
    def adopt(self, number: int) -> None:
        self.world.adopt(self._process(number))

    @precondition(lambda self: self.world.processes)
    @rule(number=which, at=which, count=st.integers(0, 12))
    def crash(self, number: int, at: int, count: int) -> None:
        """With some spans sent, and not yet acknowledged."""
        process = self._process(number)
        destination, backlog = self._backlog(process, at)
        if backlog is not None and count:
            batch = self.world.send(process, destination, backlog, count)
            lane, _ = self.world.lane(process, destination, backlog)
            lane.lose_acknowledgement(span.encoded.span for span in batch)
        self.world.crash(process)

    @precondition(lambda self: self.world.processes)
    @rule(number=which)
    def close(self, number: int) -> None:
        self.world.close(self._process(number))

    @rule(how=st.sampled_from(["takes a part", "takes nothing"]))
    def fill_the_disk_or_make_room(self, how: str) -> None:
        if self.world.full:
            self.world.recover()
        else:
            self.world.full = how

    @precondition(lambda self: self.world.abandoned())
    @rule(number=which)
    def grow_old(self, number: int) -> None:
        home = self._abandoned(number)
        home.aged = True
        for path in home.there.iterdir():
            os.utime(path, (0, 0))

    @invariant()
    def the_account_is_exact(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        try:
            self._leave_all_to_an_heir()
        finally:
            self._scratch.cleanup()

    def _leave_all_to_an_heir(self) -> None:
        self.world.recover()
        for process in list(self.world.processes):
            self.world.crash(process)
        heir = self.world.start(DESTINATIONS)
        self.world.adopt(heir)
        for _ in range(len(self.world.books.homes)):  # as many at a time as it holds at once
            for destination in DESTINATIONS:
                for backlog in self.world.backlogs(heir, destination):
                    self._drain(heir, destination, backlog)
            self.world.adopt(heir)
        self.world.close(heir)
        self.world.check()
        left = [home for home in self.world.books.homes if home.disk]
        assert left == [], "what is settled stays"
        assert descriptors() == self._descriptors, "files were left open"

    def _drain(self, process: Process, destination: str, backlog: Backlog) -> None:
        while batch := self.world.send(process, destination, backlog, 20):
            self.world.settle(process, destination, backlog, batch[-1], {"delivered": len(batch)})

    def _backlog(self, process: Process, at: int) -> tuple[str, Backlog | None]:
        destination = process.destinations[at % len(process.destinations)]
        backlogs = self.world.backlogs(process, destination)
        return destination, backlogs[at // len(process.destinations) % len(backlogs)] if backlogs else None

    def _process(self, number: int) -> Process:
        return self.world.processes[number % len(self.world.processes)]

    def _abandoned(self, number: int) -> Home:
        homes = self.world.abandoned()
        return homes[number % len(homes)]


def descriptors() -> int:
    """Return how many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
