"""The process of one peer of ``bench_peers.py``: ``python peer_process.py PEER on|off``, with content on or off.

It reads kinds of call from its input, a line each, makes a block of them, and prints what they took as JSON.
"""

# ruff: noqa: PLC0415  a process has but its own peer, and LiteLLM is imported once the tracer provider is set

import asyncio
import copy
import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

WARM_UP = {"sync": 3, "async": 3, "stream": 0, "astream": 0}
BLOCKS = {"sync": 15, "async": 15, "stream": 1, "astream": 1}
CHAT: dict[str, Any] = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}
SHORT: dict[str, Any] = CHAT | {"mock_response": "Hello!"}
LONG: dict[str, Any] = CHAT | {"mock_response": "word " * 200, "stream": True}
CHUNKS_A_LAP = 16
VALUES = ("chat", "openai", "gpt-4o-mini", 0.2, 1.0, 512, "chatcmpl-1", ["stop"], 10, 20, "127.0.0.1", 8080, 0.000392)
FIFTEEN = {f"gen_ai.attribute_{number}": value for number, value in enumerate((*VALUES, "gpt-4o-mini", "3f2b8c1e"))}
REFERENCE = [{"role": "user", "content": "x" * 50, "number": number, "more": [1, 2, 3]} for number in range(12)]

Figures = dict[str, float]


class Counter(SpanProcessor):
    """Does nothing but count."""

    spans = 0

    def on_end(self, span: ReadableSpan) -> None:
        self.spans += 1


def switch_on(name: str, counter: Counter, *, content: bool) -> None:
    """Instrument LiteLLM as the peer's documentation says."""
    if name == "Logfire":
        import logfire

        logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[counter])
        logfire.instrument_litellm()
        return
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(counter)
    trace.set_tracer_provider(provider)
    if name == "callspan":
        import callspan

        callspan.instrument()
    elif name in ("Traceloop", "OpenInference"):
        entry_points = metadata.entry_points(group="opentelemetry_instrumentor", name="litellm")
        next(iter(entry_points)).load()().instrument()
    elif name == "OpenLIT":
        import openlit

        prices = Path(sys.prefix, "prices.json")  # it would fetch them
        prices.write_text('{"chat": {"gpt-4o-mini": {"promptPrice": 0.00015, "completionPrice": 0.0006}}}')
        quiet = {"disable_metrics": True, "disable_events": True, "pricing_json": str(prices)}
        openlit.init(capture_message_content=content, **quiet)
    elif name.startswith("LiteLLM"):
        import litellm

        litellm.turn_off_message_logging = not content
        litellm.callbacks = ["otel"]


class Watch:
    """Takes time in units of what a reference takes at the same moment.

    Attributes:
        laps: what has been timed, in units.
        unit_ns: the unit of the last lap, in nanoseconds.
    """

    def __init__(self) -> None:
        self.laps: list[float] = []
        self._start = self.unit_ns = 0

    def start(self) -> None:
        """Look how fast the machine is, and start."""
        before = time.perf_counter_ns()
        for _ in range(3):
            json.loads(json.dumps(copy.deepcopy(REFERENCE)))
        self._start = time.perf_counter_ns()
        self.unit_ns = self._start - before

    def stop(self) -> None:
        """End a lap."""
        self.laps.append((time.perf_counter_ns() - self._start) / self.unit_ns)

    def count(self, chunks: int) -> int:
        """Count a chunk, and begin another lap now and then."""
        if chunks % CHUNKS_A_LAP == CHUNKS_A_LAP - 1:
            self.stop()
            self.start()
        return chunks + 1

    def total(self) -> float:
        """All laps; for those in the middle of a stream, which are alike, their median."""
        first, *middle, last = self.laps if len(self.laps) > 1 else (0.0, *self.laps)
        return first + last + len(middle) * (statistics.median(middle) if middle else 0)


Call = Callable[[Watch], Coroutine[Any, Any, int]]


def calls() -> dict[str, Call]:
    """What is measured: each returns its chunks, or one. The synchronous ones wait for nothing, and need no loop."""
    import litellm

    litellm.disable_streaming_logging = True

    async def sync(_watch: Watch) -> int:
        return bool(litellm.completion(**SHORT))

    async def async_(_watch: Watch) -> int:
        return bool(await litellm.acompletion(**SHORT))

    async def stream(watch: Watch) -> int:
        chunks = 0
        for _ in litellm.completion(**LONG):
            chunks = watch.count(chunks)
        return chunks

    async def astream(watch: Watch) -> int:
        chunks = 0
        async for _ in await litellm.acompletion(**LONG):
            chunks = watch.count(chunks)
        return chunks

    return {"sync": sync, "async": async_, "stream": stream, "astream": astream}


def by_hand(call: Call) -> Call:
    """The floor."""
    tracer = trace.get_tracer("floor")

    async def wrapped(watch: Watch) -> int:
        with tracer.start_as_current_span("chat gpt-4o-mini") as span:
            chunks = await call(watch)
            for name, value in FIFTEEN.items():
                span.set_attribute(name, value)
        return chunks

    return wrapped


async def settle(*, in_loop: bool) -> None:
    """Wait until what the process does in the background is done: it uses next to no CPU time."""
    looks = [time.process_time()]
    while len(looks) < 3 or (looks[-1] - looks[-3] > 0.0003 and len(looks) < 1000):
        await asyncio.sleep(0.001) if in_loop else time.sleep(0.001)  # noqa: ASYNC251
        looks.append(time.process_time())


async def measure(kind: str, call: Call, counter: Counter) -> Figures:
    """Make a block of calls: medians, a chunk, in units of the reference, and spans a call."""
    taken: list[tuple[float, float, float]] = []
    spans = counter.spans
    for _ in range(WARM_UP[kind] + BLOCKS[kind]):
        watch = Watch()
        watch.start()
        cpu = time.process_time_ns()
        chunks = await call(watch)
        watch.stop()
        await settle(in_loop=kind.startswith("a"))
        cpu = time.process_time_ns() - cpu
        taken.append((watch.total() / chunks, cpu / watch.unit_ns / chunks, watch.unit_ns / 1000))
    wall, cpus, units = map(statistics.median, zip(*taken[WARM_UP[kind] :], strict=True))
    return {"wall": wall, "cpu": cpus, "unit": units, "spans": (counter.spans - spans) / len(taken)}


def outside_a_loop(coroutine: Coroutine[Any, Any, Figures]) -> Figures:
    """Run what waits for nothing, as a synchronous program does: LiteLLM looks for a running loop."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError


def serve(name: str, *, content: bool) -> Iterator[dict[str, Any]]:
    """Yield which versions there are, and figures for each line of the input, which names a kind of call."""
    counter, loop = Counter(), asyncio.new_event_loop()
    switch_on(name, counter, content=content)
    ways = {kind: by_hand(call) if name == "floor" else call for kind, call in calls().items()}
    home = Path(sys.prefix).name.rpartition("-")[0]

    def block(kind: str) -> Figures:
        coroutine = measure(kind, ways[kind], counter)
        return loop.run_until_complete(coroutine) if kind.startswith("a") else outside_a_loop(coroutine)

    for kind in ways:
        block(kind)  # the first calls load what LiteLLM loads late
    yield {package: metadata.version(package) for package in (home, "openai", "opentelemetry-sdk")}
    gc.freeze()
    for kind in map(str.strip, sys.stdin):
        gc.collect()
        gc.disable()
        figures = block(kind)
        gc.enable()
        yield figures


def work(name: str, *, content: bool) -> None:
    """Be the process of a peer."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a peer prints is no answer
    try:
        for answer in serve(name, content=content):
            print(json.dumps(answer), file=answers)
    except Exception as error:  # noqa: BLE001  whatever it is, it is the reason why the peer cannot be measured
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers)


if __name__ == "__main__":
    work(sys.argv[1], content=sys.argv[2] == "on")
