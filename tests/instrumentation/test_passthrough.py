"""What LiteLLM passes on to a provider as it came is one span, to the end of the answer, with no key in it."""

import asyncio
import gc
from typing import Any

import litellm
import pytest

from instrumentation import calls
from instrumentation.conftest import Spans, events
from instrumentation.test_router import attempts
from loopback.openai_api import Answer, CutStream, Fail, OpenAIUpstream

KEY = "sk-private-passthrough"
MODEL = "hosted_vllm/gpt-4o-mini"
twins = pytest.mark.parametrize("name", ["llm_passthrough_route", "allm_passthrough_route"])
whole_and_streamed = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


def asked(*, stream: bool) -> dict[str, Any]:
    body = {"model": "gpt-4o-mini", "messages": calls.MESSAGES, "stream": stream}
    return {"method": "POST", "endpoint": "/chat/completions", "json": body, "stream": stream}


def there(upstream: OpenAIUpstream) -> dict[str, Any]:
    return {"model": MODEL, "api_base": upstream.base_url, "api_key": KEY}


async def passed(function: Any, *, pieces: int | None = None, **arguments: Any) -> bytes:
    """What comes back, as far as it is read: LiteLLM returns a response, or its pieces."""
    result = function(**arguments)
    result = await result if hasattr(result, "__await__") else result
    if hasattr(result, "__aiter__"):
        return b"".join([piece async for piece in result]) if pieces is None else await anext(result)
    if hasattr(result, "__next__"):
        return b"".join(result) if pieces is None else next(result)
    return result.content


@twins
@whole_and_streamed
def test_it_is_one_span(name: str, stream: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
    body = asyncio.run(passed(getattr(litellm, name), **there(upstream), **asked(stream=stream)))
    assert b"loopback" in body
    span = spans.only()
    seen = span.attributes
    assert span.name == "passthrough gpt-4o-mini"
    assert seen["gen_ai.operation.name"] == "passthrough"
    assert seen["callspan.entry_point"] == f"litellm.{name}"
    assert seen["callspan.outcome"] == "success"
    assert seen["gen_ai.provider.name"] == "hosted_vllm"
    assert (seen["server.address"], seen["server.port"]) == ("127.0.0.1", upstream.port)
    assert KEY not in span.to_json()
    if stream:
        assert "litellm.first_chunk" in events(span)


@twins
@whole_and_streamed
def test_a_failure_says_what_the_provider_answered(
    name: str, stream: bool, spans: Spans, upstream: OpenAIUpstream
) -> None:
    upstream.default = Fail(429, f"Too much for {KEY}.")
    with pytest.raises(Exception, match=r"429|Too much"):
        asyncio.run(passed(getattr(litellm, name), **there(upstream), **asked(stream=stream)))
    span = spans.only()
    assert span.attributes["callspan.outcome"] == "failure"
    assert span.attributes["http.response.status_code"] == 429
    assert KEY not in span.to_json()


@twins
def test_an_answer_that_breaks_off_has_failed(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    upstream.default = CutStream(after_chunks=1)
    with pytest.raises(Exception, match=r"(?i)peer|complete"):
        asyncio.run(passed(getattr(litellm, name), **there(upstream), **asked(stream=True)))
    assert spans.only().attributes["callspan.outcome"] == "failure"


@twins
def test_an_answer_left_before_its_end_is_abandoned(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    upstream.default = Answer(text="word " * 50, chunk_delay=0.02)
    asyncio.run(passed(getattr(litellm, name), pieces=1, **there(upstream), **asked(stream=True)))
    gc.collect()
    assert spans.only().attributes["callspan.outcome"] == "abandoned"


@whole_and_streamed
def test_a_routers_is_the_parent_of_its_attempt(stream: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
    router = litellm.Router([{"model_name": "group", "litellm_params": there(upstream)}])
    body = asyncio.run(passed(router.allm_passthrough_route, model="group", **asked(stream=stream)))
    assert b"loopback" in body
    (made,) = attempts(spans)
    (call,) = spans.roots()
    assert call.name == "Router.allm_passthrough_route group"
    assert made.attributes["gen_ai.operation.name"] == "passthrough"
    assert made.attributes["callspan.outcome"] == call.attributes["callspan.outcome"] == "success"
    assert call.end_time >= made.end_time
