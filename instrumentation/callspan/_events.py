"""The one place that emits a span event.

OTEP 4430 means to deprecate the Span Events API in favour of log-based events; when it does, only this module changes.
"""

from opentelemetry.trace import Span
from opentelemetry.util.types import Attributes

from callspan._guard import guarded


@guarded
def emit(span: Span, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
    """Add an event to ``span`` at the time it happened.

    Args:
        span: the span it belongs to. One that has ended, or is not recorded, is left alone without a warning:
            LiteLLM runs some of its callbacks after the call they belong to.
        name: a name from :mod:`callspan.semconv`.
        attributes: what else is known of the moment.
        timestamp: nanoseconds since the epoch; now if not given.
    """
    if span.is_recording():
        span.add_event(name, attributes, timestamp)
