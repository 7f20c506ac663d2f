"""Sets the SDK up for traces by OTEL_*, as a distro would, where nobody else does."""

import importlib
import logging
import os
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, Final

import wrapt
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter

_logger = logging.getLogger(__name__)

_OTLP_NAMES: Final = frozenset({"otlp", "otlp_proto_http", "otlp_proto_grpc"})


def no_provider_yet() -> bool:
    """Tell whether nobody has set a tracer provider."""
    return isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def exporter_names() -> list[str]:
    """Return what ``OTEL_TRACES_EXPORTER`` names; by the specification ``otlp`` where it names nothing."""
    text = os.environ.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    return [name for part in text.split(",") if (name := part.strip().lower()) and name != "none"]


def otlp_is_wanted() -> bool:
    """Tell whether ``OTEL_TRACES_EXPORTER`` has OTLP, or says nothing."""
    return bool(_OTLP_NAMES.intersection(exporter_names()))


def new_provider(*, with_otlp: bool) -> TracerProvider:
    """Return a provider by OTEL_*: resource, sampler, limits, id generator and exporters.

    Args:
        with_otlp: also the stock OTLP exporter, where ``OTEL_TRACES_EXPORTER`` has it.
    """
    provider = TracerProvider(
        sampler=_component(_sampler), id_generator=_component(_id_generator), shutdown_on_exit=False
    )
    for name in exporter_names():
        if name not in _OTLP_NAMES or with_otlp:
            _add_exporter(provider, name)
    return provider


def configure_by_file() -> bool:
    """Set the whole SDK up by ``OTEL_CONFIG_FILE``, as a distro would, and tell whether that was done."""
    file = os.environ.get("OTEL_CONFIG_FILE", "").strip()
    if not file:
        return False
    try:
        # A package of its own, which nobody needs without such a file.
        declarative: Any = importlib.import_module("opentelemetry.configuration")
        declarative.configure_sdk(declarative.load_config_file(file))
    except ImportError:
        _logger.warning("OTEL_CONFIG_FILE is not listened to: it takes the package opentelemetry-configuration")
        return False
    except Exception as error:  # noqa: BLE001  a file that is wrong must not cost the traces
        _logger.warning("OTEL_CONFIG_FILE=%r is not listened to: %s", file, error)
        return False
    return not no_provider_yet()


def set_default(provider: TracerProvider) -> None:
    """Make a provider the global one, in such a way that the application's own takes its place without a word."""
    # Not by set_tracer_provider, which works once and is the application's to call.
    if hasattr(trace, "_TRACER_PROVIDER"):
        trace._TRACER_PROVIDER = provider  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    else:
        trace.set_tracer_provider(provider)


def watch_global_provider(seen: Callable[[Any], None]) -> Callable[[], None]:
    """Have a function called with every provider that the application makes the global one.

    Returns:
        What ends that, and puts the function back that was patched for it.
    """

    def wrapper(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = wrapped(*args, **kwargs)
        seen(trace.get_tracer_provider())
        return result

    # Below the public function, which programs have imported by name before us.
    name = "_set_tracer_provider" if hasattr(trace, "_set_tracer_provider") else "set_tracer_provider"
    original = getattr(trace, name)
    wrapped = wrapt.wrap_function_wrapper(trace, name, wrapper)

    def stop() -> None:
        if getattr(trace, name) is wrapped:
            setattr(trace, name, original)

    return stop


def _component(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except Exception as error:  # noqa: BLE001  a wrong name must not cost the traces
        _logger.warning("The default is used: %s", error)
        return None


def _sampler() -> Any:
    name = os.environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if not name:
        return None
    # The provider itself knows the SDK's own; those of other packages only its configurator, which takes a while.
    from opentelemetry.sdk import _configuration as configuration  # noqa: PLC0415

    importer = getattr(configuration, "_import_sampler", None)
    return importer(name) if importer is not None else None


def _id_generator() -> Any:
    name = os.environ.get("OTEL_PYTHON_ID_GENERATOR", "").strip()
    if not name:
        return None
    found = next(iter(entry_points(group="opentelemetry_id_generator", name=name)), None)
    if found is None:
        raise LookupError(f"OTEL_PYTHON_ID_GENERATOR={name!r} is not installed")
    return found.load()()


def _add_exporter(provider: TracerProvider, name: str) -> None:
    try:
        exporter = _exporter(name)
    except Exception as error:  # noqa: BLE001  one exporter less is no reason to have none
        _logger.warning("OTEL_TRACES_EXPORTER: %r cannot be used: %s", name, error)
        return
    to_console = name == "console"
    provider.add_span_processor(SimpleSpanProcessor(exporter) if to_console else BatchSpanProcessor(exporter))


def _exporter(name: str) -> SpanExporter:
    if name == "otlp":
        grpc = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", ""))
        name = "otlp_proto_grpc" if grpc.strip() == "grpc" else "otlp_proto_http"
    found = next(iter(entry_points(group="opentelemetry_traces_exporter", name=name)), None)
    if found is None:
        raise LookupError("it is not installed")
    return found.load()()
