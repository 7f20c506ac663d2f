"""Which spans the Collector keeps, what a crash leaves of them, and that its metrics are those of all of them."""

import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from callspan import semconv
from end_to_end.collector.running import Collector
from end_to_end.collector.sending import send, span

LONG = "1h"  # until sampling decides, longer than a test takes: only a stop makes it decide
CHAT = {
    semconv.GEN_AI_OPERATION_NAME: "chat",
    semconv.GEN_AI_PROVIDER_NAME: "openai",
    semconv.GEN_AI_REQUEST_MODEL: "gpt-4o-mini",
    semconv.GEN_AI_USAGE_INPUT_TOKENS: 11,
    semconv.GEN_AI_USAGE_OUTPUT_TOKENS: 13,
    semconv.CALLSPAN_COST_AMOUNT: 0.01,
    semconv.CALLSPAN_COST_CURRENCY: "USD",
    semconv.CALLSPAN_OUTCOME: semconv.OUTCOME_SUCCESS,
}


@pytest.fixture
def sampling(collector_program: Path, tmp_path: Path) -> Iterator[Collector]:
    """A Collector that keeps no traces but those with a reason."""
    with Collector(
        collector_program,
        tmp_path / "collector",
        COLLECTOR_SAMPLING_PERCENTAGE="0",
        COLLECTOR_DECISION_WAIT=LONG,
        COLLECTOR_METRICS_INTERVAL="100ms",
    ) as running:
        yield running


def remarkable() -> list[Span]:
    """One span for each reason to keep one, each with an unremarkable one in its trace; and what is near a reason."""
    return [
        span("failed", CHAT, trace="1", error="Rate limit reached"),
        span("failed's parent", trace="1"),
        span("named an error", {**CHAT, "error.type": "timeout"}, trace="2"),
        span("slow", CHAT, trace="3", seconds=10.1),
        span("slow's parent", trace="3"),
        span("costly", {**CHAT, "callspan.cost.amount": 0.1}, trace="4"),
        span("costly's parent", trace="4"),
        span("quick", CHAT, trace="5", seconds=9.9),
        span("cheap", {**CHAT, "callspan.cost.amount": 0.09}, trace="6"),
    ]


WITH_A_REASON = {"failed": "error", "named an error": "error", "slow": "slow", "costly": "costly"}
IN_THEIR_COMPANY = ["failed's parent", "slow's parent", "costly's parent"]


def test_every_error_slow_and_costly_call_is_kept_with_its_trace_and_nothing_else(sampling):
    send(sampling, *remarkable())
    at_once = {received.name: received.attributes.get("sampling.reason") for received in sampling.wait_for(4)}
    sampling.stop()  # which decides about the rest
    sampling.start()
    after_the_decision = [received.name for received in sampling.wait_for(7)]

    assert at_once == WITH_A_REASON
    assert sorted(after_the_decision) == sorted([*WITH_A_REASON, *IN_THEIR_COMPANY])


def test_a_crash_while_sampling_waits_loses_none_of_those_with_a_reason(sampling):
    sampling.stop()
    sampling.start(COLLECTOR_BACKEND="http://127.0.0.1:9")  # so that nothing gets further than the disk
    send(sampling, *remarkable())
    sampling.stop(signal.SIGKILL)
    sampling.start()

    assert {received.name for received in sampling.wait_for(4)} == set(WITH_A_REASON)


def test_a_share_of_traces_is_kept_whole(sampling):
    sampling.stop()
    sampling.start(COLLECTOR_SAMPLING_PERCENTAGE="50")
    send(sampling, *(span(f"{name} {n}", CHAT, trace=f"{n}") for n in range(200) for name in ("call", "its parent")))
    sampling.stop()
    sampling.start()
    assert sampling.wait_for(120)
    while sampling.metric("otelcol_exporter_queue_size", exporter="otlp_http"):
        time.sleep(0.1)
    kept = [received.trace_id for received in sampling.spans]

    assert 120 < len(kept) < 280
    assert all(kept.count(trace) == 2 for trace in kept)


def test_what_comes_after_the_decision_follows_it(sampling):
    sampling.stop()
    sampling.start(COLLECTOR_DECISION_WAIT="300ms")
    send(sampling, span("failed", CHAT, trace="kept", error="no"), span("fine", CHAT, trace="not kept"))
    deadline = time.monotonic() + 20
    while sampling.metric("otelcol_processor_tail_sampling_global_count_traces_sampled") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    send(sampling, span("late and kept", CHAT, trace="kept"), span("late", CHAT, trace="not kept"))
    send(sampling, span("late and failed", CHAT, trace="not kept", error="no"))

    assert {received.name for received in sampling.wait_for(3)} == {"failed", "late and kept", "late and failed"}


def test_metrics_are_those_of_every_request_sampled_or_not(sampling):
    embeddings = {**CHAT, "gen_ai.operation.name": "embeddings", "gen_ai.request.model": "text-embedding-3-small"}
    send(sampling, *(span(f"call {n}", CHAT, trace=f"{n}", seconds=3) for n in range(50)))
    with ThreadPoolExecutor(8) as senders:  # at once: counters must not lose what overtakes something else
        list(senders.map(lambda n: send(sampling, span(f"call {n}", CHAT, trace=f"{n}")), range(50, 150)))
    send(sampling, span("embeddings", embeddings, seconds=0.2))
    send(sampling, span("failed", {**CHAT, "error.type": "timeout"}, error="timed out"))
    # Neither of them asks a model: their children do, and are counted.
    send(sampling, span("router", {"callspan.entry_point": "Router.completion"}))
    send(sampling, span("agent", {**CHAT, "gen_ai.operation.name": "invoke_agent"}))

    settle(sampling, "callspan_calls_total", 152)
    settle(sampling, "callspan_cost_total", pytest.approx(1.52))
    measured = partial(
        sampling.span_metric,
        gen_ai_provider_name="openai",
        gen_ai_request_model="gpt-4o-mini",
        gen_ai_operation_name="chat",
    )
    assert measured("callspan_calls_total", job="test") == 151
    assert measured("callspan_calls_total", status_code="STATUS_CODE_ERROR", error_type="timeout") == 1
    assert measured("callspan_input_tokens_total", job="test") == 151 * 11
    assert measured("callspan_output_tokens_total") == 151 * 13
    assert sampling.span_metric("callspan_output_tokens_total", gen_ai_operation_name="embeddings") == 13
    assert measured("callspan_cost_total", callspan_cost_currency="USD") == pytest.approx(1.51)
    assert measured("callspan_duration_seconds_count") == 151
    assert measured("callspan_duration_seconds_sum") == pytest.approx(50 * 3 + 101 * 0.1, rel=0.01)
    assert measured("callspan_duration_seconds_bucket", le="2.5") == 101


def settle(collector: Collector, name: str, value: object) -> None:
    """Waits until a metric has come to a value."""
    deadline = time.monotonic() + 20
    while (found := collector.span_metric(name)) != value:
        assert time.monotonic() < deadline, f"{name} is {found}, not {value}"
        time.sleep(0.1)
