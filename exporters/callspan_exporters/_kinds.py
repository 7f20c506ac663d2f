"""The kinds of destination there are, by the names that ``CALLSPAN_DESTINATIONS`` has them under.

Ours are in a table; others join by an entry point of the group ``callspan_destination``, whose value is called without
arguments and returns a destination, as :mod:`callspan_exporters.destination` describes.
"""

import operator
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

from callspan_exporters._outcome import Destination
from callspan_exporters._variables import SettingError
from callspan_exporters.span_exporter import as_destination

GROUP: Final = "callspan_destination"

# Module and what in it returns the destination of the environment. Imported only where they are asked for.
_OURS: Final[Mapping[str, str]] = {
    "otlp": "callspan_exporters.otlp:OTLPDestination.from_environment",
    "arize": "callspan_exporters._presets.arize:arize",
    "braintrust": "callspan_exporters._presets.braintrust:braintrust",
    "datadog": "callspan_exporters._presets.datadog:datadog",
    "grafana": "callspan_exporters._presets.grafana:grafana",
    "honeycomb": "callspan_exporters._presets.honeycomb:honeycomb",
    "langfuse": "callspan_exporters.langfuse:langfuse",
    "langsmith": "callspan_exporters.langsmith:langsmith",
    "logfire": "callspan_exporters._presets.logfire:logfire",
    "mlflow": "callspan_exporters._presets.mlflow:mlflow",
    "newrelic": "callspan_exporters._presets.newrelic:newrelic",
    "opik": "callspan_exporters._presets.opik:opik",
    "phoenix": "callspan_exporters._presets.phoenix:phoenix",
    "posthog-otlp": "callspan_exporters._presets.posthog:posthog",
    "posthog": "callspan_exporters.posthog:PostHogDestination.from_environment",
}


def names_of_kinds() -> list[str]:
    """Return the names there are."""
    return sorted({*_OURS, *(point.name for point in entry_points(group=GROUP))})


def destination_named(name: str) -> Destination:
    """Return the destination of a kind as the environment configures it.

    Raises:
        SettingError: there is no such kind, or a variable is missing or wrong.
        Exception: whatever somebody else's kind raises.
    """
    if name in _OURS:
        module, _, attribute = _OURS[name].partition(":")
        made: Any = operator.attrgetter(attribute)(import_module(module))()
    else:
        points = tuple(entry_points(group=GROUP, name=name))
        if not points:
            raise SettingError(f"{name!r} is no destination. There are: {', '.join(names_of_kinds())}, none")
        made = points[0].load()()
    return as_destination(made)
