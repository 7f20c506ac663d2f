"""Which destinations there are: those that the environment asks for, and those of stock processors we stand in for."""

import logging
import os
from collections.abc import Iterable
from urllib.parse import urlsplit

from callspan_exporters._delivery import Delivery
from callspan_exporters._outcome import Destination
from callspan_exporters._sdk import otlp_is_wanted
from callspan_exporters.environment_variables import CALLSPAN_DESTINATIONS
from callspan_exporters.otlp import OTLPDestination, endpoint_is_explicit

_logger = logging.getLogger(__name__)

_OTLP = "otlp"
_NONE = "none"
_ALLOWED = (_OTLP, _NONE)


def named_destinations() -> list[str]:
    """Return the names in ``CALLSPAN_DESTINATIONS``, without those that mean nothing, which are warned of.

    Where it names none, ``OTEL_TRACES_EXPORTER`` decides: who asks there for ``console`` or ``none`` alone has named
    the provider's own processors.
    """
    text = os.environ.get(CALLSPAN_DESTINATIONS, "").strip() or (_OTLP if otlp_is_wanted() else _NONE)
    names = [name for part in text.split(",") if (name := part.strip().lower())]
    for name in names:
        if name not in _ALLOWED:
            _logger.warning(
                "%s=%r: %r is no destination and is ignored. There are: %s",
                CALLSPAN_DESTINATIONS,
                text,
                name,
                ", ".join(_ALLOWED),
            )
    return [name for name in names if name in _ALLOWED and name != _NONE]


def destinations_of_environment() -> list[OTLPDestination]:
    """Return what ``CALLSPAN_DESTINATIONS`` and the variables of each destination say."""
    return [OTLPDestination.from_environment() for _ in named_destinations()[:1]]


class Destinations:
    """Decides what a delivery sends to.

    The destination of the environment yields to that of a stock exporter, unless the environment names an endpoint and
    the exporter another one: then both are sent to.
    """

    def __init__(self, delivery: Delivery, default: OTLPDestination | None) -> None:
        """Begin with what the delivery has.

        Args:
            delivery: what sends.
            default: the destination of the environment, among the delivery's.
        """
        self._delivery = delivery
        self._default = default
        # A configuration file speaks for all of the SDK: with one, the variables are not meant.
        self._explicit = endpoint_is_explicit() and not os.environ.get("OTEL_CONFIG_FILE")
        self._left: set[str] = set()

    def take_over(self, destination: OTLPDestination) -> None:
        """Send to where a stock exporter sent, in its place."""
        default = self._default
        if default is not None and (not self._explicit or self._is_default(destination.endpoint)):
            self._default = None
            self._delivery.replace(default, destination)
        else:
            self._delivery.add(destination)

    def leave(self, endpoint: str, why: str) -> None:
        """Leave an endpoint to a stock exporter whose settings ours has no counterpart for."""
        if endpoint not in self._left:
            self._left.add(endpoint)
            _logger.warning(
                "Spans for %s are left to OpenTelemetry's own exporter, which loses them in a crash: %s",
                _host(endpoint),
                why,
            )
        if not self._explicit or self._is_default(endpoint):
            self._give_up_default()

    def leave_to(self, destinations: Iterable[Destination]) -> None:
        """Leave to a span processor of ours, which the application has added, what it sends to itself."""
        for destination in destinations:
            if isinstance(destination, OTLPDestination) and self._is_default(destination.endpoint):
                self._give_up_default()

    def _is_default(self, endpoint: str) -> bool:
        return self._default is not None and _host(self._default.endpoint) == _host(endpoint)

    def _give_up_default(self) -> None:
        default, self._default = self._default, None
        if default is not None:
            self._delivery.remove(default)


def _host(endpoint: str) -> str:
    """Return host and port: what two endpoints have in common that lead to one place by two protocols' paths."""
    return (urlsplit(endpoint).netloc or endpoint).rpartition("@")[2]
