"""LiteLLM's calls and a durable callback, by the public names: in order, and through the death of the process."""

import signal
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from callspan_exporters._spool import read_accounts
from loopback.processes import run_python

# No other destination, and none of OpenTelemetry's own that would take its time at the end.
ALONE: Final = {"CALLSPAN_DESTINATIONS": "none", "OTEL_TRACES_EXPORTER": "none"}
CALLS: Final = """
import os, signal, sys, time
import callspan, litellm

def line(path, text):
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, (text + "\\n").encode())
    os.close(descriptor)

fatal = len(sys.argv) > 3
tries = []

@callspan.callback(delivery="durable", name="ledger")
def ledger(call):
    tries.append(call.span_id)
    if len(tries) == 2 and not fatal:
        raise ConnectionError("the database is away")
    line(sys.argv[1], call.span_id)
    if len(tries) == 3 and fatal:
        while len(open(sys.argv[2]).readlines()) < 10:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

callspan.instrument()

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor

class Ended(SpanProcessor):
    def on_end(self, span):
        if span.name.startswith("chat"):
            line(sys.argv[2], format(span.context.span_id, "016x"))

trace.get_tracer_provider().add_span_processor(Ended())

def call(count):
    for _ in range(count):
        messages = [{"role": "user", "content": "hi"}]
        litellm.completion(model="openai/gpt-4o-mini", messages=messages, mock_response="x")
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Where the callback writes the span ids of the calls that it is handed."""
    return tmp_path / "written"


def lines(path: Path) -> list[str]:
    """What was written to a file, line by line."""
    return path.read_text().splitlines() if path.exists() else []


def nothing_waits(spool_dir: Path) -> bool:
    """Tells whether the callback has been handed all that was stored."""
    return [account.pending for account in read_accounts(spool_dir)] == [0]


def test_calls_are_handed_over_in_order_through_a_failure(written: Path, spool_dir: Path) -> None:
    """The call that the function failed at comes again before the next one."""
    ended = written.with_name("ended")
    run_python(CALLS + "call(10)\ncallspan.force_flush(20)", arguments=[str(written), str(ended)], env=ALONE)
    assert len(lines(ended)) == 10
    assert lines(written) == lines(ended)
    assert nothing_waits(spool_dir)


def test_calls_outlive_the_process_that_made_them(written: Path, spool_dir: Path) -> None:
    """Killed between the function and its acknowledgement: a later process repeats that one call, and no other."""
    ended, env = written.with_name("ended"), {**ALONE, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    arguments = [str(written), str(ended)]
    killed = CALLS + "call(10)\ntime.sleep(30)"
    assert run_python(killed, arguments=[*arguments, "fatal"], env=env, check=False).returncode == -signal.SIGKILL
    made = lines(ended)
    assert lines(written) == made[:3]
    run_python(CALLS + "call(1)", arguments=arguments, env=env)
    assert Counter(lines(written)) == Counter([*lines(ended), made[2]])
    assert nothing_waits(spool_dir)
