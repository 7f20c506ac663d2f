"""LangSmith beside LiteLLM's own integration with it: the same calls, what both send, and every difference."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from loopback.openai_api import Answer, Fail, OpenAIUpstream, ToolCall
from loopback.otlp_inbox import ReceivedSpan
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import run_python
from loopback.server import Handler, LoopbackServer
from loopback.versions import of_litellm_now


class _Handler(Handler):
    def do_POST(self) -> None:  # noqa: N802 - the name http.server calls
        api: LangSmithApi = self.server.owner  # type: ignore[assignment]
        assert self.path == "/api/v1/runs/batch"
        with api.changed:
            api.runs.extend(json.loads(self.read_body())["post"])
            api.changed.notify_all()
        self.reply(202, b"{}", {"Content-Type": "application/json"})


class LangSmithApi(LoopbackServer):
    """The REST API to which LiteLLM's own integration sends runs."""

    handler = _Handler

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[dict[str, Any]] = []


CALLS = """
import asyncio, litellm, callspan
callspan.instrument()
litellm.callbacks = ["langsmith"]
MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Weather in Paris?"}]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
WHO = {"run_name": "greet", "session_id": "s-1", "tags": ["beta"], "plan": "pro"}

async def main():
    await litellm.acompletion("openai/gpt-4o-mini", MESSAGES, temperature=0.5, tools=TOOLS, user="u-1", metadata=WHO)
    streamed = await litellm.acompletion("openai/gpt-4o-mini", MESSAGES, stream=True, metadata={"run_name": "streamed"})
    async for _ in streamed:
        pass
    try:
        await litellm.acompletion("openai/gpt-4o-mini", MESSAGES, metadata={"run_name": "failed"})
    except litellm.BadRequestError:
        pass

asyncio.run(main())
"""


@dataclass(frozen=True)
class Sides:
    """One call as it came from both."""

    theirs: dict[str, Any]
    ours: dict[str, Any]


def as_run(span: ReceivedSpan) -> dict[str, Any]:
    """What LangSmith makes of a span, by its table of attributes and its own converter."""
    attributes = span.attributes
    metadata = {
        key.removeprefix("langsmith.metadata."): value
        for key, value in attributes.items()
        if key.startswith("langsmith.metadata.")
    }
    outputs = json.loads(attributes["gen_ai.completion"])
    if "langsmith.usage_metadata" in attributes:
        outputs["usage_metadata"] = json.loads(attributes["langsmith.usage_metadata"])
    parameters = {
        key.removeprefix("gen_ai.request."): value
        for key, value in attributes.items()
        if key.startswith("gen_ai.request.")
    }
    errors = [event["exception.message"] for name, event in span.events if name == "exception"]
    return {
        "name": attributes.get("langsmith.trace.name", span.name),
        "run_type": attributes["langsmith.span.kind"],
        "inputs": json.loads(attributes["gen_ai.prompt"]),
        "outputs": outputs,
        "start_time": span.span.start_time_unix_nano / 1e9,
        "end_time": span.span.end_time_unix_nano / 1e9,
        "tags": [tag.strip() for tag in attributes.get("langsmith.span.tags", "").split(",") if tag.strip()],
        "error": errors[0] if errors else None,
        "metadata": metadata,
        "parameters": {**parameters, **({"tools": json.loads(attributes["tools"])} if "tools" in attributes else {})},
    }


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Sides]]:
    """The calls by the name of the run."""
    with OpenAIUpstream() as upstream, OtlpReceiver() as otlp, LangSmithApi() as api:
        called = Answer(tool_calls=(ToolCall("weather", {"city": "Paris"}),), cached_tokens=4, reasoning_tokens=2)
        upstream.behave(called, Answer(chunk_delay=0.01), Fail(400, "no such city", "invalid_request_error"))
        run_python(
            CALLS,
            env={
                "CALLSPAN_DESTINATIONS": "langsmith",
                "LANGSMITH_API_KEY": "k",
                "LANGSMITH_PROJECT": "my bot",
                "LANGSMITH_ENDPOINT": otlp.endpoint,
                "LANGSMITH_BASE_URL": f"http://127.0.0.1:{api.port}",
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_API_BASE": upstream.base_url,
                "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
                "CALLSPAN_SPOOL_DIR": str(tmp_path_factory.mktemp("spool")),
            },
        )
        with api.changed:
            assert api.changed.wait_for(lambda: len(api.runs) >= 3, 10)
        ours = [as_run(span) for span in otlp.spans if span.name.startswith("chat ")]
        assert len(ours) == len(api.runs) == 3
        assert {request.headers["langsmith-project"] for request in otlp.requests} == {"my bot"}
        yield {run["name"]: Sides(run, {each["name"]: each for each in ours}[run["name"]]) for run in api.runs}


NAMES = ("greet", "streamed", "failed")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["name", "run_type", "tags"])
def test_the_same_on_both_sides(sides: dict[str, Sides], name: str, field: str) -> None:
    assert sides[name].ours[field] == sides[name].theirs[field]


@pytest.mark.parametrize("name", NAMES)
def test_the_prompt(sides: dict[str, Sides], name: str) -> None:
    assert sides[name].ours["inputs"]["messages"] == sides[name].theirs["inputs"]["messages"]


@of_litellm_now
@pytest.mark.parametrize("name", ["greet", "streamed"])
def test_the_answer(sides: dict[str, Sides], name: str) -> None:
    (ours,), (theirs,) = (side["outputs"]["choices"] for side in (sides[name].ours, sides[name].theirs))
    assert ours["finish_reason"] == theirs["finish_reason"]
    said = {key: value for key, value in theirs["message"].items() if value is not None}
    assert {**ours["message"], **whole_calls(ours["message"])} == {**said, **whole_calls(theirs["message"])} | (
        {} if said.get("content") else {"content": None}
    )


def whole_calls(message: Mapping[str, Any]) -> dict[str, Any]:
    """Tool calls with their arguments as JSON means them, without what LiteLLM alone puts beside them."""
    calls = [
        {
            "id": call["id"],
            "type": call["type"],
            "function": {"name": call["function"]["name"], "arguments": json.loads(call["function"]["arguments"])},
        }
        for call in message.get("tool_calls") or ()
    ]
    return {"tool_calls": calls} if calls else {}


@of_litellm_now
@pytest.mark.parametrize("name", ["greet", "streamed"])
def test_tokens_and_cost(sides: dict[str, Sides], name: str) -> None:
    ours, theirs = (side["outputs"]["usage_metadata"] for side in (sides[name].ours, sides[name].theirs))
    assert ours.items() >= {key: pytest.approx(value) for key, value in theirs.items()}.items()


@pytest.mark.parametrize("name", NAMES)
def test_times(sides: dict[str, Sides], name: str) -> None:
    """Theirs is LiteLLM's own, which begins later and ends when its callbacks do."""
    for end in ("start_time", "end_time"):
        assert sides[name].ours[end] == pytest.approx(sides[name].theirs[end], abs=10)


def test_the_error(sides: dict[str, Sides]) -> None:
    assert sides["failed"].ours["error"] == sides["failed"].theirs["error"]
    assert "no such city" in sides["failed"].ours["error"]


def test_the_parameters(sides: dict[str, Sides]) -> None:
    theirs = sides["greet"].theirs["inputs"]["model_parameters"]
    ours = sides["greet"].ours
    assert theirs.keys() == {"temperature", "tools", "user"}
    assert (ours["parameters"]["temperature"], ours["parameters"]["tools"]) == (theirs["temperature"], theirs["tools"])
    assert ours["metadata"]["user_id"] == theirs["user"]


# What LiteLLM's payload has of a call -> what ours has under `metadata`.
ALIKE = {
    "litellm_call_id": "litellm_call_id",
    "model": "ls_model_name",
    "custom_llm_provider": "ls_provider",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ALIKE)
def test_what_else_is_said_of_a_call(sides: dict[str, Sides], name: str, field: str) -> None:
    assert sides[name].ours["metadata"][ALIKE[field]] == sides[name].theirs["inputs"][field]


# Where they differ -> what is theirs, what is ours, and why. `destinations.md` has them in words.
DIFFERENT = {
    "run's ids": "theirs are made up, and each call is a trace; ours are the span's, in the trace that it is part of",
    "session_id": "theirs is where LangSmith expects a project's id, which it refuses; ours is metadata: a thread",
    "metadata": "theirs leaves out what the application says, such as `plan`; ours has it",
    "inputs": "theirs has LiteLLM's whole payload beside the messages, with its price list; ours the messages",
    "call_type": "theirs is `acompletion`, ours `litellm.acompletion`: what the application called",
    "api_base": "theirs is an URL, ours the host",
    "completionStartTime": "theirs is a time, ours `time_to_first_token` in seconds, and only of streams",
    "usage_metadata": "ours has cached, written and reasoning tokens apart; of an error, theirs has zeros, ours none",
    "cost_breakdown": "theirs has the cost of input and output, ours their sum",
    "response": "theirs has the provider's whole response, ours choices, id and model",
    "error": "LangSmith adds the traceback to ours; theirs has it among the inputs",
}


@of_litellm_now
def test_every_difference(sides: dict[str, Sides]) -> None:
    """The table above, looked at: who changes one side has to change it."""
    theirs, ours = sides["greet"].theirs, sides["greet"].ours
    streamed, failed = sides["streamed"], sides["failed"]
    payload, known = theirs["inputs"], ours["metadata"]
    found = {
        "run's ids": theirs["id"] == theirs["trace_id"] and not theirs.get("parent_run_id"),
        "session_id": theirs["session_id"] == "s-1" == known["session_id"] and "session_id" not in ours,
        "metadata": known["plan"] == "pro" and '"pro"' not in json.dumps(theirs),
        "inputs": set(payload) > {"messages", "model_map_information"} and set(ours["inputs"]) == {"messages"},
        "call_type": (payload["call_type"], known["call_type"]) == ("acompletion", "litellm.acompletion"),
        "api_base": payload["api_base"].startswith("http://127.0.0.1:") and known["api_base"] == "127.0.0.1",
        "completionStartTime": payload["completionStartTime"] == payload["endTime"]
        and "time_to_first_token" not in known
        and streamed.ours["metadata"]["time_to_first_token"] > 0,
        "usage_metadata": set(ours["outputs"]["usage_metadata"]) - set(theirs["outputs"]["usage_metadata"])
        == {"input_token_details", "output_token_details"}
        and failed.theirs["outputs"]["usage_metadata"]["total_tokens"] == 0
        and "usage_metadata" not in failed.ours["outputs"],
        "cost_breakdown": set(payload["cost_breakdown"]) >= {"input_cost", "output_cost"}
        and set(ours["outputs"]["usage_metadata"]) & {"input_cost", "output_cost"} == set(),
        "response": set(theirs["outputs"]) - set(ours["outputs"])
        == {"created", "object", "system_fingerprint", "usage"},
        "error": bool(failed.theirs["inputs"]["error_information"]["traceback"]),
    }
    assert found == dict.fromkeys(DIFFERENT, True)


def test_a_synchronous_call_is_sent(upstream: OpenAIUpstream) -> None:
    """Of which LiteLLM alone sends nothing until 512 have come."""
    call = """
        import os, litellm
        if "CALLSPAN_DESTINATIONS" in os.environ:
            import callspan
            callspan.instrument()
        else:
            litellm.callbacks = ["langsmith"]
        litellm.completion("openai/gpt-4o-mini", [{"role": "user", "content": "Hi"}])
        """
    with OtlpReceiver() as otlp, LangSmithApi() as api:
        env = {
            "LANGSMITH_API_KEY": "k",
            "LANGSMITH_ENDPOINT": otlp.endpoint,
            "LANGSMITH_BASE_URL": f"http://127.0.0.1:{api.port}",
            "OPENAI_BASE_URL": upstream.base_url,
            "OPENAI_API_BASE": upstream.base_url,
        }
        run_python(call, env=env)
        run_python(call, env={**env, "CALLSPAN_DESTINATIONS": "langsmith"})
        assert [span.name for span in otlp.spans] == ["chat gpt-4o-mini"]
        assert api.runs == []


def test_a_call_below_another_services_span_is_a_root(upstream: OpenAIUpstream) -> None:
    """Through real context propagation: LangSmith would wait for the caller's span, and then drop the call's."""
    with OtlpReceiver() as otlp:
        run_python(
            """
            import litellm, callspan
            from opentelemetry import context, propagate
            callspan.instrument()
            caller = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"
            context.attach(propagate.extract({"traceparent": caller}))
            litellm.completion("openai/gpt-4o-mini", [{"role": "user", "content": "Hi"}])
            """,
            env={
                "CALLSPAN_DESTINATIONS": "langsmith,phoenix",
                "LANGSMITH_API_KEY": "k",
                "LANGSMITH_ENDPOINT": otlp.endpoint,
                "PHOENIX_COLLECTOR_ENDPOINT": otlp.endpoint,
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_API_BASE": upstream.base_url,
            },
        )
        parents = {request.path: {span.parent_id for span in spans} for request, spans in otlp.batches}
    assert parents == {"/api/v1/otel/v1/traces": {None}, "/v1/traces": {"00f067aa0ba902b7"}}


def test_calls_with_a_key_of_their_own_are_traces_of_their_own(upstream: OpenAIUpstream) -> None:
    """In that key's workspace, whole, with their attempts: what is around them is in ours, and never comes there."""
    with OtlpReceiver() as otlp:
        run_python(
            """
            import litellm, callspan
            from opentelemetry import trace
            callspan.instrument()
            M = [{"role": "user", "content": "Hi"}]
            small = {"model_name": "small", "litellm_params": {"model": "openai/gpt-4o-mini"}}
            router = litellm.Router(model_list=[small], num_retries=1)
            with trace.get_tracer("app").start_as_current_span("app"):
                litellm.completion("openai/gpt-4o-mini", M)
                for _ in range(2):
                    router.completion("small", M, langsmith_api_key="theirs", langsmith_project="bot")
            assert callspan.force_flush(30)
            """,
            env={
                "CALLSPAN_DESTINATIONS": "langsmith",
                "LANGSMITH_API_KEY": "ours",
                "LANGSMITH_PROJECT": "app",
                "LANGSMITH_ENDPOINT": otlp.endpoint,
                "OPENAI_BASE_URL": upstream.base_url,
                "OPENAI_API_BASE": upstream.base_url,
            },
        )
        found: dict[tuple[str, str], list[ReceivedSpan]] = {}
        for request, spans in otlp.batches:
            account = (request.headers["x-api-key"], request.headers["langsmith-project"])
            found.setdefault(account, []).extend(spans)
    ours, theirs = found.pop(("ours", "app")), found.pop(("theirs", "bot"))
    assert found == {}
    assert sorted(span.name for span in ours) == ["app", "chat gpt-4o-mini"]
    assert sorted(span.name for span in theirs) == ["Router.completion small"] * 2 + ["chat gpt-4o-mini"] * 2
    roots = {span.trace_id: span for span in theirs if span.parent_id is None}
    assert len(roots) == 2
    assert ours[0].trace_id not in roots
    for attempt in (span for span in theirs if span.parent_id is not None):
        assert roots[attempt.trace_id].span_id == attempt.parent_id
