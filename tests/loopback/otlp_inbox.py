"""What an OTLP receiver has received, as the tests look at it."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

BehaviourT = TypeVar("BehaviourT")


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span with what came around it, as decoded from the wire."""

    resource: Resource
    scope: InstrumentationScope
    span: Span

    @property
    def name(self) -> str:
        """The span's name."""
        return self.span.name

    @property
    def trace_id(self) -> str:
        """The trace id in hex."""
        return self.span.trace_id.hex()

    @property
    def span_id(self) -> str:
        """The span id in hex."""
        return self.span.span_id.hex()

    @property
    def parent_id(self) -> str | None:
        """The parent's span id in hex."""
        return self.span.parent_span_id.hex() or None

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes as Python values."""
        return _values(self.span.attributes)

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """The events' names and attributes, in order."""
        return [(event.name, _values(event.attributes)) for event in self.span.events]


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """An export request; `size` as it came over the wire, `status` as answered, None where nothing was."""

    path: str
    headers: dict[str, str]
    size: int
    span_count: int
    status: int | None


class Inbox(Generic[BehaviourT]):
    """What both receivers share.

    Attributes:
        default: what it does with a request that nothing else was said about.
        spans: the spans it took, in order, those sent twice twice.
        requests: every request that came, whatever was answered.
        batches: every request of which it took spans, with those.
    """

    def __init__(self, default: BehaviourT) -> None:
        self.default = default
        self.spans: list[ReceivedSpan] = []
        self.requests: list[ReceivedRequest] = []
        self.batches: list[tuple[ReceivedRequest, list[ReceivedSpan]]] = []
        self._queued: deque[BehaviourT] = deque()
        self._changed = threading.Condition()

    def behave(self, *behaviours: BehaviourT) -> None:
        """Queues what to do with the next requests, one each; after them it is the default again."""
        with self._changed:
            self._queued.extend(behaviours)

    def forget_behaviours(self) -> None:
        """Takes back what was queued."""
        with self._changed:
            self._queued.clear()

    def wait_for(self, spans: int, timeout: float = 10.0) -> list[ReceivedSpan]:
        """Waits until it has taken so many spans and returns those it has; there may be fewer after the timeout."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.spans) >= spans, timeout)
            return list(self.spans)

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> bool:
        """Waits until so many requests have been dealt with."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.requests) >= count, timeout)

    def next_behaviour(self) -> BehaviourT:
        """Says what to do with the request that has come."""
        with self._changed:
            return self._queued.popleft() if self._queued else self.default

    def record(self, request: ReceivedRequest, taken: Sequence[ReceivedSpan] = ()) -> None:
        """Keeps what is to be known about a request, and the spans taken from it, before it is answered."""
        with self._changed:
            self.requests.append(request)
            self.spans.extend(taken)
            if taken:
                self.batches.append((request, list(taken)))
            self._changed.notify_all()


def spans_in(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    """Flattens a request."""
    return [
        ReceivedSpan(resource_spans.resource, scope_spans.scope, span)
        for resource_spans in request.resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def _values(pairs: Any) -> dict[str, Any]:
    return dict(_pairs(pairs))


def _pairs(pairs: Any) -> Iterator[tuple[str, Any]]:
    pair: KeyValue
    for pair in pairs:
        yield pair.key, _value(pair.value)


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return tuple(_value(item) for item in value.array_value.values)
        case "kvlist_value":
            return _values(value.kvlist_value.values)
        case kind:
            return getattr(value, kind)
