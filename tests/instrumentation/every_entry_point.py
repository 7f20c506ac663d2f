"""Run by a test in a fresh process: calls every entry point and writes how many logical spans each gave."""

import json
import sys
from pathlib import Path

order, out = sys.argv[1:]

if order == "litellm first":
    import litellm

import callspan  # noqa: E402

if order != "automatic":
    callspan.instrument()
    assert ("litellm" in sys.modules) == (order == "litellm first"), "callspan must not import LiteLLM itself"

import litellm  # noqa: E402
from opentelemetry import trace  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

from instrumentation import calls  # noqa: E402

exporter = InMemorySpanExporter()
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
counts = {}


def count(name: str, function: object, **arguments: object) -> None:
    calls.make(function, **arguments)
    counts[name] = sum(span.parent is None for span in exporter.get_finished_spans())
    exporter.clear()


for name in calls.NAMES:
    count(name, getattr(litellm, name), **calls.arguments(name))
router = calls.router()
count("Router.completion", router.completion, model="small", messages=calls.MESSAGES)
count("Router.acompletion", router.acompletion, model="small", messages=calls.MESSAGES)
count("Router.aresponses", router.aresponses, model="small", input="Say hello.")
Path(out).write_text(json.dumps(counts))
