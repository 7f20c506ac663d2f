"""Which destinations there are: those that the environment asks for, and those of stock processors we stand in for."""

import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast
from urllib.parse import urlsplit

from callspan_exporters._delivery import Delivery
from callspan_exporters._kinds import destination_named
from callspan_exporters._outcome import Destination
from callspan_exporters._sdk import otlp_is_wanted
from callspan_exporters._variables import SettingError
from callspan_exporters.environment_variables import CALLSPAN_DESTINATIONS
from callspan_exporters.otlp import OTLPDestination, endpoint_is_explicit
from callspan_exporters.span_exporter import as_destination

_logger = logging.getLogger(__name__)

_OTLP: Final = "otlp"
_NONE: Final = "none"


def destinations_of_environment() -> list[Destination]:
    """Return what ``CALLSPAN_DESTINATIONS`` names, as the variables of each configure it.

    What cannot be used is warned of, and the others are.
    """
    return chosen_destinations(names_of_environment(), CALLSPAN_DESTINATIONS)


def names_of_environment() -> list[str]:
    """Return the names in ``CALLSPAN_DESTINATIONS``; none where delivery is left to the provider's own processors.

    Where it is not set, ``OTEL_TRACES_EXPORTER`` decides: who asks there for ``console`` or ``none`` alone has named
    those.
    """
    text = os.environ.get(CALLSPAN_DESTINATIONS, "").strip() or (_OTLP if otlp_is_wanted() else _NONE)
    return [name for part in text.split(",") if (name := part.strip().lower()) and name != _NONE]


def chosen_destinations(chosen: Iterable[object], setting: str) -> list[Destination]:
    """Return destinations for what was chosen, each once. Never raises: what cannot be used is warned of.

    Args:
        chosen: names of kinds, destinations, and OpenTelemetry exporters.
        setting: where it was chosen, for people.
    """
    found: dict[str, Destination] = {}
    for each in chosen:
        try:
            destination = destination_named(each) if isinstance(each, str) else as_destination(cast("Any", each))
        except (SettingError, TypeError) as error:
            what = repr(each) if isinstance(each, str) else type(each).__qualname__
            _logger.warning("%s: no spans go to %s, for %s", setting, what, error)
        except Exception as error:  # somebody else's kind
            _logger.warning("%s: no spans go to %r, which failed: %s", setting, each, type(error).__name__)
            _logger.debug("%r failed", each, exc_info=True)
        else:
            found.setdefault(destination.identity, destination)
    return list(found.values())


class Destinations:
    """Decides what a delivery sends to.

    OTLP as the environment has it yields to that of a stock exporter, unless the environment names an endpoint and
    the exporter another one: then both are sent to.
    """

    def __init__(self, delivery: Delivery, chosen: Sequence[Destination]) -> None:
        """Begin with what the delivery has.

        Args:
            delivery: what sends.
            chosen: by the environment or the program, among the delivery's.
        """
        self._delivery = delivery
        self._chosen = list(chosen)
        self._default = next(
            (each for each in chosen if isinstance(each, OTLPDestination) and each.kind == _OTLP), None
        )
        # A configuration file speaks for all of the SDK: with one, the variables are not meant.
        self._explicit = endpoint_is_explicit() and not os.environ.get("OTEL_CONFIG_FILE")
        self._left: set[str] = set()

    def choose(self, destinations: Sequence[Destination]) -> None:
        """Send to these from now on, in the place of what was chosen before. Those that stay keep their place."""
        wanted = {destination.identity: destination for destination in destinations}
        for chosen in self._chosen:
            if chosen.identity not in wanted:
                self._delivery.remove(chosen)
        for destination in destinations:
            self._delivery.add(destination)
        self._chosen = [each for each in self._delivery.destinations() if each.identity in wanted]
        self._delivery.start_for_what_is_left()

    def take_over(self, destination: OTLPDestination, *, loaded: bool) -> None:
        """Send to where a stock exporter sent, in its place.

        Args:
            destination: with the exporter's settings.
            loaded: it was there before the application ran. A distribution adds one to where a collector is by default,
                which nobody has asked for who names other destinations, and no endpoint.
        """
        default = self._default
        if loaded and default is None and not endpoint_is_explicit() and not os.environ.get("OTEL_CONFIG_FILE"):
            _logger.info("No spans go to %s: %s does not name otlp", destination.identity, CALLSPAN_DESTINATIONS)
            return
        if default is not None and (not self._explicit or self._is_default(destination.endpoint)):
            self._default = None
            self._chosen = [destination if each is default else each for each in self._chosen]
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
