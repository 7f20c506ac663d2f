"""The spans of a spool, put together into traces."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, repeat
from typing import Final, TypeAlias, cast

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._spool import Refusal

Value: TypeAlias = "bool | int | float | str | bytes | list[Value] | dict[str, Value] | None"
Attributes: TypeAlias = Mapping[str, Value]

# What is nested deeper than this is shown as a tree of its own: JSON readers and eyes have a limit.
MAX_DEPTH: Final = 100

_REMOTE_PARENT: Final = 0x200
_KINDS: Final = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUSES: Final = ("unset", "ok", "error")


@dataclass(frozen=True, slots=True)
class EventView:
    """Something that happened during a span, at nanoseconds since 1970."""

    name: str
    time_ns: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class LinkView:
    """A span of another trace that a span refers to, by ids in hexadecimal."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class RefusalView:
    """Who refused a span for good, and why."""

    destination: str
    reason: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Where spans come from: the resource, and the instrumentation that made them."""

    resource: Attributes
    scope_name: str
    scope_version: str


@dataclass(frozen=True, slots=True)
class SpanView:
    """One ended span; ids in hexadecimal, times in nanoseconds since 1970.

    Attributes:
        parent_id: empty where the span has no parent.
        parent_is_remote: whether the parent was made in another process.
        parent_in_spool: whether the parent can be shown too, if not always right above the span.
    """

    trace_id: str
    span_id: str
    parent_id: str
    parent_is_remote: bool
    parent_in_spool: bool
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str
    status_message: str
    attributes: Attributes
    events: list[EventView]
    links: list[LinkView]
    origin: Origin
    refusals: list[RefusalView]
    children: list["SpanView"] = field(default_factory=list["SpanView"])


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of one trace that are in the spool, under those whose parents are not."""

    trace_id: str
    start_ns: int
    end_ns: int
    roots: list[SpanView]


@dataclass(slots=True)
class StoredTrace:
    """The encoded spans of one trace: a spool may hold far more traces than anybody looks at."""

    trace_id: bytes
    start_ns: int
    spans: dict[bytes, EncodedSpan] = field(default_factory=dict[bytes, EncodedSpan])
    refusals: dict[bytes, list[RefusalView]] = field(default_factory=dict[bytes, list[RefusalView]])

    def read(self) -> Trace:
        """Return the trace with its spans in trees, in the order they started."""
        protos = {span_id: Span.FromString(encoded.span) for span_id, encoded in self.spans.items()}
        parents = _parents(protos)
        views: dict[bytes, SpanView] = {}
        roots: list[SpanView] = []
        for span_id, proto in sorted(protos.items(), key=lambda item: item[1].start_time_unix_nano):
            origin = _origin(self.spans[span_id].resource, self.spans[span_id].scope)
            refusals = self.refusals.get(span_id, [])
            views[span_id] = _view(proto, origin, refusals, within=proto.parent_span_id in protos)
        for span_id, view in views.items():
            siblings = views[parents[span_id]].children if span_id in parents else roots
            siblings.append(view)
        end_ns = max(view.end_ns for view in views.values())
        return Trace(self.trace_id.hex(), self.start_ns, end_ns, roots)


def collect(spans: Iterable[EncodedSpan], refusals: Iterable[Refusal] = ()) -> tuple[list[StoredTrace], int]:
    """Sort encoded spans by trace, the trace that started last first.

    A span that is there twice, as after a crash of whoever moved it, or waiting for one destination and refused by
    another, counts once.

    Returns:
        The traces, and how many spans could not be read.
    """
    traces: dict[bytes, StoredTrace] = {}
    unreadable = 0
    for encoded, refusal in chain(zip(spans, repeat(None)), ((refusal.span, refusal) for refusal in refusals)):
        try:
            span = Span.FromString(encoded.span)
            _origin(encoded.resource, encoded.scope)
        except DecodeError:
            unreadable += 1
            continue
        trace = traces.setdefault(span.trace_id, StoredTrace(span.trace_id, span.start_time_unix_nano))
        trace.start_ns = min(trace.start_ns, span.start_time_unix_nano)
        span_id = span.span_id or b"without id %d" % len(trace.spans)
        trace.spans[span_id] = encoded
        if refusal:
            trace.refusals.setdefault(span_id, []).append(RefusalView(refusal.destination, refusal.reason))
    return sorted(traces.values(), key=lambda trace: trace.start_ns, reverse=True), unreadable


def _parents(protos: Mapping[bytes, Span]) -> dict[bytes, bytes]:
    """Return whom each span is shown under: nobody for roots, orphans, one span of any circle, and what is too deep."""
    parents = {
        span_id: span.parent_span_id
        for span_id, span in protos.items()
        if span.parent_span_id != span_id and span.parent_span_id in protos
    }
    depths: dict[bytes, int] = {}
    for span_id in protos:
        way = [span_id]
        seen = {span_id}
        while way[-1] in parents and way[-1] not in depths:
            parent = parents[way[-1]]
            if parent in seen:
                del parents[way[-1]]
                break
            way.append(parent)
            seen.add(parent)
        for step in reversed(way):
            if step in parents and depths[parents[step]] + 1 > MAX_DEPTH:
                del parents[step]
            depths[step] = depths[parents[step]] + 1 if step in parents else 0
    return parents


def _view(span: Span, origin: Origin, refusals: list[RefusalView], *, within: bool) -> SpanView:
    return SpanView(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        parent_is_remote=bool(span.flags & _REMOTE_PARENT),
        parent_in_spool=within,
        name=span.name,
        kind=_name(_KINDS, span.kind),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=_name(_STATUSES, span.status.code),
        status_message=span.status.message,
        attributes=_attributes(span.attributes),
        events=[EventView(event.name, event.time_unix_nano, _attributes(event.attributes)) for event in span.events],
        links=[LinkView(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links],
        origin=origin,
        refusals=refusals,
    )


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


@lru_cache(maxsize=256)
def _origin(resource: bytes, scope: bytes) -> Origin:
    decoded = ScopeSpans.FromString(scope).scope
    attributes = _attributes(ResourceSpans.FromString(resource).resource.attributes)
    return Origin(attributes, decoded.name, decoded.version)


def _attributes(attributes: Iterable[KeyValue]) -> Attributes:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: AnyValue) -> Value:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return dict(_attributes(value.kvlist_value.values))
    return cast("Value", getattr(value, kind)) if kind else None
