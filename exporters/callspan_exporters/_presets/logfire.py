"""Pydantic Logfire: https://logfire.pydantic.dev/docs/how-to-guides/alternative-clients/.

It shows the conventions' attributes.
"""

import re
from collections.abc import Mapping
from typing import Final

from opentelemetry.util.types import AttributeValue

from callspan_exporters._presets import reading
from callspan_exporters._presets.building import account_of, preset, traces
from callspan_exporters._rewriting import Rewriting, SpanView
from callspan_exporters._variables import required, required_url
from callspan_exporters.otlp import OTLPDestination

_TOKEN: Final = "LOGFIRE_TOKEN"  # noqa: S105  the variable's name
_URL: Final = "LOGFIRE_BASE_URL"
_REGION: Final = re.compile(r"pylf_v\d+_([a-z]+)_")
_REGIONS: Final[Mapping[str, str]] = {
    "us": "https://logfire-us.pydantic.dev",
    "eu": "https://logfire-eu.pydantic.dev",
}


def logfire() -> OTLPDestination:
    """Return Logfire as ``LOGFIRE_*`` configure it: in the region that the token was made in.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    token = required(_TOKEN, what="a write token of the project")
    region = _REGION.match(token)
    home = _REGIONS.get(region[1] if region else "", _REGIONS["us"])
    return preset(
        "logfire",
        traces(required_url(_URL, default=home)),
        {"Authorization": token},
        account=account_of(token),
        address_variable=_URL,
        key_variable=_TOKEN,
        rewriting=Rewriting(of_span=attributes_of),
    )


def attributes_of(view: SpanView) -> Mapping[str, AttributeValue | None]:
    """Return cost and tags, for which Logfire has names of its own."""
    return {"operation.cost": reading.dollars(view), "logfire.tags": reading.tags(view) or None}
