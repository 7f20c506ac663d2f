"""A span ends once, with its true outcome."""

import asyncio
import contextlib
import gc
import inspect
import os
from collections.abc import Callable
from typing import Any

import litellm
import pytest
from opentelemetry.trace import StatusCode

from instrumentation import calls
from instrumentation.conftest import Spans, events
from loopback.openai_api import Answer, CutStream, Fail, Hang, OpenAIUpstream, StreamError


def outcome(spans: Spans) -> str:
    return spans.only().attributes["callspan.outcome"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ["completion", "acompletion"])
class TestOutcomes:
    """Outcome by way of calling."""

    def test_success(self, name: str, stream: bool, spans: Spans) -> None:
        """A call that returns, and a stream that is read to its end, succeed."""
        calls.make(getattr(litellm, name), **calls.CHAT, stream=stream)
        span = spans.only()
        assert span.attributes["callspan.outcome"] == "success"
        assert span.status.status_code is StatusCode.UNSET
        assert events(span)[-1] == "litellm.success"
        assert ("litellm.first_chunk" in events(span)) == stream

    def test_failure(self, name: str, stream: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
        """A provider's error is the span's, with its status, and reaches the caller unchanged."""
        upstream.default = Fail(429, "Slow down.", "rate_limit_error")
        with pytest.raises(litellm.RateLimitError) as raised:
            calls.make(getattr(litellm, name), **calls.CHAT, stream=stream)
        span = spans.only()
        assert raised.type is litellm.RateLimitError
        assert span.attributes["callspan.outcome"] == "failure"
        assert span.attributes["error.type"] == "litellm.exceptions.RateLimitError"
        assert span.attributes["http.response.status_code"] == 429
        assert span.status.status_code is StatusCode.ERROR
        assert events(span)[-2:] == ["exception", "litellm.failure"]

    def test_cut(self, name: str, stream: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
        """A connection that breaks in the middle of the answer is a failure, also in a stream."""
        upstream.default = CutStream(after_chunks=2)
        with pytest.raises(Exception):  # noqa: B017, PT011 - which one is LiteLLM's choice, by version
            calls.make(getattr(litellm, name), **calls.CHAT, stream=stream, max_retries=0)
        assert outcome(spans) == "failure"

    def test_refused(self, name: str, stream: bool, spans: Spans) -> None:
        """A provider that cannot be reached is a failure."""
        with pytest.raises(Exception, match=r"(?i)connect"):
            calls.make(
                getattr(litellm, name), **calls.CHAT, stream=stream, max_retries=0, api_base="http://127.0.0.1:9/v1"
            )
        span = spans.only()
        assert span.attributes["callspan.outcome"] == "failure"
        assert span.attributes["server.address"] == "127.0.0.1"
        assert span.attributes["server.port"] == 9


def test_an_error_event_in_a_stream_is_a_failure(spans: Spans, upstream: OpenAIUpstream) -> None:
    """An error sent in the middle of a stream ends the span as a failure; the chunks before it had arrived."""
    upstream.default = StreamError(after_chunks=2)
    with pytest.raises(Exception, match="had an error while processing"):
        calls.make(litellm.completion, **calls.CHAT, stream=True)
    span = spans.only()
    assert span.attributes["callspan.outcome"] == "failure"
    assert "MidStreamFallback" not in span.attributes["error.type"], "that is how LiteLLM talks to its Router"
    assert "litellm.first_chunk" in events(span)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("how", ["task cancelled", "timed out"])
def test_a_cancelled_call_is_cancelled(how: str, stream: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
    """A task cancelled while it waits for the provider ends its span as cancelled."""
    upstream.default = Answer(chunk_delay=30) if stream else Hang()

    async def call() -> None:
        result = await litellm.acompletion(**calls.CHAT, stream=stream)
        async for _chunk in result:
            pass

    async def main() -> None:
        if how == "timed out":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call(), 3.0)
            return
        task = asyncio.create_task(call())
        while not upstream.requests:  # noqa: ASYNC110  its threads set no event of this loop
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    span = spans.only()
    assert span.attributes["callspan.outcome"] == "cancelled"
    assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert events(span)[-1] == "litellm.cancelled"


def test_a_call_still_running_when_its_loop_ends_is_cancelled(spans: Spans, upstream: OpenAIUpstream) -> None:
    """A task that nobody waits for is cancelled by asyncio.run(); its span ends with it."""
    upstream.default = Hang()

    async def main() -> asyncio.Task[Any]:
        task = asyncio.create_task(litellm.acompletion(**calls.CHAT))
        await asyncio.sleep(0.3)
        return task

    asyncio.run(main())
    assert outcome(spans) == "cancelled"


def test_a_coroutine_that_is_never_awaited_makes_no_span(spans: Spans) -> None:
    """Nothing was called, so there is nothing to record."""
    coroutine = litellm.acompletion(**calls.CHAT)
    coroutine.close()
    assert spans() == ()


def _break(stream: Any) -> None:
    for _chunk in stream:
        break


def _close(stream: Any) -> None:
    next(stream)
    if not hasattr(stream, "close"):
        pytest.skip("this LiteLLM's streams have no close()")
    stream.close()


def _exit(stream: Any) -> None:
    if not hasattr(type(stream.__wrapped__), "__enter__"):
        pytest.skip("this LiteLLM's streams are no context managers")
    with stream as entered:
        next(entered)


def _never_read(_stream: Any) -> None:
    """Drop it as it is."""


@pytest.mark.parametrize("leave", [_break, _close, _exit, _never_read])
def test_a_stream_left_before_its_end_is_abandoned(leave: Callable[[Any], None], spans: Spans) -> None:
    """A stream that is dropped, closed or left ends its span as abandoned."""
    stream = litellm.completion(**calls.CHAT, stream=True)
    leave(stream)
    del stream
    gc.collect()
    span = spans.only()
    assert span.attributes["callspan.outcome"] == "abandoned"
    assert span.status.status_code is StatusCode.UNSET
    assert events(span)[-1] == "litellm.abandoned"


@pytest.mark.parametrize("leave", ["break", "aclose", "never read"])
def test_an_asynchronous_stream_left_before_its_end_is_abandoned(leave: str, spans: Spans) -> None:
    """The same for asynchronous streams."""

    async def main() -> None:
        stream = await litellm.acompletion(**calls.CHAT, stream=True)
        if leave != "never read":
            await anext(stream)
        if leave == "aclose":
            await stream.aclose()

    asyncio.run(main())
    gc.collect()
    assert outcome(spans) == "abandoned"


def test_a_router_stream_left_before_its_end_is_abandoned_with_its_attempt(spans: Spans) -> None:
    """Neither the Router's span nor the attempt's stays open."""

    async def main() -> None:
        stream = await calls.router().acompletion(model="small", messages=calls.MESSAGES, stream=True)
        await anext(stream)
        await stream.aclose()

    asyncio.run(main())
    gc.collect()
    assert {span.attributes["callspan.outcome"] for span in spans()} == {"abandoned"}
    assert len(spans()) == 2


def test_reading_on_after_the_end_changes_nothing(spans: Spans) -> None:
    """The span ends once; what the caller does to the stream afterwards adds nothing."""
    stream = litellm.completion(**calls.CHAT, stream=True)
    list(stream)
    assert list(stream) == []
    del stream
    gc.collect()
    assert outcome(spans) == "success"


def test_interrupting_a_call_is_cancelling_it(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a synchronous call ends the span as cancelled and reaches the caller."""

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(litellm, "input_callback", [])
    with pytest.raises(KeyboardInterrupt):
        litellm.completion(**calls.CHAT, logger_fn=interrupt)
    assert outcome(spans) == "cancelled"


def test_every_exception_passes_unchanged(spans: Spans, upstream: OpenAIUpstream) -> None:
    """The very exception object that LiteLLM raises reaches the caller, with its attributes."""
    upstream.default = Fail(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
    with pytest.raises(litellm.AuthenticationError) as raised:
        litellm.completion(**calls.CHAT)
    assert raised.value.status_code == 401
    assert raised.value.llm_provider == "openai"
    assert spans.only().attributes["error.type"] == "litellm.exceptions.AuthenticationError"


def test_the_wrapped_functions_look_as_before(spans: Spans) -> None:
    """Frameworks that inspect LiteLLM's functions see what they always saw."""
    assert inspect.iscoroutinefunction(litellm.acompletion)
    assert inspect.iscoroutinefunction(litellm.main.acompletion)
    assert not inspect.iscoroutinefunction(litellm.completion)
    assert "messages" in inspect.signature(litellm.completion).parameters
    assert litellm.main.completion.__name__ == "completion"
    assert spans() == ()


def test_a_stream_open_across_a_fork_ends_in_one_process_only(spans: Spans) -> None:
    """A forked child drops its copy of the parent's stream: the span is still the parent's to end, once."""
    stream = litellm.completion(**calls.CHAT, stream=True)
    next(stream)
    child = os.fork()
    if child == 0:
        failed = True
        with contextlib.suppress(BaseException):
            stream = None
            gc.collect()
            failed = spans() != ()
        os._exit(failed)
    _, status = os.waitpid(child, 0)
    assert status == 0
    list(stream)
    assert outcome(spans) == "success"


def test_a_child_forked_during_a_call_makes_calls_of_its_own(spans: Spans, upstream: OpenAIUpstream) -> None:
    """The call under way is the parent's; one made in the child is no part of it."""
    children: list[int] = []

    def fork(_details: object) -> None:
        if children:
            return
        children.append(os.fork())
        if children[0] == 0:
            litellm.completion(**calls.CHAT, mock_response="hello")
            os._exit(len(spans()) - 1)

    litellm.completion(**calls.CHAT, logger_fn=fork)
    assert os.waitpid(children[0], 0)[1] == 0
    assert len(spans()) == 1


@pytest.mark.parametrize("entry", ["completion", "acompletion", "Router.completion", "Router.acompletion"])
def test_a_call_with_arguments_that_do_not_fit_is_a_failure(entry: str, spans: Spans) -> None:
    """Also a call that is refused before it begins has a span, which ends, and its TypeError reaches the caller."""
    function = getattr(calls.router() if "." in entry else litellm, entry.rpartition(".")[2])
    with pytest.raises(TypeError, match=r"messages|model"):
        calls.make(function)
    assert outcome(spans) == "failure"
    assert spans.only().attributes["error.type"] == "TypeError"
