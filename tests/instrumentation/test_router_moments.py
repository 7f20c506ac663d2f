"""What a Router does with a call beside its attempts: queue it, let a deployment rest, fall back for a reason."""

import asyncio
from collections.abc import Callable
from typing import Any

import litellm
import pytest
from litellm.scheduler import FlowItem
from litellm.types.router import RouterRateLimitError

from instrumentation import calls
from instrumentation.conftest import Spans, events
from instrumentation.test_every_call import arguments
from instrumentation.test_router import attempts
from loopback.openai_api import Answer, Fail, OpenAIUpstream

TOO_LONG = Fail(
    400, "This model's maximum context length is 4 tokens.", "invalid_request_error", "context_length_exceeded"
)
FLAGGED = Fail(
    400,
    "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
    "invalid_request_error",
    "invalid_prompt",
)
both = pytest.mark.parametrize("name", ["completion", "acompletion"])


def two_deployments(**options: Any) -> litellm.Router:
    """A Router with one group of two deployments, of which the second is for when the first rests."""
    models = {"one": "gpt-4o-mini", "two": "gpt-4o"}
    return litellm.Router(
        model_list=[
            {
                "model_name": "group",
                "litellm_params": {"model": f"openai/{model}", "order": order, "max_retries": 0},
                "model_info": {"id": name},
            }
            for order, (name, model) in enumerate(models.items(), 1)
        ],
        retry_after=0,
        **options,
    )


def seconds(span: Any) -> float:
    return (span.end_time - span.start_time) / 1e9


WAYS_TO_QUEUE: dict[str, Callable[[litellm.Router], Any]] = {
    "schedule_acompletion": lambda router: router.schedule_acompletion(
        model="group", messages=calls.MESSAGES, priority=1
    ),
    "acompletion": lambda router: router.acompletion(model="group", messages=calls.MESSAGES, priority=1),
}
queued = pytest.mark.parametrize("name", WAYS_TO_QUEUE)


async def resting(router: litellm.Router) -> None:
    """Have both deployments cooled down, and somebody before us in the queue."""
    for _ in range(2):
        with pytest.raises((litellm.RateLimitError, RouterRateLimitError)):
            await router.acompletion(model="group", messages=calls.MESSAGES)
    await router.scheduler.add_request(FlowItem(priority=0, request_id="before us", model_name="group"))


@queued
def test_a_call_that_queues_is_one_call_with_its_wait(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    """Its span begins when it is called, and not when its turn has come."""

    async def main() -> None:
        router = two_deployments(cooldown_time=1, num_retries=0)
        upstream.default = Fail(429)
        await resting(router)
        upstream.default = Answer()
        spans.take()
        await WAYS_TO_QUEUE[name](router)

    asyncio.run(main())
    (made,) = attempts(spans)
    (call,) = spans.roots()
    assert call.name == f"Router.{name} group"
    assert (made.start_time - call.start_time) / 1e9 > 0.3
    assert call.attributes["callspan.outcome"] == "success"
    assert len(spans()) == 2


@queued
def test_a_call_whose_turn_never_comes_has_failed(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    async def main() -> None:
        router = two_deployments(cooldown_time=60, num_retries=0, timeout=0.4)
        upstream.default = Fail(429)
        await resting(router)
        spans.take()
        with pytest.raises(litellm.Timeout):
            await WAYS_TO_QUEUE[name](router)

    asyncio.run(main())
    call = spans.only()
    assert call.name == f"Router.{name} group"
    assert call.attributes["callspan.outcome"] == "failure"
    assert call.attributes["error.type"] == "litellm.exceptions.Timeout"
    assert 0.4 <= seconds(call) < 5


def test_a_queued_stream_lasts_until_it_is_read(spans: Spans) -> None:
    calls.make(calls.router().schedule_acompletion, model="small", messages=calls.MESSAGES, priority=1, stream=True)
    (made,) = attempts(spans)
    (call,) = spans.roots()
    assert "litellm.first_chunk" in events(call)
    assert call.end_time >= made.end_time
    assert made.attributes["gen_ai.usage.output_tokens"] > 0


def test_a_default_priority_is_one(spans: Spans) -> None:
    """Text completions alone, since that of chat fails in LiteLLM before 1.110."""
    router = litellm.Router(
        model_list=[{"model_name": "small", "litellm_params": {"model": "openai/gpt-3.5-turbo-instruct"}}],
        default_priority=1,
    )
    calls.make(router.atext_completion, model="small", prompt="Say hello.")
    (made,) = attempts(spans)
    assert made.attributes["callspan.attempt.number"] == 1
    assert len(spans()) == 2


@both
@pytest.mark.parametrize("status", [401, 429])
def test_a_deployment_rests_after_a_failure(name: str, status: int, spans: Spans, upstream: OpenAIUpstream) -> None:
    """The retry goes to the other deployment, and so does the next call, at its first attempt."""
    upstream.models["gpt-4o-mini"] = Fail(status)
    router = two_deployments(num_retries=1, cooldown_time=60)
    calls.make(getattr(router, name), model="group", messages=calls.MESSAGES)
    first, second = attempts(spans)
    (call,) = spans.roots()
    assert [span.attributes["litellm.deployment.id"] for span in (first, second)] == ["one", "two"]
    assert [span.attributes["callspan.outcome"] for span in (first, second)] == ["failure", "success"]
    assert first.attributes["http.response.status_code"] == status
    assert events(call).count("litellm.retry") == 1
    assert "litellm.fallback" not in events(call)

    spans.take()
    calls.make(getattr(router, name), model="group", messages=calls.MESSAGES)
    (only,) = attempts(spans)
    assert only.attributes["litellm.deployment.id"] == "two"


@both
def test_a_call_that_finds_every_deployment_resting_has_failed(
    name: str, spans: Spans, upstream: OpenAIUpstream
) -> None:
    """There is nobody to ask, so there is no attempt."""
    upstream.default = Fail(429)
    router = two_deployments(num_retries=0, cooldown_time=60)
    for _ in range(2):
        with pytest.raises((litellm.RateLimitError, RouterRateLimitError)):
            calls.make(getattr(router, name), model="group", messages=calls.MESSAGES)
    spans.take()
    with pytest.raises(RouterRateLimitError):
        calls.make(getattr(router, name), model="group", messages=calls.MESSAGES)
    call = spans.only()
    assert call.attributes["callspan.outcome"] == "failure"
    assert call.attributes["error.type"] == "litellm.types.router.RouterRateLimitError"
    assert len(upstream.requests) == 2


@both
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("option", "failure", "error"),
    [
        ("context_window_fallbacks", TOO_LONG, "ContextWindowExceededError"),
        ("content_policy_fallbacks", FLAGGED, "ContentPolicyViolationError"),
    ],
)
def test_a_fallback_for_a_reason_is_an_attempt(
    *, option: str, failure: Fail, error: str, stream: bool, name: str, spans: Spans, upstream: OpenAIUpstream
) -> None:
    """The group for what is too long, or was refused, is tried below the same call."""
    upstream.models["gpt-4o-mini"] = failure
    router = calls.router(fallbacks=[], **{option: [{"small": ["large"]}]})
    calls.make(getattr(router, name), model="small", messages=calls.MESSAGES, stream=stream)
    first, second = attempts(spans)
    (call,) = spans.roots()
    assert first.attributes["error.type"] == f"litellm.exceptions.{error}"
    assert first.attributes["http.response.status_code"] == 400
    assert [span.attributes["litellm.model_group"] for span in (first, second)] == ["small", "large"]
    assert second.attributes["callspan.outcome"] == call.attributes["callspan.outcome"] == "success"
    fallback = next(event for event in call.events if event.name == "litellm.fallback")
    assert dict(fallback.attributes) == {"callspan.attempt.number": 2, "litellm.model_group": "large"}
    assert events(call).count("litellm.fallback") == 1


@both
def test_what_fails_for_another_reason_does_not_fall_back(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    upstream.models["gpt-4o-mini"] = FLAGGED
    router = calls.router(fallbacks=[], context_window_fallbacks=[{"small": ["large"]}])
    with pytest.raises(litellm.ContentPolicyViolationError):
        calls.make(getattr(router, name), model="small", messages=calls.MESSAGES)
    (made,) = attempts(spans)
    (call,) = spans.roots()
    assert made.attributes["error.type"] == call.attributes["error.type"]
    assert "litellm.fallback" not in events(call)


@both
def test_a_chain_of_fallbacks_is_a_row_of_attempts(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    """Each with its number, each after the first said to be a fallback, and the call as failed as the last."""
    upstream.default = Fail(400)
    models = {"small": "gpt-4o-mini", "medium": "gpt-4.1", "large": "gpt-4o"}
    router = litellm.Router(
        model_list=[
            {"model_name": group, "litellm_params": {"model": f"openai/{model}"}} for group, model in models.items()
        ],
        fallbacks=[{"small": ["medium", "large"]}],
        num_retries=0,
        disable_cooldowns=True,
    )
    with pytest.raises(litellm.BadRequestError):
        calls.make(getattr(router, name), model="small", messages=calls.MESSAGES)
    made = attempts(spans)
    (call,) = spans.roots()
    assert [span.attributes["litellm.model_group"] for span in made] == list(models)
    assert [span.attributes["callspan.attempt.number"] for span in made] == [1, 2, 3]
    assert events(call).count("litellm.fallback") == 2
    assert call.attributes["callspan.outcome"] == "failure"


HELD: dict[str, dict[str, Any]] = {
    **{name: calls.arguments(name) for name in ("completion", "acompletion", "aembedding", "atext_completion")},
    **{name: calls.arguments(name) for name in ("responses", "aresponses")},
    "schedule_acompletion": {**calls.CHAT, "priority": 1},
    **{name: {} for name in ("aimage_generation", "aimage_edit", "amoderation", "arerank", "aspeech")},
    "aanthropic_messages": {},
}


@pytest.mark.parametrize("name", HELD)
def test_a_method_held_since_before_is_traced(
    name: str, recording: Callable[[], Spans], upstream: OpenAIUpstream
) -> None:
    """A Router's methods, those that it makes anew for each Router included, whenever they were bound."""
    given = HELD[name] or arguments(name.replace("aanthropic", "anthropic"), upstream)
    elsewhere = {key: given.pop(key) for key in ("api_base", "api_key") if key in given}
    router = litellm.Router([{"model_name": "group", "litellm_params": {"model": given["model"], **elsewhere}}])
    method = getattr(router, name)
    spans = recording()
    calls.make(method, **{**given, "model": "group"})
    (made,) = attempts(spans)
    (call,) = spans.roots()
    # Until LiteLLM 1.110 both of a Router's names for Anthropic's are of one function.
    assert call.name.replace("aanthropic", "anthropic") == f"Router.{name} group".replace("aanthropic", "anthropic")
    assert call.start_time <= made.start_time
    assert {span.attributes["callspan.outcome"] for span in spans()} == {"success"}
    assert len(upstream.requests) == 1
