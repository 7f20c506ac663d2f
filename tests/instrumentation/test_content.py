"""Content is recorded only where the user asked for it, in the conventions' schema; credentials never."""

import json
import logging
from collections.abc import Callable
from typing import Any

import litellm
import pytest
from opentelemetry import _logs
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor

from instrumentation import calls
from instrumentation.conftest import Spans
from loopback.openai_api import Answer, Fail, OpenAIUpstream, ToolCall

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
KEY = "sk-very-secret-0123456789abcdef"
PROMPT = "the launch code is swordfish"
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": {}}}]
CONVERSATION: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Paris?"}, {"type": "image_url", "image_url": {"url": "u"}}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "P"}'}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "rain"},
]


def everything(spans: Spans) -> str:
    """All text of all spans."""
    return "".join(span.to_json() for span in spans())


def content(span: Any, name: str) -> Any:
    return json.loads(span.attributes[name])


@pytest.mark.parametrize("mode", ["", "NO_CONTENT", "no_content", "EVENT_ONLY"])
def test_no_content_on_spans_unless_asked(
    mode: str, recording: Callable[[], Spans], monkeypatch: pytest.MonkeyPatch, upstream: OpenAIUpstream
) -> None:
    """By default neither prompt nor answer is on a span, whether the call succeeds, streams or fails."""
    monkeypatch.setenv(CAPTURE, mode)
    spans = recording()
    messages = [{"role": "user", "content": PROMPT}]
    litellm.completion("openai/gpt-4o-mini", messages)
    list(litellm.completion("openai/gpt-4o-mini", messages, stream=True))
    upstream.default = Fail(400, f"Your prompt {PROMPT!r} is not allowed.", "invalid_request_error")
    with pytest.raises(litellm.BadRequestError, match="swordfish"):
        litellm.completion("openai/gpt-4o-mini", messages)
    assert len(spans()) == 3
    assert "Hello from loopback" not in everything(spans)
    if mode != "EVENT_ONLY":  # who asks for content anywhere has no objection to it in an error message
        assert "swordfish" not in everything(spans)


def test_content_on_spans(
    recording: Callable[[], Spans], monkeypatch: pytest.MonkeyPatch, upstream: OpenAIUpstream
) -> None:
    """Messages, instructions and tools in the conventions' schema, each as JSON text."""
    monkeypatch.setenv(CAPTURE, "span_only")
    spans = recording()
    upstream.default = Answer(tool_calls=(ToolCall("weather", {"city": "Paris"}),))
    litellm.completion("openai/gpt-4o-mini", CONVERSATION, tools=TOOLS)
    span = spans.only()
    assert content(span, "gen_ai.system_instructions") == [{"type": "text", "content": "Be brief."}]
    assert content(span, "gen_ai.input.messages") == [
        {
            "role": "user",
            "parts": [{"type": "text", "content": "Paris?"}, {"type": "uri", "modality": "image", "uri": "u"}],
        },
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "P"}}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "rain"}]},
    ]
    (answer,) = content(span, "gen_ai.output.messages")
    assert answer["role"] == "assistant"
    assert answer["finish_reason"] == "tool_call"
    assert {"type": "tool_call", "id": "call_loopback_0", "name": "weather", "arguments": {"city": "Paris"}} in (
        answer["parts"]
    )
    assert content(span, "gen_ai.tool.definitions") == [
        {"type": "function", "name": "weather", "description": "Weather.", "parameters": {}}
    ]


@pytest.mark.parametrize(
    ("call", "sent", "got"),
    [
        (lambda: list(litellm.completion(**calls.CHAT, stream=True)), "Say hello to the loopback.", True),
        (lambda: litellm.text_completion(**calls.ARGUMENTS["text_completion"]), "Say hello.", True),
        (lambda: litellm.responses(**calls.ARGUMENTS["responses"]), "Say hello.", True),
        (lambda: list(litellm.responses(**calls.ARGUMENTS["responses"], stream=True)), "Say hello.", True),
        (lambda: litellm.embedding(**calls.ARGUMENTS["embedding"]), "hello", False),
    ],
    ids=["stream", "text", "responses", "responses stream", "embedding"],
)
def test_content_of_every_shape(
    call: Callable[[], Any],
    sent: str,
    got: bool,
    recording: Callable[[], Spans],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each request shape has its messages; embeddings have no output."""
    monkeypatch.setenv(CAPTURE, "SPAN_ONLY")
    spans = recording()
    call()
    span = spans.only()
    assert content(span, "gen_ai.input.messages") == [{"role": "user", "parts": [{"type": "text", "content": sent}]}]
    assert ("gen_ai.output.messages" in span.attributes) == got
    if got:
        assert content(span, "gen_ai.output.messages") == [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": "Hello from loopback."}],
                "finish_reason": "stop",
            }
        ]


def test_content_on_events(recording: Callable[[], Spans], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user wants content on events, it is the conventions' event, tied to the span, and not on the span."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider()
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", provider)
    monkeypatch.setenv(CAPTURE, "EVENT_ONLY")
    spans = recording()
    litellm.completion(**calls.CHAT)
    record = exporter.get_finished_logs()[0].log_record
    assert record.event_name == "gen_ai.client.inference.operation.details"
    assert record.span_id == spans.only().context.span_id
    assert "Hello from loopback" in record.attributes["gen_ai.output.messages"]
    assert "gen_ai.output.messages" not in spans.only().attributes


def test_a_router_calls_content_is_on_its_attempts(
    recording: Callable[[], Spans], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content, like tokens, is recorded once: where it went to a provider."""
    monkeypatch.setenv(CAPTURE, "SPAN_ONLY")
    spans = recording()
    calls.router().completion(model="small", messages=calls.MESSAGES)
    attempt, call = spans()
    assert "gen_ai.input.messages" in attempt.attributes
    assert "gen_ai.input.messages" not in call.attributes
    assert "gen_ai.usage.input_tokens" not in call.attributes


def test_an_unknown_mode_is_said_and_records_nothing(
    recording: Callable[[], Spans], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A misspelt value names the variable and the values there are; nothing is recorded."""
    monkeypatch.setenv(CAPTURE, "true")
    spans = recording()
    litellm.completion(**calls.CHAT)
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "callspan"]
    assert CAPTURE in warning
    assert "SPAN_ONLY" in warning
    assert "gen_ai.input.messages" not in spans.only().attributes


@pytest.mark.parametrize("mode", ["NO_CONTENT", "SPAN_ONLY"])
def test_no_credential_is_ever_recorded(
    mode: str,
    recording: Callable[[], Spans],
    monkeypatch: pytest.MonkeyPatch,
    upstream: OpenAIUpstream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Neither keys nor headers reach a span or our log, not even by way of a provider's error message."""
    monkeypatch.setenv(CAPTURE, mode)
    spans = recording()
    secrets = {
        "api_key": KEY,
        "extra_headers": {"Authorization": f"Bearer {KEY}-header", "x-api-key": "plain-header-secret"},
        "aws_secret_access_key": "aws/secret/value+0123456789",
        "azure_ad_token": "azure-token-value",
    }
    with caplog.at_level(logging.DEBUG, "callspan"):
        litellm.completion(**calls.CHAT, **secrets)
        message = f"Incorrect API key provided: {KEY}. Headers: plain-header-secret, authorization: Bearer abcdefghijk"
        upstream.default = Fail(401, message, "invalid_request_error")
        with pytest.raises(litellm.AuthenticationError):
            litellm.completion(**calls.CHAT, **secrets)
    recorded = everything(spans) + caplog.text
    for secret in (KEY, "plain-header-secret", "aws/secret/value", "azure-token-value", "abcdefghijk"):
        assert secret not in recorded
    assert "Incorrect API key provided: [redacted]" in everything(spans)


def test_a_key_from_the_environment_is_not_recorded_either(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, upstream: OpenAIUpstream
) -> None:
    """A key of no known form that LiteLLM found by itself is redacted by its value."""
    monkeypatch.setenv("OPENAI_API_KEY", "no-pattern-matches-this")
    upstream.default = Fail(401, "Unknown key no-pattern-matches-this", "invalid_request_error")
    with pytest.raises(Exception, match="Unknown key"):
        litellm.completion(**calls.CHAT)
    assert "no-pattern-matches-this" not in everything(spans)


def test_messages_are_recorded_as_they_were_sent(
    recording: Callable[[], Spans], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller who appends to the list while the stream runs does not change what was sent."""
    monkeypatch.setenv(CAPTURE, "SPAN_ONLY")
    spans = recording()
    messages = [{"role": "user", "content": "first"}]
    stream = litellm.completion("openai/gpt-4o-mini", messages, stream=True)
    messages.append({"role": "assistant", "content": "later"})
    list(stream)
    assert len(content(spans.only(), "gen_ai.input.messages")) == 1


def test_odd_content_is_recorded_and_the_call_untouched(
    recording: Callable[[], Spans], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lone surrogates, broken tool arguments and odd parts neither fail the call nor lose the span."""
    monkeypatch.setenv(CAPTURE, "SPAN_ONLY")
    spans = recording()
    messages: list[Any] = [
        {"role": "user", "content": "half a pair: \ud83d"},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{broken"}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]},
    ]
    litellm.completion("openai/gpt-4o-mini", messages, mock_response="hello")
    recorded = content(spans.only(), "gen_ai.input.messages")
    assert recorded[0]["parts"][0]["content"] == "half a pair: ?"
    assert recorded[1]["parts"][0]["arguments"] == "{broken"
    assert recorded[2]["parts"][0] == {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "AAAA"}
