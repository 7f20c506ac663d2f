"""Durable callbacks by the doors that `callspan` uses: in any order, through deaths, and what people are told."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from callspan_exporters._spool import Account, read_accounts
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import run_python, start_python

PRELUDE: Final = """
import os, signal, sys, threading, time
from callspan_exporters import add_callback, ensure_delivery, remove_callback
from opentelemetry import trace

def line(text):
    descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, (text + "\\n").encode())
    os.close(descriptor)

def ledger(span):
    line(span.name)

def failing(span):
    raise ConnectionError("the database is away")

def spans(count, prefix=""):
    for number in range(count):
        trace.get_tracer("app").start_span(f"{prefix}{number}").end()

def flush(seconds=10):
    return trace.get_tracer_provider().force_flush(int(seconds * 1000))
"""
REGISTER: Final = "assert add_callback('ledger', ledger)"
CONNECT: Final = "assert ensure_delivery()"
# No other destination, and none of OpenTelemetry's own that would take its time at the end.
ALONE: Final = {"CALLSPAN_DESTINATIONS": "none", "OTEL_TRACES_EXPORTER": "none"}


def run(written: Path, *lines: str, env: Mapping[str, str] = ALONE, check: bool = True) -> str:
    """Runs a program of these lines, and returns what it said on stderr."""
    return run_python(source(*lines), arguments=[str(written)], env=env, check=check).stderr


def source(*lines: str) -> str:
    return PRELUDE + "\n".join(lines)


def names(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def handed_over(written: Path) -> list[str]:
    """The names of the spans that were handed over, in order."""
    return written.read_text().splitlines() if written.exists() else []


def account(spool_dir: Path) -> Account:
    """What became of the spans for the callback; it adds up."""
    found = next(found for found in read_accounts(spool_dir) if found.destination == "callback:ledger")
    assert found.accepted == found.delivered + found.rejected + found.expired + found.pending
    return found


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Where the callback writes."""
    return tmp_path / "written"


ORDERS: Final = {
    "registered first": (REGISTER, CONNECT, "spans(3)"),
    "connected first": (CONNECT, REGISTER, "spans(3)"),
    "connected twice": (CONNECT, REGISTER, CONNECT, "spans(3)"),
    "registered after spans": (CONNECT, "spans(2, 'before ')", REGISTER, "spans(3)"),
    "a provider of the application's": (
        CONNECT,
        REGISTER,
        "from opentelemetry.sdk.trace import TracerProvider",
        "trace.set_tracer_provider(TracerProvider())",
        "spans(3)",
    ),
    "the application's provider first": (
        "from opentelemetry.sdk.trace import TracerProvider",
        "trace.set_tracer_provider(TracerProvider())",
        CONNECT,
        REGISTER,
        "spans(3)",
    ),
    "removed and registered": (REGISTER, "remove_callback('ledger')", CONNECT, REGISTER, "spans(3)"),
    "switched off": (
        CONNECT,
        REGISTER,
        "from callspan_exporters import stop_watching",
        "stop_watching()",
        "spans(3)",
    ),
}


@pytest.mark.parametrize("other", [True, False], ids=["with OTLP", "alone"])
@pytest.mark.parametrize("order", ORDERS)
def test_any_order(written: Path, spool_dir: Path, otlp_receiver: OtlpReceiver, order: str, other: bool) -> None:
    """Each span that ends from then on is handed over once, and the other destination has all of them."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint} if other else ALONE
    said = run(written, *ORDERS[order], env=env)
    assert handed_over(written) == names(3)
    assert account(spool_dir).pending == 0
    assert said == ""
    if other:
        assert Counter(span.name for span in otlp_receiver.spans) >= Counter(names(3))


def test_before_anything_is_connected_nothing_is_set_up(written: Path, spool_dir: Path) -> None:
    """It is remembered, and no more."""
    run(
        written,
        REGISTER,
        "assert type(trace.get_tracer_provider()).__name__ == 'ProxyTracerProvider'",
        "assert threading.active_count() == 1",
        "spans(3)",
    )
    assert handed_over(written) == []
    assert not spool_dir.exists()


def test_a_disabled_sdk_is_said(written: Path, spool_dir: Path) -> None:
    """By the answer, and in one line that names the callback."""
    said = run(
        written,
        "assert add_callback('ledger', ledger) is False",
        "assert ensure_delivery() is False",
        "spans(1)",
        env={**ALONE, "OTEL_SDK_DISABLED": "true"},
    )
    assert said.count("\n") == 1
    assert "ledger" in said
    assert not spool_dir.exists()


def test_without_a_disk(written: Path) -> None:
    """Within the process, also in a forked child."""
    forking = ("spans(2)", "pid = os.fork()", "spans(2, f'{bool(pid)} ')", "pid and os.waitpid(pid, 0)")
    run(written, REGISTER, CONNECT, *forking, env={**ALONE, "CALLSPAN_SPOOL": "off"})
    # What waits in memory when it forks is the parent's.
    assert sorted(handed_over(written)) == sorted([*names(2), *names(2, "True "), *names(2, "False ")])


def test_a_function_takes_the_place_of_another(written: Path, spool_dir: Path) -> None:
    """Without losing what waits, or repeating what was acknowledged."""
    run(
        written,
        CONNECT,
        REGISTER,
        "spans(3, 'first ')",
        "assert flush()",
        "assert add_callback('ledger', failing)",
        "spans(2, 'waiting ')",
        "assert not flush(0.3)",
        "assert add_callback('ledger', lambda span: line('new ' + span.name))",
        "spans(1, 'last ')",
        "assert flush()",
    )
    assert handed_over(written) == [*names(3, "first "), *names(2, "new waiting "), "new last 0"]
    assert account(spool_dir).delivered == 6


def test_what_is_removed_stays_for_a_later_process(written: Path, spool_dir: Path) -> None:
    """All that was stored for it, and nothing that came after."""
    fails = "assert add_callback('ledger', failing)"
    run(written, CONNECT, fails, "spans(3)", "remove_callback('ledger')", "spans(3, 'unheard ')")
    assert account(spool_dir).pending == 3
    run(written, CONNECT, REGISTER, "spans(1, 'later ')")
    assert sorted(handed_over(written)) == sorted([*names(3), "later 0"])
    assert account(spool_dir).pending == 0


def test_each_kill_repeats_one_at_most(written: Path, spool_dir: Path) -> None:
    """Killed five times, each time between the third function call and its acknowledgement."""
    dying = (
        "seen = []",
        "def ledger(span):",
        "    line(span.name)",
        "    seen.append(span)",
        "    if len(seen) == 3:",
        "        os.kill(os.getpid(), signal.SIGKILL)",
        REGISTER,
        CONNECT,
    )
    env = {**ALONE, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    run(written, *dying, "spans(20)", "time.sleep(20)", env=env, check=False)
    for _ in range(4):
        run(written, *dying, "time.sleep(20)", env=env, check=False)
    assert handed_over(written) == ["0", "1", "2", "2", "3", "4", "4", "5", "6", "6", "7", "8", "8", "9", "10"]
    run(written, REGISTER, CONNECT)
    assert handed_over(written)[15:] == names(20)[10:]
    assert account(spool_dir).delivered == 20


def test_what_others_have_sent_is_still_there_for_a_late_callback(
    written: Path, spool_dir: Path, otlp_receiver: OtlpReceiver
) -> None:
    """A later process sends all of a dead one's spans before the callback is registered in it."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    run(written, REGISTER, CONNECT, "spans(10)", "os.kill(os.getpid(), signal.SIGKILL)", env=env, check=False)
    assert handed_over(written) == []
    go_on = written.with_name("go_on")
    late = source(
        CONNECT,
        "while not os.path.exists(sys.argv[2]):",
        "    time.sleep(0.05)",
        REGISTER,
        "spans(1, 'late ')",
        "assert flush()",
    )
    with start_python(late, arguments=[str(written), str(go_on)], env=env) as process:
        assert len(otlp_receiver.wait_for(10)) == 10
        time.sleep(0.5)  # it lets go of what it has sent
        go_on.touch()
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, "")
    assert sorted(handed_over(written)) == sorted([*names(10), "late 0"])
    assert Counter(span.name for span in otlp_receiver.spans) == Counter([*names(10), "late 0"])
    assert account(spool_dir).pending == 0


def test_processes_that_share_a_spool(written: Path, spool_dir: Path) -> None:
    """Each hands over its own while it lives."""
    programs = [source(REGISTER, CONNECT, f"spans(200, '{number} ')") for number in range(3)]
    with (
        start_python(programs[0], arguments=[str(written)], env=ALONE) as one,
        start_python(programs[1], arguments=[str(written)], env=ALONE) as two,
        start_python(programs[2], arguments=[str(written)], env=ALONE) as three,
    ):
        for process in (one, two, three):
            _, said = process.communicate(timeout=60)
            assert (process.returncode, said) == (0, "")
    seen = handed_over(written)
    for number in range(3):
        assert [name for name in seen if name.startswith(f"{number} ")] == names(200, f"{number} ")
    assert account(spool_dir).delivered == 600


def test_what_people_are_told(written: Path, spool_dir: Path, otlp_receiver: OtlpReceiver) -> None:
    """At exit, by `callspan status` and by `callspan drain`, which cannot call a function."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    said = run(written, CONNECT, "assert add_callback('ledger', failing)", "spans(3)", env=env)
    assert said.startswith("callspan: kept 3 spans for callback:ledger (ConnectionError: the database is away) in ")
    command = "import sys; from callspan_exporters.cli import main; sys.exit(main({}))"
    status = run_python(command.format(["status"])).stdout
    assert "\ncallback:ledger\n" in status
    assert "delivered 0 + rejected 0 + expired 0 + pending 3" in status
    drained = run_python(command.format(["drain"]), env=env, check=False)
    assert drained.returncode == 1
    assert "3 spans left for callback:ledger, which a process is handed that registers the callback" in drained.stderr


def test_a_failing_function_holds_up_neither_exit_nor_others(
    written: Path, spool_dir: Path, otlp_receiver: OtlpReceiver
) -> None:
    """The other destination and the other callback have theirs in time."""
    program = source(
        CONNECT,
        REGISTER,
        "assert add_callback('broken', failing)",
        "spans(5)",
        "print('done', flush=True)",
    )
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    with start_python(program, arguments=[str(written)], env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        began = time.monotonic()
        process.communicate(timeout=30)
    assert time.monotonic() - began < 2
    assert handed_over(written) == names(5)
    assert len(otlp_receiver.spans) == 5


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt"])
def test_an_exit_that_a_function_asks_for_ends_nothing(written: Path, spool_dir: Path, error: str) -> None:
    """Neither the process nor the handing over."""
    run(
        written,
        CONNECT,
        "seen = []",
        "def leaving(span):",
        "    seen.append(span)",
        "    if len(seen) == 1:",
        f"        raise {error}",
        "    line(span.name)",
        "add_callback('ledger', leaving)",
        "spans(2)",
        "assert flush()",
        "spans(1, 'later ')",
    )
    assert handed_over(written) == ["0", "1", "later 0"]


def test_killed_at_any_moment(written: Path, spool_dir: Path) -> None:
    """Twenty rounds, each killed while it stores and hands over; what was stored is handed over, little of it twice."""
    program = source(
        REGISTER,
        CONNECT,
        "ended = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)",
        "for round in range(20):",
        "    pid = os.fork()",
        "    if pid == 0:",
        "        for number in range(1_000_000):",
        "            spans(1, f'{round}-{number}-')",
        "            os.write(ended, f'{round}-{number}-0\\n'.encode())",
        "    time.sleep(0.02 + round % 7 * 0.01)",
        "    os.kill(pid, signal.SIGKILL)",
        "    os.waitpid(pid, 0)",
    )
    ended = written.with_name("ended")
    env = {**ALONE, "OTEL_BSP_SCHEDULE_DELAY": "1"}
    run_python(program, arguments=[str(written), str(ended)], env={**env, "CALLSPAN_EXIT_BUDGET": "30"})
    run(written, REGISTER, CONNECT, env={**env, "CALLSPAN_EXIT_BUDGET": "30"})
    counted, made = Counter(handed_over(written)), ended.read_text().splitlines()
    assert len(made) > 200
    assert [name for name in made if name not in counted] == []
    repeated = Counter(name.split("-")[0] for name in counted.elements()) - Counter(
        name.split("-")[0] for name in counted
    )
    assert all(count == 1 for count in repeated.values()), repeated
    assert account(spool_dir).pending == 0
