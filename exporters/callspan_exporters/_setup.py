"""The composition root: what attaches delivery to whatever provider there is, or sets one up."""

import atexit
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan

from callspan_exporters import _sdk
from callspan_exporters._attach import attach
from callspan_exporters._credentials import credentials
from callspan_exporters._delivery import Delivery
from callspan_exporters._destinations import (
    Destinations,
    chosen_destinations,
    destinations_of_environment,
    names_of_environment,
)
from callspan_exporters._outcome import Destination
from callspan_exporters._settings import BatchSettings, exit_budget_s, limits, spool_root
from callspan_exporters._watching import watch_provider, watcher
from callspan_exporters.callback import CallbackDestination

_logger = logging.getLogger(__name__)

_OURS: Final = "callspan"


def pre_instrument() -> None:
    """Attach delivery under ``opentelemetry-instrument``, whatever distro or configuration file it runs with.

    Does nothing where ``OTEL_PYTHON_DISABLED_INSTRUMENTATIONS`` holds ``callspan`` or ``*``.
    """
    disabled = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    if not {name.strip() for name in disabled.split(",")} & {_OURS, "*"}:
        _composition.loading = True
        ensure_delivery()
        _composition.loading = False


def ensure_delivery(tracer_provider: Any = None, destinations: Sequence[object] | None = None) -> bool:
    """Have the spans of a tracer provider stored and delivered. Harmless when called again. Never raises.

    Args:
        tracer_provider: an SDK tracer provider. By default the global one; where there is none, one is set up by
            OTEL_*, and yields to the application's own.
        destinations: where spans go, in the place of what ``CALLSPAN_DESTINATIONS`` names or was chosen before: names
            as it has them, destinations, and OpenTelemetry exporters. By default all stays as it is.

    Returns:
        Whether spans are delivered, by callspan or, with ``CALLSPAN_DESTINATIONS=none``, by the provider.
    """
    if _disabled():
        return False
    try:
        with _lock:
            return _composition.ensure(tracer_provider, destinations)
    except Exception:  # no telemetry failure reaches the application
        _logger.warning("Spans are not delivered by callspan", exc_info=True)
        return False


def add_callback(name: str, handle: Callable[[ReadableSpan], object]) -> bool:
    """Have a function handed each span that is stored from now on, and those that a dead process left for its name.

    It replaces another of that name. Before :func:`ensure_delivery` it is remembered until then.

    Args:
        name: what names it in the spool.
        handle: see :class:`callspan_exporters.callback.CallbackDestination`.

    Returns:
        Whether spans are stored for it, now or once :func:`ensure_delivery` is called.
    """
    if _disabled():
        _logger.warning("OTEL_SDK_DISABLED is true, so nothing is stored: callback %s is not called", name)
        return False
    with _lock:
        _composition.add_callback(name, handle)
    return True


def remove_callback(name: str) -> None:
    """Hand no more spans to a function. What is stored for it stays for a process that has one of its name."""
    with _lock:
        _composition.remove_callback(name)


def watch(started: Callable[[Any], object] | None, ended: Callable[[Any], object] | None) -> None:
    """Have functions told of each span, whoever makes it, as it starts and as it has ended; ``None`` ends that.

    Spans of the providers that :func:`ensure_delivery` is called for, wherever they are delivered to. What is told of
    an ended span comes before the span is stored.
    """
    with _lock:
        watcher.started, watcher.ended = started, ended


def spend_exit_budget(seconds: float) -> None:
    """Take note that the exit has been held up already; the delivery holds it up for less."""
    with _lock:
        _composition.spend(seconds)


def remember_credential(kind: str, digest: str, values: Mapping[str, str]) -> None:
    """Know from now on the key that calls carry whose spans have its digest.

    Args:
        kind: of destination that it is for, such as ``langfuse``.
        digest: in the attribute ``callspan.credential.<kind>``.
        values: the key and what belongs to it, by LiteLLM's names.
    """
    credentials.remember(kind, digest, values)


def stop_watching() -> None:
    """Undo what was patched to notice a provider of the application's. Spans are still delivered. Never raises.

    For ``callspan.uninstrument()``, which promises to leave nothing patched; :func:`ensure_delivery` patches it anew.
    """
    with _lock, contextlib.suppress(Exception):
        _composition.stop_watching()


def _disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


class _Composition:
    """What this process has set up.

    Attributes:
        loading: the application has not run yet.
    """

    loading = False

    def __init__(self) -> None:
        self._delivery: Delivery | None = None
        self._destinations: Destinations | None = None
        self._chosen: list[Destination] | None = None
        self._named = False
        self._callbacks: dict[str, CallbackDestination] = {}
        self._providers: weakref.WeakSet[Any] = weakref.WeakSet()
        self._default_provider: Any = None
        self._stop_watching: Callable[[], None] | None = None
        self._ready = False

    def ensure(self, provider: Any, chosen: Sequence[object] | None) -> bool:
        if chosen is not None:
            self._named = bool(chosen)
            self._choose(chosen_destinations(chosen, "destinations"))
        if not self._ready:
            self._ready = True
            self._compose()
            # Once, as early as can be: it runs after the hooks of all who come later, whose spans go as well.
            atexit.register(self._exit)
        if provider is None:
            provider = self._global_provider()
        return self._attach(provider)

    def add_callback(self, name: str, handle: Callable[[ReadableSpan], object]) -> None:
        if name in self._callbacks:
            self._callbacks[name].handle = handle
            return
        destination = self._callbacks[name] = CallbackDestination(name, handle)
        if self._delivery is not None:
            self._delivery.add(destination)
            self._delivery.start_for_what_is_left()
        elif self._ready:  # with nowhere to send to, so far
            self._compose_anew()

    def remove_callback(self, name: str) -> None:
        destination = self._callbacks.pop(name, None)
        if destination is not None and self._delivery is not None:
            self._delivery.remove(destination)

    def spend(self, seconds: float) -> None:
        if self._delivery is not None:
            self._delivery.spend(seconds)

    def _choose(self, chosen: list[Destination]) -> None:
        self._chosen = chosen
        if self._destinations is not None:
            self._destinations.choose(chosen)
        elif self._delivery is not None:  # callbacks only, so far
            self._destinations = Destinations(self._delivery, [])
            self._destinations.choose(chosen)
        elif self._ready:  # with nowhere to send to, so far
            self._compose_anew()

    def _compose_anew(self) -> None:
        self._compose()
        for provider in list(self._providers):
            self._attach(provider)

    def _compose(self) -> None:
        chosen = destinations_of_environment() if self._chosen is None else self._chosen
        destinations = [*chosen, *self._callbacks.values()]
        if not destinations:
            return
        settings = BatchSettings.from_environment()
        self._delivery = Delivery(
            destinations,
            root=spool_root(),
            limits=limits(settings),
            settings=settings,
            exit_budget_s=exit_budget_s(),
        )
        if chosen:
            self._destinations = Destinations(self._delivery, chosen)

    def _global_provider(self) -> Any:
        if self._default_provider is None and _sdk.no_provider_yet() and not _sdk.configure_by_file():
            self._default_provider = _sdk.new_provider(with_otlp=self._left_to_others)
            _sdk.set_default(self._default_provider)
        current = trace.get_tracer_provider()
        if current is self._default_provider and self._stop_watching is None:
            self._stop_watching = _sdk.watch_global_provider(self._replaced)
        return current

    @property
    def _left_to_others(self) -> bool:
        """Whether delivery is the provider's own: not where destinations were named and none of them can be used."""
        named = bool(names_of_environment()) if self._chosen is None else self._named
        return self._destinations is None and not named

    def stop_watching(self) -> None:
        stop, self._stop_watching = self._stop_watching, None
        if stop is not None:
            stop()

    def _attach(self, provider: Any) -> bool:
        with contextlib.suppress(TypeError):  # one that nobody can refer to weakly is none of the SDK's
            self._providers.add(provider)
        watch_provider(provider)
        if self._delivery is None:
            return self._left_to_others
        attached = attach(provider, self._delivery, self._destinations, loading=self.loading)
        if attached:
            self._delivery.start_for_what_is_left()
        else:
            _logger.warning("%s takes no span processors: spans are not delivered by callspan", type(provider).__name__)
        return attached

    def _replaced(self, provider: Any) -> None:
        with contextlib.suppress(Exception):
            if provider is not self._default_provider:
                self._attach(provider)

    def _exit(self) -> None:
        if self._delivery is not None:
            self._delivery.shutdown()
        if self._default_provider is not None:
            self._default_provider.shutdown()


def _renew_lock() -> None:
    # Another thread of the parent may have held it.
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


_lock = threading.RLock()
_composition = _Composition()
os.register_at_fork(after_in_child=_renew_lock)
