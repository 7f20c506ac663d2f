"""Any OpenTelemetry ``SpanExporter`` as a destination: spans are decoded back into the SDK's own for it."""

import contextlib
import hashlib
import logging
import netrc
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from callspan_exporters._address import address_or_none, without_secrets
from callspan_exporters._decoding import decode_span
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._http import described
from callspan_exporters._outcome import Destination, Outcome, Transport, Verdict
from callspan_exporters._stock import NotCarriedOverError, destination_of, is_stock

# requests, by which most exporters send, imports this at its first request: see _http.
IMPORTED_FOR_SENDERS: Final = (netrc,)

_logger = logging.getLogger(__name__)

_DEFAULT_TIMEOUT_S: Final = 30.0
# The second is the name that a spawned child of multiprocessing gives its parent's.
_MAIN: Final = ("__main__", "__mp_main__")
_ADDRESS_ATTRIBUTES: Final = ("endpoint", "_endpoint", "url")


class SpanExporterDestination:
    """Where spans go by way of an OpenTelemetry exporter.

    The exporter is called by one thread at a time, which begins anew in a forked child. Its ``FAILURE``, or an
    exception, has the batch sent again later; whatever else it returns is success, as it is to the SDK's own
    processors. A batch may come twice after a crash.

    Two exporters of one class that tell no address need names: what has the same identity is taken for one destination.
    """

    def __init__(self, exporter: SpanExporter, name: str | None = None, timeout_s: float = _DEFAULT_TIMEOUT_S) -> None:
        """Name the destination; the exporter is not called yet.

        Args:
            exporter: what is given the spans. An object with an ``export`` of that kind will do.
            name: what it is called on disk and to people, the same in every process. By default the name of its class,
                and its address where it tells one.
            timeout_s: how long one export may take, in seconds. For what waits for it: an exporter cannot be told, and
                is not interrupted.
        """
        self._exporter = exporter
        self._identity = f"exporter {name or _name_of(exporter)}"
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._identity}>"

    @property
    def identity(self) -> str:
        """What names it on disk and to people."""
        return self._identity

    @property
    def timeout_s(self) -> float:
        """How long one export may take, in seconds."""
        return self._timeout_s

    @property
    def component_type(self) -> str:
        """The name of the exporter's class, as the conventions have it for those they do not know."""
        return f"{type(self._exporter).__module__}.{type(self._exporter).__qualname__}"

    @property
    def exporter(self) -> SpanExporter:
        """What is given the spans."""
        return self._exporter

    def connect(self) -> Transport:
        """Return a way to the exporter, which connects by itself."""
        return _ExporterTransport(self._exporter)

    def force_flush(self, timeout_s: float) -> bool:
        """Have the exporter send what it may hold back itself. Never raises.

        Returns:
            Whether it did, as far as it says.
        """
        try:
            return self._exporter.force_flush(int(timeout_s * 1000)) is not False
        except Exception as error:  # noqa: BLE001  somebody else's exporter may raise anything
            _logger.warning("%s was not flushed: %s", self._identity, without_secrets(described(error)))
            return False

    def shutdown(self) -> None:
        """Shut the exporter down. For when no more spans will come; never raises."""
        try:
            self._exporter.shutdown()
        except Exception as error:  # noqa: BLE001  as above
            _logger.warning("%s was not shut down: %s", self._identity, without_secrets(described(error)))


def as_destination(exporter: "SpanExporter | Destination") -> Destination:
    """Return whatever spans can be sent to as a destination.

    A stock OTLP exporter becomes an ``OTLPDestination`` with its settings, which sends the stored bytes as they are and
    knows what each answer means; one with settings that cannot be carried over is called like any other exporter.

    Args:
        exporter: a destination, which is returned, or an OpenTelemetry exporter of spans.

    Raises:
        TypeError: it is neither.
    """
    given: Any = exporter
    if not isinstance(given, type):  # a class has all of it too, but for `self`
        if _is_destination(given):
            return cast("Destination", given)
        if is_stock(given):
            with contextlib.suppress(NotCarriedOverError):
                return destination_of(given)
        if callable(getattr(given, "export", None)):
            return SpanExporterDestination(given)
    # Not its repr(), which may hold a key.
    what = f"the class {given.__qualname__}" if isinstance(given, type) else f"an object of {type(given).__qualname__}"
    raise TypeError(f"spans are sent to a SpanExporter, or a destination such as OTLPDestination: {what} is neither")


def _is_destination(given: Any) -> bool:
    return callable(getattr(given, "connect", None)) and all(hasattr(given, name) for name in ("identity", "timeout_s"))


class _ExporterTransport:
    """The way to an exporter. Closing it leaves the exporter as it is: ways are made anew, and an exporter is not."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:  # noqa: ARG002  see the destination
        try:
            decoded = [decode_span(span) for span in spans]
        except Exception as error:  # noqa: BLE001  whatever is wrong with it is so for good
            return Outcome(Verdict.REJECTED, f"a span that cannot be read: {type(error).__name__}")
        return _exported(self._exporter, decoded)

    def close(self) -> None:
        pass


def _exported(exporter: SpanExporter, spans: list[ReadableSpan]) -> Outcome:
    try:
        result = exporter.export(spans)
    except Exception as error:  # noqa: BLE001  somebody else's exporter may raise anything
        return Outcome(Verdict.RETRY, without_secrets(described(error)))
    if result is SpanExportResult.FAILURE:
        return Outcome(Verdict.RETRY, "its exporter reported a failure")
    return Outcome(Verdict.DELIVERED)


def _name_of(exporter: object) -> str:
    """Return the name of an exporter's class, and its address where it tells one."""
    module = type(exporter).__module__
    name = f"{_script() if module in _MAIN else module}.{type(exporter).__qualname__}"
    for attribute in _ADDRESS_ATTRIBUTES:
        with contextlib.suppress(Exception):  # a property may raise anything
            if isinstance(endpoint := getattr(exporter, attribute, None), str) and endpoint:
                return f"{name} {address_or_none(endpoint)}"
    return name


def _script() -> str:
    """Return what stands for ``__main__``, which is another module in each program."""
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    if not file:
        return "__main__"
    path = Path(file).absolute()
    return f"{path.stem}~{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
