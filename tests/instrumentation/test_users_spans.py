"""The user's own spans and span processors: we stand below them, and leave them as they are."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import litellm
import pytest
from litellm.integrations.custom_logger import CustomLogger
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import StatusCode

import callspan
from callspan._callbacks.registry import registry
from instrumentation import calls
from instrumentation.conftest import Spans
from loopback.openai_api import Fail, Hang, OpenAIUpstream
from loopback.openai_behaviours import Behaviour


@pytest.fixture(autouse=True)
def _no_callbacks_left() -> Iterator[None]:
    yield
    for callback in registry.all:
        callspan.remove_callback(callback.name)


def fails() -> None:
    with pytest.raises(litellm.BadRequestError):
        litellm.completion("openai/broken", calls.MESSAGES)


def leaves_a_stream() -> None:
    next(litellm.completion(**calls.CHAT, stream=True))


def is_cancelled() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(litellm.acompletion("openai/silent", calls.MESSAGES), 0.5)

    asyncio.run(main())


def retries() -> None:
    with pytest.raises(litellm.BadRequestError):
        litellm.completion("openai/broken", calls.MESSAGES, num_retries=1)


MODELS: dict[str, Behaviour] = {"broken": Fail(400, "not here", "invalid_request_error"), "silent": Hang()}
WAYS: dict[str, Callable[[], object]] = {
    "whole": lambda: calls.make(litellm.completion, **calls.CHAT),
    "async": lambda: calls.make(litellm.acompletion, **calls.CHAT),
    "streamed": lambda: calls.make(litellm.completion, **calls.CHAT, stream=True),
    "async, streamed": lambda: calls.make(litellm.acompletion, **calls.CHAT, stream=True),
    "Responses API": lambda: calls.make(litellm.responses, **calls.arguments("responses")),
    "Router": lambda: calls.router().completion("small", calls.MESSAGES),
    "fails": fails,
    "retries": retries,
    "stream dropped": leaves_a_stream,
    "cancelled": is_cancelled,
}


class Notes(CustomLogger):
    """A logger of LiteLLM's kind that writes to the current span at each moment."""

    def log_pre_api_call(self, model: Any, messages: Any, kwargs: Any) -> None:
        note()

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        note()

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        note()

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        note()


def note(_call: object = None) -> None:
    trace.get_current_span().set_attribute("noted", True)


async def note_async(call: object) -> None:
    await asyncio.sleep(0)
    note(call)


@pytest.mark.parametrize("way", WAYS)
def test_the_users_span_is_left_as_it_is(
    way: str, spans: Spans, upstream: OpenAIUpstream, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not ended, renamed or written to, by us nor by what callbacks write to the current span."""
    upstream.models.update(MODELS)
    monkeypatch.setattr(litellm, "callbacks", [Notes()])
    callspan.add_callback(note, delivery="blocking", name="blocking")
    callspan.add_callback(note, name="background")
    callspan.add_callback(note_async, name="awaited")
    with spans.provider.get_tracer("user").start_as_current_span("mine", attributes={"mine": 1}) as mine:
        WAYS[way]()
        assert callspan.force_flush(10)
        assert trace.get_current_span() is mine
        assert mine.is_recording()
    (user,) = (span for span in spans() if span.instrumentation_scope.name == "user")
    assert (user.name, dict(user.attributes), user.events, user.links) == ("mine", {"mine": 1}, (), ())
    assert user.status.status_code is StatusCode.UNSET
    noted = {span.instrumentation_scope.name for span in spans() if "noted" in span.attributes}
    assert noted == {"callspan"}, "what is noted of a call stands on the call"
    assert "ended span" not in caplog.text


def test_what_a_blocking_callback_writes_is_on_the_call(spans: Spans) -> None:
    """Its span has not ended; what comes later has a span of its own."""
    callspan.add_callback(note, delivery="blocking", name="blocking")
    litellm.completion(**calls.CHAT)
    assert spans.only().attributes["noted"] is True


class Watches(SpanProcessor):
    """A user's processor that writes to each span as it starts, and keeps what it sees."""

    def __init__(self) -> None:
        self.started: list[tuple[int, int]] = []
        self.ended: list[int] = []
        self._lock = threading.Lock()

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        outer = trace.get_current_span(parent_context).get_span_context().span_id
        span.set_attribute("tenant", "acme")
        with self._lock:
            self.started.append((span.get_span_context().span_id, outer))

    def on_end(self, span: ReadableSpan) -> None:
        assert span.context is not None
        with self._lock:
            self.ended.append(span.context.span_id)


@pytest.mark.parametrize("way", WAYS)
def test_the_users_processor_sees_each_span_start_and_end_once(
    way: str, spans: Spans, upstream: OpenAIUpstream
) -> None:
    """What it writes to a span that starts stays on it."""
    upstream.models.update(MODELS)
    watches = Watches()
    spans.provider.add_span_processor(watches)
    with spans.provider.get_tracer("user").start_as_current_span("mine") as mine:
        WAYS[way]()
    ids = [span.context.span_id for span in spans()]
    assert len(ids) > 1
    assert sorted(watches.ended) == sorted(span_id for span_id, _ in watches.started) == sorted(ids)
    assert {span.attributes["tenant"] for span in spans()} == {"acme"}
    parents = {span.context.span_id: span.parent.span_id for span in spans() if span.parent is not None}
    assert mine.get_span_context().span_id in parents.values()


def test_a_processor_that_fails_at_the_start_of_a_span_hurts_no_call(
    spans: Spans, upstream: OpenAIUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    """The call is made, unrecorded, and the log says why."""

    class Raises(SpanProcessor):
        def on_start(self, span: Span, parent_context: Any = None) -> None:
            if span.instrumentation_scope.name == "callspan":
                raise RuntimeError("a processor of the user's")

    spans.provider.add_span_processor(Raises())
    assert litellm.completion(**calls.CHAT).choices[0].message.content == "Hello from loopback."
    assert len(upstream.requests) == 1
    assert "a processor of the user's" in caplog.text
