"""Honeycomb: https://docs.honeycomb.io/send-data/opentelemetry/. It keeps attributes as they are."""

import re
from typing import Final

from callspan_exporters._presets.building import account_of, preset, traces
from callspan_exporters._variables import required, required_url, variable
from callspan_exporters.otlp import OTLPDestination

_KEY: Final = "HONEYCOMB_API_KEY"
_ENDPOINT: Final = "HONEYCOMB_API_ENDPOINT"
_CLOUD: Final = "https://api.honeycomb.io"
_DATASET: Final = "HONEYCOMB_DATASET"
_CLASSIC: Final = re.compile(r"[0-9a-f]{32}|hc[a-z]ic_[0-9a-z]{58}")


def honeycomb() -> OTLPDestination:
    """Return Honeycomb as ``HONEYCOMB_*`` configure it. Keys of Honeycomb Classic need a dataset; others have none.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    key = required(_KEY, what="an API key that may send events")
    dataset = required(_DATASET, what="the dataset, which a key of Honeycomb Classic needs") if _is_classic(key) else ""
    return preset(
        "honeycomb",
        traces(required_url(_ENDPOINT, default=_CLOUD)),
        {"x-honeycomb-team": key, "x-honeycomb-dataset": dataset},
        account=account_of(key, project=dataset),
        address_variable=_ENDPOINT,
        key_variable=_KEY,
    )


def _is_classic(key: str) -> bool:
    return _CLASSIC.fullmatch(key) is not None or bool(variable(_DATASET) and len(key) == 32)  # noqa: PLR2004
