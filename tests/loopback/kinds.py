"""Every kind of destination of ours that speaks HTTP, pointed at a server on loopback by its variables."""

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from callspan_exporters._kinds import destination_named
from callspan_exporters.conformance import Reply, Request
from callspan_exporters.destination import Destination
from loopback.otlp_inbox import spans_in

SECRET: Final = "sk-lf-5ecret0fTheT3sts"
PUBLIC: Final = "pk-lf-public-of-the-tests"

_OTLP_SUCCESS: Final = Reply(200, {"content-type": "application/x-protobuf"})
_JSON_SUCCESS: Final = Reply(200, {"content-type": "application/json"}, b'{"status": "Ok"}')


@dataclass(frozen=True)
class Kind:
    """A kind of destination.

    Attributes:
        name: in CALLSPAN_DESTINATIONS.
        variables: configure it, `{url}` being the server's.
        ids: of the spans in a request.
        names: of the spans in a request.
        success: what takes spans.
    """

    name: str
    variables: Mapping[str, str]
    ids: Callable[[Request], list[str]]
    names: Callable[[Request], list[str]]
    success: Reply = _OTLP_SUCCESS

    def env(self, url: str) -> dict[str, str]:
        """The variables of a process that sends to a server."""
        return {name: value.format(url=url) for name, value in self.variables.items()}

    def destination(self, url: str) -> Destination:
        """The destination of such a process."""
        with _environment(self.env(url)):
            return destination_named(self.name)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Generator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def otlp_ids(request: Request) -> list[str]:
    """The ids of the spans in a request of OTLP."""
    return [span.span_id for span in spans_in(ExportTraceServiceRequest.FromString(request.body))]


def otlp_names(request: Request) -> list[str]:
    """Their names; none of what is of another signal, which an SDK that is set up whole sends as well."""
    if request.path.endswith(("/v1/metrics", "/v1/logs")):
        return []
    return [span.name for span in spans_in(ExportTraceServiceRequest.FromString(request.body))]


def _events(request: Request) -> list[dict[str, str]]:
    return [event for event in request.json()["batch"] if event["event"] != "$ai_trace"]


def _posthog_ids(request: Request) -> list[str]:
    return [event["uuid"] for event in _events(request)]


def _posthog_names(request: Request) -> list[str]:
    return [event["properties"]["$ai_span_name"] for event in _events(request)]  # type: ignore[index]


def _otlp(name: str, **variables: str) -> Kind:
    return Kind(name, variables, otlp_ids, otlp_names)


ALL: Final = (
    _otlp("otlp", OTEL_EXPORTER_OTLP_ENDPOINT="{url}", OTEL_EXPORTER_OTLP_HEADERS=f"authorization=Bearer%20{SECRET}"),
    Kind(
        "posthog",
        {"POSTHOG_API_KEY": SECRET, "POSTHOG_API_URL": "{url}"},
        _posthog_ids,
        _posthog_names,
        _JSON_SUCCESS,
    ),
    _otlp("langfuse", LANGFUSE_PUBLIC_KEY=PUBLIC, LANGFUSE_SECRET_KEY=SECRET, LANGFUSE_HOST="{url}"),
    _otlp("langsmith", LANGSMITH_API_KEY=SECRET, LANGSMITH_ENDPOINT="{url}"),
    _otlp("phoenix", PHOENIX_API_KEY=SECRET, PHOENIX_COLLECTOR_ENDPOINT="{url}"),
)
BY_NAME: Final = {kind.name: kind for kind in ALL}
