"""OpenTelemetry-native instrumentation for LLM completion calls.

    >>> import callspan
    >>> callspan.instrument()

From then on each LiteLLM call is a span, delivered with the guarantees that the README states, and callbacks run:

    >>> @callspan.callback(delivery="blocking")
    ... def bill(call: callspan.CallRecord) -> None: ...
"""

from collections.abc import Callable, Sequence

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from callspan._callbacks.callback import Delivery, Hook
from callspan._callbacks.record import CallRecord, LiveCallRecord
from callspan._callbacks.registering import add_callback, callback, remove_callback
from callspan._context import context
from callspan._flush import aflush, force_flush
from callspan._instrumentor import CallspanInstrumentor
from callspan._litellm.loggers import LoggerDelivery, litellm_callback
from callspan._version import __version__

__all__ = [
    "CallRecord",
    "CallspanInstrumentor",
    "Delivery",
    "Hook",
    "LiveCallRecord",
    "__version__",
    "add_callback",
    "aflush",
    "callback",
    "context",
    "force_flush",
    "instrument",
    "litellm_callback",
    "remove_callback",
    "uninstrument",
]


def instrument(
    *,
    destinations: Sequence[object] | None = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    litellm_callbacks: LoggerDelivery = "background",
    genai_libraries: bool = True,
    redact: Callable[[str], str] | None = None,
) -> None:
    """Record each LiteLLM call as a span from now on, whenever and however LiteLLM is imported.

    Where the application has set no tracer provider, the OpenTelemetry SDK is set up from the ``OTEL_*`` variables.
    Calling it again is harmless.

    Args:
        destinations: where spans go, instead of what ``CALLSPAN_DESTINATIONS`` names: names as it has them, such as
            ``"otlp"`` or ``"langfuse"``, destinations of ``callspan_exporters``, and OpenTelemetry exporters. What
            cannot be used is warned of, with the setting that is missing, and the others are.
        tracer_provider: where spans are started; by default the global one in force when a call starts.
        meter_provider: where metrics are recorded; by default the global one, and none where the application sets none.
        litellm_callbacks: the delivery of callbacks that are registered with LiteLLM: ``background``, or ``blocking``
            to have them done before a call returns.
        genai_libraries: whether to switch on the official instrumentations of other GenAI libraries as well, as far as
            they are installed (``pip install 'callspan[openai]'``): their spans have the same delivery and callbacks.
        redact: given each text of recorded content and of error messages, returns what may be recorded of it, before
            anything is stored. What it raises on is left out.

    Raises:
        ValueError: ``litellm_callbacks`` is neither.
        TypeError: ``destinations`` is a text, and not a list.
    """
    CallspanInstrumentor().instrument(
        destinations=destinations,
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        litellm_callbacks=litellm_callbacks,
        genai_libraries=genai_libraries,
        redact=redact,
    )


def uninstrument() -> None:
    """Stop recording and restore every patched object. Spans that have ended are still delivered."""
    CallspanInstrumentor().uninstrument()
