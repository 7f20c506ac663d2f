"""Langfuse beside LiteLLM's own ``langfuse_otel``: the same calls, what both send, and every difference.

In two processes: in one, LiteLLM's writes its attributes onto the span that is current, which is ours.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from loopback.openai_api import Answer, Fail, OpenAIUpstream, ToolCall
from loopback.otlp_inbox import ReceivedSpan
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import run_python
from loopback.versions import of_litellm_now

CALLS = """
import asyncio, os, litellm
if "CALLSPAN_DESTINATIONS" in os.environ:
    import callspan
    callspan.instrument()
else:
    litellm.callbacks = ["langfuse_otel"]
MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Weather in Paris?"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
WHO = {"trace_user_id": "u-1", "session_id": "s-1", "tags": ["beta"], "plan": "pro"}
TRACE = {"trace_name": "greeting", "trace_version": "2", "trace_release": "r-1"}

async def main():
    await litellm.acompletion("openai/gpt-4o-mini", MESSAGES, temperature=0.5, tools=TOOLS, metadata={**WHO, **TRACE})
    streamed = await litellm.acompletion("openai/gpt-4o-mini", MESSAGES, stream=True)
    async for _ in streamed:
        pass
    try:
        await litellm.acompletion("openai/gpt-4o-mini", MESSAGES)
    except litellm.BadRequestError:
        pass
    await asyncio.sleep(1)  # LiteLLM alone has nothing that waits for its callbacks

asyncio.run(main())
"""
CALLED, STREAMED, FAILED = "called", "streamed", "failed"


@dataclass(frozen=True)
class Sides:
    """One call as it came from both."""

    theirs: ReceivedSpan
    ours: ReceivedSpan
    further: dict[str, list[str]]  # the names of the spans besides those of calls, of either

    def both(self, of: Callable[[dict[str, Any]], object]) -> tuple[object, object]:
        """Something of both, theirs first."""
        return of(self.theirs.attributes), of(self.ours.attributes)


def calls_of(receiver: OtlpReceiver) -> list[ReceivedSpan]:
    """The spans of calls in the order in which they began, without those that theirs makes of what is below."""
    spans = [span for span in receiver.spans if "langfuse.observation.type" in span.attributes]
    return sorted(spans, key=lambda span: span.span.start_time_unix_nano)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Sides]]:
    with OpenAIUpstream() as upstream, OtlpReceiver() as theirs, OtlpReceiver() as ours:
        for receiver, more in ((theirs, {}), (ours, {"CALLSPAN_DESTINATIONS": "langfuse"})):
            called = Answer(tool_calls=(ToolCall("weather", {"city": "Paris"}),), cached_tokens=4, reasoning_tokens=2)
            upstream.behave(called, Answer(chunk_delay=0.01), Fail(400, "no such city", "invalid_request_error"))
            run_python(
                CALLS,
                env={
                    "LANGFUSE_HOST": receiver.endpoint,
                    "LANGFUSE_PUBLIC_KEY": "pk",
                    "LANGFUSE_SECRET_KEY": "sk",
                    "LANGFUSE_TRACING_ENVIRONMENT": "staging",
                    "OPENAI_BASE_URL": upstream.base_url,
                    "OPENAI_API_BASE": upstream.base_url,
                    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
                    "CALLSPAN_SPOOL_DIR": str(tmp_path_factory.mktemp("spool")),
                    **more,
                },
            )
        assert [len(calls_of(receiver)) for receiver in (theirs, ours)] == [3, 3]
        for header in ("authorization", "x-langfuse-ingestion-version"):
            assert theirs.requests[0].headers[header] == ours.requests[0].headers[header]
        assert {request.path for request in ours.requests} == {request.path for request in theirs.requests}
        further = {
            side: [span.name for span in receiver.spans if span not in calls_of(receiver)]
            for side, receiver in (("theirs", theirs), ("ours", ours))
        }
        pairs = zip(calls_of(theirs), calls_of(ours), strict=True)
        yield dict(zip((CALLED, STREAMED, FAILED), (Sides(*pair, further) for pair in pairs), strict=True))


@pytest.mark.parametrize(
    "key",
    [
        "user.id",
        "session.id",
        "langfuse.trace.name",
        "langfuse.version",
        "langfuse.release",
        "langfuse.observation.type",
    ],
)
def test_the_same_on_both_sides(sides: dict[str, Sides], key: str) -> None:
    theirs, ours = sides[CALLED].both(lambda attributes: attributes[key])
    assert ours == theirs


def test_tags(sides: dict[str, Sides]) -> None:
    """Langfuse takes both."""
    theirs, ours = sides[CALLED].both(lambda attributes: attributes["langfuse.trace.tags"])
    assert (theirs, ours) == ('["beta"]', ("beta",))


def test_the_environment(sides: dict[str, Sides]) -> None:
    """Ours is in the resource, so that spans which are no calls have it as well."""
    resource = {each.key: each.value.string_value for each in sides[CALLED].ours.resource.attributes}
    assert sides[CALLED].theirs.attributes["langfuse.environment"] == "staging" == resource["langfuse.environment"]


def content(attributes: dict[str, Any], which: str) -> Any:
    return json.loads(attributes[f"langfuse.observation.{which}"])


@pytest.mark.parametrize("call", [STREAMED, FAILED])
def test_the_input(sides: dict[str, Sides], call: str) -> None:
    theirs, ours = sides[call].both(lambda attributes: content(attributes, "input"))
    assert ours == theirs


def test_the_answer(sides: dict[str, Sides]) -> None:
    theirs, ours = sides[STREAMED].both(lambda attributes: content(attributes, "output"))
    assert ours == theirs == {"role": "assistant", "content": "Hello from loopback."}


@of_litellm_now
@pytest.mark.parametrize("call", [CALLED, STREAMED])
def test_tokens_and_cost(sides: dict[str, Sides], call: str) -> None:
    theirs, ours = sides[call].theirs.attributes, sides[call].ours.attributes
    assert json.loads(ours["langfuse.observation.usage_details"])["total"] == theirs["llm.token_count.total"]
    assert ours["callspan.cost.amount"] == pytest.approx(theirs["llm.cost.total"])


def test_the_error(sides: dict[str, Sides]) -> None:
    """Theirs is an attribute that Langfuse knows nothing of, ours the status message."""
    theirs, ours = sides[FAILED].theirs.attributes, sides[FAILED].ours.attributes
    assert ours["langfuse.observation.status_message"] == theirs["error.message"]
    assert sides[FAILED].ours.span.status.code == sides[FAILED].theirs.span.status.code


# Where they differ -> what is theirs, what is ours, and why. `destinations.md` has them in words.
DIFFERENT = {
    "observation's name": "theirs is `litellm_request`, ours `chat gpt-4o-mini`: operation and model",
    "trace's name": "where none is given, theirs is `litellm-acompletion`, ours the name of the root span",
    "metadata": "theirs leaves out what the application says, such as `plan`; ours has it, to be filtered by",
    "input with tools": "theirs leaves the tools out, ours has them where Langfuse looks for them",
    "output with tool calls": "theirs is a form of its own, ours OpenAI's message",
    "usage": "theirs is OpenInference's, of which Langfuse counts cached and reasoning tokens twice; ours counts once",
    "cost": "theirs is OpenInference's, which Langfuse does not read but reckons by itself; ours is LiteLLM's",
    "completion_start_time": "theirs is the end where nothing was streamed; ours is of streams alone",
    "trace's input and output": "theirs are set, which Langfuse deprecates; ours are those of its root",
    "raw_gen_ai_request": "theirs is a second span of each call with the provider's request; ours is one span",
}


@of_litellm_now
def test_every_difference(sides: dict[str, Sides]) -> None:
    """The table above, looked at: who changes one side has to change it."""
    theirs, ours = sides[CALLED].theirs.attributes, sides[CALLED].ours.attributes
    streamed = sides[STREAMED]
    found = {
        "observation's name": (streamed.theirs.name, streamed.ours.name) == ("litellm_request", "chat gpt-4o-mini"),
        "trace's name": streamed.both(lambda attributes: attributes.get("langfuse.trace.name"))
        == ("litellm-acompletion", None),
        "metadata": ours["langfuse.trace.metadata.plan"] == "pro"
        and not [key for key, value in theirs.items() if key.startswith("langfuse") and '"pro"' in str(value)],
        "input with tools": (type(content(theirs, "input")), set(content(ours, "input")))
        == (list, {"messages", "tools"}),
        "output with tool calls": content(theirs, "output")[0]["type"] == "function_call"
        and content(ours, "output")["tool_calls"][0]["type"] == "function",
        "usage": theirs["llm.token_count.prompt"] == 11
        and theirs["llm.token_count.prompt_details.cache_read"] == 4
        and json.loads(ours["langfuse.observation.usage_details"])["input"] == 7,
        "cost": "langfuse.observation.cost_details" not in theirs
        and json.loads(ours["langfuse.observation.cost_details"])["total"] == pytest.approx(theirs["llm.cost.total"]),
        "completion_start_time": "langfuse.observation.completion_start_time" in theirs
        and "langfuse.observation.completion_start_time" not in ours
        and all(streamed.both(lambda attributes: attributes["langfuse.observation.completion_start_time"])),
        "trace's input and output": streamed.both(lambda attributes: "langfuse.trace.input" in attributes)
        == (True, False),
        "raw_gen_ai_request": set(streamed.further["theirs"]) == {"raw_gen_ai_request"}
        and streamed.further["ours"] == [],
    }
    assert found == dict.fromkeys(DIFFERENT, True)
