"""LiteLLM's calls in PostHog: each one once, whatever becomes of the process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from callspan_exporters._spool import read_accounts, read_refusals
from loopback.openai_api import Answer, Fail, OpenAIUpstream, ToolCall
from loopback.posthog_api import Accept, CapturedEvent, LoseAck, PostHogApi, QuotaLimited, RefuseEvents
from loopback.processes import run_python

KEY: Final = "phc_s3cr3t"
MESSAGES: Final = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
PRELUDE: Final = f"""
import asyncio, os, signal
import litellm
MESSAGES = {MESSAGES}
TOOLS = [{{"type": "function", "function": {{"name": "weather", "parameters": {{"type": "object"}}}}}}]
"""


@pytest.fixture
def posthog() -> Iterator[PostHogApi]:
    """A PostHog of our own, which finds nothing wrong with what it is sent."""
    with PostHogApi() as server:
        yield server
        assert not server.complaints


def run(program: str, posthog: PostHogApi, upstream: OpenAIUpstream | None = None, **settings: Any) -> str:
    """Runs a program whose spans go to PostHog alone, and returns what it wrote on stderr."""
    api_base = "" if upstream is None else upstream.base_url
    env = {
        "CALLSPAN_DESTINATIONS": "posthog",
        "OTEL_TRACES_EXPORTER": "none",
        "POSTHOG_API_KEY": KEY,
        "POSTHOG_API_URL": posthog.host,
        "OPENAI_BASE_URL": api_base,
        "OPENAI_API_BASE": api_base,
        **settings.pop("env", {}),
    }
    return run_python(program, auto_instrument=True, env=env, **settings).stderr


def send_what_is_left(posthog: PostHogApi) -> None:
    """Runs a program that makes no spans."""
    run("import callspan_exporters; assert callspan_exporters.ensure_delivery()", posthog)


def by_response(events: list[CapturedEvent]) -> dict[str, dict[str, Any]]:
    """The properties of generations by the ids of the responses."""
    return {event.properties["gen_ai.response.id"]: event.properties for event in events}


WITH_CONTENT: Final = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"}
CALLS: Final = (
    PRELUDE
    + """
WHO = {"user_id": "u-1", "session_id": "s-1", "plan": "pro", "tags": ["beta"]}
litellm.completion("openai/gpt-4o-mini", MESSAGES, metadata=WHO, temperature=0.5, max_tokens=50, tools=TOOLS)
for _ in litellm.completion("openai/gpt-4o-mini", MESSAGES, stream=True, stream_options={"include_usage": True}):
    pass
litellm.embedding("openai/text-embedding-3-small", ["a", "b"])
try:
    litellm.completion("openai/gpt-4o-mini", MESSAGES)
except litellm.BadRequestError:
    pass
async def main():
    await litellm.acompletion("openai/gpt-4o-mini", MESSAGES, user="u-2")
asyncio.run(main())
"""
)


def test_calls_of_every_kind(upstream: OpenAIUpstream, posthog: PostHogApi) -> None:
    """Synchronous and asynchronous, streamed, with tools, embeddings and what fails: all that is known of each."""
    tool = Answer(tool_calls=(ToolCall("weather", {"city": "Paris"}),), cached_tokens=4, reasoning_tokens=2)
    upstream.behave(tool, Answer(), Answer(), Fail(400, "no such city", "invalid_request_error"), Answer())
    assert "callspan" not in run(CALLS, posthog, upstream, env=WITH_CONTENT)
    called, streamed, embedded, failed, asynchronous = posthog.events
    assert [event.event for event in posthog.events] == ["$ai_generation"] * 2 + ["$ai_embedding"] + [
        "$ai_generation"
    ] * 2
    assert {event.api_key for event in posthog.events} == {KEY}

    arguments = {"name": "weather", "arguments": {"city": "Paris"}}
    assert called.distinct_id == "u-1"
    assert (
        called.properties.items()
        >= {
            "$ai_session_id": "s-1",
            "plan": "pro",
            "tags": ["beta"],
            "$ai_model": "gpt-4o-mini",
            "$ai_provider": "openai",
            "$ai_base_url": upstream.base_url.removeprefix("http://").removesuffix("/v1"),
            "$ai_http_status": 200,
            "$ai_is_error": False,
            "$ai_stream": False,
            "$ai_model_parameters": {"temperature": 0.5, "max_tokens": 50},
            "$ai_tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}],
            "$ai_input": MESSAGES,
            "$ai_output_choices": [
                {"role": "assistant", "content": [{"type": "function", "id": "call_loopback_0", "function": arguments}]}
            ],
            "$ai_stop_reason": "tool_calls",
            "$ai_input_tokens": 11,
            "$ai_output_tokens": 7,
            "$ai_cache_read_input_tokens": 4,
            "$ai_reasoning_tokens": 2,
            "callspan.outcome": "success",
        }.items()
    )
    assert called.properties["$ai_total_cost_usd"] > 0

    assert streamed.properties["$ai_stream"] is True
    assert 0 < streamed.properties["$ai_time_to_first_token"] <= streamed.properties["$ai_latency"]
    assert streamed.properties["$ai_output_choices"] == [{"role": "assistant", "content": "Hello from loopback."}]
    assert (streamed.properties["$ai_input_tokens"], streamed.properties["$ai_output_tokens"]) == (11, 7)
    assert streamed.properties["$process_person_profile"] is False

    assert embedded.properties.items() >= {"$ai_model": "text-embedding-3-small", "$ai_input": ["a", "b"]}.items()
    assert embedded.properties["$ai_input_tokens"] == 11

    assert failed.properties.items() >= {"$ai_is_error": True, "$ai_http_status": 400}.items()
    assert "no such city" in failed.properties["$ai_error"]
    assert asynchronous.distinct_id == "u-2"
    assert asynchronous.properties["$ai_output_choices"] == [{"role": "assistant", "content": "Hello from loopback."}]


def test_no_content_unless_asked_for(upstream: OpenAIUpstream, posthog: PostHogApi) -> None:
    """Neither prompts nor answers leave by default."""
    run(CALLS, posthog, upstream)
    assert len(posthog.events) == 5
    content = {"$ai_input", "$ai_output_choices", "$ai_tools", "$ai_input_state", "$ai_output_state"}
    assert not any(content & set(event.properties) for event in posthog.events)
    assert "Be brief." not in str(posthog.events)


ROUTER: Final = (
    PRELUDE
    + """
models = [
    {"model_name": "first", "litellm_params": {"model": "openai/gpt-4o"}},
    {"model_name": "second", "litellm_params": {"model": "openai/gpt-4o-mini"}},
]
router = litellm.Router(model_list=models, fallbacks=[{"first": ["second"]}], num_retries=0)
async def main():
    await router.acompletion("first", MESSAGES, metadata={"user_id": "u-1"})
asyncio.run(main())
"""
)


def test_a_router_that_falls_back(upstream: OpenAIUpstream, posthog: PostHogApi) -> None:
    """The call is a step with a generation below it for each attempt, and names the trace."""
    upstream.models["gpt-4o"] = Fail(503)
    run(ROUTER, posthog, upstream)
    events = {(event.event, event.properties.get("$ai_model")): event for event in posthog.events}
    assert len(events) == len(posthog.events) == 4
    call, trace = events["$ai_span", None], events["$ai_trace", None]
    attempts = [events["$ai_generation", model] for model in ("gpt-4o", "gpt-4o-mini")]
    assert len({event.properties["$ai_trace_id"] for event in posthog.events}) == 1
    assert call.properties["$ai_span_name"] == trace.properties["$ai_span_name"] == "Router.acompletion first"
    assert {event.properties["$ai_parent_id"] for event in attempts} == {call.properties["$ai_span_id"]}
    assert [event.properties["$ai_is_error"] for event in attempts] == [True, False]
    assert [event.properties["$ai_http_status"] for event in attempts] == [503, 200]
    assert [event.properties["callspan.attempt.number"] for event in attempts] == [1, 2]
    assert {event.distinct_id for event in posthog.events} == {"u-1"}
    assert [event.event for event in posthog.events if "$ai_total_cost_usd" in event.properties] == ["$ai_generation"]


FIFTY: Final = (
    PRELUDE
    + """
for number in range(50):
    litellm.completion("openai/gpt-4o-mini", MESSAGES, mock_response="x", metadata={"number": number})
"""
)


def numbers(events: list[CapturedEvent]) -> list[int]:
    """Which calls there are events of."""
    return sorted(event.properties["number"] for event in events)


def nothing_waits(spool_dir: Path) -> bool:
    """Tells whether all that was stored has arrived or been refused."""
    return [account.pending for account in read_accounts(spool_dir)] == [0]


KILLED: Final = (
    FIFTY
    + """
import callspan
assert not callspan.force_flush(timeout=3.0)
os.kill(os.getpid(), signal.SIGKILL)
"""
)


def test_killed_and_sent_twice_every_call_counts_once(posthog: PostHogApi, spool_dir: Path) -> None:
    """What a killed process has sent without an answer goes again by the next one, by the same ids."""
    posthog.default = LoseAck()
    run(KILLED, posthog, check=False)
    assert posthog.events
    assert not nothing_waits(spool_dir)
    posthog.default = Accept()
    send_what_is_left(posthog)
    assert nothing_waits(spool_dir)
    assert len(posthog.events) > 50
    assert numbers(posthog.counted) == list(range(50))


SPANS: Final = """
import callspan_exporters
assert callspan_exporters.ensure_delivery()
from opentelemetry import trace
for number in range(50):
    attributes = {"gen_ai.operation.name": "chat", "number": number}
    trace.get_tracer("app").start_span("chat", attributes=attributes).end()
"""


def test_the_key_is_nowhere_on_disk(posthog: PostHogApi, spool_dir: Path) -> None:
    """Not even while spans wait."""
    posthog.down()
    said = run(SPANS, posthog)
    assert f"kept 50 spans for posthog {posthog.host} ~" in said
    (account,) = read_accounts(spool_dir)
    assert (account.pending, account.destination.startswith(f"posthog {posthog.host} ~")) == (50, True)
    files = [path for path in spool_dir.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY.encode() in path.read_bytes() for path in files)
    assert KEY not in said
    posthog.up()
    send_what_is_left(posthog)
    assert numbers(posthog.events) == list(range(50))


def test_an_event_that_is_refused_holds_up_no_other(posthog: PostHogApi, spool_dir: Path) -> None:
    """It is found among those sent with it, and kept for people to look at."""
    posthog.default = RefuseEvents(lambda event: event.properties["number"] == 7)
    run(SPANS, posthog)
    assert numbers(posthog.counted) == [number for number in range(50) if number != 7]
    assert len(list(read_refusals(spool_dir))) == 1


def test_over_the_quota_spans_wait(posthog: PostHogApi, spool_dir: Path) -> None:
    """PostHog answers 200 and says in the body that it takes nothing: that is told, and nothing is lost."""
    posthog.default = QuotaLimited()
    assert "billing limits" in run(SPANS, posthog)
    assert not nothing_waits(spool_dir)
    posthog.default = Accept()
    send_what_is_left(posthog)
    assert numbers(posthog.events) == list(range(50))
    assert nothing_waits(spool_dir)


def test_without_a_key_there_is_no_destination(posthog: PostHogApi) -> None:
    """The program runs, and is told which variable is missing."""
    said = run("import callspan; callspan.instrument()", posthog, env={"POSTHOG_API_KEY": None})
    assert "POSTHOG_API_KEY or POSTHOG_PROJECT_API_KEY is not set" in said
    assert not posthog.requests
