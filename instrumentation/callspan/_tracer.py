"""The tracer that spans are started with."""

from opentelemetry import trace
from opentelemetry.trace import Tracer, TracerProvider

from callspan._version import __version__
from callspan.semconv import SCOPE_NAME


class TracerSource:
    """Gives the tracer of the provider that is in force when a call starts.

    An application may set its provider after callspan was switched on; spans must then carry its resource and pass
    its processors.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._fixed = provider
        self._provider: TracerProvider | None = None
        self._tracer: Tracer | None = None

    @property
    def provider(self) -> TracerProvider:
        """The provider given at the start, or the global one."""
        return self._fixed or trace.get_tracer_provider()

    def tracer(self) -> Tracer:
        """The tracer for a span that starts now."""
        provider = self.provider
        if self._tracer is None or provider is not self._provider:
            self._tracer = provider.get_tracer(SCOPE_NAME, __version__)
            self._provider = provider
        return self._tracer


class _InForce:
    """Which source is in force, for what is registered before callspan is switched on and runs after."""

    source = TracerSource()


def use(source: TracerSource) -> None:
    """Have ``source`` in force from now on."""
    _InForce.source = source


def tracer_in_force() -> Tracer:
    """The tracer of the source in force."""
    return _InForce.source.tracer()
