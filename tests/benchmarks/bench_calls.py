"""What callspan adds to a call, and to a chunk of a stream: ``python tests/benchmarks/bench_calls.py``.

The floor is the least that any instrumentation can do: the same call wrapped by hand in ``start_as_current_span`` with
15 attributes set. Beside it stands the same with all that callspan records, 20 attributes and 3 events. Ways take turns
in blocks in one process, each after some calls to warm up, and the median of paired differences is printed, so that a
busy machine slows all alike. Spans end in a processor that does nothing; ``bench_on_end.py`` has the real one.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

import asyncio
import gc
import os
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "CALLSPAN_DESTINATIONS": "none"}

import litellm
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Span

import callspan
from callspan import semconv
from callspan._content import ContentCapture
from callspan._invocation import Invocation
from callspan._litellm.call import Call, Recording
from callspan._litellm.operations import describe_operation
from callspan._metrics import Metrics
from callspan._tracer import TracerSource

ROUNDS, CALLS_A_BLOCK, WARM_UP = 40, 25, 15
STREAM_ROUNDS, CHUNKS = 40, 2000
CHAT: dict[str, Any] = {
    "model": "openai/gpt-4o-mini",
    "messages": [{"role": "user", "content": "Say hello."}],
    "mock_response": "Hello!",
}
FIFTEEN = {
    semconv.GEN_AI_OPERATION_NAME: "chat",
    semconv.GEN_AI_PROVIDER_NAME: "openai",
    semconv.GEN_AI_REQUEST_MODEL: "gpt-4o-mini",
    semconv.GEN_AI_REQUEST_TEMPERATURE: 0.2,
    semconv.GEN_AI_REQUEST_TOP_P: 1.0,
    semconv.GEN_AI_REQUEST_MAX_TOKENS: 512,
    semconv.GEN_AI_RESPONSE_ID: "chatcmpl-1",
    semconv.GEN_AI_RESPONSE_MODEL: "gpt-4o-mini",
    semconv.GEN_AI_RESPONSE_FINISH_REASONS: ["stop"],
    semconv.GEN_AI_USAGE_INPUT_TOKENS: 10,
    semconv.GEN_AI_USAGE_OUTPUT_TOKENS: 20,
    semconv.SERVER_ADDRESS: "127.0.0.1",
    semconv.SERVER_PORT: 8080,
    semconv.LITELLM_CALL_ID: "3f2b8c1e-7a6d-4e5f-9b8a-0c1d2e3f4a5b",
    semconv.CALLSPAN_COST_AMOUNT: 0.000392,
}

provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SpanProcessor())
tracer = provider.get_tracer("floor")
operation = describe_operation("litellm.completion", litellm.completion)


FIVE_MORE = {
    semconv.CALLSPAN_OUTCOME: "success",
    semconv.CALLSPAN_ENTRY_POINT: "litellm.completion",
    semconv.CALLSPAN_COST_CURRENCY: "USD",
    semconv.LITELLM_OVERHEAD: 0.0123,
    semconv.LITELLM_PROVIDER_REQUEST_ID: "req_1",
}
THREE_EVENTS = (semconv.EVENT_PRE_API_CALL, semconv.EVENT_POST_API_CALL, semconv.EVENT_SUCCESS)


def record(span: Span, *, everything: bool) -> None:
    """What a wrapper written by hand records."""
    for name, value in (FIFTEEN | FIVE_MORE if everything else FIFTEEN).items():
        span.set_attribute(name, value)
    for name in THREE_EVENTS if everything else ():
        span.add_event(name)


def by_hand(*, everything: bool) -> None:
    """A synchronous call, wrapped by hand."""
    with tracer.start_as_current_span("chat gpt-4o-mini") as span:
        litellm.completion(**CHAT)
        record(span, everything=everything)


async def by_hand_async(*, everything: bool) -> None:
    """An asynchronous call, wrapped by hand."""
    with tracer.start_as_current_span("chat gpt-4o-mini") as span:
        await litellm.acompletion(**CHAT)
        record(span, everything=everything)


def block(call: Callable[[], object]) -> float:
    """Median microseconds of a block of synchronous calls."""
    taken: list[float] = []
    for _ in range(WARM_UP + CALLS_A_BLOCK):
        start = time.perf_counter_ns()
        call()
        taken.append((time.perf_counter_ns() - start) / 1000)
    return statistics.median(taken[WARM_UP:])


def block_async(call: Callable[[], Any]) -> float:
    """Median microseconds of a block of asynchronous calls on one loop."""

    async def run() -> float:
        taken: list[float] = []
        for _ in range(WARM_UP + CALLS_A_BLOCK):
            start = time.perf_counter_ns()
            await call()
            taken.append((time.perf_counter_ns() - start) / 1000)
        return statistics.median(taken[WARM_UP:])

    return loop.run_until_complete(run())


def compare(title: str, run: Callable[[Callable[[], Any]], float], ways: dict[str, Callable[[], Any]]) -> None:
    """Measure the plain call, the two by hand and callspan in turns, and print what the others add to the first."""
    added: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        taken: dict[str, float] = {}
        for name in random.sample(list(ways), len(ways)):
            if name == "callspan":
                callspan.instrument(tracer_provider=provider)
            taken[name] = run(ways[name])
            callspan.uninstrument()
        for name, values in added.items():
            values.append(taken[name] - (taken["plain"] if name != "plain" else 0))
    plain, floor, same, ours = (statistics.median(values) for values in added.values())
    print(f"{title:10}{plain:10.0f}{floor:10.1f}{same:10.1f}{ours:10.1f}{ours / floor:12.2f}{ours / same:12.2f}")


def ways(plain: Callable[[], Any], hand: Callable[..., Any]) -> dict[str, Callable[[], Any]]:
    """The four ways to make a call."""
    return {
        "plain": plain,
        "floor": lambda: hand(everything=False),
        "same content": lambda: hand(everything=True),
        "callspan": plain,
    }


class Chunks:
    """A stream that costs next to nothing, to see what watching it costs."""

    def __init__(self) -> None:
        self.left = CHUNKS

    def __iter__(self) -> "Chunks":
        return self

    def __next__(self) -> int:
        self.left -= 1
        if self.left < 0:
            raise StopIteration
        return self.left

    def __aiter__(self) -> "Chunks":
        return self

    async def __anext__(self) -> int:
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return self.left


def watched() -> Any:
    """The same stream as callspan hands it to a caller."""
    capture = ContentCapture.from_environment()
    return Call(Invocation(tracer, "chat", {}), operation, {}, Recording(TracerSource(), capture, Metrics())).returned(
        Chunks()
    )


def read(stream: Any) -> float:
    """Microseconds a chunk."""
    start = time.perf_counter_ns()
    for _chunk in stream:
        pass
    return (time.perf_counter_ns() - start) / 1000 / CHUNKS


def read_async(stream: Any) -> float:
    """Microseconds a chunk."""

    async def run() -> float:
        start = time.perf_counter_ns()
        async for _chunk in stream:
            pass
        return (time.perf_counter_ns() - start) / 1000 / CHUNKS

    return loop.run_until_complete(run())


def compare_streams(title: str, run: Callable[[Any], float]) -> None:
    """Print what callspan adds to a chunk."""
    added = statistics.median(run(watched()) - run(Chunks()) for _ in range(STREAM_ROUNDS))
    print(f"{title:10}{added:12.2f}")


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    block(lambda: litellm.completion(**CHAT))
    block_async(lambda: litellm.acompletion(**CHAT))
    gc.disable()
    print(f"{'us a call':10}{'plain':>10}{'floor':>10}{'same':>10}{'callspan':>10}{'to floor':>12}{'to same':>12}")
    compare("sync", block, ways(lambda: litellm.completion(**CHAT), by_hand))
    compare("async", block_async, ways(lambda: litellm.acompletion(**CHAT), by_hand_async))
    print(f"{'us a chunk':10}{'callspan':>12}")
    compare_streams("sync", read)
    compare_streams("async", read_async)
