"""Our processor on a tracer provider, and in the place of stock processors that serve the same purpose there."""

import logging
import threading
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from callspan_exporters._delivery import Delivery
from callspan_exporters._destinations import Destinations
from callspan_exporters._durable import DurableSpanProcessor
from callspan_exporters._processor import StoringSpanProcessor
from callspan_exporters._stock import NotCarriedOverError, destination_of, stock_exporter

_logger = logging.getLogger(__name__)

_MARK: Final = "_callspan_processor"
_PATIENCE_S: Final = 1.0


class AttachedProcessor(StoringSpanProcessor):
    """Our processor on one provider. Notices processors that are added after it."""

    def __init__(self, delivery: Delivery, destinations: Destinations | None, provider: Any) -> None:
        super().__init__(delivery)
        self._destinations = destinations
        # The SDK replaces this tuple whenever a processor is added: to compare its identity costs next to nothing.
        self._others: Any = getattr(provider, "_active_span_processor", None)
        self._seen: Any = None
        self._loading = False
        self._looking = threading.RLock()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Look whether the application has added a processor."""
        super().on_start(span, parent_context)
        if getattr(self._others, "_span_processors", None) is not self._seen:
            self.take_places()

    def on_end(self, span: ReadableSpan) -> None:
        """Store a span. Never raises."""
        if getattr(self._others, "_span_processors", None) is not self._seen:
            self.take_places()
        super().on_end(span)

    def take_places(self, *, loading: bool = False) -> None:
        """Take the place of every stock processor with a stock OTLP exporter that is there now. Never raises.

        Args:
            loading: the application has not run yet.
        """
        with self._looking:
            self._loading = loading
            processors: Any = getattr(self._others, "_span_processors", None)
            if processors is self._seen:
                return
            self._seen = processors
            if self._destinations is None:
                return
            for processor in processors or ():
                try:
                    self._take_place(processor, self._destinations)
                except Exception:  # the application is never hurt
                    _logger.warning(
                        "The place of %r could not be taken: it goes on as it was", processor, exc_info=True
                    )

    def _take_place(self, processor: SpanProcessor, destinations: Destinations) -> None:
        if isinstance(processor, DurableSpanProcessor):
            destinations.leave_to(processor.destinations)
            return
        exporter = stock_exporter(processor)
        if exporter is None or "on_end" in vars(processor):
            return
        try:
            destination = destination_of(exporter)
        except NotCarriedOverError as error:
            destinations.leave(str(getattr(exporter, "_endpoint", "")), str(error))
            return
        destinations.take_over(destination, loaded=self._loading)
        # On the processor itself and not in the provider's tuple: a span that is ending in another thread, or around
        # this very call, goes through the old tuple to its end. What the processor has queued it still sends.
        processor.on_end = _leave_it


def _leave_it(span: ReadableSpan) -> None:
    """Stand in for a stock processor's ``on_end``: ours has stored the span."""


def attach(provider: Any, delivery: Delivery, destinations: Destinations | None, *, loading: bool = False) -> bool:
    """Put our processor on a provider, once.

    Args:
        provider: the provider.
        delivery: stores and sends.
        destinations: decides about stock processors that are there; None leaves them alone.
        loading: the application has not run yet, and what is there is a distribution's.

    Returns:
        Whether it is there. A provider that is none of the SDK's takes no processors.
    """
    if getattr(provider, _MARK, None) is not None:
        return True
    if not callable(getattr(provider, "add_span_processor", None)):
        return False
    processor = AttachedProcessor(delivery, destinations, provider)
    setattr(provider, _MARK, processor)
    # First ours, then less of theirs: a span that ends meanwhile is sent twice rather than not at all.
    provider.add_span_processor(processor)
    processor.take_places(loading=loading)
    return True
