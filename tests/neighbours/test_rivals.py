"""Others that make spans of LiteLLM's calls: one line at the first call says which, and how to switch it off."""

import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import pytest

from loopback.openai_api import OpenAIUpstream
from loopback.processes import run_python

INSTRUMENTATIONS = {
    "openinference-instrumentation-litellm": "openinference.instrumentation.litellm",
    "opentelemetry-instrumentation-litellm": "opentelemetry.instrumentation.litellm",
}
SAID = "each is recorded twice"


@pytest.fixture(scope="module", autouse=True)
def _rivals() -> None:
    missing = INSTRUMENTATIONS.keys() - {distribution.name for distribution in metadata.distributions()}
    if missing:
        required = os.environ.get("CALLSPAN_REQUIRE_RIVALS") == "1"
        (pytest.fail if required else pytest.skip)(f"pip install 'callspan[rivals]': there is no {min(missing)}")


PROGRAM = """
import importlib, json, sys
import callspan, litellm
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from instrumentation import calls

rival, order = sys.argv[1:]

def switch_on():
    if rival == "otel":
        litellm.callbacks = ["otel"]
        if order == "rival first":
            litellm.completion(**calls.CHAT)  # from the first call on it is no name any more
    elif rival != "none":
        importlib.import_module(rival).LiteLLMInstrumentor().instrument()

if order != "loaded":
    steps = [switch_on, callspan.instrument]
    for step in steps if order == "rival first" else reversed(steps):
        step()
exporter = InMemorySpanExporter()
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
sys.stderr.write("first call\\n")
for name in ("completion", "completion", "acompletion", "embedding"):
    calls.make(getattr(litellm, name), **calls.arguments(name))
spans = [span for span in exporter.get_finished_spans() if not span.name.startswith("callback ")]
print(json.dumps([span.instrumentation_scope.name for span in spans]))
"""


def run(
    upstream: OpenAIUpstream, rival: str, order: str, env: Mapping[str, str | None] | None = None
) -> tuple[list[str], list[str]]:
    """The lines that say that calls are recorded twice, and the scopes of the spans of four calls."""
    environment: dict[str, str | None] = {
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_API_BASE": upstream.base_url,
        "CALLSPAN_DESTINATIONS": "none",
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER": "in_memory",  # where LiteLLM's own goes
        "PYTHONPATH": str(Path(__file__).parents[1]),
        **(env or {}),
    }
    done = run_python(PROGRAM, env=environment, auto_instrument=order == "loaded", arguments=[rival, order])
    before, after = done.stderr.split("first call\n")
    assert SAID not in before, "it is said when there is a call, and not before"
    return [line for line in after.splitlines() if SAID in line], json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("order", ["rival first", "rival last"])
@pytest.mark.parametrize("name", INSTRUMENTATIONS)
def test_another_instrumentation_is_named_once(name: str, order: str, upstream: OpenAIUpstream) -> None:
    """Whichever was loaded first. Our own spans are neither more nor fewer for it."""
    said, scopes = run(upstream, INSTRUMENTATIONS[name], order)
    (line,) = said
    assert line.startswith(name)
    assert "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=litellm" in line
    assert "do not call LiteLLMInstrumentor().instrument()" in line
    assert scopes.count("callspan") == 4
    assert scopes.count(INSTRUMENTATIONS[name]) == 4, "and it is true: each call is recorded by both"


@pytest.mark.parametrize("order", ["rival first", "rival last"])
def test_litellms_own_callback_is_named_once(order: str, upstream: OpenAIUpstream) -> None:
    """As the name that a user writes, and as the object that LiteLLM makes of it."""
    said, scopes = run(upstream, "otel", order)
    (line,) = said
    assert line.startswith("LiteLLM's own callback 'otel'")
    assert "take 'otel' out of litellm.callbacks and litellm.success_callback" in line
    assert scopes.count("callspan") == 4


def test_those_that_opentelemetry_instrument_loads_are_named(upstream: OpenAIUpstream) -> None:
    """Each once, as two are installed."""
    said, scopes = run(upstream, "none", "loaded")
    assert sorted(line.partition(" ")[0] for line in said) == sorted(INSTRUMENTATIONS)
    assert scopes.count("callspan") == 4


def test_what_the_line_says_helps(upstream: OpenAIUpstream) -> None:
    """Switched off as it says, the others make no span, and nothing is said any more."""
    said, scopes = run(
        upstream, "none", "loaded", {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "litellm,httpx,aiohttp-client"}
    )
    assert said == []
    assert scopes == ["callspan"] * 4


def test_what_is_installed_and_not_switched_on_is_not_named(upstream: OpenAIUpstream) -> None:
    said, scopes = run(upstream, "none", "rival first")
    assert said == []
    assert scopes == ["callspan"] * 4
