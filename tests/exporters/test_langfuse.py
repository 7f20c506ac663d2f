"""Langfuse: where it is, in whose project, and what its users find in an observation."""

import base64

import pytest
from opentelemetry.util.types import AttributeValue

from callspan_exporters.destination import SettingError
from callspan_exporters.langfuse import langfuse
from exporters.rewritten import CHAT, CONTENT, REMOTE, parent, sent


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_PUBLIC_KEY", "pk-ours")
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-ours")


def basic(public: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{public}:{secret}".encode()).decode()


@pytest.mark.parametrize("variable", ["LANGFUSE_HOST", "LANGFUSE_BASE_URL", "LANGFUSE_OTEL_HOST"])
def test_a_server_of_ones_own(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "https://langfuse.test/")
    assert langfuse().endpoint == "https://langfuse.test/api/public/otel/v1/traces"


def test_another_secret_key_of_the_project_is_the_same_destination(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits may be sent with either: the public key says whose project it is."""
    ours = langfuse().identity
    monkeypatch.setenv("LANGFUSE_SECRET_KEY", "sk-renewed")
    assert langfuse().identity == ours


def test_a_generation() -> None:
    generation = sent(langfuse(), {**CHAT, **CONTENT})
    assert (
        generation.attributes.items()
        >= {
            "langfuse.observation.type": "generation",
            "langfuse.trace.tags": ("beta", "eu"),
            "langfuse.trace.metadata.plan": "pro",
            "langfuse.observation.completion_start_time": "1970-01-01T00:00:01.250000Z",
            "user.id": "u-1",
            "session.id": "s-1",
        }.items()
    )
    assert generation.json("langfuse.observation.input") == {
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
    }
    assert generation.json("langfuse.observation.output") == {"role": "assistant", "content": "Hello."}
    assert generation.json("langfuse.observation.cost_details") == {"total": 0.0125}


def test_no_token_is_counted_twice() -> None:
    """Langfuse adds up what it is given."""
    usage = sent(langfuse(), CHAT).json("langfuse.observation.usage_details")
    assert usage == {
        "input": 6,
        "input_cached_tokens": 4,
        "input_cache_creation": 1,
        "output": 5,
        "output_reasoning_tokens": 2,
        "total": 18,
    }
    assert sum(usage.values()) - usage["total"] == usage["total"]


def test_without_tools_the_input_is_the_messages() -> None:
    attributes = {**CHAT, "gen_ai.input.messages": CONTENT["gen_ai.input.messages"]}
    assert sent(langfuse(), attributes).json("langfuse.observation.input") == [{"role": "user", "content": "Hi"}]


def test_nothing_is_shown_of_content_that_is_not_recorded() -> None:
    attributes = sent(langfuse(), CHAT).attributes
    assert not {"langfuse.observation.input", "langfuse.observation.output"} & set(attributes)


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ({"gen_ai.operation.name": "embeddings"}, "embedding"),
        ({"gen_ai.operation.name": "rerank"}, "retriever"),
        ({"gen_ai.operation.name": "moderation"}, "guardrail"),
        ({"gen_ai.operation.name": "execute_tool"}, "tool"),
        ({"gen_ai.operation.name": "invoke_agent"}, "agent"),
        ({"callspan.entry_point": "Router.completion", "gen_ai.request.model": "m"}, "chain"),
        ({"http.method": "GET"}, None),
    ],
)
def test_types_of_observations(attributes: dict[str, AttributeValue], kind: str | None) -> None:
    assert sent(langfuse(), attributes).attributes.get("langfuse.observation.type") == kind


@pytest.mark.parametrize("outcome", ["cancelled", "abandoned"])
def test_a_call_that_was_broken_off_is_a_warning(outcome: str) -> None:
    attributes = sent(langfuse(), {**CHAT, "callspan.outcome": outcome}).attributes
    assert attributes["langfuse.observation.level"] == "WARNING"
    assert attributes["langfuse.observation.status_message"] == outcome


def test_an_error_has_its_message() -> None:
    """The level Langfuse knows from the span's status."""
    failed = sent(langfuse(), {**CHAT, "callspan.outcome": "failure"}, error=ValueError("no such model"))
    assert failed.attributes["langfuse.observation.status_message"] == "no such model"
    assert "langfuse.observation.level" not in failed.attributes


def test_what_litellms_users_put_into_metadata_for_langfuse() -> None:
    said = {
        "callspan.metadata.trace_name": "greeting",
        "callspan.metadata.trace_version": 2,
        "callspan.metadata.trace_release": "r-1",
        "callspan.metadata.langfuse_prompt_name": "greet",
        "callspan.metadata.langfuse_prompt_version": 3,
    }
    attributes = sent(langfuse(), {**CHAT, **said}).attributes
    assert (
        attributes.items()
        >= {
            "langfuse.trace.name": "greeting",
            "langfuse.version": "2",
            "langfuse.release": "r-1",
            "langfuse.observation.prompt.name": "greet",
            "langfuse.observation.prompt.version": 3,
        }.items()
    )
    assert [key for key in attributes if key.startswith("langfuse.trace.metadata.")] == ["langfuse.trace.metadata.plan"]


def test_environment_and_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_TRACING_ENVIRONMENT", "staging")
    monkeypatch.setenv("LANGFUSE_RELEASE", "r-1")
    resource = {"langfuse.environment": "staging", "langfuse.release": "r-1"}
    assert sent(langfuse(), CHAT).resource.items() >= resource.items()


def test_a_remote_parent_leaves_the_trace_its_name_and_input() -> None:
    assert sent(langfuse(), CHAT, parent=REMOTE).attributes["langfuse.internal.as_root"] == "true"
    assert "langfuse.internal.as_root" not in sent(langfuse(), CHAT).attributes


def test_a_call_in_a_project_of_its_own_is_the_root_there() -> None:
    """Its attempts are not: they are below it."""
    of_call = langfuse().of_call
    assert of_call is not None
    theirs = of_call({"langfuse_public_key": "pk-theirs", "langfuse_secret_key": "sk-theirs"})
    assert sent(theirs, CHAT, parent=parent()).attributes["langfuse.internal.as_root"] == "true"
    attempt = {**CHAT, "callspan.attempt.number": 1}
    assert "langfuse.internal.as_root" not in sent(theirs, attempt, parent=parent()).attributes


@pytest.mark.parametrize("secret", ["langfuse_secret_key", "langfuse_secret"])
def test_a_call_with_a_credential_of_its_own(secret: str) -> None:
    ours = langfuse()
    assert ours.of_call is not None
    keys = {"langfuse_public_key": "pk-theirs", secret: "sk-theirs"}
    theirs = ours.of_call({**keys, "langfuse_environment": "prod"})
    assert theirs.headers["Authorization"] == basic("pk-theirs", "sk-theirs")
    assert theirs.endpoint == ours.endpoint
    assert theirs.identity != ours.identity
    assert sent(theirs, CHAT).resource["langfuse.environment"] == "prod"
    elsewhere = ours.of_call({**keys, "langfuse_host": "https://langfuse.test"})
    assert elsewhere.endpoint == "https://langfuse.test/api/public/otel/v1/traces"


@pytest.mark.parametrize(
    "values",
    [
        {"langfuse_host": "https://elsewhere.test"},
        {"langfuse_public_key": "pk-theirs"},
        {"langfuse_secret_key": "sk-theirs", "langfuse_host": "https://elsewhere.test"},
    ],
)
def test_our_keys_go_nowhere_else_and_with_no_other(values: dict[str, str]) -> None:
    of_call = langfuse().of_call
    assert of_call is not None
    with pytest.raises(SettingError, match="langfuse_public_key and langfuse_secret_key"):
        of_call(values)
