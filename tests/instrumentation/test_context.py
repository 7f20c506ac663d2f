"""Where a call stands in the trace: below the user's span, above what it causes, and alone when it should be."""

import asyncio
import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import litellm
import pytest
from litellm.integrations.custom_logger import CustomLogger
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import SpanProcessor

import callspan
from instrumentation import calls
from instrumentation.conftest import Spans
from loopback.openai_api import OpenAIUpstream


@pytest.mark.parametrize("name", calls.NAMES)
def test_a_call_is_below_the_users_span_and_current_only_while_it_runs(name: str, spans: Spans) -> None:
    """The user's span is the parent, and is current again afterwards."""
    with spans.provider.get_tracer("user").start_as_current_span("user") as user:
        calls.make(getattr(litellm, name), **calls.arguments(name))
        assert trace.get_current_span() is user
    call, _ = spans()
    assert call.parent.span_id == user.get_span_context().span_id


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ["completion", "acompletion"])
def test_the_span_is_current_where_the_provider_is_called(
    name: str, stream: bool, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP requests are made inside the span, also across LiteLLM's threads, so that their spans land below it."""
    seen: list[int] = []

    def note(_request: httpx.Request) -> None:
        seen.append(trace.get_current_span().get_span_context().span_id)

    send, asend = httpx.Client.send, httpx.AsyncClient.send

    def sending(self: httpx.Client, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        note(request)
        return send(self, request, **kwargs)

    async def asending(self: httpx.AsyncClient, request: httpx.Request, **kwargs: Any) -> httpx.Response:
        note(request)
        return await asend(self, request, **kwargs)

    monkeypatch.setattr(httpx.Client, "send", sending)
    monkeypatch.setattr(httpx.AsyncClient, "send", asending)
    calls.make(getattr(litellm, name), **calls.CHAT, stream=stream)
    assert seen == [spans.only().context.span_id]


class CallsBack(CustomLogger):
    """A user's logger that asks a model itself, at one of LiteLLM's moments."""

    def __init__(self, moment: str) -> None:
        super().__init__()
        self.moment = moment
        self.done = threading.Event()

    def _ask(self, moment: str) -> None:
        if moment == self.moment and not self.done.is_set():
            self.done.set()
            litellm.completion("openai/gpt-4o", calls.MESSAGES, mock_response="asked back")

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        self._ask("pre")

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._ask("success")

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._ask("failure")

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._ask("async success")

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._ask("async failure")


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("completion", "pre"),
        ("completion", "success"),
        ("completion", "failure"),
        ("acompletion", "pre"),
        ("acompletion", "async success"),
        ("acompletion", "async failure"),
    ],
)
def test_a_call_inside_a_callback_is_a_call_of_its_own(
    name: str, moment: str, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An LLM call that a user's callback makes has its own span; neither call swallows the other."""
    logger = CallsBack(moment)
    monkeypatch.setattr(litellm, "callbacks", [logger])
    arguments = {**calls.CHAT, "mock_response": Exception("no") if "failure" in moment else "yes"}

    async def call() -> None:
        try:
            await litellm.acompletion(**arguments)
        except litellm.InternalServerError:
            assert "failure" in moment
        await asyncio.sleep(0.2)  # LiteLLM's worker runs the callback on this loop, or never

    if name == "acompletion":
        asyncio.run(call())
    else:
        try:
            litellm.completion(**arguments)
        except litellm.InternalServerError:
            assert moment == "failure"
    assert logger.done.wait(5)
    assert callspan.force_flush(5)
    models = sorted(span.attributes["gen_ai.request.model"] for span in spans() if span.name.startswith("chat"))
    assert models == ["gpt-4o", "gpt-4o-mini"]


def test_calls_in_threads_are_calls_of_their_own(spans: Spans) -> None:
    """Threads, which start with an empty context, each make roots."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: litellm.completion(**calls.CHAT), range(12)))
    assert len(spans.roots()) == 12


def test_tasks_of_one_call_do_not_share_its_span(spans: Spans) -> None:
    """Tasks side by side are siblings below the span in which they were made."""

    async def main() -> None:
        with spans.provider.get_tracer("user").start_as_current_span("user"):
            await asyncio.gather(*(litellm.acompletion(**calls.CHAT) for _ in range(5)))

    asyncio.run(main())
    *made, user = spans()
    assert {span.parent.span_id for span in made} == {user.context.span_id}
    assert len(made) == 5


def test_a_task_that_outlives_the_call_it_was_made_in_is_no_part_of_it(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copied context may hold a call that has ended; a call made there is a call of its own."""
    later: list[asyncio.Task[Any]] = []

    class Spawns(CustomLogger):
        def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
            async def ask() -> None:
                await asyncio.sleep(0.1)
                await litellm.acompletion("openai/gpt-4o", calls.MESSAGES)

            if not later:
                later.append(asyncio.get_running_loop().create_task(ask()))

    async def main() -> None:
        monkeypatch.setattr(litellm, "callbacks", [Spawns()])
        await litellm.acompletion(**calls.CHAT)
        await later[0]

    asyncio.run(main())
    assert len(spans()) == 2
    litellm.logging_callback_manager._reset_all_callbacks()


def test_suppressed_instrumentation_makes_no_span(spans: Spans, upstream: OpenAIUpstream) -> None:
    """OpenTelemetry's switch for a block of code is honoured; the call itself is made."""
    with suppress_instrumentation():
        litellm.completion(**calls.CHAT)
    # An instrumentation of the SDK below, where there is one, has its own mind.
    assert [span for span in spans() if span.instrumentation_scope.name == "callspan"] == []
    assert len(upstream.requests) == 1


def test_a_chat_call_bridged_to_the_responses_api_is_one_call(spans: Spans, upstream: OpenAIUpstream) -> None:
    """LiteLLM serves some chat calls by its Responses API; that is still one call."""
    litellm.completion("openai/responses/gpt-4o-mini", calls.MESSAGES)
    assert [request.path for request in upstream.requests] == ["/v1/responses"]
    assert spans.only().attributes["callspan.entry_point"] == "litellm.completion"


def test_a_call_leaves_no_cycle_behind(spans: Spans) -> None:
    """A call's span goes as soon as nobody needs it: no cycle of ours keeps it for the garbage collector."""
    started: list[weakref.ref[Any]] = []

    class Watches(SpanProcessor):
        def on_start(self, span: Any, parent_context: Any = None) -> None:
            started.append(weakref.ref(span))

    spans.provider.add_span_processor(Watches())
    litellm.completion(**calls.CHAT, mock_response="hello")  # what LiteLLM makes at its first call is not counted
    started.clear()
    gc.disable()
    try:
        litellm.completion(**calls.CHAT, mock_response="hello")
        list(litellm.completion(**calls.CHAT, mock_response="hello", stream=True))
        deadline = time.monotonic() + 10  # LiteLLM's threads log the calls for a moment
        while any(span() is not None for span in started) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [span() for span in started] == [None, None]
    finally:
        gc.enable()
