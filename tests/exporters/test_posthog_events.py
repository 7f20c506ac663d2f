"""A span in PostHog: which events it is, and what they say."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from opentelemetry.trace import SpanContext, TraceFlags

from callspan import semconv
from callspan_exporters._outcome import Outcome, Verdict
from exporters.posthog_spans import CHAT, content, ended, events_of, properties_of, sent, tracer
from loopback.posthog_api import LoseAck, PostHogApi

REMOTE: Final = SpanContext(0x1234, 0x5678, is_remote=True, trace_flags=TraceFlags(1))


@pytest.fixture
def posthog() -> Iterator[PostHogApi]:
    """A PostHog of our own, which finds nothing wrong with what it is sent."""
    with PostHogApi() as server:
        yield server
        assert not server.complaints


# Which events.


@pytest.mark.parametrize(
    ("operation", "event"),
    [
        ("chat", "$ai_generation"),
        ("text_completion", "$ai_generation"),
        ("generate_content", "$ai_generation"),
        ("image_generation", "$ai_generation"),
        ("realtime", "$ai_generation"),
        ("embeddings", "$ai_embedding"),
        ("invoke_agent", "$ai_span"),
        ("execute_tool", "$ai_span"),
        ("fetch_response", "$ai_span"),
        (None, "$ai_span"),
    ],
)
@pytest.mark.parametrize("top", [True, False], ids=["top", "below"])
def test_a_span_is_one_event(posthog: PostHogApi, operation: str | None, event: str, top: bool) -> None:
    """A request to a model by itself; anything else at the top of a trace names the trace as well."""
    parent = None if top else tracer.start_span("parent")
    attributes = {} if operation is None else {semconv.GEN_AI_OPERATION_NAME: operation}
    names = [each.event for each in events_of(posthog, ended(parent=parent, attributes=attributes))]
    assert names == [event, "$ai_trace"] if event == "$ai_span" and top else [event]


def test_the_tree(posthog: PostHogApi) -> None:
    """PostHog finds what is below what by these, and leaves what names the trace out of it."""
    top = tracer.start_span("top")
    below = ended("below", parent=top, attributes=CHAT)
    context = top.get_span_context()
    (event,) = events_of(posthog, below)
    assert event.properties["$ai_trace_id"] == format(context.trace_id, "032x")
    assert event.properties["$ai_parent_id"] == format(context.span_id, "016x")
    assert event.properties["$ai_span_name"] == "below"
    whole, trace = events_of(posthog, ended("top"))
    assert whole.properties["$ai_trace_id"] == trace.properties["$ai_trace_id"]
    assert not {"$ai_parent_id", "$ai_span_id", "$ai_latency"} & set(trace.properties)  # or it would count twice
    assert "$ai_parent_id" not in whole.properties
    assert whole.properties["$ai_latency"] >= 0


def test_a_caller_elsewhere_hides_nothing(posthog: PostHogApi) -> None:
    """What is said to be below an event that PostHog does not have is not shown there: it stands at the top."""
    for attributes in (CHAT, {}):
        events = events_of(posthog, ended(parent=REMOTE, attributes=attributes))
        assert {event.properties["$ai_trace_id"] for event in events} == {format(0x1234, "032x")}
        assert not any("$ai_parent_id" in event.properties for event in events)


@pytest.mark.parametrize("attributes", [CHAT, {}, {**CHAT, semconv.USER_ID: "u-1"}])
def test_twice_the_same_span_counts_once(posthog: PostHogApi, attributes: Mapping[str, Any]) -> None:
    """An event has the same id, time and person however often it is sent, by whichever process."""
    span = ended(attributes=attributes)
    posthog.behave(LoseAck())
    assert sent(posthog, span).verdict is Verdict.RETRY
    first = list(posthog.events)
    assert events_of(posthog, span) == first
    assert posthog.counted == first


def test_different_spans_are_different_events(posthog: PostHogApi) -> None:
    """No two have the same id."""
    assert sent(posthog, *[ended(attributes=CHAT) for _ in range(20)], *[ended() for _ in range(20)])
    assert len({event.uuid for event in posthog.events}) == len(posthog.counted) == 60


def test_what_a_caller_calls_the_trace(posthog: PostHogApi) -> None:
    """As LiteLLM's callers do it: by metadata, of characters that PostHog takes."""
    parent = tracer.start_span("parent")
    trace_id = f"{semconv.CALLSPAN_METADATA_PREFIX}trace_id"
    told = properties_of(posthog, {**CHAT, trace_id: "order-7"}, parent=parent)
    assert (told["$ai_trace_id"], told.get("$ai_parent_id")) == ("order-7", None)  # that is in the other trace
    attempt = {**CHAT, trace_id: "order-7", semconv.CALLSPAN_ATTEMPT_NUMBER: 1}
    assert "$ai_parent_id" in properties_of(posthog, attempt, parent=parent)  # the call was told the same
    refused = properties_of(posthog, {**CHAT, trace_id: "order 7 / a"}, parent=parent)
    assert refused["$ai_trace_id"] == format(parent.get_span_context().trace_id, "032x")
    assert refused["trace_id"] == "order 7 / a"


# Who, and in what.


@pytest.mark.parametrize(
    ("attributes", "person"),
    [
        ({"posthog.distinct_id": "p", semconv.USER_ID: "u"}, "p"),
        ({f"{semconv.CALLSPAN_METADATA_PREFIX}distinct_id": "d", semconv.USER_ID: "u"}, "d"),
        ({f"{semconv.CALLSPAN_METADATA_PREFIX}user_id": "m", semconv.USER_ID: "u"}, "m"),
        ({semconv.USER_ID: "u"}, "u"),
        ({semconv.USER_ID: ""}, None),
        ({}, None),
    ],
)
def test_whose_it_is(posthog: PostHogApi, attributes: Mapping[str, Any], person: str | None) -> None:
    """The person that the call is made for; where nobody is known, nobody is made one."""
    (event,) = events_of(posthog, ended(attributes={**CHAT, **attributes}))
    assert event.distinct_id == (event.properties["$ai_trace_id"] if person is None else person)
    assert event.properties.get("$process_person_profile", True) is (person is not None)
    assert not {"user_id", "distinct_id", "user.id"} & set(event.properties)


def test_sessions_tags_and_metadata(posthog: PostHogApi) -> None:
    """By the names that the caller gave them, beside what is known of the service and the call."""
    attributes = {
        semconv.SESSION_ID: "s-1",
        semconv.CALLSPAN_TAGS: ["a", "b"],
        semconv.CALLSPAN_OUTCOME: "success",
        f"{semconv.CALLSPAN_METADATA_PREFIX}plan": "pro",
        f"{semconv.CALLSPAN_METADATA_PREFIX}parent_run_id": "run-1",
        f"{semconv.CALLSPAN_CREDENTIAL_PREFIX}posthog": "0123456789abcdef",
        "$session_id": "replay-1",
    }
    properties = properties_of(posthog, {**CHAT, **attributes})
    expected = {"$ai_session_id": "s-1", "tags": ["a", "b"], "plan": "pro", "$ai_parent_id": "run-1"}
    assert properties.items() >= {**expected, "$session_id": "replay-1", "service.name": "app"}.items()
    assert properties["callspan.outcome"] == "success"
    assert not any("credential" in name for name in properties)
    assert properties_of(posthog, {**CHAT, semconv.GEN_AI_CONVERSATION_ID: "c-1"})["$ai_session_id"] == "c-1"


def test_where_this_server_stands_is_not_where_a_user_is(posthog: PostHogApi) -> None:
    """PostHog is asked not to look up the address."""
    assert properties_of(posthog, CHAT).items() >= {"$geoip_disable": True, "$ai_lib": "callspan"}.items()


def test_what_the_application_says_by_posthogs_names_prevails(posthog: PostHogApi) -> None:
    """A span may have them itself."""
    properties = properties_of(posthog, {**CHAT, "$ai_span_name": "summarize", "$ai_total_cost_usd": 0.5})
    assert (properties["$ai_span_name"], properties["$ai_total_cost_usd"]) == ("summarize", 0.5)


# Requests, tokens, prices.


def test_a_request(posthog: PostHogApi) -> None:
    """By the names that PostHog documents."""
    attributes = {
        semconv.LITELLM_PROVIDER: "gemini",
        semconv.GEN_AI_PROVIDER_NAME: "gcp.gemini",
        semconv.GEN_AI_REQUEST_TEMPERATURE: 0.5,
        semconv.GEN_AI_REQUEST_MAX_TOKENS: 100,
        semconv.GEN_AI_REQUEST_STOP_SEQUENCES: ["x"],
        semconv.GEN_AI_REQUEST_STREAM: True,
        semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: 0.25,
        semconv.GEN_AI_RESPONSE_FINISH_REASONS: ["stop", "stop", "length"],
        semconv.SERVER_ADDRESS: "api.example.com",
        semconv.SERVER_PORT: 443,
        semconv.CALLSPAN_OUTCOME: "success",
    }
    parameters = {"temperature": 0.5, "max_tokens": 100, "stop": ["x"], "stream": True}
    expected = {
        "$ai_model": "gpt-4o-mini",
        "$ai_provider": "gemini",
        "$ai_base_url": "https://api.example.com",
        "$ai_http_status": 200,
        "$ai_model_parameters": parameters,
        "$ai_temperature": 0.5,
        "$ai_max_tokens": 100,
        "$ai_stream": True,
        "$ai_time_to_first_token": 0.25,
        "$ai_stop_reason": "stop, length",
        "$ai_is_error": False,
    }
    properties = properties_of(posthog, {**CHAT, **attributes})
    assert properties.items() >= expected.items()
    assert not set(attributes) - {semconv.CALLSPAN_OUTCOME} & set(properties)  # each thing once


def test_tokens(posthog: PostHogApi) -> None:
    """PostHog is told that cached ones are in the input, which it would not think of Anthropic's."""
    attributes = {
        semconv.GEN_AI_USAGE_INPUT_TOKENS: 100,
        semconv.GEN_AI_USAGE_OUTPUT_TOKENS: 20,
        semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: 60,
        semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS: 30,
        semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: 5,
    }
    expected = {
        "$ai_input_tokens": 100,
        "$ai_output_tokens": 20,
        "$ai_cache_read_input_tokens": 60,
        "$ai_cache_creation_input_tokens": 30,
        "$ai_reasoning_tokens": 5,
        "$ai_cache_reporting_exclusive": False,
    }
    assert properties_of(posthog, {**CHAT, **attributes}).items() >= expected.items()
    none = properties_of(posthog, CHAT)
    assert not any("tokens" in name or "exclusive" in name for name in none)


def test_prices(posthog: PostHogApi) -> None:
    """In dollars; an answer from LiteLLM's cache costs nothing, which PostHog is not to estimate."""
    price = {semconv.CALLSPAN_COST_AMOUNT: 0.25, semconv.CALLSPAN_COST_CURRENCY: "USD"}
    assert properties_of(posthog, {**CHAT, **price})["$ai_total_cost_usd"] == 0.25
    other = {**CHAT, **price, semconv.CALLSPAN_COST_CURRENCY: "EUR"}
    assert "$ai_total_cost_usd" not in properties_of(posthog, other)
    cached = properties_of(posthog, {**CHAT, semconv.LITELLM_CACHE_HIT: True, semconv.CALLSPAN_OUTCOME: "success"})
    assert (cached["$ai_total_cost_usd"], cached["$ai_cost_passthrough"]) == (0.0, True)
    assert "$ai_http_status" not in cached


def test_what_an_agent_used_is_not_counted_again(posthog: PostHogApi) -> None:
    """Tokens of a span around others stay under the conventions' names, which PostHog does not add up."""
    used = {semconv.GEN_AI_OPERATION_NAME: "invoke_agent", semconv.GEN_AI_USAGE_INPUT_TOKENS: 100}
    for event in events_of(posthog, ended(attributes=used)):
        assert "$ai_input_tokens" not in event.properties
        assert event.properties[semconv.GEN_AI_USAGE_INPUT_TOKENS] == 100


def test_failures(posthog: PostHogApi) -> None:
    """What failed, and how."""
    attributes = {semconv.ERROR_TYPE: "litellm.Timeout", semconv.HTTP_RESPONSE_STATUS_CODE: 408}
    properties = properties_of(posthog, {**CHAT, **attributes}, error="too late")
    expected = {"$ai_is_error": True, "$ai_error": "too late", "$ai_error_type": "litellm.Timeout"}
    assert properties.items() >= {**expected, "$ai_http_status": 408}.items()
    assert properties_of(posthog, CHAT, error="")["$ai_error"] == "error"


# Content.


def test_no_content_where_none_was_recorded(posthog: PostHogApi) -> None:
    """What is not on the span is not made up."""
    content = {"$ai_input", "$ai_output_choices", "$ai_tools", "$ai_input_state", "$ai_output_state"}
    for attributes in (CHAT, {semconv.GEN_AI_OPERATION_NAME: "embeddings"}, {}):
        assert not content & set(properties_of(posthog, attributes))


TEXT: Final = {"type": "text", "content": "Hi"}
CALL: Final = {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Paris"}}
RESULT: Final = {"type": "tool_call_response", "id": "c1", "response": "sunny"}
FUNCTION: Final = {"type": "function", "id": "c1", "function": {"name": "weather", "arguments": {"city": "Paris"}}}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "user", "parts": [TEXT]}, {"role": "user", "content": "Hi"}),
        ({"role": "user", "parts": [TEXT], "name": "Ann"}, {"role": "user", "content": "Hi", "name": "Ann"}),
        ({"role": "user", "parts": []}, {"role": "user", "content": ""}),
        (
            {"role": "assistant", "parts": [TEXT, CALL]},
            {"role": "assistant", "content": [{"type": "text", "text": "Hi"}, FUNCTION]},
        ),
        ({"role": "tool", "parts": [RESULT]}, {"role": "tool", "tool_call_id": "c1", "content": "sunny"}),
        (
            {"role": "user", "parts": [RESULT]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}]},
        ),
        (
            {"role": "user", "parts": [{"type": "uri", "modality": "image", "uri": "https://e.com/i.png"}]},
            {"role": "user", "content": [{"type": "image", "image": "https://e.com/i.png"}]},
        ),
        (
            {
                "role": "user",
                "parts": [{"type": "blob", "modality": "image", "mime_type": "image/png", "content": "x"}],
            },
            {"role": "user", "content": [{"type": "image", "image": "data:image/png;base64,x"}]},
        ),
        (
            {
                "role": "user",
                "parts": [{"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "x"}],
            },
            {"role": "user", "content": [{"type": "audio", "mime_type": "audio/wav", "data": "x"}]},
        ),
        (
            {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"}, TEXT]},
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}],
            },
        ),
        (
            {"role": "user", "parts": [{"type": "novelty", "of": "theirs"}]},
            {"role": "user", "content": [{"type": "novelty", "of": "theirs"}]},
        ),
        ({"role": "user", "content": "older"}, {"role": "user", "content": "older"}),
    ],
)
def test_messages(posthog: PostHogApi, message: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """In the shape that PostHog documents, of requests and of answers."""
    properties = properties_of(posthog, {**CHAT, **content(given=[message], answered=[message])})
    assert properties["$ai_input"] == [expected]
    assert properties["$ai_output_choices"] == [expected]


def test_instructions_and_tools(posthog: PostHogApi) -> None:
    """The system's message is the first; tools are as OpenAI's API has them."""
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    given = content(system=[TEXT], given=[{"role": "user", "parts": [TEXT]}], tools=[tool, {"type": "web_search"}])
    properties = properties_of(posthog, {**CHAT, **given})
    assert properties["$ai_input"] == [{"role": "system", "content": "Hi"}, {"role": "user", "content": "Hi"}]
    function = {"name": "weather", "parameters": {"type": "object"}}
    assert properties["$ai_tools"] == [{"type": "function", "function": function}, {"type": "web_search"}]


def test_what_was_embedded(posthog: PostHogApi) -> None:
    """A text, or a list of them."""
    for texts, expected in ((["a"], "a"), (["a", "b"], ["a", "b"])):
        parts = [{"type": "text", "content": text} for text in texts]
        given = content(given=[{"role": "user", "parts": parts}])
        properties = properties_of(posthog, {semconv.GEN_AI_OPERATION_NAME: "embeddings", **given})
        assert properties["$ai_input"] == expected
        assert "$ai_output_choices" not in properties


def test_what_went_into_a_step(posthog: PostHogApi) -> None:
    """Of a tool its arguments and its result, of an agent its messages; the trace has what its top has."""
    tool = {"gen_ai.tool.call.arguments": '{"city": "Paris"}', "gen_ai.tool.call.result": "sunny"}
    for event in events_of(posthog, ended(attributes={semconv.GEN_AI_OPERATION_NAME: "execute_tool", **tool})):
        assert (event.properties["$ai_input_state"], event.properties["$ai_output_state"]) == (
            {"city": "Paris"},
            "sunny",
        )
    agent = {semconv.GEN_AI_OPERATION_NAME: "invoke_agent", **content(given=[{"role": "user", "parts": [TEXT]}])}
    assert properties_of(posthog, agent)["$ai_input_state"] == [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    "text",
    [
        *("no JSON", "[" * 100_000, '"\\ud800"', "[NaN, 1e999, -Infinity]", "null", "{}", "7", "[[1]]"),
        *("[" * depth + "]" * depth for depth in (90, 101, 130, 900, 50_000)),
        '[{"role": "assistant", "parts": [{"type": "tool_call", "arguments": %s}]}]' % ('{"a":' * 97 + "1" + "}" * 97),
    ],
)
def test_content_that_is_none(posthog: PostHogApi, text: str) -> None:
    """Whatever somebody's instrumentation writes there: the event arrives, and so do the others."""
    keys = (semconv.GEN_AI_INPUT_MESSAGES, semconv.GEN_AI_OUTPUT_MESSAGES, semconv.GEN_AI_TOOL_DEFINITIONS)
    bad = ended(attributes={**CHAT, semconv.GEN_AI_SYSTEM_INSTRUCTIONS: text, **dict.fromkeys(keys, text)})
    assert sent(posthog, ended(attributes=CHAT), bad, ended(attributes=CHAT)) == Outcome(Verdict.DELIVERED)
    assert len(posthog.events) == 3


def test_values_that_json_has_no_word_for(posthog: PostHogApi) -> None:
    """They are said as text."""
    odd = {"nan": float("nan"), "inf": [float("inf")], "bytes": b"\x00\xff", "nul": "\x00", "umlaut": "ü"}
    properties = properties_of(posthog, {**CHAT, **odd})
    expected = {"nan": "nan", "inf": ["inf"], "nul": "\x00", "umlaut": "ü"}
    assert properties.items() >= expected.items()
    assert properties.get("bytes", "AP8=") == "AP8="  # an older SDK has none in an attribute
