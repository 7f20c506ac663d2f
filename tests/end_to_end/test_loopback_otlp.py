"""The loopback OTLP receivers are what they pretend to be: the official exporters talk to them."""

import time
import warnings

import grpc
import httpx
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from loopback.otlp_behaviours import (
    Delay,
    GrpcStatus,
    Hang,
    LoseAck,
    PartialSuccess,
    RefuseSpans,
    Reset,
    Status,
    TooLargeAbove,
)

OK = SpanExportResult.SUCCESS


def spans(*names: str) -> tuple[ReadableSpan, ...]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "app"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("scope", "1")
    for name in names:
        with tracer.start_as_current_span(name, attributes={"n": 1, "list": ("a", "b")}) as span:
            span.add_event("seen", {"x": True})
    return memory.get_finished_spans()


@pytest.fixture
def export(otlp_receiver):
    exporter = HttpExporter(f"{otlp_receiver.endpoint}/v1/traces", compression=Compression.Gzip, timeout=1)
    yield lambda *names: exporter.export(spans(*names))
    exporter.shutdown()


def names(receiver) -> list[str]:
    return [span.name for span in receiver.spans]


def test_spans_are_received_whole(export, otlp_receiver):
    assert export("a", "b") == OK
    first, second = otlp_receiver.wait_for(2)

    assert (first.name, second.name) == ("a", "b")
    assert first.resource.attributes[0].value.string_value == "app"
    assert (first.scope.name, first.parent_id) == ("scope", None)
    assert first.attributes == {"n": 1, "list": ("a", "b")}
    assert first.events == [("seen", {"x": True})]
    [request] = otlp_receiver.requests
    assert (request.path, request.headers["content-encoding"]) == ("/v1/traces", "gzip")
    assert (request.span_count, request.status) == (2, 200)


def test_status_takes_nothing(export, otlp_receiver):
    otlp_receiver.behave(Status(400, {"x": "y"}, b"no"))

    assert export("a") != OK
    assert export("b") == OK
    assert names(otlp_receiver) == ["b"]
    assert [request.status for request in otlp_receiver.requests] == [400, 200]


def test_partial_success_takes_the_rest_and_says_so(otlp_receiver, export):
    otlp_receiver.default = PartialSuccess(1, "not that")
    export("a", "b")
    answer = httpx.post(f"{otlp_receiver.endpoint}/v1/traces", content=b"")

    assert names(otlp_receiver) == ["b"]
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert (partial.rejected_spans, partial.error_message) == (1, "not that")


def test_what_is_refused_depends_on_the_request(export, otlp_receiver):
    otlp_receiver.default = RefuseSpans(lambda span: span.name == "bad")
    export("good", "bad")
    export("good")
    otlp_receiver.default = TooLargeAbove(1000)
    export(*"abcdefghijklm")
    export("small")

    assert [request.status for request in otlp_receiver.requests] == [400, 200, 413, 200]
    assert names(otlp_receiver) == ["good", "small"]


@pytest.mark.parametrize("behaviour", [Delay(9), Hang(), Reset(), LoseAck()])
def test_an_answer_that_does_not_come_is_an_error_of_transport(otlp_receiver, behaviour):
    otlp_receiver.behave(behaviour)
    with pytest.raises(httpx.TransportError) as error:
        httpx.post(f"{otlp_receiver.endpoint}/v1/traces", content=b"", timeout=0.2)

    assert otlp_receiver.wait_for_requests(1)
    assert [request.status for request in otlp_receiver.requests] == [None]
    assert isinstance(error.value, httpx.ReadError) == isinstance(behaviour, Reset)


def test_a_lost_acknowledgement_means_the_spans_come_twice(export, otlp_receiver):
    otlp_receiver.behave(LoseAck())

    assert export("a") == OK
    assert names(otlp_receiver) == ["a", "a"]


def test_down_refuses_and_up_has_the_same_port(export, otlp_receiver):
    export("before")
    otlp_receiver.down()
    with pytest.raises(httpx.ConnectError):
        httpx.post(otlp_receiver.endpoint)
    otlp_receiver.up()

    assert export("after") == OK
    assert names(otlp_receiver) == ["before", "after"]


def test_by_grpc(otlp_grpc_receiver):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exporter = GrpcExporter(otlp_grpc_receiver.endpoint, insecure=True, timeout=2)
    otlp_grpc_receiver.behave(
        GrpcStatus(grpc.StatusCode.UNAVAILABLE, "later", retry_after=0.1), PartialSuccess(1), Delay(0.1)
    )
    started = time.monotonic()

    assert exporter.export(spans("a", "b")) == OK  # after the retry which it was told to make
    assert time.monotonic() - started < 1
    assert exporter.export(spans("c")) == OK
    otlp_grpc_receiver.behave(RefuseSpans(lambda span: span.name == "bad"))
    assert exporter.export(spans("bad")) != OK
    exporter.shutdown()
    assert names(otlp_grpc_receiver) == ["b", "c"]
    assert [request.status for request in otlp_grpc_receiver.requests] == [14, 0, 0, 3]
