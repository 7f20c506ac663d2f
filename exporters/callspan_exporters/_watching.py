"""Showing spans, as they start and as they have ended, to whoever wants to see them: callspan's callbacks."""

from collections.abc import Callable
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

_MARK: Final = "_callspan_watched"


class Watcher(SpanProcessor):
    """One for all providers of the process.

    Attributes:
        started: told of each span that starts.
        ended: told of each span that has ended.
    """

    started: Callable[[Any], object] | None = None
    ended: Callable[[Any], object] | None = None

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002  # the SDK's signature
        """Show a span that starts."""
        if self.started is not None:
            self.started(span)

    def on_end(self, span: ReadableSpan) -> None:
        """Show a span that has ended."""
        if self.ended is not None:
            self.ended(span)

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  # the SDK's signature
        """Say that nothing is pending: older SDKs' own says nothing, which is taken for a failure."""
        return True


watcher = Watcher()


def watch_provider(provider: Any) -> None:
    """See to it that the watcher is shown a provider's spans. Harmless when repeated, and where none can be shown."""
    if getattr(provider, _MARK, False) or not callable(getattr(provider, "add_span_processor", None)):
        return
    setattr(provider, _MARK, True)
    provider.add_span_processor(watcher)
