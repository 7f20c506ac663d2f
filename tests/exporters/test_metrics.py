"""The account as OpenTelemetry metrics: the same figures, and right ones, whatever the destination does."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from callspan import semconv
from callspan_exporters import DurableSpanProcessor, OTLPDestination
from callspan_exporters._spool import read_accounts
from loopback.otlp_receiver import Hang, OtlpReceiver, PartialSuccess, RefuseSpans, Status
from loopback.processes import run_python

PROCESSED = semconv.OTEL_SDK_PROCESSOR_SPAN_PROCESSED
QUEUED = semconv.OTEL_SDK_PROCESSOR_SPAN_QUEUE_SIZE
EXPORTED = semconv.OTEL_SDK_EXPORTER_SPAN_EXPORTED
IN_FLIGHT = semconv.OTEL_SDK_EXPORTER_SPAN_INFLIGHT
DURATION = semconv.OTEL_SDK_EXPORTER_OPERATION_DURATION


class Metered:
    """A provider with the processor, and what its metrics say."""

    def __init__(self, receiver: OtlpReceiver, **settings: Any) -> None:
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider([self.reader], shutdown_on_exit=False)
        self.processor = DurableSpanProcessor(
            OTLPDestination(f"{receiver.endpoint}/v1/traces"),
            schedule_delay_millis=60_000,
            meter_provider=self.meter_provider,
            **settings,
        )
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.processor)

    def end_spans(self, count: int) -> None:
        for number in range(count):
            self.provider.get_tracer("app").start_span(str(number)).end()

    def read(self) -> dict[tuple[str, str], float]:
        """Return every figure by its metric and error type; of durations, how many there are."""
        data = self.reader.get_metrics_data()
        figures: dict[tuple[str, str], float] = {}
        for metric in (m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics) if data else ():
            for point in metric.data.data_points:
                error = point.attributes.get(semconv.ERROR_TYPE, "")
                figures[metric.name, error] = point.value if hasattr(point, "value") else point.count
        return figures

    def attributes(self, name: str) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        (metric,) = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics if m.name == name]
        return dict(metric.data.data_points[0].attributes)


@pytest.fixture
def metered(otlp_receiver: OtlpReceiver) -> Iterator[Metered]:
    one = Metered(otlp_receiver)
    yield one
    otlp_receiver.default = Status(200)
    one.processor.shutdown(1000)
    one.meter_provider.shutdown()


def test_what_waits_and_what_was_delivered(metered: Metered, otlp_receiver: OtlpReceiver) -> None:
    """A span waits until it was acknowledged; then the exporter has exported it and the processor is done with it."""
    metered.end_spans(7)
    figures = metered.read()
    assert (figures[QUEUED, ""], figures[PROCESSED, ""], figures[EXPORTED, ""]) == (7, 0, 0)
    assert metered.provider.force_flush(5000)
    figures = metered.read()
    assert (figures[QUEUED, ""], figures[PROCESSED, ""], figures[EXPORTED, ""]) == (0, 7, 7)
    assert (figures[IN_FLIGHT, ""], figures[DURATION, ""]) == (0, 1)


def test_which_component_it_is(metered: Metered) -> None:
    """By the conventions' attributes, so that several can be told apart."""
    metered.end_spans(1)
    processor, exporter = metered.attributes(QUEUED), metered.attributes(EXPORTED)
    assert processor[semconv.OTEL_COMPONENT_TYPE] == "callspan_exporters.DurableSpanProcessor"
    assert exporter[semconv.OTEL_COMPONENT_TYPE] == "otlp_http_span_exporter"
    for attributes in (processor, exporter):
        kind, _, number = attributes[semconv.OTEL_COMPONENT_NAME].partition("/")
        assert kind == attributes[semconv.OTEL_COMPONENT_TYPE]
        assert number.isdecimal()


def test_an_outage_exports_nothing(metered: Metered, otlp_receiver: OtlpReceiver) -> None:
    """The stock exporter counts what it gave up on as exported: under 503 nothing is, and all still waits."""
    otlp_receiver.default = Status(503)
    metered.end_spans(5)
    assert not metered.provider.force_flush(300)
    figures = metered.read()
    assert (figures[QUEUED, ""], figures[PROCESSED, ""], figures[EXPORTED, ""]) == (5, 0, 0)
    assert (DURATION, "") not in figures
    otlp_receiver.default = Status(200)
    assert metered.provider.force_flush(5000)
    figures = metered.read()
    assert (figures[EXPORTED, ""], figures[DURATION, ""]) == (5, 1)


@pytest.mark.parametrize("limit", [{"spool": False, "max_queue_size": 100}, {"spool_max_bytes": 20_000}], ids=str)
def test_what_went_at_the_limit(otlp_receiver: OtlpReceiver, limit: dict[str, Any]) -> None:
    """It is no success: the queue was full, as the conventions call that."""
    otlp_receiver.default = Status(503)
    metered = Metered(otlp_receiver, max_export_batch_size=50, **limit)
    metered.end_spans(2000)
    figures = metered.read()
    full = figures[PROCESSED, semconv.ERROR_TYPE_QUEUE_FULL]
    assert full > 0
    assert (figures[PROCESSED, ""], figures[QUEUED, ""]) == (0, 2000 - full)
    metered.processor.shutdown(0)


def test_what_is_on_its_way(otlp_receiver: OtlpReceiver, metered: Metered) -> None:
    """Spans in a request that has no answer yet are in flight."""
    otlp_receiver.default = Hang(5.0)
    metered.end_spans(4)
    assert not metered.provider.force_flush(200)
    assert metered.read()[IN_FLIGHT, ""] == 4


def test_what_was_refused(metered: Metered, otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """Refused spans have failed, whether the destination names them or only counts them, and the account agrees."""
    otlp_receiver.default = RefuseSpans(lambda span: span.name == "3")
    metered.end_spans(6)
    assert metered.provider.force_flush(5000)
    otlp_receiver.default = PartialSuccess(2)
    metered.end_spans(5)
    assert metered.provider.force_flush(5000)
    figures = metered.read()
    assert (figures[EXPORTED, ""], figures[EXPORTED, semconv.ERROR_TYPE_REJECTED]) == (8, 3)
    assert figures[DURATION, semconv.ERROR_TYPE_REJECTED] == 2
    (account,) = read_accounts(spool_dir)
    assert (account.delivered, account.rejected) == (8, 3)


def test_what_is_too_old_has_failed(otlp_receiver: OtlpReceiver) -> None:
    """A span that reaches its age is not exported, which is a failure of its own."""
    one = Metered(otlp_receiver, spool_max_age=0.05)
    one.end_spans(3)
    time.sleep(0.1)
    one.provider.force_flush(5000)
    figures = one.read()
    one.processor.shutdown(1000)
    one.meter_provider.shutdown()
    assert (figures[EXPORTED, ""], figures[EXPORTED, semconv.ERROR_TYPE_EXPIRED]) == (0, 3)
    assert (figures[PROCESSED, ""], figures[QUEUED, ""]) == (3, 0)


def test_what_shutdown_left_still_waits(metered: Metered, otlp_receiver: OtlpReceiver) -> None:
    """It was not processed, and neither was what ended after."""
    otlp_receiver.down()
    metered.end_spans(3)
    assert not metered.processor.shutdown(300)
    metered.end_spans(2)
    figures = metered.read()
    assert (figures[QUEUED, ""], figures[PROCESSED, ""]) == (5, 0)
    otlp_receiver.up()


def test_a_child_counts_for_itself(otlp_receiver: OtlpReceiver) -> None:
    """It does not report what its parent did, as the stock processor's does."""
    program = """
        import os, sys
        sys.path.insert(0, sys.argv[2])
        from exporters.test_metrics import EXPORTED, PROCESSED, QUEUED, Metered
        class Receiver:
            endpoint = sys.argv[1]
        one = Metered(Receiver)
        one.end_spans(5)
        assert one.provider.force_flush(5000)
        if (child := os.fork()) == 0:
            one.end_spans(2)
            assert one.provider.force_flush(5000)
        else:
            os.waitpid(child, 0)
        figures = one.read()
        print(figures[PROCESSED, ""], figures[QUEUED, ""], figures[EXPORTED, ""], flush=True)
        os._exit(0)
    """
    done = run_python(program, arguments=[otlp_receiver.endpoint, str(Path(__file__).parents[1])])
    assert done.stdout.splitlines() == ["2 0 2", "5 0 5"]


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_global_meter_provider(when: str, otlp_receiver: OtlpReceiver) -> None:
    """It is used whenever the application sets it, under instrument() too; OpenTelemetry's own switch turns it off."""
    program = f"""
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        reader = InMemoryMetricReader()
        provide = lambda: metrics.set_meter_provider(MeterProvider([reader]))
        if {when == "before"}: provide()
        from callspan_exporters import ensure_delivery
        ensure_delivery()
        if {when == "after"}: provide()
        trace.get_tracer("app").start_span("1").end()
        assert trace.get_tracer_provider().force_flush(5000)
        data = reader.get_metrics_data()
        found = [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics] if data else []
        print(sorted(m.name for m in found if m.name.startswith("otel.sdk.exporter")))
    """
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    assert run_python(program, env=env).stdout.strip() == str(sorted([DURATION, EXPORTED, IN_FLIGHT]))
    env["OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"] = "false"
    assert run_python(program, env=env).stdout.strip() == "[]"
