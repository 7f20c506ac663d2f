"""OpenTelemetry-native instrumentation for LLM completion calls.

    >>> import callspan
    >>> callspan.instrument()

From then on each LiteLLM call is a span, delivered with the guarantees that the README states.
"""

from opentelemetry.trace import TracerProvider

from callspan._instrumentor import CallspanInstrumentor
from callspan._version import __version__

__all__ = ["CallspanInstrumentor", "__version__", "force_flush", "instrument", "uninstrument"]


def instrument(*, tracer_provider: TracerProvider | None = None) -> None:
    """Record each LiteLLM call as a span from now on, whenever and however LiteLLM is imported.

    Where the application has set no tracer provider, the OpenTelemetry SDK is set up from the ``OTEL_*`` variables.
    Calling it again is harmless.

    Args:
        tracer_provider: where spans are started; by default the global one in force when a call starts.
    """
    CallspanInstrumentor().instrument(tracer_provider=tracer_provider)


def uninstrument() -> None:
    """Stop recording and restore every patched object. Spans that have ended are still delivered."""
    CallspanInstrumentor().uninstrument()


def force_flush(timeout: float = 30.0) -> bool:
    """Send what is pending.

    Args:
        timeout: seconds to wait at most.

    Returns:
        Whether everything that was pending has been delivered.
    """
    flush = getattr(CallspanInstrumentor().tracer_provider, "force_flush", None)
    return bool(flush(int(timeout * 1000))) if callable(flush) else True
