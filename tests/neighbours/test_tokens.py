"""Tokens are counted once over all spans and all metrics, in whatever order neighbours come, go and come again."""

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
from collections import Counter
import callspan, litellm
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from instrumentation import calls
from instrumentation.conftest import Spans

module = importlib.import_module(sys.argv[1])
spans, reader = Spans(), InMemoryMetricReader()
providers = {"tracer_provider": spans.provider, "meter_provider": MeterProvider(metric_readers=[reader])}
HTTPXClientInstrumentor().instrument(tracer_provider=spans.provider)
AioHttpClientInstrumentor().instrument(tracer_provider=spans.provider)
theirs = [module.OpenAIInstrumentor(), AnthropicInstrumentor()]

def ours_on():
    callspan.instrument(**providers, genai_libraries=False)

def theirs_on():
    for instrumentor in theirs:
        instrumentor.instrument(**providers)

def theirs_off():
    for instrumentor in theirs:
        instrumentor.uninstrument()

def forget_clients():  # they hold the functions that were there when they were made
    litellm.in_memory_llm_clients_cache.flush_cache()

def measured():
    counted = Counter()
    data = reader.get_metrics_data()
    for scope in data.resource_metrics[0].scope_metrics if data and data.resource_metrics else ():
        for metric in scope.metrics:
            if metric.name == "gen_ai.client.token.usage":
                for point in metric.data.data_points:
                    counted[point.attributes["gen_ai.token.type"]] += point.sum
    return counted

def said(ended, *names):
    return sum(span.attributes.get(name, 0) for span in ended for name in names)

def made(call):
    before = measured()
    call()
    ended = spans.take()
    http = [span for span in ended if span.instrumentation_scope.name.endswith(("httpx", "aiohttp_client"))]
    attempts = [span for span in ended if span.attributes.get("gen_ai.usage.input_tokens")]
    grown = measured() - before
    return {
        "spans": [said(ended, "gen_ai.usage.input_tokens", "llm.token_count.prompt"),
                  said(ended, "gen_ai.usage.output_tokens", "llm.token_count.completion")],
        "metrics": [grown["input"], grown["output"]],
        "llm scopes": sorted({span.instrumentation_scope.name for span in ended if span not in http}),
        "http scopes": sorted(span.instrumentation_scope.name.rpartition(".")[2] for span in http),
        "http below": [span.parent and span.parent.span_id for span in http],
        "attempts": [span.context.span_id for span in attempts],
    }

streamed = {"stream": True, "stream_options": {"include_usage": True}}
claude = {"model": "anthropic/claude-sonnet-4-5", "messages": calls.MESSAGES, "max_tokens": 9}
routed = {"model": "small", "messages": calls.MESSAGES}

def by_router(name, **options):
    return calls.make(getattr(calls.router(), name), **routed, **options)

CALLS = {name: (lambda name=name: calls.make(getattr(litellm, name), **calls.arguments(name))) for name in calls.NAMES
         if "text" not in name}
for name in ("completion", "acompletion"):
    function = getattr(litellm, name)
    CALLS[f"{name}, streamed"] = lambda function=function: calls.make(function, **calls.CHAT, **streamed)
    CALLS[f"{name}, Anthropic"] = lambda function=function: calls.make(function, **claude)
    CALLS[f"{name}, Anthropic, streamed"] = lambda function=function: calls.make(function, **claude, **streamed)
    CALLS[f"{name}, Router"] = lambda name=name: by_router(name)
    CALLS[f"{name}, Router, streamed"] = lambda name=name: by_router(name, **streamed)

PHASES = {
    "ours alone": [ours_on],
    "theirs after our first calls": [theirs_on],
    "ours off and on again": [callspan.uninstrument, ours_on],
    "theirs off and on again": [theirs_off, theirs_on],
    "theirs off": [theirs_off],
}
seen = {}
for phase, steps in PHASES.items():
    for step in steps:
        step()
    forget_clients()
    seen[phase] = {name: made(call) for name, call in CALLS.items()}
theirs_on()
callspan.uninstrument()
forget_clients()
seen["ours off"] = {"completion": made(CALLS["completion"])}
print(json.dumps(seen))
"""


@pytest.mark.parametrize("name", INSTRUMENTORS)
def test_tokens_are_counted_once(name: str, upstream: OpenAIUpstream) -> None:
    """Each call's tokens stand on one span and in one metric, and its HTTP request is below the attempt it is for."""
    env = {
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_API_BASE": upstream.base_url,
        "ANTHROPIC_API_BASE": f"http://127.0.0.1:{upstream.port}",
        "ANTHROPIC_API_KEY": "sk-ant-loopback",
        "CALLSPAN_DESTINATIONS": "none",
        "OTEL_TRACES_EXPORTER": "none",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    done = run_python(PROGRAM, env=env, arguments=[INSTRUMENTORS[name]], timeout=120)
    seen: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    off = seen.pop("ours off")["completion"]
    assert len(off["llm scopes"]) == 1, "without ours, theirs is recorded"
    assert off["llm scopes"] != ["callspan"]
    for phase, calls in seen.items():
        for call, found in calls.items():
            _check(found, [11, 0 if "embedding" in call else 7], f"{phase}: {call}")
        assert calls["acompletion"]["http scopes"] == ["aiohttp_client"], "LiteLLM's own transport"


def _check(found: dict[str, Any], tokens: list[int], where: str) -> None:
    assert found["llm scopes"] == ["callspan"], where
    assert found["spans"] == tokens, where
    assert found["metrics"] == tokens, where
    (attempt,) = found["attempts"]
    assert found["http below"] == [attempt], where
