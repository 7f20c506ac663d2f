"""Arize Phoenix: https://arize.com/docs/phoenix/tracing/how-to-tracing/setup-tracing, and its package."""

from typing import Final
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

from callspan_exporters._presets.building import account_of, bearer, in_header, preset, traces
from callspan_exporters._presets.openinference import for_phoenix
from callspan_exporters._rewriting import Rewriting
from callspan_exporters._variables import required, required_url, variable
from callspan_exporters.otlp import GRPC, HTTP, OTLPDestination

_ENDPOINT: Final = ("PHOENIX_COLLECTOR_HTTP_ENDPOINT", "PHOENIX_COLLECTOR_ENDPOINT")
_LOCAL: Final = "http://localhost:6006"
_CLOUD: Final = "app.phoenix.arize.com"
_GRPC_PORT: Final = 4317
_PROJECT: Final = ("PHOENIX_PROJECT", "PHOENIX_PROJECT_NAME")
_KEY: Final = "PHOENIX_API_KEY"


def phoenix() -> OTLPDestination:
    """Return Phoenix as ``PHOENIX_*`` configure it: by gRPC where the endpoint has the port of that.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    endpoint = required_url(*_ENDPOINT, default=_LOCAL)
    in_cloud = urlsplit(endpoint).hostname == _CLOUD
    key = required(_KEY, what="an API key of Phoenix") if in_cloud else variable(_KEY)
    by_grpc = urlsplit(endpoint).port == _GRPC_PORT
    project = variable(*_PROJECT)
    headers = {
        **parse_env_headers(variable("PHOENIX_CLIENT_HEADERS"), liberal=True),
        "authorization": bearer(key),
        "x-project-name": "" if by_grpc else in_header(project, _PROJECT[0]),
    }
    resource = {"openinference.project.name": project} if by_grpc and project else {}
    return preset(
        "phoenix",
        endpoint if by_grpc else traces(endpoint),
        headers,
        protocol=GRPC if by_grpc else HTTP,
        account=account_of(*filter(None, (key, variable("PHOENIX_CLIENT_HEADERS"))), project=project),
        address_variable=_ENDPOINT[1],
        key_variable=_KEY,
        rewriting=Rewriting(of_span=for_phoenix, of_resource=resource),
    )
