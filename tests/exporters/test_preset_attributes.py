"""Presets: the attributes that a vendor is sent besides the conventions', and only those."""

import json

import pytest

from exporters.preset_table import PRESETS, configured, forget_the_developers_keys
from exporters.rewritten import CHAT, CONTENT, sent


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_the_developers_keys(monkeypatch)


def test_what_openinference_phoenix_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    phoenix = configured(monkeypatch, "phoenix")
    added = sent(phoenix, {**CHAT, **CONTENT}).attributes
    assert (added["input.value"], added["output.value"], added["output.mime_type"]) == ("Hi", "Hello.", "text/plain")
    assert added["openinference.span.kind"] == "LLM"
    assert added["metadata"] == '{"plan":"pro"}'
    assert added["tag.tags"] == ("beta", "eu")
    assert added["llm.token_count.prompt_details.cache_write"] == 1
    assert added["llm.token_count.completion_details.reasoning"] == 2
    assert added["llm.cost.total"] == 0.0125
    assert "llm.model_name" not in added
    assert sent(phoenix, CHAT).attributes["output.value"] == ""
    router = {"callspan.entry_point": "Router.completion", "callspan.outcome": "success"}
    assert sent(phoenix, router).attributes["openinference.span.kind"] == "CHAIN"
    assert set(sent(phoenix, {"http.method": "GET"}).attributes) == {"http.method"}
    embedding = {**CHAT, **CONTENT, "gen_ai.operation.name": "embeddings"}
    assert sent(phoenix, embedding).attributes["embedding.embeddings.0.embedding.text"] == "Hi"


def test_a_rerank_in_phoenix(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [{"type": "text", "content": each} for each in ("Which?", "one", "two")]
    rerank = {**CHAT, "gen_ai.operation.name": "rerank", "gen_ai.input.messages": json.dumps([{"parts": parts}])}
    assert (
        sent(configured(monkeypatch, "phoenix"), rerank).attributes.items()
        >= {
            "openinference.span.kind": "RERANKER",
            "input.value": "Which?",
            "output.value": "",
            "reranker.query": "Which?",
            "reranker.input_documents.0.document.content": "one",
            "reranker.input_documents.1.document.content": "two",
        }.items()
    )


def test_arize_is_sent_all_of_openinference(monkeypatch: pytest.MonkeyPatch) -> None:
    arize = sent(configured(monkeypatch, "arize"), {**CHAT, **CONTENT})
    assert (
        arize.attributes.items()
        >= {
            "openinference.span.kind": "LLM",
            "llm.model_name": "gpt-4o-mini-2024-07-18",
            "llm.provider": "openai",
            "llm.invocation_parameters": '{"temperature":0.5}',
            "llm.token_count.prompt": 11,
            "llm.token_count.completion": 7,
            "llm.token_count.total": 18,
            "llm.input_messages.0.message.role": "system",
            "llm.input_messages.1.message.content": "Hi",
            "llm.output_messages.0.message.content": "Hello.",
        }.items()
    )
    assert arize.json("llm.tools.0.tool.json_schema")["function"]["name"] == "weather"
    assert arize.resource.items() >= {"openinference.project.name": "default", "model_id": "default"}.items()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "braintrust",
            {
                "braintrust.metadata.plan": "pro",
                "braintrust.metadata.user_id": "u-1",
                "braintrust.metadata.session_id": "s-1",
                "braintrust.tags": ("beta", "eu"),
                "braintrust.metrics.prompt_tokens": 11,
                "braintrust.metrics.completion_tokens": 7,
                "braintrust.metrics.tokens": 18,
                "braintrust.metrics.prompt_cached_tokens": 4,
                "braintrust.metrics.prompt_cache_creation_tokens": 1,
                "braintrust.metrics.completion_reasoning_tokens": 2,
                "braintrust.metrics.time_to_first_token": 0.25,
                "braintrust.metrics.estimated_cost": 0.0125,
            },
        ),
        ("datadog", {}),
        ("grafana", {}),
        ("honeycomb", {}),
        ("logfire", {"operation.cost": 0.0125, "logfire.tags": ("beta", "eu")}),
        ("mlflow", {"mlflow.llm.cost": '{"total_cost":0.0125}'}),
        ("newrelic", {}),
        (
            "opik",
            {
                "opik.metadata.plan": "pro",
                "opik.metadata.user_id": "u-1",
                "opik.tags": ("beta", "eu"),
                "thread_id": "s-1",
                "gen_ai.system": "openai",
                "gen_ai.usage.cost": 0.0125,
            },
        ),
        (
            "posthog-otlp",
            {
                "plan": "pro",
                "$ai_session_id": "s-1",
                "tags": ("beta", "eu"),
                "llm.request.type": "chat",
                "$ai_cache_read_input_tokens": 4,
                "$ai_cache_creation_input_tokens": 1,
                "$ai_reasoning_tokens": 2,
                "$ai_total_cost_usd": 0.0125,
                "$ai_time_to_first_token": 0.25,
            },
        ),
    ],
)
def test_what_a_vendor_is_sent_besides(monkeypatch: pytest.MonkeyPatch, name: str, expected: dict[str, object]) -> None:
    """Just that: what it reads from the conventions' attributes is there once."""
    attributes = sent(configured(monkeypatch, name), CHAT).attributes
    as_they_were = {key: tuple(value) if isinstance(value, list) else value for key, value in CHAT.items()}
    assert attributes == {**as_they_were, **expected}


def test_an_error_says_so_in_posthog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or PostHog would take it for a status of 500."""
    failed = {**CHAT, "callspan.outcome": "failure", "http.response.status_code": 429}
    attributes = sent(configured(monkeypatch, "posthog-otlp"), failed, error=ValueError("slow down")).attributes
    assert attributes.items() >= {"$ai_http_status": 429, "$ai_is_error": True, "$ai_error": "slow down"}.items()


@pytest.mark.parametrize("name", PRESETS)
def test_what_the_application_says_itself_prevails(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    destination = configured(monkeypatch, name)
    said = {key: "mine" for key in sent(destination, CHAT).attributes if key not in CHAT}
    assert sent(destination, {**CHAT, **said}).attributes.items() >= said.items()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(
    "value", ["nonsense", "{}", "[1, null, {}]", '[{"role": null, "parts": 5}]', '[{"parts": [7]}]']
)
def test_content_of_any_shape_is_sent(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """Other instrumentations write what they like."""
    attributes = {**CHAT, **dict.fromkeys(CONTENT, value)}
    destination = configured(monkeypatch, name)
    assert len(sent(destination, attributes).attributes) >= len(sent(destination, CHAT).attributes)
