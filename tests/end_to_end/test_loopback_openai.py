"""The loopback servers are what they pretend to be: the real clients talk to them and notice nothing."""

import asyncio
import time

import httpx
import litellm
import openai
import pytest

from loopback.openai_api import Answer, CutStream, Fail, Hang, OpenAIUpstream, StreamError, ToolCall

# openai 2 lets httpx's error through, openai 3 has one of its own for it.
BROKEN_STREAM = (httpx.RemoteProtocolError, openai.APIConnectionError)
MESSAGES = [{"role": "user", "content": "Hi"}]
WEATHER = ToolCall("weather", {"city": "Oslo"})
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture
def client(upstream: OpenAIUpstream):
    with openai.OpenAI(base_url=upstream.base_url, api_key="sk-loopback", max_retries=0, timeout=5) as client:
        yield client


def test_chat(client, upstream):
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=MESSAGES, n=2)

    assert [choice.message.content for choice in answer.choices] == ["Hello from loopback."] * 2
    assert (answer.model, answer.usage.prompt_tokens, answer.usage.completion_tokens) == ("gpt-4o-mini", 11, 7)
    [request] = upstream.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == "Bearer sk-loopback"
    assert request.body["messages"] == MESSAGES


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("always", [True, False])
def test_chat_stream_tells_usage_only_when_asked_or_told(client, upstream, asked, always):
    upstream.behave(Answer(always_send_usage=always))
    options = {"stream_options": {"include_usage": True}} if asked else {}
    chunks = list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True, **options))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello from loopback."
    assert [chunk.usage.total_tokens for chunk in chunks if chunk.usage] == [18] * (asked or always)


def test_chat_stream_is_cut_into_as_many_chunks_as_told(client, upstream):
    upstream.default = Answer(text="x" * 100, chunks=40)
    chunks = list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))

    assert len([chunk for chunk in chunks if chunk.choices[0].delta.content]) == 40


def test_chat_tool_calls(client, upstream):
    upstream.default = Answer(tool_calls=(WEATHER,))
    whole = client.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS).choices[0]
    with client.chat.completions.stream(model="m", messages=MESSAGES, tools=TOOLS) as stream:
        streamed = stream.get_final_completion().choices[0]

    for choice in (whole, streamed):
        assert choice.finish_reason == "tool_calls"
        assert choice.message.tool_calls[0].function.arguments == '{"city": "Oslo"}'


def test_text_completion(client):
    whole = client.completions.create(model="m", prompt="Hi")
    streamed = client.completions.create(model="m", prompt="Hi", stream=True)

    assert whole.choices[0].text == "Hello from loopback."
    assert "".join(chunk.choices[0].text for chunk in streamed) == "Hello from loopback."


@pytest.mark.parametrize("encoding", [{}, {"encoding_format": "float"}])
def test_embeddings(client, encoding):
    answer = client.embeddings.create(model="m", input=["a", "b"], **encoding)

    assert [item.embedding[:2] for item in answer.data] == [
        pytest.approx([1 / 2, 1 / 3]),
        pytest.approx([2 / 2, 2 / 3]),
    ]


def test_responses(client, upstream):
    whole = client.responses.create(model="m", input="Hi")
    with client.responses.stream(model="m", input="Hi") as stream:
        kinds = [event.type for event in stream]
        streamed = stream.get_final_response()
    upstream.default = Answer(tool_calls=(WEATHER,))
    with client.responses.stream(model="m", input="Hi") as stream:
        [call] = stream.get_final_response().output

    assert whole.output_text == streamed.output_text == "Hello from loopback."
    assert whole.usage.total_tokens == streamed.usage.total_tokens == 18
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    assert call.arguments == '{"city": "Oslo"}'


def test_models(client):
    assert "gpt-4o-mini" in [model.id for model in client.models.list()]


def test_fail_is_openais_error(client, upstream):
    upstream.behave(Fail(429, "Slow down", "rate_limit", "rate_limit_exceeded", {"retry-after": "3"}))
    with pytest.raises(openai.RateLimitError) as error:
        client.chat.completions.create(model="m", messages=MESSAGES)

    assert error.value.code == "rate_limit_exceeded"
    assert error.value.response.headers["retry-after"] == "3"


def test_behaviours_are_first_in_first_out_then_the_default_and_a_models_own_comes_first(client, upstream):
    upstream.behave(Answer("one"), Answer("two"))
    upstream.models["own"] = Answer("own")

    def ask(model):
        return client.chat.completions.create(model=model, messages=MESSAGES).choices[0].message.content

    assert [ask("m"), ask("own"), ask("m"), ask("m")] == ["one", "own", "two", "Hello from loopback."]


def test_cut_stream_breaks_after_its_chunks(client, upstream):
    upstream.default = CutStream(after_chunks=1)
    stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "Hello"]
    with pytest.raises(BROKEN_STREAM):
        next(stream)
    with pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(model="m", messages=MESSAGES)

    assert not upstream.disconnects


def test_stream_error_is_an_event_in_the_stream(client, upstream):
    upstream.default = StreamError(after_chunks=1)
    stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "Hello"]
    with pytest.raises(openai.APIError, match="had an error"):
        next(stream)
    *_, delta, error = client.responses.create(model="m", input="Hi", stream=True)

    assert (delta.type, error.type) == ("response.output_text.delta", "error")


def test_hang_ends_with_the_clients_patience_and_the_client_is_seen_to_go(client, upstream):
    upstream.behave(Hang())
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.2).chat.completions.create(model="m", messages=MESSAGES)

    assert upstream.wait_for_disconnects(1)


def test_a_client_that_leaves_a_stream_is_seen_to_go(client, upstream):
    upstream.behave(Answer(chunk_delay=0.05, text="a b c d e f g h"))
    stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    next(iter(stream))
    stream.close()

    assert upstream.wait_for_disconnects(1)
    assert upstream.disconnects == upstream.requests


def test_it_is_quick_and_stops_at_once_also_while_it_hangs():
    with OpenAIUpstream() as upstream, openai.OpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:
        client.chat.completions.create(model="m", messages=MESSAGES)
        started = time.perf_counter()
        for _ in range(50):
            client.chat.completions.create(model="m", messages=MESSAGES)
        assert (time.perf_counter() - started) / 50 < 0.02
        list(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))

        async def hang() -> None:
            async with openai.AsyncOpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as asynchronous:
                upstream.behave(Hang())
                pending = asyncio.ensure_future(asynchronous.chat.completions.create(model="m", messages=MESSAGES))
                while len(upstream.requests) != 53:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                stopping = time.perf_counter()
                await asyncio.to_thread(upstream.down)
                assert time.perf_counter() - stopping < 0.5
                with pytest.raises(openai.APIConnectionError):
                    await pending

        asyncio.run(hang())
        assert not upstream.disconnects


def test_litellm_whole_and_streamed(upstream):
    to = {"api_base": upstream.base_url, "api_key": "sk-loopback"}
    whole = litellm.completion("openai/gpt-4o-mini", MESSAGES, **to)
    streamed = litellm.completion("openai/gpt-4o-mini", MESSAGES, stream=True, **to)
    text = litellm.text_completion("Hi", "text-completion-openai/gpt-3.5-turbo-instruct", **to)
    embedded = litellm.embedding("openai/text-embedding-3-small", ["Hi"], **to)
    response = litellm.responses("Hi", "openai/gpt-4o-mini", **to)

    assert whole.choices[0].message.content == "Hello from loopback."
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == "Hello from loopback."
    assert text.choices[0].text == "Hello from loopback."
    assert embedded.data[0]["embedding"][0] == pytest.approx(0.5)
    assert response.output[0].content[0].text == "Hello from loopback."
    assert response.usage.total_tokens == 18


async def _alitellm(upstream: OpenAIUpstream) -> tuple[str, str]:
    to = {"api_base": upstream.base_url, "api_key": "sk-loopback"}
    stream = await litellm.acompletion("openai/gpt-4o-mini", MESSAGES, stream=True, **to)
    chat = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    events = await litellm.aresponses("Hi", "openai/gpt-4o-mini", stream=True, **to)
    return chat, "".join([event.delta async for event in events if event.type == "response.output_text.delta"])


def test_litellm_async_streams(upstream):
    assert asyncio.run(_alitellm(upstream)) == ("Hello from loopback.", "Hello from loopback.")


def test_litellm_sees_the_errors_and_retries(upstream):
    to = {"api_base": upstream.base_url, "api_key": "sk-loopback"}
    upstream.behave(Fail(503), Answer("at last"))
    router = litellm.Router(
        [{"model_name": "m", "litellm_params": {"model": "openai/gpt-4o-mini", **to}}], num_retries=1, retry_after=0
    )
    assert router.completion("m", MESSAGES).choices[0].message.content == "at last"
    upstream.behave(Fail(401, "Incorrect API key provided: k.", "invalid_request_error", "invalid_api_key"))
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion("openai/gpt-4o-mini", MESSAGES, max_retries=0, **to)
