"""OTLP protobuf bytes back as the ended span they were made of: the inverse of `callspan_exporters._encoding`.

For exporters that take the SDK's spans. What comes back is equal in everything an exporter can ask of a span, with the
installed SDK's own types, save what the bytes do not hold:

* what `callspan_exporters._encoding` had to repair or to write as text: halves of surrogate pairs, integers beyond 64
  bits, values of other types, of which subclasses of the known ones come back as those;
* ``None`` as distinct from nothing: for the description of a status, the version of a scope, attributes, a scope;
* the trace state of links, which neither the official encoder nor ours writes, though it is read where another did;
* the trace state and flags of a parent, which are taken to be the span's. A sampler may have changed them in between;
* ``instrumentation_info``, deprecated since 1.11, which cannot be made without a warning.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from callspan_exporters._encoded import EncodedSpan

_Item = TypeVar("_Item", Event, Link)

_KINDS: Final = {
    trace_pb2.Span.SPAN_KIND_SERVER: SpanKind.SERVER,
    trace_pb2.Span.SPAN_KIND_CLIENT: SpanKind.CLIENT,
    trace_pb2.Span.SPAN_KIND_PRODUCER: SpanKind.PRODUCER,
    trace_pb2.Span.SPAN_KIND_CONSUMER: SpanKind.CONSUMER,
}
_STATUS_CODES: Final = {
    trace_pb2.Status.STATUS_CODE_OK: StatusCode.OK,
    trace_pb2.Status.STATUS_CODE_ERROR: StatusCode.ERROR,
}


def decode_span(encoded: EncodedSpan) -> ReadableSpan:
    """Return an encoded span as the SDK's, with the resource and the scope it came from.

    Spans with the same resource, or the same scope, share one object, as those of one provider or tracer do.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no OTLP.
    """
    span = trace_pb2.Span.FromString(encoded.span)
    return ReadableSpan(
        name=span.name,
        context=_context(span),
        parent=_parent(span),
        resource=_resource(encoded.resource),
        attributes=_attributes(span.attributes, span.dropped_attributes_count),
        events=_bounded([_event(event) for event in span.events], span.dropped_events_count),
        links=_bounded([_link(link) for link in span.links], span.dropped_links_count),
        kind=_KINDS.get(span.kind, SpanKind.INTERNAL),
        status=Status(_STATUS_CODES.get(span.status.code, StatusCode.UNSET), span.status.message or None),
        start_time=span.start_time_unix_nano,
        end_time=span.end_time_unix_nano,
        instrumentation_scope=_scope(encoded.scope),
    )


# By their bytes: a program has few of them, and exporters group spans by whether these are equal.
@lru_cache(maxsize=256)
def _resource(encoded: bytes) -> Resource:
    message = trace_pb2.ResourceSpans.FromString(encoded)
    return Resource(values(message.resource.attributes), message.schema_url)


@lru_cache(maxsize=1024)
def _scope(encoded: bytes) -> InstrumentationScope:
    message = trace_pb2.ScopeSpans.FromString(encoded)
    scope = message.scope
    return InstrumentationScope(scope.name, scope.version, message.schema_url, values(scope.attributes))


def _context(span: trace_pb2.Span) -> SpanContext | None:
    if not span.trace_id and not span.span_id:
        return None
    return _span_context(span.trace_id, span.span_id, span.flags, span.trace_state, is_remote=False)


def _parent(span: trace_pb2.Span) -> SpanContext | None:
    if not span.parent_span_id:
        return None
    is_remote = _is_remote(span.flags)
    return _span_context(span.trace_id, span.parent_span_id, span.flags, span.trace_state, is_remote=is_remote)


def _event(event: trace_pb2.Span.Event) -> Event:
    return Event(event.name, _attributes(event.attributes, event.dropped_attributes_count), event.time_unix_nano)


def _link(link: trace_pb2.Span.Link) -> Link:
    is_remote = _is_remote(link.flags)
    context = _span_context(link.trace_id, link.span_id, link.flags, link.trace_state, is_remote=is_remote)
    return Link(context, _attributes(link.attributes, link.dropped_attributes_count))


def _span_context(trace_id: bytes, span_id: bytes, flags: int, trace_state: str, *, is_remote: bool) -> SpanContext:
    return SpanContext(
        int.from_bytes(trace_id, "big"),
        int.from_bytes(span_id, "big"),
        is_remote=is_remote,
        trace_flags=TraceFlags(flags & trace_pb2.SPAN_FLAGS_TRACE_FLAGS_MASK),
        trace_state=TraceState.from_header([trace_state]) if trace_state else None,
    )


def _is_remote(flags: int) -> bool:
    return bool(flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)


def _bounded(items: Sequence[_Item], dropped: int) -> Sequence[_Item]:
    bounded = cast("Any", BoundedList)(None)  # which the SDK leaves untyped
    bounded.extend(items)
    bounded.dropped = dropped
    return bounded


def _attributes(attributes: Iterable[common_pb2.KeyValue], dropped: int) -> BoundedAttributes:
    bounded = BoundedAttributes(attributes=values(attributes))
    # Added: the installed SDK may not keep what that of the process which made the span did.
    bounded.dropped += dropped
    return bounded


def values(attributes: Iterable[common_pb2.KeyValue]) -> dict[str, Any]:
    """Return attributes by their keys, as the SDK has them: arrays as tuples, maps as dictionaries."""
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: common_pb2.AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(item) for item in value.array_value.values)
    if kind == "kvlist_value":
        return values(value.kvlist_value.values)
    return getattr(value, kind) if kind else None
