"""Instrumentations of the OpenAI SDK below a LiteLLM call: one LLM span, HTTP spans stay, whoever came first."""

import json
from pathlib import Path
from typing import Any

import pytest

from loopback.openai_api import OpenAIUpstream
from loopback.processes import run_python

INSTRUMENTORS = {
    "official": "opentelemetry.instrumentation.genai.openai",
    "Traceloop": "opentelemetry.instrumentation.openai",
    "OpenInference": "openinference.instrumentation.openai",
}

PROGRAM = """
    import importlib, json, sys
    import callspan, litellm, openai
    from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    from instrumentation import calls
    from instrumentation.conftest import Spans

    module, order = sys.argv[1:]
    spans = Spans()
    HTTPXClientInstrumentor().instrument(tracer_provider=spans.provider)
    AioHttpClientInstrumentor().instrument(tracer_provider=spans.provider)

    def other():
        importlib.import_module(module).OpenAIInstrumentor().instrument(tracer_provider=spans.provider)

    steps = [lambda: callspan.instrument(tracer_provider=spans.provider, genai_libraries=False), other]
    for step in steps if order == "callspan first" else reversed(steps):
        step()

    def made(call):
        call()
        return [[span.instrumentation_scope.name, span.name, span.parent is None] for span in spans.take()]

    def from_callback():
        @callspan.callback(delivery="blocking")
        def ask(call):
            callspan.remove_callback(ask)
            openai.OpenAI().chat.completions.create(model="gpt-4o", messages=calls.MESSAGES)
        litellm.completion(**calls.CHAT)

    seen = {name: made(lambda: calls.make(getattr(litellm, name), **calls.arguments(name))) for name in calls.NAMES}
    seen["stream"] = made(lambda: calls.make(litellm.completion, **calls.CHAT, stream=True))
    seen["async stream"] = made(lambda: calls.make(litellm.acompletion, **calls.CHAT, stream=True))
    seen["retries"] = made(lambda: litellm.completion(**calls.CHAT, num_retries=1))
    seen["Router"] = made(lambda: calls.router().completion(model="small", messages=calls.MESSAGES))
    seen["alone"] = made(lambda: openai.OpenAI().chat.completions.create(model="gpt-4o", messages=calls.MESSAGES))
    seen["callback"] = made(from_callback)
    print(json.dumps(seen))
"""


@pytest.mark.parametrize("order", ["callspan first", "callspan last"])
@pytest.mark.parametrize("name", INSTRUMENTORS)
def test_each_call_has_one_llm_span_and_its_http_spans(name: str, order: str, upstream: OpenAIUpstream) -> None:
    env = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_BASE": upstream.base_url, "CALLSPAN_DESTINATIONS": "none"}
    env |= {"OTEL_TRACES_EXPORTER": "none", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = run_python(PROGRAM, env=env, arguments=[INSTRUMENTORS[name], order])
    seen: dict[str, list[Any]] = json.loads(done.stdout.splitlines()[-1])
    alone, callback = seen.pop("alone"), seen.pop("callback")
    for call, spans in seen.items():
        http = [span for span in spans if "httpx" in span[0] or "aiohttp" in span[0]]
        rest = [span for span in spans if span not in http]
        assert {span[0] for span in rest} == {"callspan"}, call
        assert len(rest) == (2 if call in {"retries", "Router"} else 1), call
        assert len(http) == 1, call
        assert not http[0][2], "an HTTP span is a part of the call"
    theirs = {span[0] for span in alone} - {"opentelemetry.instrumentation.httpx"}
    assert len(theirs) == 1, "without a call of ours, theirs is recorded"
    assert theirs <= {span[0] for span in callback}, "what is called back is no part of the call"


RIVALS = """
    import sys
    import callspan, litellm
    from instrumentation import calls
    callspan.instrument()
    if sys.argv[1] == "callback":
        litellm.callbacks = ["otel"]
    for _ in range(2):
        litellm.completion(**calls.CHAT)
"""


def test_litellms_own_otel_callback_is_warned_of_once(upstream: OpenAIUpstream) -> None:
    """Two spans a call: one line says so, and which to switch off."""
    env = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_BASE": upstream.base_url, "CALLSPAN_DESTINATIONS": "none"}
    env |= {"OTEL_TRACES_EXPORTER": "none", "PYTHONPATH": str(Path(__file__).parents[1])}
    said = run_python(RIVALS, env=env, arguments=["callback"]).stderr
    assert said.count("each is recorded twice") == 1
    assert "take 'otel' out of litellm.callbacks" in said
    assert "recorded twice" not in run_python(RIVALS, env=env, arguments=["none"]).stderr
