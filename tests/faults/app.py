"""What the programs of the fault matrix import: the delivery under test, and a record of the spans that have ended.

The record is the ground truth: a span's name goes into a file by one `write` after its `end()` has returned, so that
no death of the process can take it back.
"""

import atexit
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from opentelemetry import metrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

WORK = Path(os.environ["FAULTS_WORK"])
DELIVERY = os.environ["FAULTS_DELIVERY"]
if DELIVERY == "callspan":  # the stock one is measured without it
    from callspan_exporters import DurableSpanProcessor

MAKES_SPANS = "FAULTS_NO_SPANS" not in os.environ

# About 1.5 KB of OTLP, as one chat call makes.
LARGE = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.2,
    "gen_ai.response.id": "chatcmpl-9f8d7c6b5a4e3f2d1c0b9a8f7e6d5c4b",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 1234,
    "gen_ai.usage.output_tokens": 345,
    "gen_ai.system_instructions": "You are a helpful assistant. " * 35,
}

provider: Any = None
tracer: Any = None

_ended = os.open(WORK / "ended", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def start(service: str = "faults") -> None:
    """Makes a tracer provider as a user of the delivery under test does."""
    global provider, tracer  # noqa: PLW0603
    # Before the provider registers its own: this runs after it.
    atexit.register(_note_peak)
    processor = _processor()
    provider = TracerProvider(resource=Resource({"service.name": service}))
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("faults")


def end(name: str, attributes: Any = None) -> None:
    """Makes one span, ends it, and puts it on record."""
    if MAKES_SPANS:
        tracer.start_span(name, attributes=attributes).end()
        # A write that a signal cuts in two leaves a line without its last character.
        os.write(_ended, f"\n{name};".encode())


def spans(count: int, prefix: str = "", *, every: float = 0.0, attributes: Any = None) -> None:
    """Ends so many spans; with `every`, one each so many seconds."""
    started = time.monotonic()
    for number in range(count):
        if every:
            time.sleep(max(0.0, started + number * every - time.monotonic()))
        end(f"{prefix}{number}", attributes)


def large_spans(count: int, prefix: str = "", *, every: float = 0.0) -> None:
    """Ends so many spans of 1.5 KB."""
    spans(count, prefix, every=every, attributes=LARGE)


def flush(seconds: float = 5.0) -> bool:
    """Has the provider send what it has."""
    return provider.force_flush(int(seconds * 1000))


def leaving() -> None:
    """Notes that from here on the program does nothing but exit."""
    (WORK / "left").write_text(repr(time.monotonic()))


def say(word: str) -> None:
    """Tells the test a word."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def hear(word: str) -> None:
    """Waits for the test to say a word."""
    line = sys.stdin.readline()
    assert line == f"{word}\n", line


def _processor() -> SpanProcessor:
    if DELIVERY == "stock":
        _report_at_exit()
        return BatchSpanProcessor(OTLPSpanExporter())
    return DurableSpanProcessor(OTLPSpanExporter())


def _note_peak() -> None:
    """Keeps the largest resident set this process has had, without that of the program which started it."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text()
        (WORK / f"peak-{os.getpid()}").write_text(status.partition("VmHWM:")[2].split()[0])


def _report_at_exit() -> None:
    """Has the SDK's own metrics say at exit how many spans it lost."""
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - only the stock one needs it
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415

    os.environ["OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"] = "true"
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader], shutdown_on_exit=False))

    def report() -> None:
        data = reader.get_metrics_data()
        found = [
            metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
        ]
        counted = ("otel.sdk.processor.span.processed", "otel.sdk.exporter.span.exported")
        points = [point for metric in found if metric.name in counted for point in metric.data.data_points]
        lost = sum(point.value for point in points if "error.type" in point.attributes)
        (WORK / f"reported-{os.getpid()}").write_text(str(lost))

    atexit.register(report)
