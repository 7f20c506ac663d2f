"""The presets: the least that each needs, and the address and the headers that this makes."""

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from callspan_exporters._kinds import destination_named
from callspan_exporters.otlp import OTLPDestination

PREFIXES = (
    *("ARIZE_", "BRAINTRUST_", "DD_", "GRAFANA_CLOUD_", "HONEYCOMB_", "LOGFIRE_", "MLFLOW_", "NEW_RELIC_", "OPIK_"),
    "PHOENIX_",
)
SECRET = "s3cr3tkey"


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{SECRET}".encode()).decode()


@dataclass(frozen=True)
class Preset:
    """One vendor: the least that it needs, and what that makes."""

    env: Mapping[str, str]
    endpoint: str
    headers: Mapping[str, str] = field(default_factory=dict)


PRESETS = {
    "arize": Preset(
        {"ARIZE_API_KEY": SECRET, "ARIZE_SPACE_ID": "space"},
        "https://otlp.arize.com/v1/traces",
        {"authorization": SECRET, "api_key": SECRET, "arize-space-id": "space", "space_id": "space"},
    ),
    "braintrust": Preset(
        {"BRAINTRUST_API_KEY": SECRET},
        "https://api.braintrust.dev/otel/v1/traces",
        {"Authorization": f"Bearer {SECRET}", "x-bt-parent": "project_name:default-otel-project"},
    ),
    "datadog": Preset(
        {"DD_API_KEY": SECRET},
        "https://otlp.datadoghq.com/v1/traces",
        {"dd-api-key": SECRET, "dd-otlp-source": "llmobs"},
    ),
    "grafana": Preset(
        {
            "GRAFANA_CLOUD_INSTANCE_ID": "12345",
            "GRAFANA_CLOUD_API_KEY": SECRET,
            "GRAFANA_CLOUD_OTLP_ENDPOINT": "https://otlp-gateway-prod-eu-west-0.grafana.net/otlp",
        },
        "https://otlp-gateway-prod-eu-west-0.grafana.net/otlp/v1/traces",
        {"Authorization": basic("12345")},
    ),
    "honeycomb": Preset(
        {"HONEYCOMB_API_KEY": SECRET}, "https://api.honeycomb.io/v1/traces", {"x-honeycomb-team": SECRET}
    ),
    "langfuse": Preset(
        {"LANGFUSE_PUBLIC_KEY": "pk-lf-1", "LANGFUSE_SECRET_KEY": SECRET},
        "https://cloud.langfuse.com/api/public/otel/v1/traces",
        {"Authorization": basic("pk-lf-1"), "x-langfuse-ingestion-version": "4"},
    ),
    "langsmith": Preset(
        {"LANGSMITH_API_KEY": SECRET}, "https://api.smith.langchain.com/otel/v1/traces", {"x-api-key": SECRET}
    ),
    "logfire": Preset(
        {"LOGFIRE_TOKEN": f"pylf_v1_us_{SECRET}"},
        "https://logfire-us.pydantic.dev/v1/traces",
        {"Authorization": f"pylf_v1_us_{SECRET}"},
    ),
    "mlflow": Preset(
        {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000/", "MLFLOW_EXPERIMENT_ID": "7"},
        "http://127.0.0.1:5000/v1/traces",
        {"x-mlflow-experiment-id": "7"},
    ),
    "newrelic": Preset({"NEW_RELIC_LICENSE_KEY": SECRET}, "https://otlp.nr-data.net/v1/traces", {"api-key": SECRET}),
    "opik": Preset(
        {"OPIK_API_KEY": SECRET, "OPIK_WORKSPACE": "team", "OPIK_PROJECT_NAME": "chat bot"},
        "https://www.comet.com/opik/api/v1/private/otel/v1/traces",
        {"Authorization": SECRET, "Comet-Workspace": "team", "projectName": "chat bot"},
    ),
    "phoenix": Preset({}, "http://localhost:6006/v1/traces"),
    "posthog-otlp": Preset(
        {"POSTHOG_API_KEY": SECRET}, "https://us.i.posthog.com/i/v0/ai/otel", {"Authorization": f"Bearer {SECRET}"}
    ),
}


def forget_the_developers_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes away what vendors' own packages would read as well."""
    for name in os.environ:
        if name.startswith(PREFIXES):
            monkeypatch.delenv(name)


def configured(monkeypatch: pytest.MonkeyPatch, name: str, **more: str | None) -> OTLPDestination:
    """Returns a preset with the least that it needs, changed; None takes a variable away."""
    for variable, value in {**PRESETS[name].env, **more}.items():
        if value is None:
            monkeypatch.delenv(variable, raising=False)
        else:
            monkeypatch.setenv(variable, value)
    destination = destination_named(name)
    assert isinstance(destination, OTLPDestination)
    return destination
