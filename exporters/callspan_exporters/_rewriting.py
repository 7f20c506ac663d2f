"""Attributes that a destination wants besides those that a span has, added to the stored bytes as they are sent.

What is stored stays as the conventions have it, for whoever else it goes to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.util.types import AttributeValue

from callspan_exporters._decoding import values
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._outcome import Outcome, Transport
from callspan_exporters._wire import attributes, delimited

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
            application says itself prevails.
        of_resource: added to every resource.
    """

    of_span: Callable[[SpanView], Mapping[str, AttributeValue]] | None = None
    of_resource: Mapping[str, str] = field(default_factory=dict[str, str])

    def rewritten(self, encoded: EncodedSpan) -> EncodedSpan:
        """Return a span with what is added. One that cannot be read stays as it is."""
        resource = _with_attributes(encoded.resource, tuple(self.of_resource.items()))
        try:
            return EncodedSpan(resource, encoded.scope, encoded.span + self._added(encoded))
        except Exception:  # noqa: BLE001  the destination may still know what to do with it
            return EncodedSpan(resource, encoded.scope, encoded.span)

    def before(self, transport: Transport) -> Transport:
        """Return a way by which spans are rewritten before they are sent."""
        return _RewritingTransport(transport, self)

    def _added(self, encoded: EncodedSpan) -> bytes:
        if self.of_span is None:
            return b""
        view = viewed(encoded)
        # Repeated fields of a protobuf message may be appended to its bytes.
        added = self.of_span(view)
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
