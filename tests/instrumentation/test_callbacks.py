"""Callbacks registered with callspan: what they are told, when they run, and that they hurt nobody."""

import asyncio
import contextvars
import functools
import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import litellm
import pytest
from litellm.integrations.custom_logger import CustomLogger
from opentelemetry import trace

import callspan
from callspan._callbacks.registry import registry
from callspan._litellm.observed import Observer
from callspan._tracer import TracerSource
from instrumentation import calls
from instrumentation.conftest import Spans, events
from loopback.openai_api import OpenAIUpstream
from loopback.openai_behaviours import Fail, Hang

Records = list[Any]


@pytest.fixture(autouse=True)
def _no_callbacks_left() -> Iterator[None]:
    yield
    for callback in registry.all:
        callspan.remove_callback(callback.name)


def recorder(into: Records, *, asynchronous: bool) -> Callable[[Any], Any]:
    """A callback, of either kind, that keeps what it is told."""

    async def keep_async(call: callspan.CallRecord) -> None:
        await asyncio.sleep(0)
        into.append(call)

    def keep(call: callspan.CallRecord) -> None:
        into.append(call)

    return keep_async if asynchronous else keep


def both(make: Callable[[], Any], make_async: Callable[[], Any], *, asynchronous: bool) -> Any:
    """Make a call of either kind."""
    return asyncio.run(make_async()) if asynchronous else make()


@pytest.mark.parametrize("asynchronous_call", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_blocking_callback_has_finished_before_the_call_returns(
    spans: Spans, asynchronous: bool, asynchronous_call: bool
) -> None:
    """Whatever kind the callback and the call are of."""
    told: Records = []
    seen_at_return: list[int] = []
    callspan.add_callback(recorder(told, asynchronous=asynchronous), delivery="blocking")

    async def call_async() -> None:
        await litellm.acompletion(**calls.CHAT)
        seen_at_return.append(len(told))

    def call() -> None:
        litellm.completion(**calls.CHAT)
        seen_at_return.append(len(told))

    both(call, call_async, asynchronous=asynchronous_call)
    assert seen_at_return == [1]
    span = spans.only()
    (event,) = [event for event in span.events if event.name == "callspan.callback"]
    assert event.attributes["callspan.callback.outcome"] == "success"
    assert event.attributes["callspan.callback.hook"] == "success"
    assert event.attributes["callspan.callback.delivery"] == "blocking"
    assert event.attributes["callspan.callback.duration"] >= 0
    assert event.attributes["callspan.callback.name"].endswith("keep_async" if asynchronous else "keep")


@pytest.mark.parametrize("asynchronous_call", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_background_callback_runs_and_is_a_child_span(
    spans: Spans, asynchronous: bool, asynchronous_call: bool
) -> None:
    """It has run once force_flush() returns, and the trace alone proves it."""
    told: Records = []
    callspan.add_callback(recorder(told, asynchronous=asynchronous), name="analytics")
    both(
        lambda: litellm.completion(**calls.CHAT),
        lambda: litellm.acompletion(**calls.CHAT),
        asynchronous=asynchronous_call,
    )
    assert callspan.force_flush(5)
    (record,) = told
    call = next(span for span in spans() if span.name.startswith("chat"))
    run = next(span for span in spans() if span.name == "callback analytics")
    assert run.parent.span_id == call.context.span_id
    assert run.attributes["callspan.callback.delivery"] == "background"
    assert run.start_time >= call.end_time
    assert record.span_id == f"{call.context.span_id:016x}"
    assert record.trace_id == f"{call.context.trace_id:032x}"


def test_the_record_of_a_call(spans: Spans) -> None:
    """It says what the span says, and has the live objects."""
    told: Records = []
    callspan.add_callback(recorder(told, asynchronous=False), delivery="blocking")
    response = litellm.completion(**calls.CHAT, metadata={"customer": "c-1"}, temperature=0.5)
    (record,) = told
    assert isinstance(record, callspan.LiveCallRecord)
    assert (record.hook, record.outcome, record.operation) == ("success", "success", "chat")
    assert (record.provider, record.request_model, record.entry_point) == (
        "openai",
        "gpt-4o-mini",
        "litellm.completion",
    )
    assert record.response_id == response.id
    assert record.input_tokens == response.usage.prompt_tokens
    assert record.output_tokens == response.usage.completion_tokens
    assert record.cost > 0
    assert record.cost_currency == "USD"
    assert record.finish_reasons == ("stop",)
    assert record.response is response
    assert record.request["messages"] is calls.MESSAGES
    assert record.metadata == {"customer": "c-1"}
    assert record.exception is None
    assert record.duration == pytest.approx((record.end - record.start).total_seconds(), abs=1e-5)
    assert record.start.tzinfo is not None
    assert record.attributes["gen_ai.request.temperature"] == 0.5
    assert (
        record.attributes.items()
        >= {key: value for key, value in spans.only().attributes.items() if key != "gen_ai.request.stream"}.items()
    )
    with pytest.raises(AttributeError):
        record.cost = 0
    with pytest.raises(TypeError):
        record.attributes["x"] = 1


def test_a_record_without_sampling_is_the_same(monkeypatch: pytest.MonkeyPatch, recording: Callable[[], Spans]) -> None:
    """Who bills by callback bills every call, whatever share of the traces is kept."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    spans = recording()
    told: Records = []
    callspan.add_callback(recorder(told, asynchronous=False), delivery="blocking")
    callspan.add_callback(recorder(told, asynchronous=True))
    litellm.completion(**calls.CHAT)
    assert callspan.force_flush(5)
    assert [(record.outcome, record.input_tokens > 0, record.cost > 0) for record in told] == [
        ("success", True, True)
    ] * 2
    assert spans() == ()


OUTCOMES = ("start", "first_chunk", "success", "failure", "cancelled", "abandoned")


def of_every_hook(into: list[tuple[str, str]]) -> None:
    """Register callbacks that note the hook, one for each mode."""
    for delivery in ("blocking", "background"):

        def note(call: callspan.CallRecord, delivery: str = delivery) -> None:
            into.append((delivery, call.hook))

        callspan.add_callback(functools.partial(note), delivery=delivery, hooks=OUTCOMES, name=f"note {delivery}")


def hooks_of(told: list[tuple[str, str]], delivery: str) -> list[str]:
    """The hooks of one mode, in the order in which they were told."""
    return [hook for mode, hook in told if mode == delivery]


def test_hooks_of_a_stream(spans: Spans) -> None:
    """Its start, its first chunk and its end, each before the caller goes on."""
    told: list[tuple[str, str]] = []
    of_every_hook(told)
    stream = litellm.completion(**calls.CHAT, stream=True)
    assert hooks_of(told, "blocking") == ["start"]
    next(stream)
    assert hooks_of(told, "blocking") == ["start", "first_chunk"]
    for _ in stream:
        assert hooks_of(told, "blocking") == ["start", "first_chunk"]
    assert hooks_of(told, "blocking") == ["start", "first_chunk", "success"]
    assert callspan.force_flush(5)
    assert hooks_of(told, "background") == ["start", "first_chunk", "success"]


def test_hooks_of_an_asynchronous_stream(spans: Spans) -> None:
    """The same."""
    told: list[tuple[str, str]] = []
    of_every_hook(told)

    async def main() -> None:
        stream = await litellm.acompletion(**calls.CHAT, stream=True)
        assert hooks_of(told, "blocking") == ["start"]
        async for _ in stream:
            assert hooks_of(told, "blocking") == ["start", "first_chunk"]
        assert hooks_of(told, "blocking") == ["start", "first_chunk", "success"]

    asyncio.run(main())
    assert callspan.force_flush(5)
    assert hooks_of(told, "background") == ["start", "first_chunk", "success"]


@pytest.mark.parametrize("how", ["close", "drop"])
def test_a_stream_that_is_not_read_to_its_end(spans: Spans, how: str) -> None:
    """It is abandoned; a blocking callback runs before close() returns, and soon where nobody can wait."""
    told: list[tuple[str, str]] = []
    of_every_hook(told)

    async def main() -> None:
        stream = await litellm.acompletion(**calls.CHAT, stream=True)
        await anext(stream)
        if how == "close":
            await stream.aclose()
            assert hooks_of(told, "blocking") == ["start", "first_chunk", "abandoned"]
        del stream
        gc.collect()

    asyncio.run(main())
    assert callspan.force_flush(5)
    assert hooks_of(told, "blocking") == ["start", "first_chunk", "abandoned"]
    assert hooks_of(told, "background") == ["start", "first_chunk", "abandoned"]


def test_a_failed_call(spans: Spans, upstream: OpenAIUpstream) -> None:
    """The callback has run before the exception arrives, and knows it."""
    upstream.default = Fail(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key")
    told: Records = []
    callspan.add_callback(recorder(told, asynchronous=True), delivery="blocking")

    async def main() -> None:
        with pytest.raises(litellm.AuthenticationError) as raised:
            await litellm.acompletion(**calls.CHAT)
        (record,) = told
        assert record.exception is raised.value
        assert record.outcome == "failure"
        assert record.error_type.endswith("AuthenticationError")
        assert record.error_message
        assert record.input_tokens is None

    asyncio.run(main())


def test_a_cancelled_call(spans: Spans, upstream: OpenAIUpstream) -> None:
    """Blocking callbacks run to their end before the cancelled task has ended."""
    upstream.default = Hang()
    told: Records = []
    callspan.add_callback(recorder(told, asynchronous=True), delivery="blocking")

    async def main() -> None:
        task = asyncio.create_task(litellm.acompletion(**calls.CHAT))
        while not upstream.requests:  # noqa: ASYNC110  its threads set no event of this loop
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [record.outcome for record in told] == ["cancelled"]

    asyncio.run(main())


def test_a_caller_cancelled_while_a_callback_blocks(spans: Spans) -> None:
    """The callback goes on to its end, the next ones run too, and the span ends."""
    told: list[str] = []
    began = threading.Event()

    async def slow(_call: callspan.CallRecord) -> None:
        told.append("began")
        began.set()
        await asyncio.sleep(0.2)
        told.append("ended")

    callspan.add_callback(slow, delivery="blocking")
    callspan.add_callback(lambda _call: told.append("next"), delivery="blocking", name="next")

    async def main() -> None:
        task = asyncio.create_task(litellm.acompletion(**calls.CHAT))
        await asyncio.to_thread(began.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert callspan.force_flush(5)
    assert sorted(told) == ["began", "ended", "next"]
    assert next(span for span in spans() if span.name.startswith("chat")).attributes["callspan.outcome"] == "success"


@pytest.mark.parametrize("asynchronous_call", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("delivery", ["blocking", "background"])
@pytest.mark.parametrize("error", [RuntimeError, SystemExit])
def test_a_callback_that_raises_hurts_nobody(  # noqa: PLR0917  # every combination
    spans: Spans,
    caplog: pytest.LogCaptureFixture,
    delivery: Any,
    asynchronous: bool,
    asynchronous_call: bool,
    error: type[BaseException],
) -> None:
    """Neither the call nor the next callback; it is in the log and in the trace."""
    told: Records = []

    def broken(_call: callspan.CallRecord) -> None:
        raise error("not today")

    async def broken_async(_call: callspan.CallRecord) -> None:
        raise error("not today")

    callspan.add_callback(broken_async if asynchronous else broken, delivery=delivery, name="broken")
    callspan.add_callback(recorder(told, asynchronous=asynchronous), delivery=delivery)
    both(
        lambda: litellm.completion(**calls.CHAT),
        lambda: litellm.acompletion(**calls.CHAT),
        asynchronous=asynchronous_call,
    )
    assert callspan.force_flush(5)
    assert len(told) == 1
    assert "broken" in caplog.text
    noted = [dict(span.attributes) for span in spans() if span.name == "callback broken"] + [
        dict(event.attributes) for span in spans() for event in span.events if event.name == "callspan.callback"
    ]
    (run,) = [one for one in noted if one["callspan.callback.name"] == "broken"]
    assert run["callspan.callback.outcome"] == "failure"
    assert run["error.type"] == error.__name__


@pytest.mark.parametrize("asynchronous_call", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_blocking_callback_that_overruns_its_timeout(
    spans: Spans, caplog: pytest.LogCaptureFixture, asynchronous: bool, asynchronous_call: bool
) -> None:
    """The call goes on without it, and says so."""
    release = threading.Event()

    def hang(_call: callspan.CallRecord) -> None:
        release.wait(30)

    async def hang_async(_call: callspan.CallRecord) -> None:
        await asyncio.sleep(30)

    callspan.add_callback(hang_async if asynchronous else hang, delivery="blocking", timeout=0.1, name="hanging")
    began = time.monotonic()
    both(
        lambda: litellm.completion(**calls.CHAT),
        lambda: litellm.acompletion(**calls.CHAT),
        asynchronous=asynchronous_call,
    )
    assert time.monotonic() - began < 20
    release.set()
    assert callspan.force_flush(5)
    call = next(span for span in spans() if span.name.startswith("chat"))
    (event,) = [event for event in call.events if event.name == "callspan.callback"]
    assert event.attributes["callspan.callback.outcome"] == "timeout"
    assert "hanging overran its timeout" in caplog.text


def test_background_runs_start_in_the_order_in_which_calls_ended(spans: Spans) -> None:
    """Of each callback, synchronous or not."""
    told: dict[str, Records] = {"sync": [], "async": []}

    async def note(call: callspan.CallRecord) -> None:
        told["async"].append(call)
        await asyncio.sleep(0.01)

    callspan.add_callback(note)
    callspan.add_callback(told["sync"].append, name="sync")

    async def main() -> None:
        await asyncio.gather(*(litellm.acompletion(**calls.CHAT, mock_response="hello") for _ in range(50)))

    asyncio.run(main())
    assert callspan.force_flush(5)
    ended = [f"{span.context.span_id:016x}" for span in spans() if span.name.startswith("chat")]
    assert [call.span_id for call in told["async"]] == ended
    assert sorted(call.span_id for call in told["sync"]) == sorted(ended)


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.mark.parametrize("asynchronous_call", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("delivery", ["blocking", "background"])
def test_the_context_of_the_call_is_the_callbacks_own(
    spans: Spans, delivery: Any, asynchronous: bool, asynchronous_call: bool
) -> None:
    """Context variables are there, and the active span is in the trace of the call."""
    seen: list[tuple[str, int]] = []

    def note(_call: callspan.CallRecord) -> None:
        seen.append((variable.get(), trace.get_current_span().get_span_context().trace_id))

    async def note_async(_call: callspan.CallRecord) -> None:
        note(_call)

    callspan.add_callback(note_async if asynchronous else note, delivery=delivery)

    def call() -> None:
        token = variable.set("the caller's")
        litellm.completion(**calls.CHAT)
        variable.reset(token)

    async def call_async() -> None:
        variable.set("the caller's")
        await litellm.acompletion(**calls.CHAT)

    both(call, call_async, asynchronous=asynchronous_call)
    assert callspan.force_flush(5)
    assert seen == [("the caller's", spans()[0].context.trace_id)]


@pytest.mark.parametrize("delivery", ["blocking", "background"])
def test_a_call_made_in_a_callback_is_a_call_of_its_own(spans: Spans, delivery: Any) -> None:
    """It has its span, below the first one's, and its callback run."""
    told: Records = []

    async def again(call: callspan.CallRecord) -> None:
        told.append(call)
        if len(told) == 1:
            await litellm.acompletion(**calls.CHAT)

    callspan.add_callback(again, delivery=delivery)
    asyncio.run(litellm.acompletion(**calls.CHAT))
    assert callspan.force_flush(5)
    assert len(told) == 2
    assert told[0].trace_id == told[1].trace_id
    assert told[0].span_id != told[1].span_id


def test_aflush_inside_the_loop(spans: Spans) -> None:
    """What LiteLLM #25978 asks for: everything that was due has run, on the loop that goes on."""
    told: Records = []

    async def slow(call: callspan.CallRecord) -> None:
        await asyncio.sleep(0.1)
        told.append(call)

    callspan.add_callback(slow)

    async def main() -> None:
        await asyncio.gather(*(litellm.acompletion(**calls.CHAT, mock_response="hello") for _ in range(20)))
        assert await callspan.aflush(5)
        assert len(told) == 20
        await litellm.acompletion(**calls.CHAT)
        assert not await callspan.aflush(0.01)
        assert not callspan.force_flush(1)  # it blocks the loop on which the callback is due

    asyncio.run(main())
    assert len(told) == 21


def test_a_callback_that_flushes_does_not_wait_for_itself(spans: Spans) -> None:
    """Nor for what it has itself made due."""
    answers: list[bool] = []

    async def flush(_call: callspan.CallRecord) -> None:
        answers.append(await callspan.aflush(5))

    callspan.add_callback(flush)
    callspan.add_callback(lambda _call: answers.append(callspan.force_flush(5)), name="sync")
    asyncio.run(litellm.acompletion(**calls.CHAT))
    assert callspan.force_flush(5)
    assert len(answers) == 2


def test_filter_and_router_calls(spans: Spans) -> None:
    """A filter chooses by the record; a Router's call as a whole is told on request."""
    attempts: Records = []
    all_calls: Records = []
    large: Records = []
    callspan.add_callback(recorder(attempts, asynchronous=False), delivery="blocking", name="attempts")
    callspan.add_callback(recorder(all_calls, asynchronous=False), delivery="blocking", name="all", router_calls=True)
    callspan.add_callback(
        recorder(large, asynchronous=False),
        delivery="blocking",
        name="large",
        filter=lambda call: call.request_model == "gpt-4o",
    )
    broken: Records = []
    callspan.add_callback(broken.append, delivery="blocking", name="broken", filter=lambda _call: 1 / 0)
    calls.router().completion(model="small", messages=calls.MESSAGES)
    assert len(broken) == 1
    assert [record.attempt for record in attempts] == [1]
    assert [record.entry_point for record in all_calls] == ["litellm.completion", "Router.completion"]
    assert all_calls[1].request_model == "small"
    assert large == []


def test_callbacks_are_removed_and_replaced(spans: Spans) -> None:
    """By function or by name; a function that is added again has its new options."""
    told: Records = []
    keep = recorder(told, asynchronous=False)
    callspan.add_callback(keep, delivery="blocking")
    callspan.add_callback(keep, delivery="blocking", hooks="failure")
    litellm.completion(**calls.CHAT)
    assert told == []
    callspan.add_callback(keep, delivery="blocking")
    callspan.remove_callback(keep)
    litellm.completion(**calls.CHAT)
    assert told == []
    with pytest.raises(ValueError, match="no callback"):
        callspan.remove_callback(keep)
    callspan.add_callback(keep, name="kept")
    callspan.remove_callback("kept")


def test_a_callback_is_a_function_a_method_or_an_object(spans: Spans) -> None:
    """Decorated, bound, callable, partial."""
    told: list[str] = []

    @callspan.callback
    def bare(_call: callspan.CallRecord) -> None:
        told.append("bare")

    @callspan.callback(delivery="blocking", hooks=("success",))
    async def decorated(_call: callspan.CallRecord) -> None:
        told.append("decorated")

    class Ledger:
        def enter(self, _call: callspan.CallRecord) -> None:
            told.append("method")

        async def __call__(self, _call: callspan.CallRecord) -> None:
            told.append("object")

    def partial(what: str, _call: callspan.CallRecord) -> None:
        told.append(what)

    ledger = Ledger()
    callspan.add_callback(ledger.enter, delivery="blocking")
    callspan.add_callback(ledger, delivery="blocking")
    callspan.add_callback(functools.partial(partial, "partial"), delivery="blocking")
    callspan.add_callback(lambda _call: asyncio.sleep(0, told.append("coroutine")), name="lambda")
    assert bare.__name__ == "bare"
    litellm.completion(**calls.CHAT)
    assert callspan.force_flush(5)
    assert sorted(told) == ["bare", "coroutine", "decorated", "method", "object", "partial"]


def of_the_main_module(_call: callspan.CallRecord) -> None:
    """As a function of a script is."""


of_the_main_module.__module__ = "__main__"

INVALID: dict[str, tuple[Any, dict[str, Any], type[Exception], str]] = {
    "no function": ("bill", {}, TypeError, "cannot be called"),
    "two arguments": (lambda a, b: None, {}, TypeError, "one argument"),
    "no argument": (lambda: None, {}, TypeError, "one argument"),
    "a class": (Exception, {}, TypeError, "is a class"),
    "delivery": (print, {"delivery": "eventually"}, ValueError, "'blocking', 'background', 'durable'"),
    "hook": (print, {"hooks": ("success", "sucess")}, ValueError, "sucess"),
    "no hooks": (print, {"hooks": ()}, ValueError, "empty"),
    "timeout of zero": (print, {"timeout": 0}, ValueError, "seconds above 0"),
    "timeout as text": (print, {"timeout": "1s"}, TypeError, "number of seconds"),
    "filter": (print, {"filter": lambda: True}, TypeError, "filter"),
    "name": (print, {"name": ""}, TypeError, "name"),
    "durable without a name": (lambda _call: None, {"delivery": "durable"}, ValueError, "name='...'"),
    "durable in the main module": (of_the_main_module, {"delivery": "durable"}, ValueError, "no other program"),
    "durable at the start": (print, {"delivery": "durable", "hooks": "start"}, ValueError, "'start'"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_use_fails_at_registration(case: str) -> None:
    """With an error that says what is wrong, and nothing is registered."""
    function, options, error, message = INVALID[case]
    with pytest.raises(error, match=message):
        callspan.add_callback(function, **options)
    assert registry.all == ()


def test_a_logger_of_litellms_is_told_where_it_belongs() -> None:
    """The likely mistake has an answer."""
    with pytest.raises(TypeError, match=r"litellm\.callbacks"):
        callspan.add_callback(litellm.integrations.custom_logger.CustomLogger())


def test_two_functions_with_one_name() -> None:
    """They would be one in the trace and in the spool."""
    callspan.add_callback(lambda _call: None, name="ledger")
    with pytest.raises(ValueError, match="ledger"):
        callspan.add_callback(print, name="ledger")


def test_the_span_of_a_call_does_not_last_as_long_as_its_callbacks(spans: Spans) -> None:
    """Latency is that of the call."""
    callspan.add_callback(lambda _call: time.sleep(0.3), delivery="blocking", name="slow")
    litellm.completion(**calls.CHAT, mock_response="hello")
    (event,) = [event for event in spans.only().events if event.name == "callspan.callback"]
    assert spans.only().end_time < event.timestamp - 250_000_000
    assert events(spans.only())[-2:] == ["litellm.success", "callspan.callback"]


def test_a_caller_cancelled_while_litellms_callback_blocks(recording: Callable[[], Spans]) -> None:
    """LiteLLM's goes on to its end, and callspan's blocking one runs all the same."""
    spans = recording()
    callspan.uninstrument()
    callspan.instrument(tracer_provider=spans.provider, litellm_callbacks="blocking")
    told: list[str] = []
    began = threading.Event()

    class Slow(CustomLogger):
        async def async_log_success_event(self, *_args: Any, **_kwargs: Any) -> None:
            began.set()
            await asyncio.sleep(0.2)
            told.append("LiteLLM's")

    callspan.add_callback(lambda _call: told.append("callspan's"), delivery="blocking", name="own")

    async def main() -> None:
        litellm.callbacks = [Slow()]
        try:
            task = asyncio.create_task(litellm.acompletion(**calls.CHAT))
            await asyncio.to_thread(began.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        finally:
            await callspan.aflush(5)
            litellm.logging_callback_manager._reset_all_callbacks()

    asyncio.run(main())
    assert callspan.force_flush(5)
    assert sorted(told) == ["LiteLLM's", "callspan's"]
    (call,) = [span for span in spans() if span.name.startswith("chat")]
    assert call.attributes["callspan.outcome"] == "success"


class SyncOnly(CustomLogger):
    """Has no asynchronous hook of its own."""

    def log_failure_event(self, *_args: Any, **_kwargs: Any) -> None:
        """As users have it."""


def test_litellm_can_tell_which_hooks_an_observed_logger_has_of_its_own(spans: Spans) -> None:
    """It asks the class, and compares with its own base class's; by that it chooses which to call."""
    (observed,) = Observer(TracerSource(), spans.provider.get_tracer("app").start_span("call")).callbacks([SyncOnly()])
    assert isinstance(observed, SyncOnly)
    assert type(observed).async_log_failure_event is CustomLogger.async_log_failure_event
    assert observed.async_log_success_event.__func__ is CustomLogger.async_log_success_event
    assert type(observed).log_failure_event is not CustomLogger.log_failure_event
    assert Observer(TracerSource(), trace.INVALID_SPAN).callbacks([observed]) == [observed]
