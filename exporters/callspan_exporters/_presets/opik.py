"""Opik: https://www.comet.com/docs/opik/integrations/opentelemetry.

What its server reads is in ``domain/mapping`` of https://github.com/comet-ml/opik: the conventions' attributes, cost as
``gen_ai.usage.cost``, and names of its own.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urljoin

from opentelemetry.util.types import AttributeValue

from callspan import semconv
from callspan_exporters._presets import reading
from callspan_exporters._presets.building import account_of, in_header, preset, traces
from callspan_exporters._rewriting import Rewriting, SpanView
from callspan_exporters._variables import required, required_url, variable
from callspan_exporters.otlp import OTLPDestination

_KEY: Final = "OPIK_API_KEY"
_URL: Final = "OPIK_URL_OVERRIDE"
_CLOUD: Final = "https://www.comet.com/opik/api"


def opik() -> OTLPDestination:
    """Return Opik as ``OPIK_*`` configure it. A server of one's own needs no key.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    key = variable(_KEY) if variable(_URL) else required(_KEY, what="an API key of Opik")
    url = required_url(_URL, default=_home_of(key) or _CLOUD)
    workspace, project = (in_header(variable(name), name) for name in ("OPIK_WORKSPACE", "OPIK_PROJECT_NAME"))
    return preset(
        "opik",
        traces(f"{url}/v1/private/otel"),
        {"Authorization": key, "Comet-Workspace": workspace, "projectName": project},
        account=account_of(*filter(None, (key,)), project=" ".join(filter(None, (workspace, project)))),
        address_variable=_URL,
        key_variable=_KEY,
        rewriting=Rewriting(of_span=attributes_of),
    )


def _home_of(key: str) -> str:
    """Return where a key is of, as it says itself: behind a star, in base64, in the form that Opik's own SDK reads."""
    _, star, encoded = key.partition("*")
    try:
        known: Any = json.loads(base64.b64decode(f"{encoded}===")) if star else {}
        return urljoin(str(known["baseUrl"]), "opik/api") if "baseUrl" in known else ""
    except (ValueError, TypeError):
        return ""


def attributes_of(view: SpanView) -> Mapping[str, AttributeValue | None]:
    """Return cost, provider, tags, the thread, and who made the call."""
    return {
        **{f"opik.metadata.{name}": value for name, value in reading.metadata(view)},
        "opik.metadata.user_id": reading.text(view, semconv.USER_ID) or None,
        "opik.tags": reading.tags(view) or None,
        "thread_id": reading.session(view) or None,
        "gen_ai.system": reading.text(view, semconv.GEN_AI_PROVIDER_NAME) or None,
        "gen_ai.usage.cost": reading.dollars(view),
    }
