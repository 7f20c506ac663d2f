"""What the benchmarks share: the span they process, and how time is taken and told."""
# ruff: noqa: T201  what a benchmark prints is what it is for

import statistics
import time
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import SpanKind

from callspan import semconv

ROUNDS = 40
SPANS_A_ROUND = 250


def llm_span() -> ReadableSpan:
    """Return an ended span such as one chat call makes: 21 attributes, 4 events, about 1.5 KB of OTLP."""
    tracer = TracerProvider(resource=Resource({"service.name": "benchmark"}), shutdown_on_exit=False).get_tracer("llm")
    with tracer.start_as_current_span("request"):
        span = tracer.start_span("chat gpt-4o-mini", kind=SpanKind.CLIENT)
    span.set_attributes(
        {
            semconv.GEN_AI_OPERATION_NAME: "chat",
            semconv.GEN_AI_PROVIDER_NAME: "openai",
            semconv.GEN_AI_REQUEST_MODEL: "gpt-4o-mini",
            semconv.GEN_AI_RESPONSE_MODEL: "gpt-4o-mini-2024-07-18",
            semconv.GEN_AI_RESPONSE_ID: "chatcmpl-9f8d7c6b5a4e3f2d1c0b9a8f7e6d5c4b",
            semconv.GEN_AI_RESPONSE_FINISH_REASONS: ["stop"],
            semconv.GEN_AI_REQUEST_TEMPERATURE: 0.2,
            semconv.GEN_AI_REQUEST_TOP_P: 1.0,
            semconv.GEN_AI_REQUEST_MAX_TOKENS: 512,
            semconv.GEN_AI_REQUEST_STREAM: True,
            semconv.GEN_AI_REQUEST_STOP_SEQUENCES: ["\n\n", "END"],
            semconv.GEN_AI_USAGE_INPUT_TOKENS: 1234,
            semconv.GEN_AI_USAGE_OUTPUT_TOKENS: 345,
            semconv.SERVER_ADDRESS: "api.openai.com",
            semconv.SERVER_PORT: 443,
            semconv.LITELLM_CALL_ID: "3f2b8c1e-7a6d-4e5f-9b8a-0c1d2e3f4a5b",
            semconv.LITELLM_OVERHEAD: 0.0123,
            semconv.GEN_AI_SYSTEM_INSTRUCTIONS: "You are a helpful assistant. " * 14,
            semconv.CALLSPAN_OUTCOME: semconv.OUTCOME_SUCCESS,
            semconv.CALLSPAN_COST_AMOUNT: 0.000392,
            semconv.CALLSPAN_COST_CURRENCY: "USD",
        }
    )
    for name in (semconv.EVENT_PRE_API_CALL, semconv.EVENT_POST_API_CALL, semconv.EVENT_FIRST_CHUNK):
        span.add_event(name)
    span.add_event(semconv.EVENT_SUCCESS, {semconv.GEN_AI_RESPONSE_MODEL: "gpt-4o-mini-2024-07-18"})
    span.end()
    assert isinstance(span, ReadableSpan)
    return span


def compare(ways: dict[str, Callable[[ReadableSpan], object]], span: ReadableSpan) -> None:
    """Give the span to each way in turns, so that a busy machine slows all alike, and print what each took.

    Args:
        ways: what to measure, by name. The ratio printed is to the first.
        span: what each is given, ``ROUNDS * SPANS_A_ROUND`` times.
    """
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            taken[name] += _microseconds(way, span)
    first = statistics.median(next(iter(taken.values())))
    print(f"{'microseconds a span':32}{'median':>9}{'p99':>9}{'ratio':>9}")
    for name, values in taken.items():
        median = statistics.median(values)
        print(f"{name:32}{median:9.1f}{statistics.quantiles(values, n=100)[98]:9.1f}{median / first:9.2f}")


def _microseconds(way: Callable[[ReadableSpan], object], span: ReadableSpan) -> list[float]:
    taken: list[float] = []
    for _ in range(SPANS_A_ROUND):
        start = time.perf_counter_ns()
        way(span)
        taken.append((time.perf_counter_ns() - start) / 1000)
    return taken
