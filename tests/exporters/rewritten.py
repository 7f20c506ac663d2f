"""A span as a destination is sent it, made by the real SDK, encoded as the spool keeps it, and rewritten."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from callspan_exporters._decoding import values
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import encode_resource, encode_scope, encode_span
from callspan_exporters.otlp import OTLPDestination

TRACE_ID = 0x0AF7651916CD43DD8448EB211C80319C
SPAN_ID = 0x00F067AA0BA902B7
SECOND_NS = 1_000_000_000

CHAT: dict[str, Any] = {
    "callspan.entry_point": "litellm.completion",
    "callspan.outcome": "success",
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.response.time_to_first_chunk": 0.25,
    "gen_ai.usage.input_tokens": 11,
    "gen_ai.usage.output_tokens": 7,
    "gen_ai.usage.cache_read.input_tokens": 4,
    "gen_ai.usage.cache_write.input_tokens": 1,
    "gen_ai.usage.reasoning.output_tokens": 2,
    "callspan.cost.amount": 0.0125,
    "callspan.cost.currency": "USD",
    "user.id": "u-1",
    "session.id": "s-1",
    "callspan.tags": ["beta", "eu"],
    "callspan.metadata.plan": "pro",
}
CONTENT: dict[str, Any] = {
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be kind."}]),
    "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}]),
    "gen_ai.output.messages": json.dumps(
        [{"role": "assistant", "parts": [{"type": "text", "content": "Hello."}], "finish_reason": "stop"}]
    ),
    "gen_ai.tool.definitions": json.dumps([{"type": "function", "name": "weather", "parameters": {"type": "object"}}]),
}


def parent(span_id: int = SPAN_ID, *, remote: bool = False) -> trace.SpanContext:
    """The parent of a span, in this process or in another."""
    return trace.SpanContext(TRACE_ID, span_id, remote, trace.TraceFlags(trace.TraceFlags.SAMPLED))


REMOTE = parent(remote=True)


@dataclass(frozen=True)
class Sent:
    """What came of a span."""

    span: trace_pb2.Span
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]

    def json(self, key: str) -> Any:
        """An attribute that holds JSON."""
        return json.loads(self.attributes[key])


def ended_span(
    attributes: Mapping[str, Any], parent: trace.SpanContext | None = None, error: Exception | None = None
) -> ReadableSpan:
    """Makes a span that began at second 1 and took one."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    context = trace.set_span_in_context(trace.NonRecordingSpan(parent)) if parent is not None else None
    span = provider.get_tracer("app").start_span("chat", context, attributes=attributes, start_time=SECOND_NS)
    if error is not None:
        span.record_exception(error)
        span.set_status(trace.StatusCode.ERROR)
    span.end(2 * SECOND_NS)
    return kept.get_finished_spans()[0]


def sent(
    destination: OTLPDestination,
    attributes: Mapping[str, Any],
    parent: trace.SpanContext | None = None,
    error: Exception | None = None,
) -> Sent:
    """Returns what a destination is sent of a span with these attributes."""
    span = ended_span(attributes, parent, error)
    encoded = EncodedSpan(encode_resource(span.resource), encode_scope(span.instrumentation_scope), encode_span(span))
    if destination.rewriting is not None:
        encoded = destination.rewriting.rewritten(encoded)
    message = trace_pb2.Span.FromString(encoded.span)
    assert len({each.key for each in message.attributes}) == len(message.attributes), "an attribute is there twice"
    resource = trace_pb2.ResourceSpans.FromString(encoded.resource).resource
    return Sent(message, values(message.attributes), values(resource.attributes))
