"""Durable callbacks: fed by the spool, at least once, also by a later process."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from loopback.processes import run_python

PROGRAM = """
    import os, sys, time
    import callspan, litellm

    def line(path, text):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(descriptor, (text + "\\n").encode())
        os.close(descriptor)

    def ledger(call):
        assert type(call) is callspan.CallRecord
        line(sys.argv[1], f"{call.span_id} {call.outcome} {call.cost} {call.metadata.get('customer')}")

    def call(count=1):
        for _ in range(count):
            litellm.completion(
                model="openai/gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], mock_response="Hello!",
                metadata={"customer": "c-1", "api_key": "sk-not-for-the-spool"},
            )
"""
REGISTER = 'callspan.add_callback(ledger, delivery="durable", name="ledger")'
INSTRUMENT = "callspan.instrument()"
QUIET = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


def program(*lines: str) -> str:
    """A program of these lines."""
    return PROGRAM + "\n".join(f"    {line}" for line in lines)


def entries(ledger: Path) -> Counter[str]:
    """How often each call is in the ledger, by span id."""
    return Counter(line.split()[0] for line in ledger.read_text().splitlines()) if ledger.exists() else Counter()


ORDERS = {
    "registered first": (REGISTER, INSTRUMENT, "call(3)"),
    "instrumented first": (INSTRUMENT, REGISTER, "call(3)"),
    "registered after calls": (INSTRUMENT, "call(2)", REGISTER, "call(3)"),
    "an asynchronous function": (
        INSTRUMENT,
        "async def write(call): ledger(call)",
        'callspan.add_callback(write, delivery="durable", name="ledger")',
        "call(3)",
    ),
    "with a timeout": (
        INSTRUMENT,
        'callspan.add_callback(ledger, delivery="durable", name="ledger", timeout=5)',
        "call(3)",
    ),
    "registered again": (INSTRUMENT, REGISTER, "call(2)", "callspan.force_flush(5)", REGISTER, "call(1)"),
    "not for other outcomes": (
        INSTRUMENT,
        REGISTER,
        'callspan.add_callback(lambda call: 1 / 0, delivery="durable", name="failures", hooks="failure")',
        "call(3)",
    ),
}


@pytest.mark.parametrize("case", ORDERS)
def test_each_call_is_handed_over_once(tmp_path: Path, case: str) -> None:
    """Before the process has ended, whatever the order in which things are set up."""
    ledger = tmp_path / "ledger"
    done = run_python(program(*ORDERS[case]), arguments=[str(ledger)], env=QUIET)
    assert sorted(entries(ledger).values()) == [1, 1, 1]
    assert "for callback:" not in done.stderr
    (first, *_) = ledger.read_text().splitlines()
    assert first.split()[1:] == ["success", first.split()[2], "c-1"]
    assert float(first.split()[2]) > 0


@pytest.mark.parametrize(
    "env",
    [{"CALLSPAN_DESTINATIONS": "none", "OTEL_TRACES_EXPORTER": "none"}, {"CALLSPAN_SPOOL": "off"}],
    ids=["no other destination", "memory only"],
)
def test_without_anything_else(tmp_path: Path, env: dict[str, str]) -> None:
    """The callback is a reason to store spans by itself, and memory will do within the process."""
    ledger = tmp_path / "ledger"
    run_python(program(INSTRUMENT, REGISTER, "call(3)"), arguments=[str(ledger)], env={**QUIET, **env})
    assert sorted(entries(ledger).values()) == [1, 1, 1]


def test_no_credential_is_stored(tmp_path: Path, spool_dir: Path) -> None:
    """Metadata go to the spool with the span, and without what looks like a key."""
    run_python(program(INSTRUMENT, REGISTER, "call(1)"), arguments=[str(tmp_path / "ledger")], env=QUIET)
    stored = b"".join(path.read_bytes() for path in spool_dir.rglob("*") if path.is_file())
    assert b"c-1" in stored
    assert b"sk-not-for-the-spool" not in stored


def test_a_later_process_hands_over_what_a_killed_one_left(tmp_path: Path) -> None:
    """Also where it has sent everything to other destinations before the callback is registered."""
    ledger = tmp_path / "ledger"
    killed = program(INSTRUMENT, REGISTER, "call(20)", "os.kill(os.getpid(), 9)")
    done = run_python(killed, arguments=[str(ledger)], env=QUIET, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(entries(ledger)) < 20
    later = program(INSTRUMENT, "call(1)", "callspan.force_flush(2)", REGISTER, "call(1)", "callspan.force_flush(5)")
    run_python(later, arguments=[str(ledger)], env=QUIET)
    counted = entries(ledger)
    assert len(counted) == 21
    assert sum(count - 1 for count in counted.values()) <= 1


def test_what_is_removed_stays_for_another(tmp_path: Path) -> None:
    """Nothing that is stored for a callback is lost with its removal."""
    ledger = tmp_path / "ledger"
    first = program(
        'callspan.add_callback(lambda call: 1 / 0, delivery="durable", name="ledger")',
        INSTRUMENT,
        "call(3)",
        "callspan.remove_callback('ledger')",
        "call(3)",
    )
    run_python(first, arguments=[str(ledger)], env=QUIET)
    run_python(program(REGISTER, INSTRUMENT, "call(1)"), arguments=[str(ledger)], env=QUIET)
    assert sorted(entries(ledger).values()) == [1] * 4


def test_a_forked_child_has_its_own(tmp_path: Path) -> None:
    """Each process hands over the calls it made."""
    ledger = tmp_path / "ledger"
    forking = program(REGISTER, INSTRUMENT, "call(2)", "pid = os.fork()", "call(3)", "pid and os.waitpid(pid, 0)")
    run_python(forking, arguments=[str(ledger)], env=QUIET)
    assert sorted(entries(ledger).values()) == [1] * 8


def test_a_disabled_sdk_is_said(tmp_path: Path) -> None:
    """Nothing is stored then, so nothing can be durable."""
    done = run_python(
        program(REGISTER, INSTRUMENT, "call(1)"),
        arguments=[str(tmp_path / "ledger")],
        env={**QUIET, "OTEL_SDK_DISABLED": "true"},
    )
    assert "callback ledger is not called" in done.stderr
    assert entries(tmp_path / "ledger") == {}


VICTIMS = program(
    "import random, signal",
    REGISTER,
    INSTRUMENT,
    "call(1)",
    "callspan.force_flush(5)",
    "for round in range(int(sys.argv[3])):",
    "    pid = os.fork()",
    "    if pid == 0:",
    "        from opentelemetry import trace",
    "        from opentelemetry.sdk.trace import SpanProcessor",
    "        class Ended(SpanProcessor):",
    "            def on_end(self, span):",
    "                if span.name.startswith('chat'):",
    "                    line(sys.argv[2], format(span.context.span_id, '016x'))",
    "        trace.get_tracer_provider().add_span_processor(Ended())",
    "        call(50)",
    "        time.sleep(10)",
    "    time.sleep(random.uniform(0, 0.4))",
    "    os.kill(pid, signal.SIGKILL)",
    "    os.waitpid(pid, 0)",
)


@pytest.mark.slow
def test_a_hundred_kills(tmp_path: Path) -> None:
    """Killed at random moments during 50 calls: a later run has handed over each ended call, and few of them twice."""
    ledger, ended = tmp_path / "ledger", tmp_path / "ended"
    arguments = [str(ledger), str(ended), "100"]
    run_python(VICTIMS, arguments=arguments, env={**QUIET, "OTEL_BSP_SCHEDULE_DELAY": "20"}, timeout=300)
    patient = {**QUIET, "CALLSPAN_EXIT_BUDGET": "60"}
    run_python(program(REGISTER, INSTRUMENT, "call(1)"), arguments=arguments, env=patient, timeout=120)
    counted, made = entries(ledger), set(ended.read_text().split())
    assert len(made) > 500
    assert made - set(counted) == set()
    assert sum(count - 1 for count in counted.values()) <= 100
