"""How long one span takes to encode, here and with the official encoder: ``python tests/benchmarks/bench_encoding.py``.

Both run in turns in the same process, so that a busy machine slows both; the ratio is the figure to go by.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

import statistics
import time

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import SpanKind

from callspan import semconv
from callspan_exporters._encoding import encode_span

ROUNDS = 40
SPANS_A_ROUND = 250


def llm_span() -> ReadableSpan:
    """Return an ended span such as one chat call makes: 20 attributes, 4 events, about 1.5 KB of OTLP."""
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


def official(span: ReadableSpan) -> bytes:
    """Return the span as the official exporter sends it, in a request of its own."""
    return encode_spans([span]).SerializeToString()


def microseconds(encode, span: ReadableSpan, times: int) -> list[float]:
    """Return how long each of ``times`` encodings took, in microseconds."""
    taken = []
    for _ in range(times):
        start = time.perf_counter_ns()
        encode(span)
        taken.append((time.perf_counter_ns() - start) / 1000)
    return taken


def main() -> None:
    """Measure both encoders in turns and print a table."""
    span = llm_span()
    encoders = {"callspan": encode_span, "official, one request": official}
    taken: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(ROUNDS):
        for name, encode in encoders.items():
            taken[name] += microseconds(encode, span, SPANS_A_ROUND)
    floor = statistics.median(taken["callspan"])
    print(f"span of {len(encode_span(span))} bytes, {ROUNDS * SPANS_A_ROUND} times each")
    print(f"{'':24}{'median':>10}{'p99':>10}{'ratio':>8}")
    for name, values in taken.items():
        median = statistics.median(values)
        print(f"{name:24}{median:8.1f}us{statistics.quantiles(values, n=100)[98]:8.1f}us{median / floor:8.1f}")


if __name__ == "__main__":
    main()
