"""Runs a scenario against a kind of delivery and tells what became of the spans."""

import contextlib
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from faults.accounts import Totals, Watch, totals
from faults.driving import PYTHON, Program, environment, names_ended, write_program
from faults.scenario import STARTED, Run, Scenario, Scene, mend
from loopback.otlp_counting_receiver import CountingOtlpReceiver

STOCK: Final = "stock"
CALLSPAN: Final = "callspan"

_RECOVERIES: Final = 5
_RECOVERY_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a scenario's spans.

    Attributes:
        ended: how many spans had ended, by the program's own record.
        received: how many of them the collector took, each counted once.
        lost: how many of them it did not.
        extra: how many it took whose `end()` had not returned.
        duplicates: how many it took that it had taken before.
        malformed: how many requests were no OTLP.
        mixed_up: how many span ids it took beyond those of the names it took.
        reported: how many the process said it had lost, or kept for later; None where it said nothing.
        exit_s: seconds from when the program began to leave until it was gone.
        peak_mb: its largest resident set.
        hung: whether the program, or a process that it started, did not end.
        account: of the spool, once all is over.
        looks: how often the account was read while the program ran.
        complaints: what was wrong with it then.
        services: how many spans came by which `service.name`.
        output: what the program printed, and what the recovery did.
    """

    ended: int
    received: int
    lost: int
    extra: int
    duplicates: int
    malformed: int
    mixed_up: int
    reported: int | None
    exit_s: float | None
    peak_mb: float | None
    hung: bool
    account: Totals = field(default_factory=Totals)
    looks: int = 0
    complaints: tuple[str, ...] = ()
    services: dict[str, int] = field(default_factory=dict)
    output: str = ""


def run(scenario: Scenario, delivery: str, work: Path, *, makes_spans: bool = True) -> Result:
    """Runs a scenario, and after it, where the delivery keeps spans, a later process that makes none.

    Args:
        scenario: what to run.
        delivery: `STOCK` or `CALLSPAN`.
        work: an empty directory.
        makes_spans: False leaves all spans out.
    """
    with CountingOtlpReceiver(scenario.default) as collector, ExitStack() as cleanup:
        scene = Scene(work, Path(scenario.env.get("CALLSPAN_SPOOL_DIR", work / "spool")), collector, cleanup)
        collector.behave(*scenario.first)
        write_program(work, scenario.program)
        if not scenario.collector_up:
            collector.down()
        scenario.before(scene)
        changes = dict(scenario.env) if makes_spans else {**scenario.env, "FAULTS_NO_SPANS": "1"}
        watch = Watch(work, scene.spool, complete=scenario.accounted and scenario.watched)
        with watch if delivery == CALLSPAN else contextlib.nullcontext():
            program = _run_program(scenario, scene, environment(work, delivery, collector.endpoint, changes))
        kept = totals(scene.spool).pending if delivery == CALLSPAN else None
        scenario.after(scene)
        mend(scene)
        if delivery == CALLSPAN:
            output = (scenario.recover or recover)(scene) or ""
            scenario.afterwards(scene)
        else:
            output = ""
        result = _result(program, scene)
        return replace(
            result,
            reported=_reported(work) if delivery == STOCK else kept,
            account=totals(scene.spool) if delivery == CALLSPAN else Totals(),
            looks=watch.looks,
            complaints=tuple(watch.complaints),
            output=program.output + output,
        )


def recover(scene: Scene, program: str = STARTED, **env: str) -> str:
    """Runs later processes with the same destination, which make no span, until nothing waits any more."""
    said = ""
    for _ in range(_RECOVERIES):
        if totals(scene.spool).pending == 0 and names_ended(scene.work) <= scene.collector.names.keys():
            break
        later = start_later(scene, program, **env)
        later.finish(_RECOVERY_TIMEOUT_S)
        assert not later.hung, f"the recovery hung:\n{later.output}"
        said += later.output
    return said


def start_later(scene: Scene, program: str = STARTED, **env: str) -> Program:
    """Starts a later process with the same destination."""
    work = scene.work / f"later-{time.monotonic_ns()}"
    work.mkdir()
    write_program(work, program)
    changes = {"CALLSPAN_SPOOL_DIR": str(scene.spool), **env}
    return Program([PYTHON, "program.py"], work, environment(work, CALLSPAN, scene.collector.endpoint, changes))


def _run_program(scenario: Scenario, scene: Scene, env: dict[str, str]) -> Program:
    program = Program(scenario.command, scene.work, env)
    try:
        scenario.during(Run(program, scene))
    except BaseException:
        program.finish(0)
        raise
    program.finish(scenario.timeout)
    return program


def _result(program: Program, scene: Scene) -> Result:
    ended, names = names_ended(scene.work), scene.collector.names
    received = len(ended & names.keys())
    return Result(
        ended=len(ended),
        received=received,
        lost=len(ended) - received,
        extra=len(names) - received,
        duplicates=scene.collector.duplicates,
        malformed=scene.collector.malformed,
        mixed_up=len(scene.collector.ids) - len(names),
        reported=None,
        exit_s=program.exit_s,
        peak_mb=_peak_mb(scene.work),
        hung=program.hung,
        services=dict(scene.collector.services),
    )


def _reported(work: Path) -> int | None:
    reports = [int(path.read_text()) for path in work.glob("reported-*")]
    return sum(reports) if reports else None


def _peak_mb(work: Path) -> float | None:
    return max((int(path.read_text()) / 1024 for path in work.glob("peak-*")), default=None)
