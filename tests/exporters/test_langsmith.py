"""LangSmith: where it is, in whose workspace and project, and what its users find in a run."""

import json

import pytest

from callspan_exporters.destination import SettingError
from callspan_exporters.langsmith import langsmith
from exporters.rewritten import CHAT, CONTENT, REMOTE, parent, sent

KEY = "lsv2_s3cr3t"
ATTEMPT = {**CHAT, "callspan.attempt.number": 1}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_API_KEY", KEY)


@pytest.mark.parametrize(
    ("variable", "value", "endpoint"),
    [
        ("LANGSMITH_ENDPOINT", "https://eu.api.smith.langchain.com", "https://eu.api.smith.langchain.com/otel"),
        ("LANGCHAIN_ENDPOINT", "https://api.smith.langchain.com/", "https://api.smith.langchain.com/otel"),
        ("LANGSMITH_BASE_URL", "https://api.smith.langchain.com/api/v1", "https://api.smith.langchain.com/otel"),
        ("LANGSMITH_BASE_URL", "https://smith.test", "https://smith.test/api/v1/otel"),
        ("LANGSMITH_ENDPOINT", "https://smith.test/api/v1", "https://smith.test/api/v1/otel"),
        ("LANGSMITH_ENDPOINT", "https://notsmith.langchain.com", "https://notsmith.langchain.com/api/v1/otel"),
    ],
)
def test_the_cloud_and_ones_own(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, endpoint: str) -> None:
    monkeypatch.setenv(variable, value)
    assert langsmith().endpoint == f"{endpoint}/v1/traces"


def test_old_names_of_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANGSMITH_API_KEY")
    monkeypatch.setenv("LANGCHAIN_API_KEY", "old")
    monkeypatch.setenv("LANGCHAIN_PROJECT", "bot")
    assert langsmith().headers == {"x-api-key": "old", "Langsmith-Project": "bot"}


@pytest.mark.parametrize("variable", ["LANGSMITH_WORKSPACE_ID", "LANGSMITH_TENANT_ID"])
def test_a_workspace(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "w-1")
    assert langsmith().headers["X-Tenant-Id"] == "w-1"
    assert "w-1" not in langsmith().identity


def test_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run = sent(langsmith(), {**CHAT, **CONTENT})
    assert (
        run.attributes.items()
        >= {
            "langsmith.span.kind": "llm",
            "langsmith.span.tags": "beta, eu",
            "langsmith.metadata.plan": "pro",
            "langsmith.metadata.user_id": "u-1",
            "langsmith.metadata.session_id": "s-1",
            "langsmith.metadata.ls_provider": "openai",
            "langsmith.metadata.ls_model_name": "gpt-4o-mini",
            "langsmith.metadata.time_to_first_token": 0.25,
            "langsmith.metadata.outcome": "success",
            "gen_ai.system": "openai",
            "gen_ai.usage.total_tokens": 18,
            "gen_ai.usage.details.reasoning_tokens": 2,
        }.items()
    )
    assert run.json("gen_ai.prompt") == {
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    }
    assert run.json("gen_ai.completion") == {
        "id": "chatcmpl-1",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello."}}],
    }
    assert run.json("tools") == [
        {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    ]
    assert run.json("langsmith.usage_metadata") == {
        "input_tokens": 11,
        "output_tokens": 7,
        "total_tokens": 18,
        "input_token_details": {"cache_read": 4, "cache_creation": 1},
        "output_token_details": {"reasoning": 2},
        "total_cost": 0.0125,
    }


def test_a_session_is_no_project() -> None:
    """LangSmith calls its projects sessions in two attributes, which a conversation's id must not be in."""
    assert not [key for key in sent(langsmith(), CHAT).attributes if key.startswith("langsmith.trace.session")]


def test_tokens_have_a_response_to_be_in_where_no_content_is_recorded() -> None:
    """LangSmith leaves out the tokens of a run without outputs."""
    run = sent(langsmith(), CHAT)
    assert "gen_ai.prompt" not in run.attributes
    assert run.json("gen_ai.completion")["choices"] == [{"index": 0, "finish_reason": "stop"}]


def test_a_conversation_with_tools() -> None:
    call = {"type": "tool_call", "id": "c-1", "name": "weather", "arguments": {"city": "Paris"}}
    said = [
        {
            "role": "user",
            "parts": [{"type": "text", "content": "Look"}, {"type": "uri", "modality": "image", "uri": "u"}],
        },
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm."}, call]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c-1", "response": {"sky": "blue"}}]},
    ]
    run = sent(langsmith(), {**CHAT, "gen_ai.input.messages": json.dumps(said)})
    user, assistant, tool = run.json("gen_ai.prompt")["messages"]
    assert user["content"] == [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "u"}}]
    assert (assistant["content"], assistant["reasoning_content"]) == (None, "Hm.")
    function = {"name": "weather", "arguments": '{"city":"Paris"}'}
    assert assistant["tool_calls"] == [{"id": "c-1", "type": "function", "function": function}]
    assert tool == {"role": "tool", "tool_call_id": "c-1", "content": '{"sky":"blue"}'}


@pytest.mark.parametrize(
    ("attributes", "run_type"),
    [
        ({"gen_ai.operation.name": "embeddings"}, "embedding"),
        ({"gen_ai.operation.name": "rerank"}, "retriever"),
        ({"gen_ai.operation.name": "execute_tool"}, "tool"),
        ({"gen_ai.operation.name": "invoke_agent"}, "chain"),
        ({"gen_ai.operation.name": "image_generation"}, "llm"),
        ({"callspan.entry_point": "Router.completion"}, "chain"),
        ({"http.method": "GET"}, None),
    ],
)
def test_run_types(attributes: dict[str, str], run_type: str | None) -> None:
    assert sent(langsmith(), attributes).attributes.get("langsmith.span.kind") == run_type


def test_the_name_that_litellms_users_give_a_run() -> None:
    assert (
        sent(langsmith(), {**CHAT, "callspan.metadata.run_name": "greet"}).attributes["langsmith.trace.name"] == "greet"
    )


def test_a_comma_does_not_make_two_tags() -> None:
    assert sent(langsmith(), {**CHAT, "callspan.tags": ["a,b", "c"]}).attributes["langsmith.span.tags"] == "a b, c"


def test_a_remote_parent_is_left_out() -> None:
    """It may never come, and LangSmith would drop the span without a word."""
    run = sent(langsmith(), CHAT, parent=REMOTE)
    assert run.span.parent_span_id == b""
    assert run.span.trace_id == REMOTE.trace_id.to_bytes(16, "big")
    assert run.span.flags & 0x300 == 0
    assert run.attributes["langsmith.metadata.otel_parent_span_id"] == f"{REMOTE.span_id:016x}"


def test_a_remote_parent_is_kept_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSPAN_LANGSMITH_REMOTE_PARENTS", "keep")
    assert sent(langsmith(), CHAT, parent=REMOTE).span.parent_span_id == REMOTE.span_id.to_bytes(8, "big")
    monkeypatch.setenv("CALLSPAN_LANGSMITH_REMOTE_PARENTS", "drop")
    with pytest.raises(SettingError, match="CALLSPAN_LANGSMITH_REMOTE_PARENTS is 'root' or 'keep'"):
        langsmith()


def test_a_local_parent_is_kept() -> None:
    assert sent(langsmith(), CHAT, parent=parent()).span.parent_span_id == REMOTE.span_id.to_bytes(8, "big")


def test_a_call_with_a_credential_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_PROJECT", "ours")
    monkeypatch.setenv("LANGSMITH_TENANT_ID", "w-1")
    ours = langsmith()
    assert ours.of_call is not None
    theirs = ours.of_call({"langsmith_api_key": "theirs", "langsmith_project": "p"})
    assert theirs.headers == {"x-api-key": "theirs", "Langsmith-Project": "p", "X-Tenant-Id": "w-1"}
    assert theirs.endpoint == ours.endpoint
    elsewhere = ours.of_call({"langsmith_api_key": "theirs", "langsmith_base_url": "https://smith.test"})
    assert (elsewhere.endpoint, elsewhere.headers) == (
        "https://smith.test/api/v1/otel/v1/traces",
        {"x-api-key": "theirs"},
    )
    of_project = ours.of_call({"langsmith_project": "p"})
    assert of_project.headers["x-api-key"] == KEY
    assert len({each.identity for each in (ours, theirs, elsewhere, of_project)}) == 4


def test_our_key_goes_nowhere_else() -> None:
    of_call = langsmith().of_call
    assert of_call is not None
    with pytest.raises(SettingError, match="langsmith_api_key"):
        of_call({"langsmith_base_url": "https://elsewhere.test"})
    assert of_call({"langsmith_base_url": "https://api.smith.langchain.com/"}).headers["x-api-key"] == KEY


def test_a_call_with_an_account_of_its_own_is_a_trace_of_its_own() -> None:
    """What is around it goes to another account: its parent would never come, and the trace's root be somebody else."""
    of_call = langsmith().of_call
    assert of_call is not None
    theirs = of_call({"langsmith_api_key": "theirs"})
    one, another = (sent(theirs, {"callspan.entry_point": "Router.completion"}, parent=parent()).span for _ in range(2))
    assert one.parent_span_id == b""
    assert len({one.trace_id, another.trace_id, REMOTE.trace_id.to_bytes(16, "big")}) == 3
    attempt = sent(theirs, ATTEMPT, parent=parent(int.from_bytes(one.span_id, "big"))).span
    assert (attempt.trace_id, attempt.parent_span_id) == (one.trace_id, one.span_id)
