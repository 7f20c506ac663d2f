"""Braintrust: https://www.braintrust.dev/docs/integrations/sdk-integrations/opentelemetry.

It reads the conventions' attributes itself; ``braintrust.*`` fills the fields that they have no names for.
"""

from collections.abc import Mapping
from typing import Final

from opentelemetry.util.types import AttributeValue

from callspan import semconv
from callspan_exporters._presets import reading
from callspan_exporters._presets.building import (
    OfCall,
    account_of,
    bearer,
    in_header,
    preset,
    same_address_or_own_key,
    traces,
)
from callspan_exporters._rewriting import Rewriting, SpanView
from callspan_exporters._variables import required, required_url, variable
from callspan_exporters.otlp import OTLPDestination

_KEY: Final = "BRAINTRUST_API_KEY"
_URL: Final = "BRAINTRUST_API_URL"
_CLOUD: Final = "https://api.braintrust.dev"
_DEFAULT_PARENT: Final = "project_name:default-otel-project"  # as Braintrust's SDK has it


def braintrust() -> OTLPDestination:
    """Return Braintrust as ``BRAINTRUST_*`` configure it.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    key = required(_KEY, what="an API key of Braintrust")
    url = required_url(_URL, default=_CLOUD)
    parent = in_header(variable("BRAINTRUST_PARENT") or _parent_by_project(), "BRAINTRUST_PARENT")

    def of_call(values: Mapping[str, str]) -> OTLPDestination:
        given, own_key = values.get("braintrust_host", ""), values.get("braintrust_api_key", "")
        same_address_or_own_key(given, url, own_key, address_name="braintrust_host", key_name="braintrust_api_key")
        project = values.get("braintrust_project", "")
        return _destination(given or url, own_key or key, f"project_name:{project}" if project else parent)

    return _destination(url, key, parent, of_call)


def _parent_by_project() -> str:
    if project_id := variable("BRAINTRUST_PROJECT_ID"):
        return f"project_id:{project_id}"
    name = variable("BRAINTRUST_PROJECT_NAME", "BRAINTRUST_PROJECT")
    return f"project_name:{name}" if name else _DEFAULT_PARENT


def _destination(url: str, key: str, parent: str, of_call: OfCall | None = None) -> OTLPDestination:
    return preset(
        "braintrust",
        traces(f"{url.rstrip('/')}/otel"),
        {"Authorization": bearer(key), "x-bt-parent": parent},
        account=account_of(key, project=parent),
        address_variable=_URL,
        key_variable=_KEY,
        rewriting=Rewriting(of_span=attributes_of),
        of_call=of_call,
    )


def attributes_of(view: SpanView) -> Mapping[str, AttributeValue | None]:
    """Return who made the call, and what it took."""
    counted = reading.tokens(view)
    return {
        **{f"braintrust.metadata.{name}": value for name, value in reading.metadata(view)},
        "braintrust.metadata.user_id": reading.text(view, semconv.USER_ID) or None,
        "braintrust.metadata.session_id": reading.session(view) or None,
        "braintrust.tags": reading.tags(view) or None,
        "braintrust.metrics.prompt_tokens": counted.input,
        "braintrust.metrics.completion_tokens": counted.output,
        "braintrust.metrics.tokens": counted.total if counted else None,
        "braintrust.metrics.prompt_cached_tokens": counted.cache_read or None,
        "braintrust.metrics.prompt_cache_creation_tokens": counted.cache_write or None,
        "braintrust.metrics.completion_reasoning_tokens": counted.reasoning or None,
        "braintrust.metrics.time_to_first_token": reading.number(view, semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK),
        "braintrust.metrics.estimated_cost": reading.dollars(view),
    }
