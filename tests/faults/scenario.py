"""What a scenario of the fault matrix is: a program, what befalls it, and what must hold for callspan afterwards."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from faults.driving import PYTHON, Program
from loopback.otlp_behaviours import Accept, HttpBehaviour
from loopback.otlp_counting_receiver import CountingOtlpReceiver

BATCH: Final = 512
EXIT_BUDGET_S: Final = 5.0
KNOWN_DOWN_S: Final = 1.0

START: Final = "from faults.app import *\nimport asyncio, os, signal, sys, threading, time\n"
STARTED: Final = START + "start()\n"


@dataclass(frozen=True, slots=True)
class Scene:
    """Where a scenario takes place: a directory, the spool in it, the collector, and what is to be undone."""

    work: Path
    spool: Path
    collector: CountingOtlpReceiver
    cleanup: ExitStack = field(default_factory=ExitStack)


class Run(NamedTuple):
    """A scenario while its program runs."""

    program: Program
    scene: Scene

    @property
    def collector(self) -> CountingOtlpReceiver:
        """The collector."""
        return self.scene.collector


def nothing(_: object) -> None:
    """Lets things take their course."""


def mend(scene: Scene) -> None:
    """Puts the collector right."""
    scene.collector.forget_behaviours()
    scene.collector.default = Accept()
    scene.collector.up()


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row of the matrix.

    Attributes:
        name: what it is called in tests and tables.
        holds: what must hold, in a sentence.
        program: the source of what runs; `command` runs it otherwise than by its path.
        first: how the collector answers the first requests, one each.
        default: how it answers the others while the program runs.
        collector_up: whether it listens when the program starts.
        before: done before the program starts.
        during: done while it runs; what it does not wait for ends by itself.
        after: done once it is gone, before the recovery.
        recover: the recovery, where a later process without a span is not enough.
        afterwards: looks, at the very end, for what no number tells.
        crashes: deaths and lost acknowledgements: each may have one batch sent twice.
        in_mid_span: how many spans may have been stored whose `end()` had not returned.
        rejected: how many spans the collector refuses for good.
        destroyed: how many spans the scenario destroys, which must be counted as dropped; None where that varies.
        exit_within: seconds that exit may take.
        accounted: whether the spool is there for every span to be in its account at the end.
        watched: whether it is all the time.
        peak_mb: memory that it may take at most, beyond that of the same program without spans.
        slow: takes longer than eight seconds.
        compared: means something without a spool, too.
        needs_mount: cannot run where file systems cannot be mounted.
        timeout: seconds after which it hangs.
    """

    name: str
    holds: str
    program: str
    command: tuple[str, ...] = (PYTHON, "program.py")
    env: Mapping[str, str] = field(default_factory=dict)
    first: tuple[HttpBehaviour, ...] = ()
    default: HttpBehaviour = field(default_factory=Accept)
    collector_up: bool = True
    before: Callable[[Scene], None] = nothing
    during: Callable[[Run], None] = nothing
    after: Callable[[Scene], None] = nothing
    recover: Callable[[Scene], None] | None = None
    afterwards: Callable[[Scene], None] = nothing
    crashes: int = 0
    in_mid_span: int = 0
    rejected: int = 0
    destroyed: int | None = 0
    exit_within: float = EXIT_BUDGET_S + 0.5
    accounted: bool = True
    watched: bool = True
    peak_mb: float | None = None
    slow: bool = False
    compared: bool = True
    needs_mount: bool = False
    timeout: float = 60.0

    def __str__(self) -> str:
        return self.name
