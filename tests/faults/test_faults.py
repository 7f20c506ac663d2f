"""The fault matrix against callspan: whatever befalls a program, every span that had ended arrives, with an account."""

from pathlib import Path

import pytest

from faults.accounts import broken
from faults.driving import PYTHON, Program, environment, write_program
from faults.mounts import can_mount
from faults.running import CALLSPAN, Result, run
from faults.scenario import BATCH, STARTED, Scenario
from faults.table import SCENARIOS

PARAMETERS = [
    pytest.param(scenario, id=scenario.name, marks=[pytest.mark.slow] if scenario.slow else [])
    for scenario in SCENARIOS
]


@pytest.fixture(scope="session")
def bare_exit_s(tmp_path_factory: pytest.TempPathFactory) -> float:
    """How long the exit of a program with the same imports takes that makes no span, on this machine as it is."""
    work = tmp_path_factory.mktemp("bare")
    write_program(work, STARTED + "leaving()\n")
    program = Program([PYTHON, "program.py"], work, environment(work, CALLSPAN, "http://127.0.0.1:9", {}))
    program.finish(30)
    assert program.exit_s is not None, program.output
    return program.exit_s


@pytest.mark.parametrize("scenario", PARAMETERS)
def test_fault(scenario: Scenario, tmp_path: Path, bare_exit_s: float) -> None:
    """What must hold is in the scenario."""
    if scenario.needs_mount and not can_mount():
        pytest.skip("file systems cannot be mounted here")
    result = run(scenario, CALLSPAN, tmp_path)
    story = f"\n{scenario.name}: {scenario.holds}\n{result}\n{result.output}"
    _check_spans(scenario, result, story)
    _check_exit(scenario, result, bare_exit_s, story)
    _check_equations(result, story)
    if scenario.accounted:
        _check_account(scenario, result, story)
    if scenario.peak_mb is not None:
        _check_memory(scenario, result, tmp_path / "bare", story)


def _check_spans(scenario: Scenario, result: Result, story: str) -> None:
    assert result.ended > 0, story
    if scenario.destroyed is not None:
        assert result.lost == scenario.rejected + scenario.destroyed, story
    assert result.extra <= scenario.in_mid_span, story
    assert result.duplicates <= BATCH * scenario.crashes, story
    assert (result.mixed_up, result.malformed) == (0, 0), story


def _check_exit(scenario: Scenario, result: Result, bare_exit_s: float, story: str) -> None:
    assert not result.hung, story
    assert result.exit_s is not None, story
    assert result.exit_s - bare_exit_s <= scenario.exit_within, story


def _check_equations(result: Result, story: str) -> None:
    assert broken(result.account) == [], story
    assert result.complaints == (), story


def _check_account(scenario: Scenario, result: Result, story: str) -> None:
    account = result.account
    assert result.ended <= account.offered <= result.ended + scenario.in_mid_span, story
    assert account.delivered == result.received + result.extra, story
    assert account.rejected == scenario.rejected, story
    assert account.dropped == (result.lost if scenario.destroyed is None else scenario.destroyed), story
    assert (account.expired, account.pending) == (0, 0), story


def _check_memory(scenario: Scenario, result: Result, work: Path, story: str) -> None:
    work.mkdir()
    bare = run(scenario, CALLSPAN, work, makes_spans=False)
    assert result.peak_mb is not None, story
    assert bare.peak_mb is not None, story
    assert result.peak_mb - bare.peak_mb <= scenario.peak_mb, f"{story}\nwithout spans: {bare.peak_mb} MB"
