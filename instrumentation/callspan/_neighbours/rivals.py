"""Instrumentations that record the same calls as we do: two spans a call, tokens counted twice. It is said once."""

import logging
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from callspan._guard import guarded

_logger = logging.getLogger("callspan")

_OTEL_NAMES: Final = ("otel", "langfuse_otel", "arize", "arize_phoenix", "logfire", "weave_otel", "levo", "agentops")
"""LiteLLM's own callbacks that make a span of each call."""

_ENTRY_POINT: Final = "litellm"
"""The entry point by which OpenInference's and Traceloop's instrumentations of LiteLLM are loaded."""


@guarded
def warn_of_rivals() -> None:
    """Warn, once for each, of whatever else makes spans of LiteLLM's calls."""
    for name, how in (*_instrumentations(), *_callbacks()):
        if name not in _warned:
            _warned.add(name)
            _logger.warning(
                "%s makes spans of LiteLLM's calls as callspan does, so that each is recorded twice: %s", name, how
            )


_warned: set[str] = set()


def _instrumentations() -> Iterator[tuple[str, str]]:
    for entry_point in entry_points(group="opentelemetry_instrumentor", name=_ENTRY_POINT):
        kind = _loaded(entry_point)
        if kind is not None and kind().is_instrumented_by_opentelemetry:
            distribution = entry_point.dist.name if entry_point.dist is not None else entry_point.module
            switch = f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS={_ENTRY_POINT}"
            yield distribution, f"set {switch}, or do not call {entry_point.attr}().instrument()"
    wrapper = getattr(getattr(sys.modules.get("litellm"), "completion", None), "_self_wrapper", None)
    if str(getattr(wrapper, "__module__", "")).startswith("openlit."):
        yield "openlit", 'call openlit.init(disabled_instrumentors=["litellm"])'


def _loaded(entry_point: EntryPoint) -> Any:
    module = sys.modules.get(entry_point.module)
    return None if module is None else getattr(module, entry_point.attr, None)


def _callbacks() -> Iterator[tuple[str, str]]:
    litellm: Any = sys.modules.get("litellm")
    lists = ("callbacks", "success_callback", "_async_success_callback")
    for registered in (one for name in lists for one in getattr(litellm, name, None) or ()):
        if isinstance(registered, str):
            name = registered if registered in _OTEL_NAMES else None
        else:
            kind = next((k for k in type(registered).__mro__ if k.__module__.startswith("litellm.integrations.")), None)
            name = getattr(registered, "callback_name", None) if kind and kind.__name__ == "OpenTelemetry" else None
            name = name or ("otel" if kind and kind.__name__.startswith("OpenTelemetry") else None)
        if name is not None:
            yield (
                f"LiteLLM's own callback {name!r}",
                f"take {name!r} out of litellm.callbacks and litellm.success_callback",
            )
