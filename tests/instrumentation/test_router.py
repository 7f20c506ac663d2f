"""A Router call is the parent of its attempts, which say why there are several."""

import asyncio
from typing import Any

import litellm
import pytest

from instrumentation import calls
from instrumentation.conftest import Spans, events
from loopback.openai_api import Answer, CutStream, Fail, OpenAIUpstream


def attempts(spans: Spans) -> list[Any]:
    """The attempts in the order in which they were made, all below the one call."""
    (call,) = spans.roots()
    below = [span for span in spans() if span.parent is not None]
    assert all(span.parent.span_id == call.context.span_id for span in below)
    return sorted(below, key=lambda span: span.attributes["callspan.attempt.number"])


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_retries_are_attempts(asynchronous: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
    """Each try is a span with its own outcome; the call's outcome is the last one's."""
    upstream.behave(Fail(500), Fail(500))
    router = calls.router(retries=2)
    function = router.acompletion if asynchronous else router.completion
    calls.make(function, model="small", messages=calls.MESSAGES, max_retries=0)
    made = attempts(spans)
    assert [span.attributes["callspan.outcome"] for span in made] == ["failure", "failure", "success"]
    assert [span.attributes["litellm.deployment.id"] for span in made] == ["one"] * 3
    (call,) = spans.roots()
    assert call.attributes["callspan.outcome"] == "success"
    assert call.attributes["litellm.model_group"] == "small"
    assert [name for name in events(call) if name != "litellm.success"] == ["litellm.retry", "litellm.retry"]
    assert len(upstream.requests) == 3


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
def test_a_fallback_is_an_attempt(asynchronous: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
    """A fallback to another group is below the same call, and an event says that it is one."""
    upstream.models["gpt-4o-mini"] = Fail(500)
    router = calls.router()
    function = router.acompletion if asynchronous else router.completion
    calls.make(function, model="small", messages=calls.MESSAGES, max_retries=0)
    made = attempts(spans)
    assert [span.attributes["gen_ai.request.model"] for span in made] == ["gpt-4o-mini", "gpt-4o"]
    assert [span.attributes["litellm.model_group"] for span in made] == ["small", "large"]
    (call,) = spans.roots()
    assert "litellm.fallback" in events(call)
    assert call.attributes["callspan.outcome"] == "success"


def test_a_call_whose_attempts_all_fail_has_failed(spans: Spans, upstream: OpenAIUpstream) -> None:
    """The Router's span carries the error that the caller sees."""
    upstream.default = Fail(500)
    with pytest.raises(litellm.InternalServerError):
        asyncio.run(calls.router().acompletion(model="small", messages=calls.MESSAGES, max_retries=0))
    (call,) = spans.roots()
    assert call.attributes["callspan.outcome"] == "failure"
    assert call.attributes["error.type"] == "litellm.exceptions.InternalServerError"
    assert {span.attributes["callspan.outcome"] for span in spans()} == {"failure"}


def test_a_fallback_in_mid_stream_is_an_attempt(spans: Spans, upstream: OpenAIUpstream) -> None:
    """A Router that changes deployment while its stream is read makes that attempt below the same call."""
    upstream.models["gpt-4o-mini"] = CutStream(after_chunks=0)
    upstream.models["gpt-4o"] = Answer()

    async def main() -> list[Any]:
        stream = await calls.router().acompletion(model="small", messages=calls.MESSAGES, stream=True, max_retries=0)
        return [chunk async for chunk in stream]

    assert len(asyncio.run(main())) > 2
    made = attempts(spans)
    assert [span.attributes["callspan.outcome"] for span in made] == ["failure", "success"]
    (call,) = spans.roots()
    assert call.attributes["callspan.outcome"] == "success"
    assert call.end_time >= made[-1].end_time


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_fallback_of_the_responses_api_is_an_attempt(stream: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
    """The Responses API's calls of a Router are parents of their attempts too."""
    upstream.models["gpt-4o-mini"] = Fail(500)
    router = calls.router()
    calls.make(router.aresponses, model="small", input="Say hello.", stream=stream, max_retries=0)
    made = attempts(spans)
    assert [span.attributes["callspan.outcome"] for span in made] == ["failure", "success"]
    assert [span.attributes["litellm.model_group"] for span in made] == ["small", "large"]
    assert [span.attributes["litellm.deployment.id"] for span in made] == ["one", "two"]
    (call,) = spans.roots()
    assert call.name == "Router.aresponses small"
    assert call.attributes["callspan.outcome"] == "success"
    assert "litellm.fallback" in events(call)


def test_metadata_for_the_provider_hides_no_attempt(spans: Spans) -> None:
    """The Responses API's own ``metadata`` are the caller's; which attempt it is stands elsewhere."""
    calls.make(calls.router().aresponses, model="small", input="Say hello.", metadata={"ticket": "1"})
    (made,) = attempts(spans)
    assert made.attributes["litellm.model_group"] == "small"


def test_a_call_that_waits_its_turn_is_one_call(spans: Spans) -> None:
    """With a priority a Router queues the call and may start it anew by its own method; it is still that call."""
    asyncio.run(calls.router().acompletion(model="small", messages=calls.MESSAGES, priority=1))
    (made,) = attempts(spans)
    assert made.attributes["callspan.attempt.number"] == 1
    assert len(spans()) == 2


def test_calls_side_by_side_keep_their_own_attempts(spans: Spans, upstream: OpenAIUpstream) -> None:
    """Concurrent calls on one Router do not mix."""
    upstream.default = Answer(delay=0.05)

    async def main() -> None:
        router = calls.router()
        await asyncio.gather(*(router.acompletion(model="small", messages=calls.MESSAGES) for _ in range(10)))

    asyncio.run(main())
    calls_made = {span.context.span_id for span in spans.roots()}
    parents = [span.parent.span_id for span in spans() if span.parent is not None]
    assert len(calls_made) == 10
    assert sorted(parents) == sorted(calls_made)
