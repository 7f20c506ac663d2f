"""Presets: the address, the headers and the account that a vendor's usual variables make; those of single calls."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from callspan_exporters._kinds import _OURS
from callspan_exporters.destination import SettingError
from callspan_exporters.otlp import GRPC
from exporters.preset_table import PRESETS, SECRET, basic, configured, forget_the_developers_keys
from exporters.rewritten import CHAT, sent

OPIK_HOME = base64.b64encode(b'{"baseUrl": "https://opik.test"}').decode()


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_the_developers_keys(monkeypatch)


def test_every_preset_is_here() -> None:
    assert set(PRESETS) == set(_OURS) - {"otlp", "posthog"}


@pytest.mark.parametrize("name", PRESETS)
def test_address_and_headers(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    destination = configured(monkeypatch, name)
    assert (destination.endpoint, dict(destination.headers)) == (PRESETS[name].endpoint, PRESETS[name].headers)
    assert destination.compression == "gzip"
    assert destination.kind == name


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        (name, variable)
        for name, preset in PRESETS.items()
        for variable in preset.env
        if not variable.startswith("OPIK_")
    ]
    + [("opik", "OPIK_API_KEY")],
)
def test_a_variable_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, name: str, variable: str) -> None:
    with pytest.raises(SettingError, match=rf"\b{variable}\b.*is not set: it holds"):
        configured(monkeypatch, name, **{variable: None})


@pytest.mark.parametrize("name", PRESETS)
def test_no_secret_is_seen(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    destination = configured(monkeypatch, name)
    for shown in (destination.identity, repr(destination), str(destination.advice)):
        assert SECRET not in shown
        assert basic("12345") not in shown
    assert destination.identity.startswith(f"{name} {PRESETS[name].endpoint.split('//')[0]}")


@pytest.mark.parametrize(
    "name", [name for name, preset in PRESETS.items() if SECRET in "".join(preset.env.values()) and name != "langfuse"]
)
def test_another_key_is_another_destination(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Or a process could send another's spans, left in the spool, into its own account."""
    ours = configured(monkeypatch, name)
    others = {variable: value.replace(SECRET, "another") for variable, value in PRESETS[name].env.items()}
    assert configured(monkeypatch, name, **others).identity != ours.identity
    assert configured(monkeypatch, name, **PRESETS[name].env).identity == ours.identity


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("arize", "ARIZE_PROJECT_NAME"),
        ("arize", "ARIZE_SPACE_ID"),
        ("braintrust", "BRAINTRUST_PARENT"),
        ("grafana", "GRAFANA_CLOUD_INSTANCE_ID"),
        ("langfuse", "LANGFUSE_PUBLIC_KEY"),
        ("langsmith", "LANGSMITH_PROJECT"),
        ("langsmith", "LANGSMITH_WORKSPACE_ID"),
        ("mlflow", "MLFLOW_EXPERIMENT_ID"),
        ("mlflow", "MLFLOW_TRACKING_TOKEN"),
        ("opik", "OPIK_PROJECT_NAME"),
        ("opik", "OPIK_WORKSPACE"),
        ("phoenix", "PHOENIX_API_KEY"),
        ("phoenix", "PHOENIX_PROJECT"),
    ],
)
def test_another_project_is_another_destination(monkeypatch: pytest.MonkeyPatch, name: str, variable: str) -> None:
    ours = configured(monkeypatch, name)
    assert configured(monkeypatch, name, **{variable: "other"}).identity != ours.identity


@pytest.mark.parametrize(
    ("name", "env", "endpoint"),
    [
        ("arize", {"ARIZE_COLLECTOR_ENDPOINT": "https://otlp.eu-west-1a.arize.com/v1"}, "otlp.eu-west-1a.arize.com"),
        ("arize", {"ARIZE_HTTP_ENDPOINT": "https://otlp.arize.com/v1/traces"}, "otlp.arize.com"),
        ("arize", {"ARIZE_ENDPOINT": "https://otlp.eu-west-1a.arize.com/v1"}, "otlp.eu-west-1a.arize.com"),
        ("datadog", {"DD_SITE": "us5.datadoghq.com"}, "otlp.us5.datadoghq.com"),
        (
            "grafana",
            {"GRAFANA_CLOUD_OTLP_ENDPOINT": None, "GRAFANA_CLOUD_ZONE": "z"},
            "otlp-gateway-z.grafana.net/otlp",
        ),
        ("honeycomb", {"HONEYCOMB_API_ENDPOINT": "https://api.eu1.honeycomb.io"}, "api.eu1.honeycomb.io"),
        ("logfire", {"LOGFIRE_TOKEN": "pylf_v1_eu_x"}, "logfire-eu.pydantic.dev"),
        ("logfire", {"LOGFIRE_TOKEN": "anoldtoken"}, "logfire-us.pydantic.dev"),
        ("newrelic", {"NEW_RELIC_LICENSE_KEY": "eu01xxabc"}, "otlp.eu01.nr-data.net"),
        ("newrelic", {"NEW_RELIC_REGION": "EU"}, "otlp.eu01.nr-data.net"),
        ("opik", {"OPIK_API_KEY": f"k*{OPIK_HOME}"}, "opik.test/opik/api/v1/private/otel"),
        ("opik", {"OPIK_API_KEY": "k*nothing"}, "www.comet.com/opik/api/v1/private/otel"),
        ("opik", {"OPIK_URL_OVERRIDE": "https://opik.test/api/"}, "opik.test/api/v1/private/otel"),
        ("phoenix", {"PHOENIX_COLLECTOR_ENDPOINT": "https://phoenix.test/"}, "phoenix.test"),
        ("phoenix", {"PHOENIX_COLLECTOR_HTTP_ENDPOINT": "https://phoenix.test/v1/traces"}, "phoenix.test"),
    ],
)
def test_regions_and_servers_of_ones_own(
    monkeypatch: pytest.MonkeyPatch, name: str, env: dict[str, str | None], endpoint: str
) -> None:
    assert configured(monkeypatch, name, **env).endpoint == f"https://{endpoint}/v1/traces"


@pytest.mark.parametrize(
    ("name", "env", "headers"),
    [
        ("braintrust", {"BRAINTRUST_PARENT": "project_id:1"}, {"x-bt-parent": "project_id:1"}),
        ("braintrust", {"BRAINTRUST_PROJECT_ID": "1"}, {"x-bt-parent": "project_id:1"}),
        ("braintrust", {"BRAINTRUST_PROJECT_NAME": "bot"}, {"x-bt-parent": "project_name:bot"}),
        ("honeycomb", {"HONEYCOMB_API_KEY": "0" * 32, "HONEYCOMB_DATASET": "llm"}, {"x-honeycomb-dataset": "llm"}),
        ("mlflow", {"MLFLOW_TRACKING_TOKEN": SECRET}, {"Authorization": f"Bearer {SECRET}"}),
        (
            "mlflow",
            {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": SECRET},
            {"Authorization": basic("me")},
        ),
        ("phoenix", {"PHOENIX_API_KEY": SECRET}, {"authorization": f"Bearer {SECRET}"}),
        ("phoenix", {"PHOENIX_PROJECT_NAME": "bot"}, {"x-project-name": "bot"}),
        ("phoenix", {"PHOENIX_CLIENT_HEADERS": "x-team=a,x-env=b"}, {"x-team": "a", "x-env": "b"}),
    ],
)
def test_further_headers(
    monkeypatch: pytest.MonkeyPatch, name: str, env: dict[str, str], headers: dict[str, str]
) -> None:
    assert configured(monkeypatch, name, **env).headers.items() >= headers.items()


@pytest.mark.parametrize(
    ("name", "env", "said"),
    [
        ("datadog", {"DD_SITE": "https://datadoghq.eu"}, "DD_SITE is no site"),
        ("honeycomb", {"HONEYCOMB_API_KEY": "0" * 32}, "HONEYCOMB_DATASET is not set"),
        ("mlflow", {"MLFLOW_TRACKING_URI": "databricks"}, "MLFLOW_TRACKING_URI is no URL"),
        ("newrelic", {"NEW_RELIC_REGION": "moon"}, "NEW_RELIC_REGION is one of us, eu"),
        ("phoenix", {"PHOENIX_COLLECTOR_ENDPOINT": "https://app.phoenix.arize.com/s/me"}, "PHOENIX_API_KEY is not set"),
        ("opik", {"OPIK_PROJECT_NAME": "Rückfragen"}, "OPIK_PROJECT_NAME goes into a header of HTTP"),
        ("phoenix", {"PHOENIX_PROJECT": "Rückfragen"}, "PHOENIX_PROJECT goes into a header of HTTP"),
        ("langsmith", {"LANGSMITH_PROJECT": "Rückfragen"}, "LANGSMITH_PROJECT goes into a header of HTTP"),
        ("langsmith", {"LANGSMITH_API_KEY": "one\ntwo"}, "LANGSMITH_API_KEY goes into a header of HTTP"),
        ("braintrust", {"BRAINTRUST_PARENT": "project_name:é"}, "BRAINTRUST_PARENT goes into a header of HTTP"),
    ],
)
def test_what_cannot_work_is_said(monkeypatch: pytest.MonkeyPatch, name: str, env: dict[str, str], said: str) -> None:
    with pytest.raises(SettingError, match=re.escape(said)):
        configured(monkeypatch, name, **env)


def test_an_opik_of_ones_own_needs_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    local = configured(monkeypatch, "opik", OPIK_API_KEY=None, OPIK_URL_OVERRIDE="http://localhost:5173/api")
    assert "Authorization" not in local.headers


def test_phoenix_by_grpc_has_its_project_in_the_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it does not look at headers."""
    phoenix = configured(
        monkeypatch, "phoenix", PHOENIX_COLLECTOR_ENDPOINT="http://localhost:4317", PHOENIX_PROJECT="bot"
    )
    assert (phoenix.protocol, phoenix.endpoint, dict(phoenix.headers)) == (GRPC, "http://localhost:4317", {})
    assert sent(phoenix, CHAT).resource["openinference.project.name"] == "bot"


def test_posthogs_app_is_not_where_it_takes_events(monkeypatch: pytest.MonkeyPatch) -> None:
    posthog = configured(monkeypatch, "posthog-otlp", POSTHOG_HOST="https://eu.posthog.com/")
    assert posthog.endpoint == "https://eu.i.posthog.com/i/v0/ai/otel"


def test_posthog_takes_a_hundred_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configured(monkeypatch, "posthog-otlp").max_batch_size == 100


def test_the_collectors_settings_are_not_the_vendors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """But for the time that a request may take."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization={SECRET}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(tmp_path / "collector.pem"))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "30")
    destination = configured(monkeypatch, "phoenix")
    assert destination == configured(monkeypatch, "phoenix")
    assert (destination.certificate, destination.timeout_s) == (None, 30.0)
    assert not destination.headers
    assert "collector" not in destination.endpoint


@dataclass(frozen=True)
class OfCall:
    """What a call carries, and what of its destination that changes."""

    name: str
    values: Mapping[str, str]
    endpoint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


OF_CALLS = [
    OfCall("arize", {"arize_api_key": "k", "arize_space_key": "s"}, headers={"api_key": "k", "space_id": "s"}),
    OfCall("arize", {"arize_api_key": "k"}, headers={"api_key": "k", "space_id": "space"}),
    OfCall("braintrust", {"braintrust_api_key": "k"}, headers={"Authorization": "Bearer k"}),
    OfCall("braintrust", {"braintrust_project": "p"}, headers={"x-bt-parent": "project_name:p"}),
    OfCall(
        "braintrust",
        {"braintrust_api_key": "k", "braintrust_host": "https://bt.test/"},
        "https://bt.test/otel/v1/traces",
        {"Authorization": "Bearer k"},
    ),
    OfCall("datadog", {"dd_api_key": "k"}, headers={"dd-api-key": "k"}),
    OfCall(
        "datadog",
        {"dd_api_key": "k", "dd_site": "datadoghq.eu"},
        "https://otlp.datadoghq.eu/v1/traces",
        {"dd-api-key": "k"},
    ),
    OfCall("newrelic", {"newrelic_api_key": "k"}, headers={"api-key": "k"}),
    OfCall(
        "newrelic",
        {"newrelic_api_key": "k", "newrelic_region": "eu"},
        "https://otlp.eu01.nr-data.net/v1/traces",
        {"api-key": "k"},
    ),
    OfCall("posthog-otlp", {"posthog_api_key": "k"}, headers={"Authorization": "Bearer k"}),
    OfCall(
        "posthog-otlp",
        {"posthog_api_key": "k", "posthog_host": "https://ph.test"},
        "https://ph.test/i/v0/ai/otel",
        {"Authorization": "Bearer k"},
    ),
]


@pytest.mark.parametrize("case", OF_CALLS, ids=lambda case: f"{case.name}-{'-'.join(case.values)}")
def test_a_call_with_a_credential_of_its_own(monkeypatch: pytest.MonkeyPatch, case: OfCall) -> None:
    ours = configured(monkeypatch, case.name)
    assert ours.of_call is not None
    theirs = ours.of_call(case.values)
    assert theirs.endpoint == (case.endpoint or ours.endpoint)
    assert theirs.headers.items() >= case.headers.items()
    assert theirs.identity != ours.identity
    assert theirs.of_call is None


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("braintrust", {"braintrust_host": "https://elsewhere.test"}, "braintrust_api_key"),
        ("datadog", {"dd_site": "datadoghq.eu"}, "dd_api_key"),
        ("newrelic", {"newrelic_region": "eu"}, "newrelic_api_key"),
        ("posthog-otlp", {"posthog_host": "https://elsewhere.test"}, "posthog_api_key"),
        ("posthog-otlp", {"posthog_api_url": "https://elsewhere.test"}, "posthog_api_key"),
    ],
)
def test_our_key_goes_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, name: str, values: dict[str, str], said: str
) -> None:
    """A call that names another address and no key must not get ours sent there."""
    ours = configured(monkeypatch, name)
    assert ours.of_call is not None
    with pytest.raises(SettingError, match=said):
        ours.of_call(values)
