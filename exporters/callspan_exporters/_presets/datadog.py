"""Datadog's LLM Observability: https://docs.datadoghq.com/llm_observability/instrumentation/otel_instrumentation.

It reads the conventions' attributes from 1.37 on, which ours are.
"""

import re
from collections.abc import Mapping
from typing import Final

from callspan_exporters._presets.building import OfCall, account_of, preset
from callspan_exporters._variables import SettingError, required, variable
from callspan_exporters.otlp import OTLPDestination

_KEY: Final = "DD_API_KEY"
_SITE: Final = "DD_SITE"
_SITE_BY_DEFAULT: Final = "datadoghq.com"
_HOSTNAME: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")


def datadog() -> OTLPDestination:
    """Return Datadog as ``DD_*`` configure it.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    key = required(_KEY, what="an API key of Datadog")
    site = variable(_SITE, default=_SITE_BY_DEFAULT).lower()

    def of_call(values: Mapping[str, str]) -> OTLPDestination:
        given, own_key = values.get("dd_site", "").lower(), values.get("dd_api_key", "")
        if given and given != site and not own_key:
            raise SettingError("dd_site names another site: it takes dd_api_key as well, for ours stays here")
        return _destination(given or site, own_key or key)

    return _destination(site, key, of_call)


def _destination(site: str, key: str, of_call: OfCall | None = None) -> OTLPDestination:
    if not _HOSTNAME.fullmatch(site):
        raise SettingError(f"{_SITE} is no site of Datadog, such as {_SITE_BY_DEFAULT} or datadoghq.eu")
    return preset(
        "datadog",
        f"https://otlp.{site}/v1/traces",
        {"dd-api-key": key, "dd-otlp-source": "llmobs"},
        account=account_of(key),
        address_variable=_SITE,
        key_variable=_KEY,
        of_call=of_call,
    )
