"""What all our span processors do: an ended span is encoded and stored before ``on_end`` returns."""

import logging
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from callspan_exporters._credentials import inherit
from callspan_exporters._delivery import Delivery
from callspan_exporters._encoding import encode_resource, encode_scope, encode_span
from callspan_exporters._spool import UNSTORABLE

_logger = logging.getLogger(__name__)

_MAX_CACHED: Final = 1024
_DEFAULT_FLUSH_MILLIS: Final = 30000


class StoringSpanProcessor(SpanProcessor):
    """Stores every sampled span as it ends. What sends it may be shared."""

    def __init__(self, delivery: Delivery) -> None:
        """Process spans for a delivery, which several processors may share.

        Args:
            delivery: stores and sends.
        """
        self._delivery = delivery
        # By identity, with the object itself to keep that identity its own: to hash a resource is to encode it.
        self._resources: dict[int, tuple[Resource, bytes]] = {}
        self._scopes: dict[int, tuple[InstrumentationScope | None, bytes]] = {}
        self._failed = False

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Have a part of a call go where the call goes. Never raises."""
        inherit(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Store a span. Never raises."""
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        encoded: bytes | None = None
        try:
            resource, scope = span.resource, span.instrumentation_scope
            known_resource = self._resources.get(id(resource)) or self._encoded_resource(resource)
            known_scope = self._scopes.get(id(scope)) or self._encoded_scope(scope)
            encoded = encode_span(span)
            self._delivery.append(known_resource[1], known_scope[1], encoded)
        except Exception:  # the application is never hurt
            if encoded is None:  # what fails later is counted where it is known how far it came
                self._delivery.drop(UNSTORABLE)
            if not self._failed:
                self._failed = True
                _logger.exception("A span could not be stored and is lost; further ones are counted, not reported")

    def shutdown(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]  that of the SDK returns nothing
        """Send what is pending within the exit budget. Other processors may still be at it.

        Returns:
            Whether every destination has acknowledged or refused all that was stored.
        """
        return self._delivery.flush_at_shutdown()

    def force_flush(self, timeout_millis: float | None = None) -> bool:
        """Send what is pending.

        Args:
            timeout_millis: how long to wait at most, in milliseconds; 30,000 by default.

        Returns:
            Whether every destination has acknowledged or refused all that was stored.
        """
        return self._delivery.force_flush((_DEFAULT_FLUSH_MILLIS if timeout_millis is None else timeout_millis) / 1000)

    def _encoded_resource(self, resource: Resource) -> tuple[Resource, bytes]:
        if len(self._resources) >= _MAX_CACHED:
            self._resources.clear()
        entry = self._resources[id(resource)] = (resource, encode_resource(resource))
        return entry

    def _encoded_scope(self, scope: InstrumentationScope | None) -> tuple[InstrumentationScope | None, bytes]:
        if len(self._scopes) >= _MAX_CACHED:
            self._scopes.clear()
        entry = self._scopes[id(scope)] = (scope, encode_scope(scope))
        return entry
