"""What is said of calls lands on them: callspan.context, baggage, and LiteLLM's metadata, tags and user."""

import asyncio
import concurrent.futures
from collections.abc import Callable
from typing import Any

import litellm
import pytest
from opentelemetry import baggage
from opentelemetry import context as otel_context

import callspan
from instrumentation import calls
from instrumentation.conftest import Spans

SAID: dict[str, Any] = {
    "user_id": "u-1",
    "session_id": "s-1",
    "tags": ["beta"],
    "metadata": {"plan": "pro", "seats": 3},
}
SEEN = {
    "user.id": "u-1",
    "session.id": "s-1",
    "callspan.tags": ("beta",),
    "callspan.metadata.plan": "pro",
    "callspan.metadata.seats": 3,
}


def in_loop(call: Callable[[], Any]) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, call)

    asyncio.run(main())


def in_task(_call: Callable[[], Any]) -> None:
    async def main() -> None:
        await asyncio.create_task(litellm.acompletion(**calls.CHAT))

    asyncio.run(main())


def in_pool(call: Callable[[], Any]) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(call).result()
        list(pool.map(lambda _: call(), [1]))


WAYS: dict[str, Callable[[Callable[[], Any]], Any]] = {
    "at once": lambda call: call(),
    "asyncio.to_thread": lambda call: asyncio.run(asyncio.to_thread(call)),
    "run_in_executor": in_loop,
    "a task": in_task,
    "a pool": in_pool,
    "a stream": lambda _: list(litellm.completion(**calls.CHAT, stream=True)),
    "a Router": lambda _: calls.router().completion(model="small", messages=calls.MESSAGES),
    "an asynchronous Router": lambda _: asyncio.run(calls.router().acompletion(model="small", messages=calls.MESSAGES)),
    "a batch": lambda _: litellm.batch_completion(model="openai/gpt-4o-mini", messages=[calls.MESSAGES] * 2),
    "retries": lambda _: litellm.completion(**calls.CHAT, num_retries=1),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_said_lands_on_every_span_below(way: str, spans: Spans) -> None:
    with callspan.context(**SAID):
        WAYS[way](lambda: litellm.completion(**calls.CHAT))
    assert spans()
    for span in spans():
        assert SEEN.items() <= dict(span.attributes).items()


def test_it_ends_with_its_block_and_the_inner_one_prevails(spans: Spans) -> None:
    with callspan.context(user_id="outer", session_id="s"):
        with callspan.context(user_id="inner", attributes={"shop": 7}):
            litellm.completion(**calls.CHAT)
        litellm.completion(**calls.CHAT)
    litellm.completion(**calls.CHAT)
    seen = [(s.attributes.get("user.id"), s.attributes.get("session.id"), s.attributes.get("shop")) for s in spans()]
    assert seen == [("inner", "s", 7), ("outer", "s", None), (None, None, None)]


def test_what_litellm_is_told_of_one_call_prevails(spans: Spans) -> None:
    with callspan.context(**SAID):
        litellm.completion(
            **calls.CHAT,
            user="u-2",
            metadata={"session_id": "s-2", "tags": ["one", "two"], "plan": "free", "api_key": "hidden", "nested": {}},
        )
    seen = dict(spans.only().attributes)
    assert seen["user.id"] == "u-2"
    assert seen["session.id"] == "s-2"
    assert seen["callspan.tags"] == ("one", "two")
    assert seen["callspan.metadata.plan"] == "free"
    assert not {"callspan.metadata.api_key", "callspan.metadata.nested"} & set(seen)


def test_a_routers_own_metadata_is_not_said(spans: Spans) -> None:
    """What LiteLLM's Router puts there is not what the application has said."""
    calls.router().completion(model="small", messages=calls.MESSAGES, metadata={"plan": "pro"})
    for span in spans():
        said = {key for key in span.attributes if key.startswith("callspan.metadata.")}
        assert said == {"callspan.metadata.plan"}


def test_baggage_lands_on_spans_but_for_what_is_private(spans: Spans) -> None:
    here = baggage.set_baggage("tenant", "t-1", baggage.set_baggage("session-token", "abc"))
    here = baggage.set_baggage("gen_ai.request.model", "forged", here)
    token = otel_context.attach(baggage.set_baggage("note", "Bearer abcdefghijklmnop", here))
    try:
        litellm.completion(**calls.CHAT)
    finally:
        otel_context.detach(token)
    seen = spans.only().attributes
    assert seen["tenant"] == "t-1"
    assert seen["gen_ai.request.model"] == "gpt-4o-mini"
    assert "session-token" not in seen
    assert "abcdefghijklmnop" not in seen["note"]


def test_callbacks_are_told(spans: Spans) -> None:
    told: list[callspan.LiveCallRecord] = []
    callspan.add_callback(told.append, delivery="blocking", name="told")
    try:
        with callspan.context(**SAID):
            litellm.completion(**calls.CHAT, metadata={"order": 9})
    finally:
        callspan.remove_callback("told")
    (record,) = told
    assert (record.user_id, record.session_id, record.tags) == ("u-1", "s-1", ("beta",))
    assert dict(record.metadata) == {"plan": "pro", "seats": 3, "order": 9}


@pytest.mark.parametrize(
    "said", [{"user_id": 7}, {"tags": "beta"}, {"metadata": {"a": object()}}], ids=["user", "tags", "metadata"]
)
def test_what_cannot_be_said_is_refused_with_its_name(said: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(said))), callspan.context(**said):
        pass
