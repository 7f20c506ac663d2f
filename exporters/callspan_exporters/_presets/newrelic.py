"""New Relic: https://docs.newrelic.com/docs/opentelemetry/best-practices/opentelemetry-otlp/.

It keeps attributes as they are, but for texts: of those the first 4,095 characters.
"""

from collections.abc import Mapping
from typing import Final

from callspan_exporters._presets.building import OfCall, account_of, preset, traces
from callspan_exporters._variables import SettingError, required, variable
from callspan_exporters.otlp import OTLPDestination

_KEY: Final = "NEW_RELIC_LICENSE_KEY"
_REGION: Final = "NEW_RELIC_REGION"
_REGIONS: Final[Mapping[str, str]] = {"us": "https://otlp.nr-data.net", "eu": "https://otlp.eu01.nr-data.net"}
_US: Final = "us"


def newrelic() -> OTLPDestination:
    """Return New Relic as ``NEW_RELIC_*`` configure it: in the region that the key is of, unless another is named.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    key = required(_KEY, what="the license key of the account")

    def of_call(values: Mapping[str, str]) -> OTLPDestination:
        region, own_key = values.get("newrelic_region", ""), values.get("newrelic_api_key", "")
        if not own_key:
            raise SettingError("newrelic_region takes newrelic_api_key as well: a key is of one region")
        return _destination(region, own_key)

    return _destination(variable(_REGION), key, of_call)


def _destination(region: str, key: str, of_call: OfCall | None = None) -> OTLPDestination:
    of_key = key[:2].lower() if key[:2].lower() in _REGIONS else _US
    url = _REGIONS.get(region.lower() or of_key)
    if url is None:
        raise SettingError(f"{_REGION} is one of {', '.join(_REGIONS)}")
    return preset(
        "newrelic",
        traces(url),
        {"api-key": key},
        account=account_of(key),
        address_variable=_REGION,
        key_variable=_KEY,
        of_call=of_call,
    )
