"""An ended span as OTLP protobuf bytes, and those bytes framed into requests.

The official encoder builds a tree of message objects first, which is nine tenths of what a stock exporter spends. This
one writes the bytes at once. What a reader decodes is the same message, field for field, with these differences, each
where the official encoder loses something or raises:

* text with halves of surrogate pairs is repaired (`callspan_exporters._wire.utf8`) instead of dropped;
* an integer that 64 bits cannot hold becomes its digits, and any other value that OTLP cannot hold its ``str()``;
* ``None`` inside a sequence is kept with every SDK (that of 1.40 drops the whole attribute);
* the low 8 bits of ``flags`` are the W3C trace flags of the span, or of the linked span, as ``trace.proto`` has it;
* what is nested deeper than readers accept becomes text;
* a span with a broken part (no context, a time before 1970) is written without that part.

Field numbers are those of ``opentelemetry/proto/trace/v1/trace.proto``.
"""

import logging
import struct
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._wire import attributes, delimited, utf8, varint

_logger = logging.getLogger(__name__)

_MAX_UINT32: Final = (1 << 32) - 1
_MAX_UINT64: Final = (1 << 64) - 1

_W3C_FLAGS: Final = 0xFF
_LOCAL: Final = 0x100  # "is-remote is known"
_REMOTE: Final = 0x300  # and "is remote": of a span's parent, or of a linked span


def _flags(tag: bytes, remote: int) -> list[bytes]:
    """Return the field for each value that the W3C flags below the others may have."""
    return [tag + (w3c | remote).to_bytes(4, "little") for w3c in range(_W3C_FLAGS + 1)]


_FLAGS_LOCAL: Final = _flags(b"\x85\x01", _LOCAL)
_FLAGS_REMOTE: Final = _flags(b"\x85\x01", _REMOTE)
_LINK_FLAGS_LOCAL: Final = _flags(b"\x35", _LOCAL)
_LINK_FLAGS_REMOTE: Final = _flags(b"\x35", _REMOTE)

_KINDS: Final = {
    SpanKind.INTERNAL: b"\x30\x01",
    SpanKind.SERVER: b"\x30\x02",
    SpanKind.CLIENT: b"\x30\x03",
    SpanKind.PRODUCER: b"\x30\x04",
    SpanKind.CONSUMER: b"\x30\x05",
}
_STATUSES: Final = {
    StatusCode.UNSET: b"",
    StatusCode.OK: b"\x18\x01",
    StatusCode.ERROR: b"\x18\x02",
}

_times: Final = struct.Struct("<BQBQ").pack
_event_time: Final = struct.Struct("<BQ").pack


def encode_span(span: ReadableSpan) -> bytes:
    """Return an ended span as an ``opentelemetry.proto.trace.v1.Span``.

    Never raises: what cannot be written of a span is left out of it, with a warning that says what.
    """
    try:
        return b"".join([part(span) for part in _PARTS])
    except Exception:  # noqa: BLE001  a span made by hand may hold anything
        return b"".join([_part_or_nothing(part, span) for part in _PARTS])


def encode_resource(resource: Resource) -> bytes:
    """Return where spans come from: the fields of a ``ResourceSpans`` but ``scope_spans``."""
    body = attributes(b"\x0a", resource.attributes)
    return delimited(b"\x0a", body) + _text(b"\x1a", resource.schema_url)


def encode_scope(scope: InstrumentationScope | None) -> bytes:
    """Return who made spans: the fields of a ``ScopeSpans`` but ``spans``."""
    if scope is None:
        return b"\x0a\x00"
    body = _text(b"\x0a", scope.name) + _text(b"\x12", scope.version) + attributes(b"\x1a", scope.attributes or {})
    return delimited(b"\x0a", body) + _text(b"\x1a", scope.schema_url)


def frame_request(spans: Iterable[EncodedSpan]) -> bytes:
    """Return an ``ExportTraceServiceRequest`` of encoded spans, without encoding any of them again.

    Spans of one resource and scope go together; groups, and the spans in them, keep the order they came in.
    """
    resources: dict[bytes, dict[bytes, list[bytes]]] = {}
    parts: list[bytes] = []
    last_resource = last_scope = None
    for resource, scope, span in spans:
        if resource is not last_resource or scope is not last_scope:
            parts = resources.setdefault(resource, {}).setdefault(scope, [scope])
            last_resource, last_scope = resource, scope
        parts += (b"\x12", varint(len(span)), span)
    request: list[bytes] = []
    for resource, scopes in resources.items():
        children: list[bytes] = []
        for parts in scopes.values():
            children += (b"\x12", varint(sum(map(len, parts))), *parts)
        request += (b"\x0a", varint(len(resource) + sum(map(len, children))), resource, *children)
    return b"".join(request)  # the only copy


def _identity(span: ReadableSpan) -> bytes:
    context: SpanContext | None = span.get_span_context()
    if context is None:
        return b""
    ids = b"\x0a\x10" + context.trace_id.to_bytes(16, "big") + b"\x12\x08" + context.span_id.to_bytes(8, "big")
    state = context.trace_state
    if state:
        ids += _text(b"\x1a", ",".join([f"{key}={value}" for key, value in state.items()]))
    return ids


def _parent(span: ReadableSpan) -> bytes:
    context: SpanContext | None = span.get_span_context()
    w3c = context.trace_flags & _W3C_FLAGS if context is not None else 0
    parent = span.parent
    if parent is None:
        return _FLAGS_LOCAL[w3c]
    flags = _FLAGS_REMOTE if parent.is_remote else _FLAGS_LOCAL
    return b"\x22\x08" + parent.span_id.to_bytes(8, "big") + flags[w3c]


def _name_and_kind(span: ReadableSpan) -> bytes:
    return _name(b"\x2a", span.name) + _KINDS.get(span.kind, b"")


def _start_and_end(span: ReadableSpan) -> bytes:
    try:
        return _times(0x39, span.start_time, 0x41, span.end_time)
    except struct.error:  # not set, not whole, or not a time that nanoseconds since 1970 in 64 bits can tell
        return _times(0x39, _nanoseconds(span.start_time), 0x41, _nanoseconds(span.end_time))


def _attributes(span: ReadableSpan) -> bytes:
    return attributes(b"\x4a", _plain(span.attributes)) + _count(b"\x50", span.dropped_attributes)


def _events(span: ReadableSpan) -> bytes:
    parts: list[bytes] = []
    for event in span.events:
        try:
            time = _event_time(0x09, event.timestamp)
        except struct.error:
            time = _event_time(0x09, _nanoseconds(event.timestamp))
        body = time + _name(b"\x12", event.name) + attributes(b"\x1a", _plain(event.attributes))
        if dropped := event.dropped_attributes:
            body += _count(b"\x20", dropped)
        parts += (b"\x5a", varint(len(body)), body)
    if dropped := span.dropped_events:
        parts.append(_count(b"\x60", dropped))
    return b"".join(parts)


def _links(span: ReadableSpan) -> bytes:
    parts: list[bytes] = []
    for link in span.links:
        context = link.context
        body = b"\x0a\x10" + context.trace_id.to_bytes(16, "big") + b"\x12\x08" + context.span_id.to_bytes(8, "big")
        body += attributes(b"\x22", _plain(link.attributes)) + _count(b"\x28", link.dropped_attributes)
        body += (_LINK_FLAGS_REMOTE if context.is_remote else _LINK_FLAGS_LOCAL)[context.trace_flags & _W3C_FLAGS]
        parts += (b"\x6a", varint(len(body)), body)
    if dropped := span.dropped_links:
        parts.append(_count(b"\x70", dropped))
    return b"".join(parts)


def _status(span: ReadableSpan) -> bytes:
    status = span.status
    if not status:  # made by hand
        return b""
    return delimited(b"\x7a", _text(b"\x12", status.description) + _STATUSES[status.status_code])


_PARTS: Final[tuple[Callable[[ReadableSpan], bytes], ...]] = (
    _identity,
    _parent,
    _name_and_kind,
    _start_and_end,
    _attributes,
    _events,
    _links,
    _status,
)


def _part_or_nothing(part: Callable[[ReadableSpan], bytes], span: ReadableSpan) -> bytes:
    try:
        return part(span)
    except Exception as error:  # noqa: BLE001  see encode_span
        # The type only: what an error says of a value may be a prompt or a key.
        _logger.warning("A span is kept without its %s: %s", part.__name__.strip("_"), type(error).__name__)
        return b""


def _plain(values: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return attributes as a dictionary: the SDK's own mapping takes a Python call for every key and every value."""
    try:
        return values.copy()  # type: ignore[union-attr]
    except AttributeError:
        return values or {}


def _text(tag: bytes, text: str | None) -> bytes:
    return delimited(tag, utf8(text)) if text else b""


@lru_cache(maxsize=1024)
def _name(tag: bytes, name: str) -> bytes:
    """Return the name of a span or event, of which a program has few."""
    return _text(tag, name)


def _count(tag: bytes, count: int) -> bytes:
    return tag + varint(min(count, _MAX_UINT32)) if count > 0 else b""


def _nanoseconds(time: int | None) -> int:
    return min(max(int(time), 0), _MAX_UINT64) if time else 0
