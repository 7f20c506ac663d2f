"""Whatever LiteLLM calls a provider for is one span, which says what the operation was and what it used."""

import asyncio
import inspect
import json
from collections.abc import Callable
from types import FunctionType
from typing import Any

import litellm
import pytest

from callspan._litellm.request import PROVIDER_NAMES
from instrumentation import calls
from instrumentation.conftest import Spans
from instrumentation.every_call import MADE
from loopback.openai_api import Fail, OpenAIUpstream

# The OpenAI SDK's, of its assistants; and a loop that LiteLLM makes and leaves.
pytestmark = pytest.mark.filterwarnings("ignore:.*(deprecated|Assistants API):DeprecationWarning")

NAMES = [prefix + name for name, made in MADE.items() for prefix in (("", "a") if made.twins else ("",))]
BOUND_BEFORE = {name: getattr(litellm, name) for name in NAMES}


def arguments(name: str, upstream: OpenAIUpstream) -> dict[str, Any]:
    made = MADE[name if name in MADE else name.removeprefix("a")]
    base = f"http://127.0.0.1:{upstream.port}" + ("/v1" if "custom_llm_provider" in made.arguments else "")
    elsewhere = {"api_base": base} if "api_key" in made.arguments else {}
    return {**made.arguments, **elsewhere, **{name: make() for name, make in made.files.items()}}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("held", ["attribute", "bound before"])
def test_each_kind_of_call_is_one_span(name: str, held: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    made = MADE[name if name in MADE else name.removeprefix("a")]
    function = BOUND_BEFORE[name] if held == "bound before" else getattr(litellm, name)
    calls.make(function, **arguments(name, upstream))
    span = spans.only()
    seen = span.attributes
    assert seen["gen_ai.operation.name"] == made.operation
    assert seen["callspan.entry_point"] == f"litellm.{name}"
    assert seen["callspan.outcome"] == "success"
    assert (seen.get("gen_ai.usage.input_tokens"), seen.get("gen_ai.usage.output_tokens")) == made.tokens
    assert (seen.get("callspan.cost.amount", 0) > 0) == made.priced
    assert seen.get("gen_ai.output.type") == made.output_type
    if "model" in made.arguments:
        assert seen["gen_ai.request.model"] == made.arguments["model"].partition("/")[2]
        provider = made.arguments["model"].partition("/")[0]
        assert seen["gen_ai.provider.name"] == PROVIDER_NAMES.get(provider, provider)


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_of_call_says_its_failure(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    upstream.default = Fail(400, "no loopback for you", "invalid_request_error")
    with pytest.raises(Exception, match="no loopback for you"):
        calls.make(getattr(litellm, name), **arguments(name, upstream), max_retries=0)
    span = spans.only()
    assert span.attributes["callspan.outcome"] == "failure"
    assert span.attributes["error.type"]


@pytest.mark.parametrize(
    "name", [name for name in NAMES if MADE[name if name in MADE else name.removeprefix("a")].router]
)
def test_each_kind_of_call_of_a_router_has_its_attempt(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    router = litellm.Router(model_list=[])
    method = getattr(router, name, None)
    if method is None:
        pytest.skip(f"this Router has no {name}")
    given = arguments(name, upstream)
    elsewhere = {key: given.pop(key) for key in ("api_base", "api_key") if key in given}
    router.set_model_list([{"model_name": "group", "litellm_params": {"model": given["model"], **elsewhere}}])
    calls.make(method, **{**given, "model": "group"})
    attempt, call = spans()
    assert (call.parent, attempt.parent.span_id) == (None, call.context.span_id)
    assert call.name == f"Router.{name} group"
    assert "gen_ai.operation.name" not in call.attributes
    assert (
        attempt.attributes["gen_ai.operation.name"] == MADE[name if name in MADE else name.removeprefix("a")].operation
    )


def test_a_streamed_message_of_anthropics_has_its_tokens(spans: Spans, upstream: OpenAIUpstream) -> None:
    """Its chunks are bytes, which LiteLLM puts together for itself only after the stream."""
    stream = calls.make(litellm.anthropic_messages, **arguments("anthropic_messages", upstream), stream=True)
    assert b"loopback" in b"".join(stream)
    seen = spans.only().attributes
    assert (seen["gen_ai.usage.input_tokens"], seen["gen_ai.usage.output_tokens"]) == (11, 7)
    assert seen["gen_ai.response.finish_reasons"] == ("stop",)
    assert seen["gen_ai.response.id"] == "msg_loopback"
    assert seen["gen_ai.response.time_to_first_chunk"] > 0


def test_a_function_that_nobody_has_heard_of_is_a_generic_operation(spans: Spans) -> None:
    """What a later LiteLLM decorates as it does the others: traced, with what is called in it as calls of their own."""

    @litellm.client
    def future_feature(model: str, **kwargs: Any) -> Any:
        return litellm.completion(model=model, messages=calls.MESSAGES)

    future_feature(model="openai/gpt-4o-mini")
    inner, outer = spans()
    assert outer.name == "future_feature gpt-4o-mini"
    assert outer.attributes["gen_ai.operation.name"] == "future_feature"
    assert "gen_ai.usage.input_tokens" not in outer.attributes, "counted twice"
    assert inner.attributes["gen_ai.usage.input_tokens"] == 11
    assert inner.parent.span_id == outer.context.span_id


def test_what_is_decorated_keeps_its_signature(spans: Spans) -> None:
    for name in NAMES:
        assert inspect.iscoroutinefunction(getattr(litellm, name)) == inspect.iscoroutinefunction(BOUND_BEFORE[name])
        assert isinstance(getattr(litellm, name), FunctionType)
    assert "prompt" in inspect.signature(litellm.image_generation).parameters
    assert "messages" in inspect.signature(litellm.completion).parameters


def test_a_batch_is_the_parent_of_its_calls(spans: Spans) -> None:
    """LiteLLM makes them on threads of its own; each is a call for itself."""
    litellm.batch_completion(model="openai/gpt-4o-mini", messages=[calls.MESSAGES, calls.MESSAGES, calls.MESSAGES])
    *inner, batch = spans()
    assert batch.name == "litellm.batch_completion openai/gpt-4o-mini"
    assert "gen_ai.operation.name" not in batch.attributes
    assert [span.parent.span_id for span in inner] == [batch.context.span_id] * 3


def test_a_batch_of_models_is_the_parent_of_its_calls(spans: Spans) -> None:
    models = ["openai/gpt-4o-mini", "openai/gpt-4o"]
    litellm.batch_completion_models_all_responses(models=models, messages=calls.MESSAGES)
    *inner, batch = spans()
    assert {span.attributes["gen_ai.request.model"] for span in inner} == {"gpt-4o-mini", "gpt-4o"}
    assert {span.parent.span_id for span in inner} == {batch.context.span_id}


def test_a_routers_batch_is_the_parent_of_its_calls(spans: Spans) -> None:
    asyncio.run(calls.router().abatch_completion(models=["small", "large"], messages=calls.MESSAGES))
    (batch,) = spans.roots()
    assert batch.name == "Router.abatch_completion"
    inner = [span for span in spans() if span.parent and span.parent.span_id == batch.context.span_id]
    assert {span.name for span in inner} == {"Router.acompletion small", "Router.acompletion large"}
    assert len(spans()) == 5


@pytest.mark.parametrize("name", ["completion", "acompletion", "responses", "aresponses"])
def test_retries_of_the_sdk_are_attempts(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    """A call that LiteLLM repeats by itself has a span for each try, as one of a Router's does."""
    upstream.behave(Fail(400), Fail(400))  # an error that the OpenAI SDK below LiteLLM does not repeat on its own
    calls.make(getattr(litellm, name), **calls.arguments(name), num_retries=2)
    *attempts, call = spans()
    assert call.name.startswith(f"litellm.{name} ")
    assert call.attributes["callspan.outcome"] == "success"
    assert "gen_ai.usage.input_tokens" not in call.attributes
    assert [span.attributes["callspan.outcome"] for span in attempts] == ["failure", "failure", "success"]
    assert [span.attributes["callspan.attempt.number"] for span in attempts] == [1, 2, 3]
    assert [span.parent.span_id for span in attempts] == [call.context.span_id] * 3
    assert attempts[-1].attributes["gen_ai.usage.input_tokens"] == 11
    assert attempts[-1].attributes["callspan.cost.amount"] > 0
    assert [event.name for event in call.events].count("litellm.retry") == 2


# Not the synchronous one streamed: LiteLLM's own hands back a stream that cannot be read, in every version tried.
@pytest.mark.parametrize(("name", "stream"), [("completion", False), ("acompletion", False), ("acompletion", True)])
def test_fallbacks_of_the_sdk_are_attempts(name: str, stream: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
    upstream.models["gpt-4o-mini"] = Fail(400)
    options = {"stream": True} if stream else {}
    calls.make(getattr(litellm, name), **calls.CHAT, fallbacks=["openai/gpt-4o"], **options)
    (call,) = spans.roots()
    failed, done = sorted((span for span in spans() if span is not call), key=lambda span: span.start_time)
    assert (failed.name, done.name) == ("chat gpt-4o-mini", "chat gpt-4o")
    assert (failed.attributes["callspan.outcome"], done.attributes["callspan.outcome"]) == ("failure", "success")
    assert done.attributes["gen_ai.usage.output_tokens"] > 0
    assert [event.name for event in call.events].count("litellm.fallback") == 1


def test_a_context_window_fallback_of_the_sdk_is_an_attempt(spans: Spans, upstream: OpenAIUpstream) -> None:
    upstream.models["gpt-4o-mini"] = Fail(
        400, "This model's maximum context length is 4 tokens.", "invalid_request_error", "context_length_exceeded"
    )
    larger = {"openai/gpt-4o-mini": "openai/gpt-4o"}
    litellm.completion(**calls.CHAT, context_window_fallback_dict=larger)
    *attempts, call = spans()
    assert [span.name for span in attempts] == ["chat gpt-4o-mini", "chat gpt-4o"]
    assert "litellm.fallback" in [event.name for event in call.events]


def test_completion_with_retries_is_a_call_with_its_attempts(spans: Spans, upstream: OpenAIUpstream) -> None:
    upstream.behave(Fail(400))
    litellm.completion_with_retries(**calls.CHAT, num_retries=2)
    *attempts, call = spans()
    assert call.name == "litellm.completion_with_retries openai/gpt-4o-mini"
    assert [span.attributes["callspan.outcome"] for span in attempts] == ["failure", "success"]


def test_a_passthrough_call_is_a_span(spans: Spans, upstream: OpenAIUpstream) -> None:
    litellm.llm_passthrough_route(
        method="POST",
        endpoint="/chat/completions",
        model="hosted_vllm/gpt-4o-mini",
        api_base=upstream.base_url,
        api_key="sk-loopback",
        json={"model": "gpt-4o-mini", "messages": calls.MESSAGES},
    )
    span = spans.only()
    assert span.attributes["gen_ai.operation.name"] == "passthrough"
    assert span.attributes["callspan.outcome"] == "success"


@pytest.mark.parametrize("name", [name for name in NAMES if name in MADE])
def test_recorded_messages_follow_their_schema(
    name: str, recording: Callable[[], Spans], monkeypatch: pytest.MonkeyPatch, upstream: OpenAIUpstream
) -> None:
    """Each has a role and parts with a type, each answer a reason why it ended: backends drop others."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    spans = recording()
    calls.make(getattr(litellm, name), **arguments(name, upstream))
    seen = spans.only().attributes
    inputs = json.loads(seen.get("gen_ai.input.messages", "[]"))
    outputs = json.loads(seen.get("gen_ai.output.messages", "[]"))
    for message in [*inputs, *outputs]:
        assert isinstance(message["role"], str)
        assert all(isinstance(part["type"], str) for part in message["parts"])
    assert all(isinstance(message["finish_reason"], str) for message in outputs)
