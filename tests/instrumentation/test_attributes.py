"""What a span says, by the GenAI conventions and in LiteLLM's own words."""

import ast
import re
from pathlib import Path
from typing import Any

import litellm
import pydantic
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import SpanKind

import callspan
from callspan import semconv
from instrumentation import calls
from instrumentation.conftest import Spans, events
from loopback.openai_api import Answer, OpenAIUpstream, ToolCall


def test_a_chat_call(spans: Spans, upstream: OpenAIUpstream) -> None:
    """All that the conventions require and recommend for a chat call, under their names."""
    upstream.default = Answer(model="gpt-4o-mini-2024-07-18", cached_tokens=4, reasoning_tokens=3)
    litellm.completion(
        **calls.CHAT,
        temperature=0,
        top_p=0.5,
        max_tokens=64,
        frequency_penalty=0.1,
        presence_penalty=0.2,
        seed=7,
        stop=["END"],
        n=1,
        response_format={"type": "json_object"},
    )
    span = spans.only()
    assert span.name == "chat gpt-4o-mini"
    assert span.kind is SpanKind.CLIENT
    assert span.instrumentation_scope.name == "callspan"
    assert span.instrumentation_scope.version == callspan.__version__
    attributes = dict(span.attributes)
    assert isinstance(attributes.pop("litellm.call_id"), str)
    assert attributes.pop("litellm.overhead") > 0
    assert attributes.pop("callspan.cost.amount") == pytest.approx(5.55e-06, rel=0.5)
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.top_p": 0.5,
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.frequency_penalty": 0.1,
        "gen_ai.request.presence_penalty": 0.2,
        "gen_ai.request.seed": 7,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.output.type": "json",
        "gen_ai.response.id": "chatcmpl-loopback-1",
        "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 3,
        "openai.response.system_fingerprint": "fp_loopback",
        "server.address": "127.0.0.1",
        "server.port": upstream.port,
        "callspan.entry_point": "litellm.completion",
        "callspan.outcome": "success",
        "callspan.cost.currency": "USD",
        "litellm.provider_request_id": "req_loopback",
    }


@pytest.mark.parametrize("function", [litellm.embedding, litellm.aembedding], ids=["embedding", "aembedding"])
def test_positional_arguments_of_functions_that_name_none_count(function: Any, spans: Spans) -> None:
    """LiteLLM's asynchronous embeddings take whatever their synchronous twins do."""
    calls.make(function, "openai/text-embedding-3-small", ["one"])
    assert spans.only().attributes["gen_ai.request.model"] == "text-embedding-3-small"


def test_positional_arguments_count(spans: Spans) -> None:
    """A model passed by position is recorded like one passed by name."""
    litellm.completion("openai/gpt-4o-mini", calls.MESSAGES)
    assert spans.only().attributes["gen_ai.request.model"] == "gpt-4o-mini"


def test_samplers_see_the_request(spans: Spans) -> None:
    """What a sampler may decide by is there when the span starts."""
    seen: dict[str, Any] = {}

    class Watching(pydantic.BaseModel):
        """Nothing but a class, to be a response format."""

    class Sees(Sampler):
        def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
            seen.update(kwargs.get("attributes") or args[4])
            return ALWAYS_ON.should_sample(*args, **kwargs)

        def get_description(self) -> str:
            return "sees"

    spans.provider.sampler = Sees()
    litellm.completion(**calls.CHAT, api_base="http://127.0.0.1:9/v1", response_format=Watching, mock_response="{}")
    for name in ("operation.name", "provider.name", "request.model"):
        assert f"gen_ai.{name}" in seen
    assert (seen["server.address"], seen["server.port"]) == ("127.0.0.1", 9)
    assert seen["gen_ai.output.type"] == "json"


def test_several_choices(spans: Spans) -> None:
    """The number of choices is recorded where it is not one, and each has its finish reason."""
    litellm.completion(**calls.CHAT, n=3)
    assert spans.only().attributes["gen_ai.request.choice.count"] == 3
    assert spans.only().attributes["gen_ai.response.finish_reasons"] == ("stop",) * 3


def test_an_embedding(spans: Spans) -> None:
    """Embeddings have an operation of their own, and input tokens only."""
    litellm.embedding(**calls.ARGUMENTS["embedding"], dimensions=8, encoding_format="float")
    span = spans.only()
    assert span.name == "embeddings text-embedding-3-small"
    assert span.attributes["gen_ai.embeddings.dimension.count"] == 8
    assert span.attributes["gen_ai.request.encoding_formats"] == ("float",)
    assert span.attributes["gen_ai.usage.input_tokens"] == 11


def test_a_tool_call(spans: Spans, upstream: OpenAIUpstream) -> None:
    """A model that asks for a tool says so as its finish reason."""
    upstream.default = Answer(tool_calls=(ToolCall("weather", {"city": "Paris"}),))
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    litellm.completion(**calls.CHAT, tools=tools)
    assert spans.only().attributes["gen_ai.response.finish_reasons"] == ("tool_calls",)


@pytest.mark.parametrize(
    ("model", "name", "provider"),
    [
        ("azure/my-deployment", "my-deployment", "azure.ai.openai"),
        ("anthropic/claude-3-haiku-20240307", "claude-3-haiku-20240307", "anthropic"),
        ("gemini/gemini-2.0-flash", "gemini-2.0-flash", "gcp.gemini"),
        ("bedrock/anthropic.claude-3-sonnet", "anthropic.claude-3-sonnet", "aws.bedrock"),
        ("mistral/mistral-small", "mistral-small", "mistral_ai"),
        ("gpt-4o-mini", "gpt-4o-mini", "openai"),
    ],
)
def test_providers_have_the_conventions_names(model: str, name: str, provider: str, spans: Spans) -> None:
    """LiteLLM's prefix becomes the conventions' provider name; what LiteLLM calls it is kept where it differs."""
    litellm.completion(model=model, messages=calls.MESSAGES, mock_response="hello", api_key="not-a-key")
    attributes = spans.only().attributes
    assert attributes["gen_ai.request.model"] == name
    assert attributes["gen_ai.provider.name"] == provider
    assert attributes.get("litellm.provider", provider) == model.partition("/")[0] or provider == "openai"


def test_events_tell_the_moments_in_order(spans: Spans) -> None:
    """LiteLLM's lifecycle, each moment with the time at which it was."""
    litellm.completion(**calls.CHAT)
    span = spans.only()
    assert events(span) == ["litellm.pre_api_call", "litellm.post_api_call", "litellm.success"]
    times = [span.start_time, *(event.timestamp for event in span.events), span.end_time]
    assert times == sorted(times)


def test_events_stay_when_the_application_replaces_litellms_callbacks(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applications assign litellm.callbacks anew; that must not cost an event."""
    for name in ("callbacks", "success_callback", "input_callback", "failure_callback"):
        monkeypatch.setattr(litellm, name, [])
    litellm.completion(**calls.CHAT)
    assert "litellm.pre_api_call" in events(spans.only())


def test_a_cache_hit_is_said(spans: Spans, upstream: OpenAIUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer from LiteLLM's cache is marked, by attribute and event."""
    monkeypatch.setattr(litellm, "cache", litellm.Cache(type="local"))
    litellm.completion(**calls.CHAT, caching=True)
    litellm.completion(**calls.CHAT, caching=True)
    assert len(upstream.requests) == 1
    first, second = spans()
    assert "litellm.cache_hit" not in first.attributes
    assert second.attributes["litellm.cache_hit"] is True
    assert "litellm.cache_hit" in events(second)


def test_an_odd_request_is_recorded_as_far_as_it_goes(spans: Spans) -> None:
    """Values of types that the conventions do not know are left out, not guessed."""
    litellm.completion(**calls.CHAT, temperature=True, stop=[1, 2], seed="seven", mock_response="hello", n=1)
    attributes = spans.only().attributes
    assert not {"gen_ai.request.temperature", "gen_ai.request.stop_sequences", "gen_ai.request.seed"} & set(attributes)


def test_names_are_written_once() -> None:
    """No attribute or event name is typed by hand outside semconv.py."""
    package = Path(callspan.__file__).parent
    names = {value for name, value in vars(semconv).items() if name.isupper() and "." in str(value)}
    pattern = re.compile("|".join(re.escape(prefix) for prefix in ("gen_ai.", "openai.re", "litellm.c", "callspan.o")))
    for file in package.rglob("*.py"):
        if file.name == "semconv.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in names, f"{file.name}:{node.lineno}"
    assert pattern.match("gen_ai.request.model")


def test_a_name_that_litellm_does_not_know_is_recorded_and_nothing_printed(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """LiteLLM prints its list of providers for such a name; callspan does not make it do so once more."""
    monkeypatch.setattr(litellm, "suppress_debug_info", False)

    def printed() -> str:
        with pytest.raises(litellm.BadRequestError):
            litellm.completion("no-such-model", calls.MESSAGES)
        return capsys.readouterr().out

    watched = printed()
    callspan.uninstrument()
    assert watched == printed()
    assert spans.only().attributes["gen_ai.request.model"] == "no-such-model"
    assert "gen_ai.provider.name" not in spans.only().attributes


def test_a_provider_given_by_itself_counts(spans: Spans) -> None:
    """The provider may be an argument of its own."""
    litellm.completion("my-model", calls.MESSAGES, custom_llm_provider="openai", mock_response="hello")
    assert spans.only().attributes["gen_ai.request.model"] == "my-model"
    assert spans.only().attributes["gen_ai.provider.name"] == "openai"
