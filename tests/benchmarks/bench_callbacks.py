"""What a callback adds to a call, in each mode and in LiteLLM: ``python tests/benchmarks/bench_callbacks.py``.

The callback does nothing. Each way takes turns with the same call without it, in blocks in one process: callspan's with
callspan on, LiteLLM's own with callspan off, and LiteLLM's callback with callspan on. ``call`` is the median of what it
adds to the time until the caller has the result, which for LiteLLM is little more than the making of a task; ``all`` is
what it adds to a block of calls that lasts until every callback has run, a call. Then the time from the end of a
program's coroutine to the end of the process, with 500 callbacks of 50 ms pending.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

import asyncio
import gc
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "OTEL_TRACES_EXPORTER": "none"}

import litellm
from litellm.integrations.custom_logger import CustomLogger
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

import callspan

ROUNDS, CALLS_A_BLOCK, WARM_UP = 30, 40, 10
CHAT: dict[str, Any] = {
    "model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "Say hello."}],
    "mock_response": "Hello!",
}
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SpanProcessor())


class Logger(CustomLogger):
    """LiteLLM's way to have a coroutine called."""

    async def async_log_success_event(self, *_args: object, **_kwargs: object) -> None:
        """Do nothing."""


async def empty_async(_call: callspan.CallRecord) -> None:
    """Do nothing."""


def empty(_call: callspan.CallRecord) -> None:
    """Do nothing."""


def nothing() -> None:
    """Register nothing."""


def registering(function: Callable[[Any], Any], delivery: Any) -> Callable[[], None]:
    """Register a callback of callspan's."""
    return lambda: callspan.add_callback(function, delivery=delivery, name="empty") and None


def with_logger() -> None:
    """Register LiteLLM's."""
    litellm.callbacks = [Logger()]


WAYS: dict[str, tuple[bool, Callable[[], None]]] = {
    "LiteLLM, no callback": (False, nothing),
    "LiteLLM, its callback": (False, with_logger),
    "callspan, no callback": (True, nothing),
    "background, coroutine function": (True, registering(empty_async, "background")),
    "background, function": (True, registering(empty, "background")),
    "blocking, coroutine function": (True, registering(empty_async, "blocking")),
    "blocking, function": (True, registering(empty, "blocking")),
    "LiteLLM's callback under callspan": (True, with_logger),
}


async def all_run() -> None:
    """Wait until every callback has run: callspan's flush, or LiteLLM's worker's."""
    if callspan.CallspanInstrumentor().is_instrumented_by_opentelemetry:
        await callspan.aflush(60)
        return
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER  # noqa: PLC0415

    await asyncio.sleep(0.01)  # the tasks by which it is told
    await GLOBAL_LOGGING_WORKER.flush()


def block() -> tuple[float, float]:
    """Microseconds a call: the median until the result is there, and the mean of all until every callback has run."""

    async def run() -> tuple[float, float]:
        for _ in range(WARM_UP):
            await litellm.acompletion(**CHAT)
        await all_run()
        taken: list[float] = []
        began = time.process_time_ns()
        for _ in range(CALLS_A_BLOCK):
            start = time.perf_counter_ns()
            await litellm.acompletion(**CHAT)
            taken.append((time.perf_counter_ns() - start) / 1000)
        await all_run()
        return statistics.median(taken), (time.process_time_ns() - began) / 1000 / CALLS_A_BLOCK

    return loop.run_until_complete(run())


def measure(way: str) -> tuple[float, float]:
    """Measure one block of a way, and leave nothing of it."""
    on, register = WAYS[way]
    if on:
        callspan.instrument(tracer_provider=provider)
    register()
    try:
        return block()
    finally:
        if register not in (nothing, with_logger):
            callspan.remove_callback("empty")
        litellm.logging_callback_manager._reset_all_callbacks()
        callspan.uninstrument()


def compare() -> None:
    """Print what each way adds to the same without a callback."""
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in random.sample(list(WAYS), len(WAYS)):
            found[way].append(measure(way))
    print(f"{'us a call, added by one callback':40}{'call':>10}{'all (CPU)':>12}")
    for way, figures in found.items():
        base = found["callspan, no callback" if WAYS[way][0] else "LiteLLM, no callback"]
        pairs = list(zip(figures, base, strict=True))
        call = statistics.median(one[0] - other[0] for one, other in pairs)
        everything = statistics.median(one[1] - other[1] for one, other in pairs)
        if figures is not base:
            print(f"{way:40}{call:10.1f}{everything:12.1f}")


PROGRAM = """
import asyncio, atexit, sys, time
atexit.register(lambda: print(ran, flush=True))  # first in, last out
if sys.argv[1] == "callspan":
    import callspan
    callspan.instrument()
import litellm
from litellm.integrations.custom_logger import CustomLogger

ran = 0

async def slow(*_args, **_kwargs):
    global ran
    await asyncio.sleep(0.05)
    ran += 1

class Logger(CustomLogger):
    async_log_success_event = slow

litellm.callbacks = [Logger()]

async def main():
    call = dict(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], mock_response="Hello!")
    await asyncio.gather(*(litellm.acompletion(**call) for _ in range(500)))
    print(time.time(), flush=True)

asyncio.run(main())
"""


def exit_with_pending(who: str) -> None:
    """Print how long the process takes to end with 500 callbacks of 50 ms pending, and how many of them ran."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, who], stdout=subprocess.PIPE, text=True, check=True)
    ended = time.time()
    main_ended, *_, ran = done.stdout.split()
    print(f"exit with 500 callbacks of 50 ms pending, {who:10}{ended - float(main_ended):6.2f} s, {ran} ran")


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    gc.disable()
    compare()
    exit_with_pending("callspan")
    exit_with_pending("LiteLLM")
