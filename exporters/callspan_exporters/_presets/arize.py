"""Arize AX: https://arize.com/docs/ax/integrations/opentelemetry/opentelemetry-arize-otel, and its package."""

from collections.abc import Mapping
from typing import Final

from callspan_exporters._presets.building import OfCall, account_of, preset, traces
from callspan_exporters._presets.openinference import whole
from callspan_exporters._rewriting import Rewriting
from callspan_exporters._variables import required, required_url, variable
from callspan_exporters.otlp import OTLPDestination

# The last is LiteLLM's for gRPC: the same server takes HTTP, and it says which region data may go to.
_ENDPOINT: Final = ("ARIZE_COLLECTOR_ENDPOINT", "ARIZE_HTTP_ENDPOINT", "ARIZE_ENDPOINT")
_CLOUD: Final = "https://otlp.arize.com/v1"
_KEY: Final = "ARIZE_API_KEY"
_SPACE: Final = ("ARIZE_SPACE_ID", "ARIZE_SPACE_KEY")


def arize() -> OTLPDestination:
    """Return Arize AX as ``ARIZE_*`` configure it.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    endpoint = required_url(*_ENDPOINT, default=_CLOUD)
    key = required(_KEY, what="an API key of Arize AX")
    space = required(*_SPACE, what="the id of the space")
    project = variable("ARIZE_PROJECT_NAME", default="default")

    def of_call(values: Mapping[str, str]) -> OTLPDestination:
        own_space = values.get("arize_space_id") or values.get("arize_space_key") or space
        return _destination(endpoint, values.get("arize_api_key") or key, own_space, project)

    return _destination(endpoint, key, space, project, of_call)


def _destination(endpoint: str, key: str, space: str, project: str, of_call: OfCall | None = None) -> OTLPDestination:
    return preset(
        "arize",
        traces(endpoint.removesuffix("/v1")),
        # Each under its old name as well, as arize-otel sends them.
        {"authorization": key, "api_key": key, "arize-space-id": space, "space_id": space},
        account=account_of(key, space, project=project),
        address_variable=_ENDPOINT[0],
        key_variable=_KEY,
        rewriting=Rewriting(of_span=whole, of_resource={"openinference.project.name": project, "model_id": project}),
        of_call=of_call,
    )
