"""What each vendor is sent of LiteLLM's calls, on the wire: the path, the headers, the attributes."""

import contextlib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme

from loopback.openai_api import Answer, OpenAIUpstream
from loopback.otlp_inbox import ReceivedSpan
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import run_python

CHAT = "chat gpt-4o-mini"
EMBEDDINGS = "embeddings text-embedding-3-small"
ROUTER = "Router.completion small"

PROGRAM = """
import dataclasses, os, sys
import callspan, litellm
from callspan_exporters._kinds import destination_named

def at(name, endpoint):  # for vendors whose address no variable of theirs names
    return dataclasses.replace(destination_named(name), endpoint=endpoint + "/v1/traces")

fixed = [at(name, os.environ[f"{name}_endpoint"]) for name in ("datadog", "newrelic")]
callspan.instrument(destinations=[*sys.argv[1].split(","), *fixed])
MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
with callspan.context(user_id="u-1", session_id="s-1", tags=["beta"], metadata={"plan": "pro"}):
    litellm.completion("openai/gpt-4o-mini", MESSAGES, temperature=0.5)
    litellm.embedding("openai/text-embedding-3-small", ["a", "b"])
    small = {"model_name": "small", "litellm_params": {"model": "openai/gpt-4o-mini"}}
    list(litellm.Router(model_list=[small]).completion("small", MESSAGES, stream=True))
assert callspan.force_flush(30)
"""


@dataclass(frozen=True)
class Vendor:
    """What is set for it, ENDPOINT standing for its receiver, and what its requests and a chat's span must have."""

    env: dict[str, str]
    path: str
    headers: dict[str, str]
    attributes: dict[str, Any] = field(default_factory=dict)


ENDPOINT = "ENDPOINT"
VENDORS = {
    "arize": Vendor(
        {"ARIZE_COLLECTOR_ENDPOINT": f"{ENDPOINT}/v1", "ARIZE_API_KEY": "k", "ARIZE_SPACE_ID": "s"},
        "/v1/traces",
        {"authorization": "k", "arize-space-id": "s"},
        {"openinference.span.kind": "LLM", "llm.model_name": "gpt-4o-mini", "llm.token_count.total": 18},
    ),
    "braintrust": Vendor(
        {"BRAINTRUST_API_URL": ENDPOINT, "BRAINTRUST_API_KEY": "k", "BRAINTRUST_PARENT": "project_name:bot"},
        "/otel/v1/traces",
        {"authorization": "Bearer k", "x-bt-parent": "project_name:bot"},
        {"braintrust.tags": ("beta",), "braintrust.metadata.user_id": "u-1", "braintrust.metrics.tokens": 18},
    ),
    "datadog": Vendor({"DD_API_KEY": "k"}, "/v1/traces", {"dd-api-key": "k", "dd-otlp-source": "llmobs"}),
    "grafana": Vendor(
        {
            "GRAFANA_CLOUD_OTLP_ENDPOINT": f"{ENDPOINT}/otlp",
            "GRAFANA_CLOUD_INSTANCE_ID": "1",
            "GRAFANA_CLOUD_API_KEY": "k",
        },
        "/otlp/v1/traces",
        {"authorization": "Basic MTpr"},
    ),
    "honeycomb": Vendor(
        {"HONEYCOMB_API_ENDPOINT": ENDPOINT, "HONEYCOMB_API_KEY": "k"}, "/v1/traces", {"x-honeycomb-team": "k"}
    ),
    "langfuse": Vendor(
        {"LANGFUSE_HOST": ENDPOINT, "LANGFUSE_PUBLIC_KEY": "pk", "LANGFUSE_SECRET_KEY": "sk"},
        "/api/public/otel/v1/traces",
        {"authorization": "Basic cGs6c2s=", "x-langfuse-ingestion-version": "4"},
        {"langfuse.observation.type": "generation", "langfuse.trace.tags": ("beta",), "session.id": "s-1"},
    ),
    "langsmith": Vendor(
        {"LANGSMITH_ENDPOINT": ENDPOINT, "LANGSMITH_API_KEY": "k", "LANGSMITH_PROJECT": "my bot"},
        "/api/v1/otel/v1/traces",
        {"x-api-key": "k", "langsmith-project": "my bot"},
        {"langsmith.span.kind": "llm", "langsmith.metadata.session_id": "s-1", "langsmith.span.tags": "beta"},
    ),
    "logfire": Vendor(
        {"LOGFIRE_BASE_URL": ENDPOINT, "LOGFIRE_TOKEN": "t"},
        "/v1/traces",
        {"authorization": "t"},
        {"logfire.tags": ("beta",)},
    ),
    "mlflow": Vendor(
        {"MLFLOW_TRACKING_URI": ENDPOINT, "MLFLOW_EXPERIMENT_ID": "7", "MLFLOW_TRACKING_TOKEN": "t"},
        "/v1/traces",
        {"x-mlflow-experiment-id": "7", "authorization": "Bearer t"},
    ),
    "newrelic": Vendor({"NEW_RELIC_LICENSE_KEY": "k"}, "/v1/traces", {"api-key": "k"}),
    "opik": Vendor(
        {"OPIK_URL_OVERRIDE": f"{ENDPOINT}/api/", "OPIK_API_KEY": "k", "OPIK_PROJECT_NAME": "my bot"},
        "/api/v1/private/otel/v1/traces",
        {"authorization": "k", "projectname": "my bot"},
        {"opik.tags": ("beta",), "thread_id": "s-1"},
    ),
    "phoenix": Vendor(
        {"PHOENIX_COLLECTOR_ENDPOINT": ENDPOINT, "PHOENIX_API_KEY": "k", "PHOENIX_PROJECT_NAME": "my bot"},
        "/v1/traces",
        {"authorization": "Bearer k", "x-project-name": "my bot"},
        {"openinference.span.kind": "LLM", "input.value": "Hi", "output.value": "Hello from loopback."},
    ),
    "posthog-otlp": Vendor(
        {"POSTHOG_API_URL": ENDPOINT, "POSTHOG_API_KEY": "phc_k"},
        "/i/v0/ai/otel",
        {"authorization": "Bearer phc_k"},
        {"llm.request.type": "chat", "$ai_session_id": "s-1", "plan": "pro"},
    ),
}


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, OtlpReceiver]]:
    """A receiver for each vendor, after one program has sent three calls to all of them."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(OpenAIUpstream(Answer(cached_tokens=4, reasoning_tokens=2)))
        receivers = {name: stack.enter_context(OtlpReceiver()) for name in VENDORS}
        env = {
            variable: value.replace(ENDPOINT, receivers[name].endpoint)
            for name, vendor in VENDORS.items()
            for variable, value in vendor.env.items()
        }
        named = [name for name in VENDORS if name not in ("datadog", "newrelic")]
        run_python(
            PROGRAM,
            arguments=[",".join(named)],
            env={
                **env,
                **{f"{name}_endpoint": receivers[name].endpoint for name in ("datadog", "newrelic")},
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_API_BASE": upstream.base_url,
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
                "CALLSPAN_SPOOL_DIR": str(tmp_path_factory.mktemp("spool")),
            },
        )
        yield receivers


def by_name(spans: list[ReceivedSpan]) -> dict[str, ReceivedSpan]:
    """The first of each name: the chat outside a Router, not its attempt."""
    return {span.name: span for span in reversed(spans)}


@pytest.mark.parametrize("name", VENDORS)
def test_the_request(received: dict[str, OtlpReceiver], name: str) -> None:
    requests = received[name].requests
    assert requests
    for request in requests:
        assert request.path == VENDORS[name].path
        assert request.headers.items() >= VENDORS[name].headers.items()
        assert request.headers["content-encoding"] == "gzip"
        assert request.headers["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize("name", VENDORS)
def test_every_span_once(received: dict[str, OtlpReceiver], name: str) -> None:
    names = sorted(span.name for span in received[name].spans)
    assert names == sorted([CHAT, EMBEDDINGS, CHAT, ROUTER])


@pytest.mark.parametrize("name", VENDORS)
def test_the_attributes(received: dict[str, OtlpReceiver], name: str) -> None:
    """The conventions' for all, a vendor's own for it alone."""
    attributes = by_name(received[name].spans)[CHAT].attributes
    assert attributes["gen_ai.request.model"] == "gpt-4o-mini"
    assert attributes["user.id"] == "u-1"
    assert attributes.items() >= VENDORS[name].attributes.items()
    own = {"langsmith", "langfuse", "braintrust", "opik", "logfire", "openinference", "mlflow"}
    kinds = {key.partition(".")[0] for key in attributes} & own
    assert kinds == {"arize": {"openinference"}, "phoenix": {"openinference"}}.get(name, {name} & own)


def test_what_is_stored_is_no_vendors(received: dict[str, OtlpReceiver]) -> None:
    """One spool serves them all."""
    conventional = by_name(received["honeycomb"].spans)[CHAT]
    for name in VENDORS:
        span = by_name(received[name].spans)[CHAT]
        assert span.attributes.items() >= conventional.attributes.items()
        assert span.span_id == conventional.span_id


def test_a_vendor_with_a_certificate_of_ones_own(upstream: OpenAIUpstream, tmp_path: Path) -> None:
    """SSL_CERT_FILE says whom to trust; what is trusted for a collector is the collector's alone."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    with OtlpReceiver(tls=context) as server:
        run_python(
            """
            import callspan, litellm
            callspan.instrument()
            litellm.completion("openai/gpt-4o-mini", [], mock_response="Hi")
            assert callspan.force_flush(30)
            """,
            env={
                "CALLSPAN_DESTINATIONS": "phoenix",
                "PHOENIX_COLLECTOR_ENDPOINT": server.endpoint,
                "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
                "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "collectors.pem"),
            },
        )
        assert [span.name for span in server.spans] == [CHAT]


def test_a_missing_key_is_one_warning_and_the_others_are_sent_to(upstream: OpenAIUpstream) -> None:
    with OtlpReceiver() as phoenix:
        said = run_python(
            """
            import callspan, litellm
            callspan.instrument()
            litellm.completion("openai/gpt-4o-mini", [], mock_response="Hi")
            assert callspan.force_flush(30)
            """,
            env={"CALLSPAN_DESTINATIONS": "langsmith,phoenix", "PHOENIX_COLLECTOR_ENDPOINT": phoenix.endpoint},
        ).stderr
        assert [span.name for span in phoenix.spans] == [CHAT]
    missing = "LANGSMITH_API_KEY or LANGCHAIN_API_KEY is not set: it holds an API key of LangSmith"
    assert said.count(f"CALLSPAN_DESTINATIONS: no spans go to 'langsmith', for {missing}") == 1
