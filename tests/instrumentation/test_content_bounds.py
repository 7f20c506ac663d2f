"""What is recorded of content is cleaned and bounded before anything is stored, and can be taken elsewhere."""

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import litellm
import pytest

import callspan
import callspan._completion_hook
from instrumentation import calls
from instrumentation.conftest import Spans
from instrumentation.every_call import MADE
from loopback.openai_api import Answer, Fail, OpenAIUpstream, ToolCall
from loopback.openai_others import PIXEL

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
Start = Callable[[], Spans]


@pytest.fixture
def on_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CAPTURE, "SPAN_ONLY")


def content(span: Any, name: str) -> Any:
    return json.loads(span.attributes[f"gen_ai.{name}"])


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


@pytest.mark.usefixtures("on_spans")
def test_patterns_are_redacted_everywhere(
    recording: Start, monkeypatch: pytest.MonkeyPatch, upstream: OpenAIUpstream
) -> None:
    """In messages, tool arguments, tool definitions and errors, whoever wrote them."""
    monkeypatch.setenv("CALLSPAN_REDACT_PATTERNS", r"\d{3}-\d{2}-\d{4}" + "\n" + r"[\w.]+@[\w.]+")
    spans = recording()
    upstream.behave(Answer("It is 123-45-6789.", tool_calls=(ToolCall("look", {"who": "ann@example.com"}),)))
    tools = [{"type": "function", "function": {"name": "look", "description": "ask bob@example.com", "parameters": {}}}]
    litellm.completion("openai/gpt-4o-mini", user("I am 987-65-4321"), tools=tools)
    upstream.default = Fail(400, "no 111-22-3333 here", "invalid_request_error")
    with pytest.raises(litellm.BadRequestError, match="111-22-3333"):
        litellm.completion("openai/gpt-4o-mini", user("hello"))
    recorded = "".join(span.to_json() for span in spans())
    for hidden in ("123-45-6789", "987-65-4321", "111-22-3333", "ann@example.com", "bob@example.com"):
        assert hidden not in recorded
    assert content(spans()[0], "input.messages")[0]["parts"][0]["content"] == "I am [redacted]"


@pytest.mark.usefixtures("on_spans")
def test_the_users_function_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given each text; what it raises on is left out, and the call untouched."""
    monkeypatch.setenv("CALLSPAN_DESTINATIONS", "none")

    def redact(text: str) -> str:
        if "secret" in text:
            raise ValueError(text)
        return text.upper()

    spans = Spans()
    callspan.instrument(tracer_provider=spans.provider, redact=redact)
    try:
        response = litellm.completion("openai/gpt-4o-mini", [*user("hello"), *user("my secret")])
    finally:
        callspan.uninstrument()
    assert response.choices[0].message.content == "Hello from loopback."
    hello, secret = content(spans.only(), "input.messages")
    assert hello == {"role": "user", "parts": [{"type": "text", "content": "HELLO"}]}
    assert secret["parts"][0]["content"] == "[left out: redact= failed]"
    assert content(spans.only(), "output.messages")[0]["parts"][0]["content"] == "HELLO FROM LOOPBACK."


@pytest.mark.usefixtures("on_spans")
def test_tools_arguments_and_results_are_cleaned_by_whatever_name(
    recording: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they call `name`, `id` or `type` is not the schema's; who takes part is not either."""
    monkeypatch.setenv("CALLSPAN_REDACT_PATTERNS", r"\w+@example\.com")
    spans = recording()
    private = {"name": "ann@example.com", "type": "to bob@example.com", "cy@example.com": {"id": ["dan@example.com"]}}
    call = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": json.dumps(private)}}
    messages: list[Any] = [
        {"role": "user", "name": "eve@example.com", "content": "hello"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sent to fay@example.com"},
    ]
    litellm.completion("openai/gpt-4o-mini", messages)
    recorded = spans.only().attributes["gen_ai.input.messages"]
    assert "example.com" not in recorded
    _, asked, _ = content(spans.only(), "input.messages")
    assert (asked["parts"][0]["id"], asked["parts"][0]["name"]) == ("call_1", "send")
    assert asked["parts"][0]["arguments"]["name"] == "[redacted]"


def test_a_pattern_that_is_none_records_nothing(
    recording: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it was to keep back is kept back, and one line names the setting."""
    monkeypatch.setenv(CAPTURE, "SPAN_ONLY")
    monkeypatch.setenv("CALLSPAN_REDACT_PATTERNS", "(unclosed")
    spans = recording()
    litellm.completion(**calls.CHAT)
    assert "gen_ai.input.messages" not in spans.only().attributes
    assert "CALLSPAN_REDACT_PATTERNS" in caplog.text


@pytest.mark.usefixtures("on_spans")
def test_texts_and_blobs_are_bounded(recording: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSPAN_CONTENT_MAX_LENGTH", "100")
    monkeypatch.setenv("CALLSPAN_BLOB_MAX_BYTES", "30")
    spans = recording()
    parts = [
        {"type": "text", "text": "word " * 1000},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": PIXEL, "format": "wav"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"}},
        {"type": "text", "text": PIXEL},
    ]
    messages: list[Any] = [{"role": "user", "content": parts}]
    litellm.completion("openai/gpt-4o-mini", messages, mock_response="hi")
    text, large, small, sound, file, disguised = content(spans.only(), "input.messages")[0]["parts"]
    assert text["content"].endswith("[cut: 4900 characters more]")
    assert large == {
        "type": "blob",
        "modality": "image",
        "mime_type": "image/png",
        "content": "",
        "left_out_bytes": len(PIXEL) * 3 // 4,
    }
    assert small["content"] == "AAAA"
    assert (sound["modality"], sound["mime_type"], sound["content"]) == ("audio", "audio/wav", "")
    assert (file["modality"], file["content"]) == ("document", "")
    assert disguised["content"].startswith("[left out: ")
    assert PIXEL[:200] not in spans.only().to_json()


@pytest.mark.usefixtures("on_spans")
def test_the_largest_message_is_bounded_by_default(recording: Start) -> None:
    spans = recording()
    litellm.completion("openai/gpt-4o-mini", user("long " * 1_000_000), mock_response="hi")
    assert len(spans.only().attributes["gen_ai.input.messages"]) < 70_000


@pytest.mark.usefixtures("on_spans")
def test_several_choices_reasoning_and_refusals(recording: Start) -> None:
    spans = recording()
    litellm.completion(**calls.CHAT, n=2)
    first, second = content(spans.only(), "output.messages")
    assert first == second
    message = litellm.Message(content="No.", reasoning_content="Hm.", refusal="I will not.")
    response = litellm.ModelResponse(choices=[litellm.Choices(finish_reason="stop", message=message)])
    litellm.completion(**calls.CHAT, mock_response=response)
    (answer,) = content(spans()[-1], "output.messages")
    assert {part["type"]: part["content"] for part in answer["parts"]} == {
        "reasoning": "Hm.",
        "text": "No.",
        "refusal": "I will not.",
    }


@pytest.mark.usefixtures("on_spans")
def test_structured_output_is_recorded_as_written(recording: Start, upstream: OpenAIUpstream) -> None:
    upstream.default = Answer('{"city": "Paris"}')
    spans = recording()
    litellm.completion(**calls.CHAT, response_format={"type": "json_object"})
    assert spans.only().attributes["gen_ai.output.type"] == "json"
    assert content(spans.only(), "output.messages")[0]["parts"] == [{"type": "text", "content": '{"city": "Paris"}'}]


@pytest.mark.usefixtures("on_spans")
@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_messages_have_their_parts(stream: bool, recording: Start, upstream: OpenAIUpstream) -> None:
    spans = recording()
    blocks = [
        {"type": "text", "text": "Look."},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {"type": "tool_result", "tool_use_id": "t1", "content": "rain"},
    ]
    calls.make(
        litellm.anthropic_messages,
        **{**MADE["anthropic_messages"].arguments, "messages": [{"role": "user", "content": blocks}]},
        system="Be brief.",
        api_base=f"http://127.0.0.1:{upstream.port}",
        stream=stream,
    )
    span = spans.only()
    assert content(span, "system_instructions") == [{"type": "text", "content": "Be brief."}]
    assert content(span, "input.messages") == [
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "Look."},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "AAAA"},
                {"type": "tool_call_response", "id": "t1", "response": "rain"},
            ],
        }
    ]
    assert content(span, "output.messages") == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Hello from loopback."}], "finish_reason": "stop"}
    ]


class Hook:
    """A completion hook as somebody else writes it."""

    seen: list[dict[str, Any]] = []  # noqa: RUF012

    def on_completion(self, **content: Any) -> None:
        content["span"].set_attribute("gen_ai.input.messages_ref", "elsewhere/1")
        self.seen.append(content)


@pytest.mark.parametrize("mode", ["NO_CONTENT", "SPAN_ONLY"])
def test_a_completion_hook_is_handed_content(
    mode: str, recording: Start, monkeypatch: pytest.MonkeyPatch, upstream: OpenAIUpstream
) -> None:
    """Whether or not content is recorded as well; it is cleaned as what is recorded is."""
    entry_point = EntryPoint("ours", f"{__name__}:Hook", "opentelemetry_genai_completion_hook")
    monkeypatch.setattr(callspan._completion_hook, "entry_points", lambda **_: [entry_point])
    monkeypatch.setattr(EntryPoint, "load", lambda _: Hook)
    monkeypatch.setattr(Hook, "seen", [])
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK", "ours")
    monkeypatch.setenv("CALLSPAN_REDACT_PATTERNS", "swordfish")
    monkeypatch.setenv(CAPTURE, mode)
    spans = recording()
    litellm.completion("openai/gpt-4o-mini", [{"role": "system", "content": "Be brief."}, *user("swordfish!")])
    list(litellm.completion(**calls.CHAT, stream=True))
    whole, streamed = Hook.seen
    assert whole["inputs"][0].parts[0].content == "[redacted]!"
    assert whole["outputs"][0].parts[0].content == "Hello from loopback."
    assert whole["system_instruction"][0].content == "Be brief."
    assert streamed["outputs"][0].finish_reason == "stop"
    assert spans()[0].attributes["gen_ai.input.messages_ref"] == "elsewhere/1"
    assert ("gen_ai.input.messages" in spans()[0].attributes) == (mode == "SPAN_ONLY")


def test_a_hook_that_is_not_there_is_said(
    recording: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK", "nowhere")
    spans = recording()
    litellm.completion(**calls.CHAT)
    assert spans.only().attributes["callspan.outcome"] == "success"
    assert "OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK='nowhere'" in caplog.text


def test_nul_and_surrogates_pass(recording: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Text that some wires do not take is written so that all do."""
    monkeypatch.setenv(CAPTURE, "SPAN_ONLY")
    spans = recording()
    litellm.completion("openai/gpt-4o-mini", user("a\x00b \ud83d c"), mock_response="x\x00y")
    recorded = spans.only().attributes["gen_ai.input.messages"]
    assert "\x00" not in recorded
    (tmp_path / "written").write_text(recorded, encoding="utf-8")
