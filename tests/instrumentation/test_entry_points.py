"""One call, one span: whatever name the user called, and whenever it was imported."""

import asyncio
import importlib
import json
from pathlib import Path
from typing import Any

import litellm
import litellm.main
import pytest

from instrumentation import calls
from instrumentation.conftest import Spans
from loopback.openai_api import Fail, OpenAIUpstream
from loopback.processes import run_python

# Bound while this file is imported, before any test switches callspan on.
IMPORTED_BEFORE = {name: getattr(litellm, name) for name in calls.NAMES}
RESPONSES = importlib.import_module("litellm.responses.main")  # `litellm.responses` is the function
MAIN_IMPORTED_BEFORE = {
    name: getattr(RESPONSES if name.endswith("responses") else litellm.main, name) for name in calls.NAMES
}
OPERATIONS = {
    "completion": "chat",
    "text_completion": "text_completion",
    "embedding": "embeddings",
    "responses": "chat",
}


def operation(name: str) -> str:
    return OPERATIONS[name if name in OPERATIONS else name.removeprefix("a")]


@pytest.mark.parametrize("name", calls.NAMES)
@pytest.mark.parametrize("held", ["attribute", "imported before", "main attribute", "main imported before"])
def test_every_name_gives_one_span(name: str, held: str, spans: Spans) -> None:
    """Each entry point gives exactly one span by whichever name it is reached."""
    home = RESPONSES if name.endswith("responses") else litellm.main
    function = {
        "attribute": getattr(litellm, name),
        "imported before": IMPORTED_BEFORE[name],
        "main attribute": getattr(home, name),
        "main imported before": MAIN_IMPORTED_BEFORE[name],
    }[held]
    calls.make(function, **calls.arguments(name))
    span = spans.only()
    assert span.attributes["gen_ai.operation.name"] == operation(name)
    assert span.attributes["callspan.entry_point"] == f"litellm.{name}"
    assert span.attributes["callspan.outcome"] == "success"


@pytest.mark.parametrize("name", [name for name in calls.NAMES if "embedding" not in name])
def test_every_streamed_name_gives_one_span(name: str, spans: Spans) -> None:
    """A streamed call gives exactly one span as well, which lasts to the stream's end."""
    chunks = calls.make(getattr(litellm, name), **calls.arguments(name), stream=True)
    assert len(chunks) > 2
    span = spans.only()
    assert span.attributes["gen_ai.request.stream"] is True
    assert span.attributes["callspan.outcome"] == "success"
    assert span.attributes["gen_ai.usage.output_tokens"] > 0


BUILT_BEFORE = litellm.Router(model_list=[])
BOUND_BEFORE = {name: getattr(BUILT_BEFORE, name) for name in calls.NAMES}

try:

    class OwnRouter(litellm.Router):
        """A user's subclass, made before callspan is on, which adds to a method of its own."""

        async def acompletion(self, *args: Any, **kwargs: Any) -> Any:
            return await super().acompletion(*args, **kwargs, user="somebody")

except TypeError:  # LiteLLM 1.110 has plugins instead: test_plugins.py
    OwnRouter = None

# Not Router.text_completion: LiteLLM's own hands the group's name to the provider, in every version tried.
ROUTER_NAMES = [name for name in calls.NAMES if name != "text_completion"]
subclassable = pytest.mark.skipif(OwnRouter is None, reason="this LiteLLM lets nobody subclass Router")


@pytest.mark.parametrize("name", ROUTER_NAMES)
@pytest.mark.parametrize(
    "kind", ["built before", "built after", "bound before", pytest.param("subclass", marks=subclassable)]
)
def test_every_router_method_gives_one_call_with_its_attempt(name: str, kind: str, spans: Spans) -> None:
    """A Router's method gives one root span, the Router's, and below it one attempt."""
    models = {"text_completion": "openai/gpt-3.5-turbo-instruct", "embedding": "openai/text-embedding-3-small"}
    model = models.get(name if name in models else name.removeprefix("a"), "openai/gpt-4o-mini")
    deployment = {"model_name": "group", "litellm_params": {"model": model}}
    if kind.endswith("before"):
        router = BUILT_BEFORE
        router.set_model_list([deployment])
    else:
        router = (litellm.Router if kind == "built after" else OwnRouter)(model_list=[deployment])
    method = BOUND_BEFORE[name] if kind == "bound before" else getattr(router, name)
    calls.make(method, **{**calls.arguments(name), "model": "group"})
    attempt, call = spans()
    assert call.parent is None
    assert call.name == f"Router.{name} group"
    assert attempt.parent.span_id == call.context.span_id
    assert attempt.attributes["gen_ai.operation.name"] == operation(name)
    assert attempt.attributes["callspan.attempt.number"] == 1
    assert "gen_ai.operation.name" not in call.attributes, "counted twice by whoever counts LLM spans"


@pytest.mark.parametrize("name", ["completion", "acompletion", "embedding", "aembedding", "atext_completion"])
def test_arguments_by_position_count_for_a_router_too(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    """What is passed by position is known by name: the group, and the prompt that an error must not show."""
    secret = "a prompt that nobody may see"
    upstream.default = Fail(400, message=f"cannot read: {secret}")
    content = [{"role": "user", "content": secret}] if "text" not in name and "embed" not in name else secret
    with pytest.raises(litellm.BadRequestError):
        calls.make(getattr(calls.router(), name), "large", content)
    (call,) = spans.roots()
    assert call.name == f"Router.{name} large"
    assert call.attributes["litellm.model_group"] == "large"
    assert secret not in str(
        [(span.status.description, [event.attributes for event in span.events]) for span in spans()]
    )


def test_synchronous_fallbacks_inside_a_loop_are_one_call_with_attempts(upstream: OpenAIUpstream) -> None:
    """LiteLLM hops to a thread there and drops the context; what it calls from it is still a part of the call."""
    upstream.models["gpt-4o-mini"] = Fail(500)
    # In a process of its own: LiteLLM closes the loop that it makes there on its own worker's task.
    program = """
        import asyncio, callspan, litellm
        from instrumentation import calls
        from instrumentation.conftest import Spans, events
        litellm.suppress_debug_info = True
        spans = Spans()
        callspan.instrument(tracer_provider=spans.provider)
        async def main():
            litellm.completion(**calls.CHAT, fallbacks=["openai/gpt-4o"], max_retries=0)
        asyncio.run(main())
        print(len(spans()), [event for event in events(spans()[-1]) if "call" not in event])
    """
    made = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_BASE": upstream.base_url, "CALLSPAN_DESTINATIONS": "none"}
    done = run_python(program, env={**made, "PYTHONPATH": str(Path(__file__).parents[1])})
    assert done.stdout == "3 ['litellm.fallback', 'litellm.success']\n"


def test_a_synchronous_router_call_inside_a_loop_keeps_its_attempt(spans: Spans) -> None:
    """LiteLLM hops to a thread there and drops the context; the attempt must stay below its call."""

    async def main() -> None:
        calls.router().completion(model="small", messages=calls.MESSAGES)

    asyncio.run(main())
    attempt, call = spans()
    assert attempt.parent.span_id == call.context.span_id


@pytest.mark.parametrize("order", ["instrument first", "litellm first", "automatic"])
def test_import_order_does_not_matter(order: str, upstream: OpenAIUpstream, tmp_path: Path) -> None:
    """Every entry point gives one span in a fresh process, LiteLLM being imported before callspan is on or after."""
    out = tmp_path / "spans.json"
    run_python(
        Path(__file__).with_name("every_entry_point.py"),
        auto_instrument=order == "automatic",
        arguments=[order, str(out)],
        env={
            "OPENAI_BASE_URL": upstream.base_url,
            "OPENAI_API_BASE": upstream.base_url,
            "CALLSPAN_DESTINATIONS": "none",
            "OTEL_TRACES_EXPORTER": "none",
            "PYTHONPATH": str(Path(__file__).parents[1]),
        },
        timeout=120,
    )
    counts = json.loads(out.read_text())
    assert counts == dict.fromkeys(counts, 1)
    assert set(counts) >= {*calls.NAMES, "Router.completion", "Router.acompletion", "Router.aresponses"}
