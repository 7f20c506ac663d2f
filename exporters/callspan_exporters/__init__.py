"""Delivery for OpenTelemetry spans: every ended span is stored before anything else happens to it, and arrives.

``pre_instrument`` and ``ensure_delivery`` are entry points: programs seldom call them, since
``opentelemetry-instrument`` and ``callspan.instrument()`` do.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from callspan_exporters._durable import DurableSpanProcessor
    from callspan_exporters._setup import (
        add_callback,
        ensure_delivery,
        pre_instrument,
        remember_credential,
        remove_callback,
        spend_exit_budget,
        stop_watching,
        watch,
    )
    from callspan_exporters.callback import CallbackDestination
    from callspan_exporters.otlp import OTLPDestination
    from callspan_exporters.span_exporter import SpanExporterDestination

__all__ = [
    "CallbackDestination",
    "DurableSpanProcessor",
    "OTLPDestination",
    "SpanExporterDestination",
    "add_callback",
    "ensure_delivery",
    "pre_instrument",
    "remember_credential",
    "remove_callback",
    "spend_exit_budget",
    "stop_watching",
    "watch",
]

_HOMES = {
    "CallbackDestination": "callback",
    "DurableSpanProcessor": "_durable",
    "OTLPDestination": "otlp",
    "SpanExporterDestination": "span_exporter",
    "add_callback": "_setup",
    "ensure_delivery": "_setup",
    "pre_instrument": "_setup",
    "remember_credential": "_setup",
    "remove_callback": "_setup",
    "spend_exit_budget": "_setup",
    "stop_watching": "_setup",
    "watch": "_setup",
}


def __getattr__(name: str) -> Any:
    # Not at import: `callspan show` reads a spool, and needs neither an SDK nor an HTTP client for it.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"callspan_exporters.{_HOMES[name]}"), name)
