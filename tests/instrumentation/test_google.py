"""Calls in Google's own shape: what they use and cost, and their content in the conventions' schema."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from litellm.google_genai import main as google

import callspan
from instrumentation.conftest import Spans
from loopback.openai_api import OpenAIUpstream

NAMES = ["generate_content", "agenerate_content", "generate_content_stream", "agenerate_content_stream"]


@pytest.fixture(autouse=True)
def _google_on_loopback(upstream: OpenAIUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "google-loopback")
    monkeypatch.setenv("GEMINI_API_BASE", f"http://127.0.0.1:{upstream.port}")


def made(name: str, upstream: OpenAIUpstream) -> None:
    """One call, and its stream read."""
    function: Callable[..., Any] = getattr(google, name)
    arguments: dict[str, Any] = {
        "model": "gemini/gemini-2.5-flash",
        "contents": [{"role": "user", "parts": [{"text": "Say hello."}]}],
        "api_base": f"http://127.0.0.1:{upstream.port}",
    }

    async def awaited() -> None:
        result = await function(**arguments)
        if isinstance(result, AsyncIterator):
            assert [chunk async for chunk in result]

    if name.startswith("a"):
        asyncio.run(awaited())
    else:
        result = function(**arguments)
        assert not name.endswith("stream") or list(result)


@pytest.mark.parametrize("name", NAMES)
def test_a_call_has_its_tokens_and_cost(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    made(name, upstream)
    seen = spans.only().attributes
    assert spans.only().name == "generate_content gemini-2.5-flash"
    assert seen["callspan.outcome"] == "success"
    assert (seen["gen_ai.usage.input_tokens"], seen["gen_ai.usage.output_tokens"]) == (11, 7)
    assert seen["callspan.cost.amount"] == pytest.approx(11 * 3e-7 + 7 * 2.5e-6)
    assert seen["gen_ai.response.finish_reasons"] == ("stop",)
    assert seen["gen_ai.provider.name"] == "gcp.gemini"


@pytest.mark.parametrize("name", NAMES)
def test_its_content_is_in_the_schema(
    name: str, recording: Callable[[], Spans], upstream: OpenAIUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    spans = recording()
    made(name, upstream)
    callspan.uninstrument()
    seen = spans.only().attributes
    (asked,) = json.loads(seen["gen_ai.input.messages"])
    (answered,) = json.loads(seen["gen_ai.output.messages"])
    assert asked == {"role": "user", "parts": [{"type": "text", "content": "Say hello."}]}
    assert answered["role"] == "assistant"
    assert "".join(part["content"] for part in answered["parts"]) == "Hello from loopback."
