"""LiteLLM's own PostHog logger and ours, side by side: the same calls, in the same process, to a server each."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pytest

from loopback.openai_api import Answer, Fail, OpenAIUpstream, ToolCall
from loopback.posthog_api import CapturedEvent, PostHogApi
from loopback.processes import run_python

CALLS: Final = """
import asyncio, os
import callspan, litellm
from callspan_exporters.posthog import PostHogDestination

callspan.instrument(destinations=[PostHogDestination("phc_ours", os.environ["OURS"])])
litellm.callbacks = ["posthog"]

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
TURN = [*MESSAGES, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT]
WHO = {"user_id": "u-1", "session_id": "s-1", "parent_run_id": "r-1", "plan": "pro", "seats": 3, "tags": ["beta"]}

litellm.completion("openai/gpt-4o-mini", MESSAGES, metadata={**WHO, "nested": {"a": 1}}, tools=TOOLS, user="ignored")
for _ in litellm.completion("openai/gpt-4o-mini", MESSAGES, stream=True):
    pass
litellm.embedding(model="openai/text-embedding-3-small", input=["a", "b"])
try:
    litellm.completion("openai/gpt-4o-mini", MESSAGES)
except litellm.BadRequestError:
    pass

async def main():
    await litellm.acompletion("openai/gpt-4o-mini", TURN, metadata={"trace_id": "t-1"}, user="u-2")
    async for _ in await litellm.acompletion("openai/gpt-4o-mini", MESSAGES, stream=True):
        pass
    await litellm.aembedding(model="openai/text-embedding-3-small", input="a")
    try:
        await litellm.acompletion("openai/gpt-4o-mini", MESSAGES)
    except litellm.BadRequestError:
        pass
    router = litellm.Router(model_list=[{"model_name": "some", "litellm_params": {"model": "openai/gpt-4o-mini"}}])
    await router.acompletion("some", MESSAGES, metadata={"user_id": "u-3"})
asyncio.run(main())
"""


@dataclass(frozen=True)
class Difference:
    """A property of LiteLLM's that ours does not have, or has otherwise.

    Attributes:
        why: it is so.
        holds: tells whether it is that difference and no other; given LiteLLM's event and ours.
    """

    why: str
    holds: Callable[[CapturedEvent, CapturedEvent], bool]


def _trace_id(theirs: CapturedEvent, ours: CapturedEvent) -> bool:
    session = ours.properties.get("$ai_session_id")
    made_up = bool(re.fullmatch("[0-9a-f-]{36}", theirs.properties["$ai_trace_id"]))
    of_opentelemetry = bool(re.fullmatch("[0-9a-f]{32}", ours.properties["$ai_trace_id"]))
    return of_opentelemetry and (theirs.properties["$ai_trace_id"] == session or (session is None and made_up))


def _output(theirs: CapturedEvent, ours: CapturedEvent) -> bool:
    whole = theirs.properties["$ai_output_choices"]
    if ours.event == "$ai_embedding" or ours.properties["$ai_is_error"]:
        return "$ai_output_choices" not in ours.properties and (not whole or "data" in whole)
    (message,) = (choice["message"] for choice in whole["choices"])
    (said,) = ours.properties["$ai_output_choices"]
    calls = [part["function"]["name"] for part in said["content"] if isinstance(part, dict)]
    return said["role"] == message["role"] and (
        said["content"] == message["content"] or calls == [call["function"]["name"] for call in message["tool_calls"]]
    )


def _input(theirs: CapturedEvent, ours: CapturedEvent) -> bool:
    given, said = theirs.properties["$ai_input"], ours.properties["$ai_input"]
    if ours.event == "$ai_embedding":
        texts = [message["content"] for message in given]
        return said == (texts[0] if len(texts) == 1 else texts)
    differing = [(a, b) for a, b in zip(given, said, strict=True) if a != b]
    return all(a["tool_calls"] and b["content"][0]["type"] == "function" for a, b in differing)


def _nothing(name: str) -> Callable[[CapturedEvent, CapturedEvent], bool]:
    def holds(theirs: CapturedEvent, ours: CapturedEvent) -> bool:
        unknown = ours.properties["$ai_is_error"] and name not in ours.properties
        return theirs.properties[name] == 0 and bool(unknown or ours.properties.get("callspan.usage.estimated"))

    return holds


DIFFERENT: Final = {
    "$ai_trace_id": Difference(
        "LiteLLM's is the session, or made up for each call; ours is OpenTelemetry's, the same in every backend, and "
        "the session is in $ai_session_id, which PostHog has for it. A trace_id in the metadata is heeded by both.",
        _trace_id,
    ),
    "$ai_span_id": Difference(
        "LiteLLM's is the id of the response, or of the call; ours is the span's, and the others are beside it.",
        lambda theirs, ours: theirs.properties["$ai_span_id"] in ids(ours),
    ),
    "$ai_input": Difference(
        "Of embeddings PostHog asks for the texts, where LiteLLM makes up messages of them; of tool calls for parts of "
        "the type function.",
        _input,
    ),
    "$ai_output_choices": Difference(
        "PostHog asks for a list of messages: LiteLLM sends the whole response, {} for a failure, and for asynchronous "
        "embeddings the vectors.",
        _output,
    ),
    "$ai_latency": Difference(
        "Ours is the time the caller waited. LiteLLM's is that of the inner part, and of a stream that to the first "
        "chunk, which is in $ai_time_to_first_token.",
        lambda theirs, ours: ours.properties["$ai_latency"] > theirs.properties["$ai_latency"] - 0.01,
    ),
    "$ai_model": Difference(
        "Behind a Router LiteLLM's has the provider in it, which is in $ai_provider.",
        lambda theirs, ours: theirs.properties["$ai_model"] == f"openai/{ours.properties['$ai_model']}",
    ),
    "$ai_input_tokens": Difference(
        "0 for a failure, of which nothing is known; LiteLLM 1.106 says so of a stream without usage as well, "
        "whose tokens ours reckons.",
        _nothing("$ai_input_tokens"),
    ),
    "$ai_output_tokens": Difference("The same.", _nothing("$ai_output_tokens")),
    "$ai_total_cost_usd": Difference("The same.", _nothing("$ai_total_cost_usd")),
    "nested": Difference(
        "Spans hold texts, numbers and lists of them: what is nested in metadata is left out.",
        lambda theirs, _ours: theirs.properties["nested"] == {"a": 1},
    ),
}

# What LiteLLM itself writes into the metadata of a call, and takes for the caller's; besides what begins with `_`.
BOOKKEEPING: Final = frozenset(
    {
        *("model_group_alias", "attempted_fallbacks", "original_model_group", "attempted_retries", "max_retries"),
        *("deployment_model_name", "kubernetes_pod_routing", "llm_api_timing_windows"),
        *("previous_models", "request_retry_count", "raw_request", "used_fallbacks", "api_version"),
    }
)


def ids(ours: CapturedEvent) -> set[str | None]:
    """What LiteLLM may call an event of ours."""
    return {ours.properties.get("gen_ai.response.id"), ours.properties["litellm.call_id"]}


@dataclass(frozen=True)
class Both:
    """What came of the same calls."""

    theirs: list[CapturedEvent]
    ours: list[CapturedEvent]
    requests: tuple[int, int]

    @property
    def pairs(self) -> list[tuple[CapturedEvent, CapturedEvent]]:
        """LiteLLM's events, each with that of ours which is of the same call."""
        pairs = [
            (theirs, [ours for ours in self.ours if "litellm.call_id" in ours.properties and name(theirs) in ids(ours)])
            for theirs in self.theirs
        ]
        assert all(len(found) == 1 for _, found in pairs)
        return [(theirs, found[0]) for theirs, found in pairs]


def name(theirs: CapturedEvent) -> str:
    """What LiteLLM calls an event of its own."""
    return theirs.properties["$ai_span_id"]


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    """The calls, once."""
    with OpenAIUpstream() as upstream, PostHogApi() as theirs, PostHogApi() as ours:
        refused = Fail(400, "no such city", "invalid_request_error")
        tool = Answer(tool_calls=(ToolCall("weather", {"city": "Paris"}),), cached_tokens=4)
        upstream.behave(tool, Answer(), Answer(), refused, Answer(), Answer(), Answer(), refused, Answer())
        run_python(
            CALLS,
            env={
                "OURS": ours.host,
                "POSTHOG_API_KEY": "phc_theirs",
                "POSTHOG_API_URL": theirs.host,
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_API_BASE": upstream.base_url,
                "OTEL_TRACES_EXPORTER": "none",
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
            },
        )
        assert not theirs.complaints + ours.complaints
        yield Both(theirs.events, ours.events, (len(theirs.requests), len(ours.requests)))


def test_each_call_is_an_event_of_both(both: Both) -> None:
    """But for a synchronous call that fails, of which LiteLLM's logger is not told."""
    requests = [event for event in both.ours if event.event in ("$ai_generation", "$ai_embedding")]
    assert (len(both.theirs), len(requests)) == (8, 9)
    matched = [ours for _, ours in both.pairs]
    (unmatched,) = [event for event in requests if event not in matched]
    assert unmatched.properties["$ai_is_error"] is True
    assert unmatched.properties["callspan.entry_point"] == "litellm.completion"


def test_all_that_litellm_sends_is_in_ours(both: Both) -> None:
    """Each property with the same value, or with a difference that is in the table; and each row of it is true."""
    used: set[str] = set()
    for theirs, ours in both.pairs:
        for key, value in theirs.properties.items():
            if key in BOOKKEEPING or key[0] == "_" or (key in ours.properties and ours.properties[key] == value):
                continue
            assert key in DIFFERENT, f"{key}: LiteLLM's is {value!r}, ours is {ours.properties.get(key)!r}"
            assert DIFFERENT[key].holds(theirs, ours), f"{key}: {DIFFERENT[key].why}"
            used.add(key)
    assert used == set(DIFFERENT)


def test_events_are_of_the_same_kind_and_person(both: Both) -> None:
    """But for asynchronous embeddings, which LiteLLM calls generations, and for who is given as the call's `user`.

    Where nobody is known LiteLLM has PostHog make a person of each call, and ours has it make none.
    """
    for theirs, ours in both.pairs:
        asynchronous = ours.properties["callspan.entry_point"] == "litellm.aembedding"
        assert theirs.event == ("$ai_generation" if asynchronous else ours.event)
        if theirs.distinct_id != ours.distinct_id:
            assert theirs.distinct_id == theirs.properties["$ai_trace_id"]
            personless = ours.properties.get("$process_person_profile") is False
            assert ours.distinct_id == (ours.properties["$ai_trace_id"] if personless else "u-2")
    assert {ours.distinct_id for _, ours in both.pairs} >= {"u-1", "u-2", "u-3"}


def test_what_ours_has_besides(both: Both) -> None:
    """LiteLLM's events have no ids and times of their own: what is sent twice counts twice, at the time it comes."""
    for theirs, ours in both.pairs:
        assert (theirs.uuid, theirs.timestamp) == (None, None)
        assert ours.uuid is not None
        assert ours.timestamp is not None
    more = {name for _, ours in both.pairs for name in ours.properties} - {
        name for theirs, _ in both.pairs for name in theirs.properties
    }
    documented = {"$ai_session_id", "$ai_span_name", "$ai_base_url", "$ai_http_status", "$ai_tools", "$ai_stream"}
    usage = {"$ai_cache_read_input_tokens", "$ai_reasoning_tokens", "$ai_cache_reporting_exclusive"}
    times = {"$ai_time_to_first_token", "$ai_model_parameters", "$ai_stop_reason", "$ai_error_type"}
    assert more >= documented | usage | times
    assert both.requests[1] < both.requests[0]  # one for each synchronous call of LiteLLM's
