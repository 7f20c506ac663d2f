"""Spans sent to a Collector as any OTLP client sends them."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from end_to_end.collector.running import Collector
from loopback.otlp_inbox import ReceivedSpan

PROTOBUF = {"Content-Type": "application/x-protobuf"}


def span(
    name: str,
    attributes: Mapping[str, Any] | None = None,
    *,
    trace: str = "trace",
    seconds: float = 0.1,
    error: str | None = None,
    events: Mapping[str, Mapping[str, Any]] | None = None,
) -> Span:
    """A span that has just ended; its name makes its id, and `trace` its trace's."""
    now = time.time_ns()
    return Span(
        name=name,
        trace_id=hashlib.sha256(trace.encode()).digest()[:16],
        span_id=hashlib.sha256(name.encode()).digest()[:8],
        start_time_unix_nano=now - int(seconds * 1e9),
        end_time_unix_nano=now,
        attributes=pairs(attributes or {}),
        events=[
            Span.Event(name=event, time_unix_nano=now, attributes=pairs(of_event))
            for event, of_event in (events or {}).items()
        ],
        status=Status() if error is None else Status(code=Status.STATUS_CODE_ERROR, message=error),
    )


def send(collector: Collector, *spans: Span | str, resource: Mapping[str, Any] | None = None) -> None:
    """Posts spans, of which a name will do; what is refused is an error."""
    post(collector, *spans, resource=resource).raise_for_status()


def post(collector: Collector, *spans: Span | str, resource: Mapping[str, Any] | None = None) -> httpx.Response:
    """Posts spans, and returns what was answered."""
    url = f"{collector.http_endpoint}/v1/traces"
    return httpx.post(url, content=body_of(*spans, resource=resource), headers=PROTOBUF, verify=False, timeout=60)


def body_of(*spans: Span | str, resource: Mapping[str, Any] | None = None) -> bytes:
    """What is posted."""
    whole = [span(each) if isinstance(each, str) else each for each in spans]
    resource_spans = ResourceSpans(
        resource=Resource(attributes=pairs(resource or {"service.name": "test"})),
        scope_spans=[ScopeSpans(spans=whole)],
    )
    return ExportTraceServiceRequest(resource_spans=[resource_spans]).SerializeToString()


def exchange(collector: Collector, sent: Span, resource: Mapping[str, Any] | None = None) -> ReceivedSpan:
    """Posts a span, and returns what comes out at the other end."""
    before = len(collector.spans)
    send(collector, sent, resource=resource)
    [received] = collector.wait_for(before + 1)[before:]
    return received


def pairs(attributes: Mapping[str, Any]) -> Sequence[KeyValue]:
    """Attributes as they are on the wire."""
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: Any) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case _:
            return AnyValue(array_value=ArrayValue(values=[_value(item) for item in value]))
