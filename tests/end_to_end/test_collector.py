"""A real Collector, started with the collector-config.yaml we ship, gets every span once and loses none."""

import signal
from collections import Counter
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from callspan import semconv
from end_to_end.collector.sending import send
from loopback.otlp_inbox import ReceivedSpan
from loopback.processes import run_python

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"
DEAD = "http://127.0.0.1:9"  # the discard port, where nobody listens


def test_what_was_acknowledged_survives_the_death_of_the_collector(collector):
    collector.stop()
    collector.start(COLLECTOR_BACKEND=DEAD)
    for number in range(20):
        send(collector, f"span{number}")
    assert collector.metric("otelcol_exporter_queue_size", exporter="otlp_http") > 0
    collector.stop(signal.SIGKILL)
    assert collector.spans == []
    collector.start()

    names = Counter(span.name for span in collector.wait_for(20))
    assert names == {f"span{number}": 1 for number in range(20)}


def test_the_output_goes_on_where_it_ended(collector):
    send(collector, "before")
    assert collector.wait_for(1)
    collector.stop()
    collector.start()
    send(collector, "after")

    assert [span.name for span in collector.wait_for(2)] == ["before", "after"]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_quickstart_arrives_each_span_once(collector, protocol):
    endpoint = collector.grpc_endpoint if protocol == "grpc" else collector.http_endpoint
    run_python(
        QUICKSTART,
        auto_instrument=True,
        # Without a key it asks nobody: the answers are LiteLLM's own mocks.
        env={
            "OPENAI_API_KEY": None,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        },
    )
    # By its exit everything has been acknowledged; from there to the file it takes the Collector a moment.
    accepted = int(collector.metric("otelcol_receiver_accepted_spans", receiver="otlp"))
    spans = [span for span in collector.wait_for(accepted) if span.scope.name.startswith("callspan")]

    assert len(spans) >= 5
    assert Counter(span.span_id for span in spans).most_common(1)[0][1] == 1
    check_parents(spans)
    for span in spans:
        if span.span.kind == Span.SPAN_KIND_CLIENT:
            check_conventions(span)
        else:  # a Router's, which asks no provider itself; its attempts do
            assert span.attributes[semconv.CALLSPAN_ENTRY_POINT].startswith("Router.")
            assert span.span_id in {attempt.parent_id for attempt in spans}
    failed = [span for span in spans if span.span.status.code == Status.STATUS_CODE_ERROR]
    assert failed
    assert len(failed) < len(spans)


def check_parents(spans: list[ReceivedSpan]) -> None:
    """Every span is a root or lies within a parent of the same trace."""
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        if span.parent_id is not None:
            parent = by_id[span.parent_id]
            assert parent.trace_id == span.trace_id
            assert parent.span.start_time_unix_nano <= span.span.start_time_unix_nano


def check_conventions(span: ReceivedSpan) -> None:
    """The span of a provider's answer has what the GenAI conventions require."""
    attributes = span.attributes
    operation = attributes[semconv.GEN_AI_OPERATION_NAME]
    assert span.name == f"{operation} {attributes[semconv.GEN_AI_REQUEST_MODEL]}"
    assert attributes[semconv.GEN_AI_PROVIDER_NAME]
    if span.span.status.code == Status.STATUS_CODE_ERROR:
        assert attributes[semconv.ERROR_TYPE]
    elif attributes.get(semconv.GEN_AI_REQUEST_STREAM):
        assert attributes[semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] >= 0
    assert span.span.end_time_unix_nano >= span.span.start_time_unix_nano
