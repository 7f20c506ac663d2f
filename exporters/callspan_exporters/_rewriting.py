"""Attributes that a destination wants besides those that a span has, added to the stored bytes as they are sent.

What is stored stays as the conventions have it, for whoever else it goes to.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.util.types import AttributeValue

from callspan_exporters._decoding import values
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._outcome import Outcome, Transport
from callspan_exporters._wire import attributes, delimited

_logger = logging.getLogger(__name__)

_RESOURCE: Final = b"\x0a"  # ResourceSpans.resource
_RESOURCE_ATTRIBUTES: Final = b"\x0a"  # Resource.attributes
_SPAN_ATTRIBUTES: Final = b"\x4a"  # Span.attributes


@dataclass(frozen=True, slots=True)
class SpanView:
    """A stored span as who adds attributes sees it.

    Attributes:
        span: as protobuf has it.
        attributes: of the span.
        resource: attributes of the resource.
    """

    span: trace_pb2.Span
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rewriting:
    """What is added for one destination.

    Attributes:
        of_span: returns the attributes to add to a span; those that it has already stay as they are, so that what the
            application says itself prevails, and those of None are left out.
        of_resource: added to every resource.
        place: returns where a span belongs, where that is not where it was made: its trace's id and its parent's, which
            is empty for a root. None leaves it where it is.
    """

    of_span: Callable[[SpanView], Mapping[str, AttributeValue | None]] | None = None
    of_resource: Mapping[str, str] = field(default_factory=dict[str, str])
    place: Callable[[SpanView], tuple[bytes, bytes] | None] | None = None

    def rewritten(self, encoded: EncodedSpan) -> EncodedSpan:
        """Return a span with what is added. One that cannot be read stays as it is."""
        resource = _with_attributes(encoded.resource, tuple(self.of_resource.items()))
        if self.of_span is None and self.place is None:
            return encoded._replace(resource=resource)
        try:
            view = viewed(encoded)
        except DecodeError:  # its destination will say what is wrong with it
            return encoded._replace(resource=resource)
        # Repeated fields of a protobuf message may be appended to its bytes.
        return EncodedSpan(resource, encoded.scope, self._placed(view, encoded.span) + self._added(view))

    def before(self, transport: Transport) -> Transport:
        """Return a way by which spans are rewritten before they are sent."""
        return _RewritingTransport(transport, self)

    def _placed(self, view: SpanView, span: bytes) -> bytes:
        place = self.place(view) if self.place is not None else None
        if place is None:
            return span
        moved = trace_pb2.Span()
        moved.CopyFrom(view.span)
        moved.trace_id, moved.parent_span_id = place
        if not moved.parent_span_id:
            moved.flags &= trace_pb2.SPAN_FLAGS_TRACE_FLAGS_MASK
        return moved.SerializeToString()

    def _added(self, view: SpanView) -> bytes:
        if self.of_span is None:
            return b""
        try:
            added = self.of_span(view)
        except Exception:
            _logger.debug("Attributes cannot be made of the span %r", view.span.name, exc_info=True)
            return b""
        return attributes(
            _SPAN_ATTRIBUTES,
            {key: value for key, value in added.items() if value is not None and key not in view.attributes},
        )


def viewed(encoded: EncodedSpan) -> SpanView:
    """Return a stored span's fields.

    Raises:
        google.protobuf.message.DecodeError: the bytes are no OTLP.
    """
    span = trace_pb2.Span.FromString(encoded.span)
    return SpanView(span, values(span.attributes), resource_attributes(encoded.resource))


# By their bytes, of which a program has few; the second by identity too, for framing groups spans by that.
@lru_cache(maxsize=256)
def resource_attributes(encoded: bytes) -> Mapping[str, Any]:
    """Return the attributes of a stored resource. They are shared: to be read only."""
    return values(trace_pb2.ResourceSpans.FromString(encoded).resource.attributes)


@lru_cache(maxsize=256)
def _with_attributes(resource: bytes, added: tuple[tuple[str, str], ...]) -> bytes:
    known = resource_attributes(resource)
    new = {key: value for key, value in added if key not in known}
    # Protobuf merges what a message has twice (https://protobuf.dev/programming-guides/encoding/#last-one-wins).
    return resource + delimited(_RESOURCE, attributes(_RESOURCE_ATTRIBUTES, new)) if new else resource


class _RewritingTransport:
    def __init__(self, transport: Transport, rewriting: Rewriting) -> None:
        self._transport = transport
        self._rewriting = rewriting

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
        return self._transport.send([self._rewriting.rewritten(span) for span in spans], timeout_s)

    def close(self) -> None:
        self._transport.close()
