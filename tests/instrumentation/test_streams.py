"""The caller's stream is LiteLLM's own in everything but that it is watched."""

import asyncio
import collections.abc
from typing import Any

import litellm
import pytest
from opentelemetry import trace

import callspan
from instrumentation import calls
from instrumentation.conftest import Spans
from loopback.openai_api import Answer, OpenAIUpstream


def texts(chunks: list[Any]) -> list[Any]:
    return [[choice.delta.content for choice in chunk.choices] for chunk in chunks]


def test_the_stream_is_an_instance_of_litellms_class(spans: Spans) -> None:
    """Callers, and LiteLLM itself, test streams with isinstance() and read their attributes."""
    stream = litellm.completion(**calls.CHAT, stream=True)
    assert isinstance(stream, litellm.CustomStreamWrapper)
    assert isinstance(stream, collections.abc.Iterator)
    assert isinstance(stream, collections.abc.AsyncIterator)
    assert stream.model == "gpt-4o-mini"
    assert stream.logging_obj.stream is True
    assert iter(stream) is stream
    assert hasattr(stream, "close") == hasattr(litellm.CustomStreamWrapper, "close")
    stream.note = "a caller's own"
    assert stream.__wrapped__.note == "a caller's own"
    list(stream)


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}], ids=["plain", "with usage"])
def test_the_caller_receives_the_same_chunks(options: dict[str, Any], spans: Spans, upstream: OpenAIUpstream) -> None:
    """Not a chunk more or less, whether the caller asks for usage or not; and the provider gets the same request."""
    watched = list(litellm.completion(**calls.CHAT, stream=True, **options))
    callspan.uninstrument()
    plain = list(litellm.completion(**calls.CHAT, stream=True, **options))
    assert texts(watched) == texts(plain)
    assert [getattr(chunk, "usage", None) is None for chunk in watched] == [
        getattr(chunk, "usage", None) is None for chunk in plain
    ]
    first, second = (request.body for request in upstream.requests)
    assert first == second


def test_usage_and_cost_are_there_though_the_caller_did_not_ask(spans: Spans) -> None:
    """Where the provider sends no usage, LiteLLM's reckoning is recorded, and said to be one."""
    list(litellm.completion(**calls.CHAT, stream=True))
    attributes = spans.only().attributes
    assert attributes["gen_ai.usage.input_tokens"] > 5
    assert attributes["gen_ai.usage.output_tokens"] > 2
    assert attributes["callspan.cost.amount"] > 0
    assert attributes["callspan.usage.estimated"] is True
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes["gen_ai.response.id"].startswith("chatcmpl-loopback")
    assert 0 < attributes["gen_ai.response.time_to_first_chunk"] < 60


@pytest.mark.parametrize("asked", [True, False], ids=["asked for", "sent unasked"])
def test_the_providers_own_usage_wins(asked: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
    """Usage that the provider sends is recorded as it is."""
    upstream.default = Answer(prompt_tokens=123, completion_tokens=45, always_send_usage=not asked)
    list(
        litellm.completion(**calls.CHAT, stream=True, **({"stream_options": {"include_usage": True}} if asked else {}))
    )
    attributes = spans.only().attributes
    assert attributes["gen_ai.usage.input_tokens"] == 123
    assert attributes["gen_ai.usage.output_tokens"] == 45
    assert "callspan.usage.estimated" not in attributes


def test_the_span_lasts_to_the_last_chunk(spans: Spans) -> None:
    """While the stream is read its span is open; it is closed when the reading is over."""
    stream = litellm.completion(**calls.CHAT, stream=True)
    next(stream)
    assert spans() == ()
    list(stream)
    first_chunk = next(event for event in spans.only().events if event.name == "litellm.first_chunk")
    assert spans.only().start_time < first_chunk.timestamp < spans.only().end_time


def test_the_span_is_not_current_for_the_reader(spans: Spans) -> None:
    """What the caller does between two chunks is no part of the call, and another call there is a call of its own."""

    async def main() -> None:
        outside = trace.get_current_span()
        stream = await litellm.acompletion(**calls.CHAT, stream=True)
        async for _chunk in stream:
            assert trace.get_current_span() is outside
            if not spans():
                await litellm.acompletion(**calls.CHAT)

    asyncio.run(main())
    assert len(spans()) == 2
    assert len(spans.roots()) == 2


def test_many_streams_at_once_keep_apart(spans: Spans, upstream: OpenAIUpstream) -> None:
    """Streams read in turns end their own spans."""
    upstream.default = Answer(text="one two three four five")

    async def main() -> None:
        streams = [await litellm.acompletion(**calls.CHAT, stream=True, seed=seed) for seed in range(8)]
        pending = list(streams)
        while pending:
            for stream in list(pending):
                try:
                    await anext(stream)
                except StopAsyncIteration:
                    pending.remove(stream)

    asyncio.run(main())
    assert sorted(span.attributes["gen_ai.request.seed"] for span in spans()) == list(range(8))
    assert {span.attributes["callspan.outcome"] for span in spans()} == {"success"}


def test_the_responses_api_streams_too(spans: Spans) -> None:
    """The Responses API's stream brings its whole response along, with the provider's own usage."""
    events = list(litellm.responses(model="openai/gpt-4o-mini", input="Say hello.", stream=True))
    attributes = spans.only().attributes
    assert events[-1].type == "response.completed"
    assert attributes["gen_ai.usage.input_tokens"] == 11
    assert attributes["gen_ai.usage.output_tokens"] == 7
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert "callspan.usage.estimated" not in attributes


def test_a_stream_whose_tokens_litellm_cannot_count_is_recorded_without(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """Some LiteLLMs count no message with a refusal. The answer is recorded; what it took is unknown, and not nil."""
    refused = {"role": "assistant", "content": [{"type": "refusal", "refusal": "I would rather not."}]}
    list(litellm.completion("openai/gpt-4o-mini", [*calls.MESSAGES, refused, *calls.MESSAGES], stream=True))
    attributes = spans.only().attributes
    assert attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert attributes.get("gen_ai.usage.input_tokens") != 0
    assert attributes.get("callspan.cost.amount") != 0
    assert "callspan failed" not in caplog.text
