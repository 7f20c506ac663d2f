"""The instrumentor: switches everything on, and off again from the same table."""

import logging
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor
from opentelemetry.trace import TracerProvider

from callspan import _threads
from callspan._callbacks import draining, foreign
from callspan._callbacks.leaving import be_ready, loop_seams, outlets, stand_back
from callspan._completion_hook import CompletionHook
from callspan._content import ContentCapture
from callspan._delivery import call_delivery
from callspan._litellm import batching
from callspan._litellm.call import Recording
from callspan._litellm.call_factory import CallFactory
from callspan._litellm.loggers import LoggerDelivery, check_delivery
from callspan._litellm.seams import litellm_seams
from callspan._metrics import Metrics
from callspan._neighbours import joining, openinference
from callspan._neighbours.joining import Joined
from callspan._patches import Patches
from callspan._tracer import TracerSource, use

_logger = logging.getLogger("callspan")


class CallspanInstrumentor(BaseInstrumentor):  # pyright: ignore[reportUntypedBaseClass]  # upstream is untyped
    """Instruments LiteLLM; ``opentelemetry-instrument`` loads it by entry point.

    It is a singleton. ``instrument()`` takes ``tracer_provider``, by default the global one.
    """

    _patches: Patches | None = None
    _tracers: TracerSource | None = None
    _told_twice = False
    _joined = Joined()

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: LiteLLM is patched when it is imported, and its absence is said in plain words, not as a conflict."""
        return ()

    def instrument(self, **kwargs: Any) -> None:
        """Switch on; a second time is harmless and said once, and other destinations take the place of those before."""
        destinations: object = kwargs.get("destinations")
        if isinstance(destinations, str):
            raise TypeError(f"callspan.instrument(destinations={destinations!r}): give a list, [{destinations!r}]")
        if self.is_instrumented_by_opentelemetry:
            if destinations is not None:  # under opentelemetry-instrument it is on before the program can choose any
                call_delivery("connect", kwargs.get("tracer_provider"), destinations)
            elif not self._told_twice:
                self._told_twice = True
                _logger.warning("callspan is on already; this call of instrument() changes nothing")
            return
        # Under opentelemetry-instrument the others are switched on by it, as we are, and it says so by these.
        by_loader = "skip_dep_check" in kwargs or "raise_exception_on_conflict" in kwargs
        super().instrument(**{"genai_libraries": not by_loader, **kwargs})

    def uninstrument(self, **kwargs: Any) -> None:
        """Switch off and restore every patched object; harmless when off."""
        if self.is_instrumented_by_opentelemetry:
            super().uninstrument(**kwargs)

    @property
    def tracer_provider(self) -> TracerProvider:
        """The provider that spans are started with."""
        return (self._tracers or TracerSource()).provider

    def _instrument(self, **kwargs: Any) -> None:
        provider: TracerProvider | None = kwargs.get("tracer_provider")
        delivery: LoggerDelivery = kwargs.get("litellm_callbacks", "background")
        check_delivery(delivery, "litellm_callbacks")
        self._check_litellm()
        call_delivery("connect", provider, kwargs.get("destinations"))
        call_delivery("watch", foreign.started, foreign.ended)
        self._tracers = TracerSource(provider)
        use(self._tracers)
        capture = ContentCapture.from_environment(kwargs.get("redact"))
        metrics = Metrics(kwargs.get("meter_provider"))
        hook = None if capture.forbidden else CompletionHook.from_environment()
        if hook is not None:
            outlets.append(hook)
        factory = CallFactory(Recording(self._tracers, capture, metrics, hook))
        self._patches = Patches(
            (*loop_seams(), *_threads.seams(), *openinference.seams(), *litellm_seams(factory, delivery))
        )
        self._patches.apply()
        be_ready()
        draining.flushers.append(batching.flushes)
        if kwargs.get("genai_libraries", True):
            self._joined.switch_on(provider)

    def _uninstrument(self, **_kwargs: Any) -> None:
        if self._patches is not None:
            self._patches.undo()
            stand_back()
            self._patches = None
            draining.flushers.remove(batching.flushes)
            outlets.clear()
        self._joined.switch_off()
        call_delivery("watch", None, None)
        call_delivery("disconnect")

    @staticmethod
    def _check_litellm() -> None:
        try:
            version("litellm")
        except PackageNotFoundError:
            if not joining.anything_installed():
                _logger.warning(
                    "callspan is on, but LiteLLM is not installed, nor an instrumentation of another GenAI library, so "
                    "there is nothing to record: pip install litellm, or 'callspan[openai]' and the like"
                )
