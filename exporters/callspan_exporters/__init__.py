"""Delivery for OpenTelemetry spans: every ended span is stored before anything else happens to it, and arrives.

``pre_instrument`` and ``ensure_delivery`` are entry points: programs seldom call them, since
``opentelemetry-instrument`` and ``callspan.instrument()`` do.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callspan_exporters._processor import DurableSpanProcessor
    from callspan_exporters._setup import ensure_delivery, pre_instrument, stop_watching
    from callspan_exporters.otlp import OTLPDestination

__all__ = ["DurableSpanProcessor", "OTLPDestination", "ensure_delivery", "pre_instrument", "stop_watching"]


def __getattr__(name: str) -> Any:
    # Not at import: `callspan show` reads a spool, and needs neither an SDK nor an HTTP client for it.
    if name in ("ensure_delivery", "pre_instrument", "stop_watching"):
        from callspan_exporters import _setup as module  # noqa: PLC0415
    elif name == "DurableSpanProcessor":
        from callspan_exporters import _processor as module  # noqa: PLC0415
    elif name == "OTLPDestination":
        from callspan_exporters import otlp as module  # noqa: PLC0415
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
