"""Programs whose callbacks LiteLLM loses, and the like: each says how many runs there have to be."""

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loopback.processes import run_python

PRELUDE = """
import asyncio, atexit, contextvars, os, signal, sys, threading, time

def line(text):
    descriptor = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, (text + "\\n").encode())
    os.close(descriptor)

WITH = sys.argv[2] == "callspan"
if WITH:
    import callspan
    callspan.instrument()

import litellm
from litellm.integrations.custom_logger import CustomLogger

litellm.suppress_debug_info = True
SLEEP = 0.2
CHAT = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}

async def run(who):
    await asyncio.sleep(SLEEP)
    line(who)

class Logger(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        await run("LiteLLM")

    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        await run("LiteLLM failure")

litellm.callbacks = [Logger()]

if WITH:
    @callspan.callback
    async def own(call):
        await run("callspan" if call.outcome == "success" else f"callspan {call.outcome}")

async def call(**options):
    return await litellm.acompletion(**CHAT, mock_response="Hello!", **options)
"""


@dataclass(frozen=True)
class Scenario:
    """A program, run with callspan and, as a control, without.

    Attributes:
        program: what comes after the prelude.
        runs: how often each callback has to have run, by what it writes down.
        lost: whether LiteLLM alone loses some of those that are its own.
        status: the exit status.
        env: what it finds in its environment besides.
    """

    program: str
    runs: Mapping[str, int]
    lost: bool = True
    status: int = 0
    env: Mapping[str, str] = field(default_factory=dict)


def both(count: int) -> dict[str, int]:
    """So many runs of LiteLLM's callback and of callspan's."""
    return {"LiteLLM": count, "callspan": count}


@dataclass(frozen=True)
class Ran:
    """What came of a program.

    Attributes:
        runs: how often each callback ran.
        out: what the program printed.
        err: what it said on stderr.
        seconds: how long it took.
    """

    runs: Counter[str]
    out: str
    err: str
    seconds: float


_TRIES = 3


def run(scenario: Scenario, directory: Path, *, with_callspan: bool = True, timeout: float = 60.0) -> Ran:
    """Run a scenario to its end and count.

    Args:
        scenario: the scenario.
        directory: where it may write.
        with_callspan: whether callspan is on, or it is the control.
        timeout: seconds after which it has hung.
    """
    ledger = directory / f"ledger-{with_callspan}"
    began = time.monotonic()
    done = run_python(
        PRELUDE + scenario.program,
        arguments=[str(ledger), "callspan" if with_callspan else "LiteLLM"],
        env={"OTEL_TRACES_EXPORTER": "none", "CALLSPAN_DESTINATIONS": "none", **scenario.env},
        timeout=timeout,
        check=False,
    )
    seconds = time.monotonic() - began
    if with_callspan:
        assert done.returncode == scenario.status, done.stdout + done.stderr
    lines = ledger.read_text().splitlines() if ledger.exists() else []
    return Ran(Counter(lines), done.stdout, done.stderr, seconds)


def check(scenario: Scenario, directory: Path, **options: float) -> Ran:
    """Run a scenario with callspan: every callback has run as often as it has to."""
    ran = run(scenario, directory, **options)
    assert dict(ran.runs) == dict(scenario.runs), ran.out + ran.err
    return ran


def check_control(scenario: Scenario, directory: Path) -> None:
    """Run it without: LiteLLM's own callbacks have run less often, so that the scenario can fail.

    In one of a few runs: on a busy machine the end may take so long that a callback is done before it by chance.
    """
    expected = sum(count for who, count in scenario.runs.items() if who.startswith("LiteLLM"))
    for attempt in range(_TRIES):
        place = directory / f"control-{attempt}"
        place.mkdir()
        if sum(run(scenario, place, with_callspan=False).runs.values()) < expected:
            return
    raise AssertionError("LiteLLM does not lose it; is the scenario what it was?")
