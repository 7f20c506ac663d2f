"""DurableSpanProcessor as a drop-in for the SDK's batch span processor, in any OpenTelemetry program."""

import inspect
import io
import logging
import os
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from callspan_exporters import DurableSpanProcessor, OTLPDestination, SpanExporterDestination
from callspan_exporters._spool import AFTER_SHUTDOWN, read_accounts
from loopback.otlp_receiver import Delay, Hang, OtlpReceiver, Status
from loopback.processes import run_python

Make = Callable[..., tuple[TracerProvider, DurableSpanProcessor]]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes a provider with the processor, and shuts it down in the end."""
    processors: list[DurableSpanProcessor] = []

    def made(*arguments: Any, **settings: Any) -> tuple[TracerProvider, DurableSpanProcessor]:
        provider = TracerProvider(shutdown_on_exit=False, sampler=settings.pop("sampler", None))
        processors.append(DurableSpanProcessor(*arguments, **settings))
        provider.add_span_processor(processors[-1])
        return provider, processors[-1]

    yield made
    for processor in processors:
        processor.shutdown(1000)


def end_spans(provider: TracerProvider, count: int, prefix: str = "") -> Counter[str]:
    tracer = provider.get_tracer("app")
    for number in range(count):
        tracer.start_span(f"{prefix}{number}").end()
    return Counter(f"{prefix}{number}" for number in range(count))


def stock(receiver: OtlpReceiver) -> OTLPSpanExporter:
    return OTLPSpanExporter(f"{receiver.endpoint}/v1/traces", headers={"x-key": "k"})


def received(receiver: OtlpReceiver) -> Counter[str]:
    return Counter(span.name for span in receiver.spans)


def test_it_takes_the_batch_processors_parameters() -> None:
    """By the same names and in the same order, so that one word changes in a program."""
    theirs = list(inspect.signature(BatchSpanProcessor).parameters.values())
    ours = list(inspect.signature(DurableSpanProcessor).parameters.values())
    assert [(p.name, p.kind, p.default) for p in ours[: len(theirs)]] == [(p.name, p.kind, p.default) for p in theirs]


def test_a_stock_exporter_is_sent_for(make: Make, otlp_receiver: OtlpReceiver) -> None:
    """With its endpoint and headers, and without being called."""
    provider, processor = make(stock(otlp_receiver))
    ended = end_spans(provider, 20)
    assert provider.force_flush(5000)
    assert received(otlp_receiver) == ended
    assert otlp_receiver.requests[0].headers["x-key"] == "k"
    assert isinstance(processor.destinations[0], OTLPDestination)


def test_several_exporters(make: Make, otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """Each is given every span, whatever kind it is, and one that fails holds up no other."""
    memory, text = InMemorySpanExporter(), io.StringIO()
    down = OTLPSpanExporter("http://127.0.0.1:9/v1/traces")
    provider, _ = make([down, stock(otlp_receiver), memory, ConsoleSpanExporter(out=text)])
    ended = end_spans(provider, 5)
    assert not provider.force_flush(3000)
    assert received(otlp_receiver) == ended
    assert Counter(span.name for span in memory.get_finished_spans()) == ended
    assert text.getvalue().count('"name"') == 5
    accounts = {account.destination: account for account in read_accounts(spool_dir)}
    assert len(accounts) == 4
    assert all(account.offered == account.accepted == 5 for account in accounts.values())
    assert [account.pending for account in accounts.values() if account.delivered != 5] == [5]


def test_an_exporter_that_failed_is_given_the_spans_again(make: Make) -> None:
    """A failure it reports, or an exception, loses nothing."""

    class Moody(SpanExporter):
        taken: list[str]

        def __init__(self) -> None:
            self.taken, self.calls = [], 0

        def export(self, spans: Any) -> SpanExportResult:
            self.calls += 1
            if self.calls == 1:
                return SpanExportResult.FAILURE
            if self.calls == 2:
                raise ValueError("not today")
            self.taken += [span.name for span in spans]
            return SpanExportResult.SUCCESS

    exporter = Moody()
    provider, _ = make(exporter)
    ended = end_spans(provider, 3)
    assert provider.force_flush(20_000)
    assert Counter(exporter.taken) == ended


def test_only_sampled_spans_are_exported(make: Make) -> None:
    """As the specification has it for a batch span processor."""
    memory = InMemorySpanExporter()
    provider, _ = make(memory, sampler=TraceIdRatioBased(0.5))
    tracer = provider.get_tracer("app")
    sampled = 0
    for _ in range(200):
        span = tracer.start_span("span")
        sampled += span.get_span_context().trace_flags.sampled
        span.end()
    assert provider.force_flush(5000)
    assert 50 < sampled < 150
    assert len(memory.get_finished_spans()) == sampled


def test_batches_are_as_large_as_they_may_be(make: Make, otlp_receiver: OtlpReceiver) -> None:
    """max_export_batch_size bounds a request, and is reached where there are spans enough."""
    provider, _ = make(stock(otlp_receiver), max_export_batch_size=7, schedule_delay_millis=60_000)
    end_spans(provider, 20)
    assert provider.force_flush(5000)
    assert all(request.span_count <= 7 for request in otlp_receiver.requests)
    assert max(request.span_count for request in otlp_receiver.requests) == 7
    assert len(otlp_receiver.spans) == 20


def test_the_schedule(make: Make, otlp_receiver: OtlpReceiver) -> None:
    """schedule_delay_millis is how long a span waits when nobody flushes."""
    provider, _ = make(stock(otlp_receiver), schedule_delay_millis=50)
    end_spans(provider, 1)
    assert len(otlp_receiver.wait_for(1, timeout=5)) == 1


def test_the_export_timeout(make: Make, otlp_receiver: OtlpReceiver, caplog: pytest.LogCaptureFixture) -> None:
    """export_timeout_millis ends a request that takes longer, and the spans are sent again."""
    otlp_receiver.behave(Hang())
    provider, _ = make(stock(otlp_receiver), export_timeout_millis=300, schedule_delay_millis=50)
    ended = end_spans(provider, 3)
    otlp_receiver.wait_for(3, timeout=8)
    assert received(otlp_receiver) == ended


def test_the_environment_of_a_batch_processor(
    make: Make, otlp_receiver: OtlpReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTEL_BSP_* are what is not said by arguments."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    monkeypatch.setenv("OTEL_BSP_EXPORT_TIMEOUT", "5000")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    provider, processor = make(stock(otlp_receiver), spool=False)
    otlp_receiver.down()
    end_spans(provider, 25)
    assert not provider.force_flush(1000)
    otlp_receiver.up()
    assert provider.force_flush(5000)
    assert [span.name for span in otlp_receiver.spans] == [str(number) for number in range(15, 25)]
    assert {request.span_count for request in otlp_receiver.requests} <= {2, 4}
    assert processor.shutdown()


@pytest.mark.parametrize("answer", [Hang(), Status(503)], ids=["silent", "503"])
def test_a_flush_and_a_shutdown_keep_their_timeouts(
    make: Make, otlp_receiver: OtlpReceiver, answer: Hang | Status, capsys: pytest.CaptureFixture[str]
) -> None:
    """And say False when something is still pending."""
    otlp_receiver.default = answer
    provider, processor = make(stock(otlp_receiver))
    end_spans(provider, 3)
    started = time.monotonic()
    assert not provider.force_flush(500)
    assert time.monotonic() - started < 1.5
    started = time.monotonic()
    assert not processor.shutdown(500)
    assert time.monotonic() - started < 1.5
    assert "kept 3 spans" in capsys.readouterr().err
    otlp_receiver.default = Status(200)


def test_nothing_is_exported_after_shutdown(make: Make, otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """A span that ends later is kept for the next process; another shutdown or flush changes nothing."""
    provider, processor = make(stock(otlp_receiver), schedule_delay_millis=20)
    end_spans(provider, 3)
    assert processor.shutdown()
    requests = len(otlp_receiver.requests)
    end_spans(provider, 600, "late")
    assert not otlp_receiver.wait_for_requests(requests + 1, timeout=0.5)
    assert not processor.force_flush(1000)
    assert processor.shutdown()
    assert len(otlp_receiver.requests) == requests
    (account,) = read_accounts(spool_dir)
    assert (account.offered, account.delivered, account.pending) == (603, 3, 600)


def test_an_exporter_that_takes_its_time(make: Make) -> None:
    """To flush or to shut down: nobody waits for it longer than they said, and its own requests are no spans."""
    suppressed: queue.SimpleQueue[bool] = queue.SimpleQueue()

    class Slow(InMemorySpanExporter):
        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            suppressed.put(not is_instrumentation_enabled())
            time.sleep(2)
            return True

        def shutdown(self) -> None:
            self.force_flush()

    provider, processor = make(Slow())
    end_spans(provider, 1)
    started = time.monotonic()
    assert not processor.force_flush(200)
    processor.shutdown(200)
    assert time.monotonic() - started < 1.5
    assert [suppressed.get(timeout=10) for _ in range(2)] == [True, True]


def test_a_shutdown_in_the_middle_of_a_shutdown() -> None:
    """By a signal handler of the application's, which the same thread runs: neither waits for the other."""
    done = run_python(
        """
        import signal, sys, threading, time
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
        from callspan_exporters import DurableSpanProcessor

        class Hanging(SpanExporter):
            def export(self, spans):
                time.sleep(0.5)  # by then the main thread waits, and is woken by it
                signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)
                time.sleep(60)

        def stop(*_):
            provider.shutdown()
            print("stopped", flush=True)
            sys.exit(0)

        provider = TracerProvider()
        provider.add_span_processor(DurableSpanProcessor(Hanging(), exit_budget=4))
        signal.signal(signal.SIGTERM, stop)
        provider.get_tracer("app").start_span("x").end()
        started = time.monotonic()
        try:
            provider.shutdown()
        finally:
            print(time.monotonic() - started < 3, flush=True)
        """
    )
    assert done.stdout.split() == ["stopped", "True"]


def test_what_ends_after_shutdown_without_a_disk_is_counted(make: Make, otlp_receiver: OtlpReceiver) -> None:
    """There is nowhere to keep it."""
    provider, processor = make(stock(otlp_receiver), spool=False)
    end_spans(provider, 3)
    assert processor.shutdown()
    end_spans(provider, 4, "late")
    assert len(otlp_receiver.spans) == 3
    assert processor._delivery.spool.tally[AFTER_SHUTDOWN] == 4


def test_shutdown_while_spans_end_in_many_threads(make: Make, otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """Every span has one place in the account: delivered before, or kept."""
    otlp_receiver.default = Delay(0.02)
    provider, processor = make(stock(otlp_receiver), max_export_batch_size=20)
    threads = [threading.Thread(target=end_spans, args=(provider, 300, f"{number}-")) for number in range(6)]
    for thread in threads:
        thread.start()
    processor.shutdown()
    for thread in threads:
        thread.join()
    (account,) = read_accounts(spool_dir)
    assert account.offered == account.accepted == 1800
    # On a busy machine the exit budget may end with one batch sent and not acknowledged.
    assert 0 <= len(otlp_receiver.spans) - account.delivered <= 20
    assert account.pending == 1800 - account.delivered


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"max_queue_size": 0}, "max_queue_size"),
        ({"schedule_delay_millis": -1}, "schedule_delay_millis"),
        ({"max_export_batch_size": 0}, "max_export_batch_size"),
        ({"max_export_batch_size": 10, "max_queue_size": 5}, "max_export_batch_size"),
        ({"export_timeout_millis": float("nan")}, "export_timeout_millis"),
        ({"spool_max_bytes": 0}, "spool_max_bytes"),
        ({"spool_max_age": -3}, "spool_max_age"),
        ({"exit_budget": -1}, "exit_budget"),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], name: str) -> None:
    """At once, as an error of whoever passes them."""
    with pytest.raises(ValueError, match=name):
        DurableSpanProcessor(InMemorySpanExporter(), **arguments)


def test_exporters_that_cannot_be_told_apart() -> None:
    """Two of one kind need names, or one would be sent what is the other's."""
    with pytest.raises(ValueError, match="name="):
        DurableSpanProcessor([InMemorySpanExporter(), InMemorySpanExporter()])
    with pytest.raises(ValueError, match="span_exporter"):
        DurableSpanProcessor([])
    with pytest.raises(TypeError):
        DurableSpanProcessor("otlp")  # type: ignore[arg-type]
    named = [SpanExporterDestination(InMemorySpanExporter(), name=name) for name in ("one", "two")]
    DurableSpanProcessor(named).shutdown()


def test_the_wrong_environment_is_named(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, at the start, with the variable and what it takes; the default is used."""
    wrong = {"OTEL_BSP_MAX_QUEUE_SIZE": "many", "CALLSPAN_SPOOL_FSYNC": "perhaps", "OTEL_BSP_EXPORT_TIMEOUT": "0"}
    for variable, value in wrong.items():
        monkeypatch.setenv(variable, value)
    provider, _ = make(memory := InMemorySpanExporter())
    ended = end_spans(provider, 3)
    assert provider.force_flush(5000)
    assert Counter(span.name for span in memory.get_finished_spans()) == ended
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    for variable in wrong:
        assert variable in caplog.text


def test_a_span_that_cannot_be_stored_is_counted(
    make: Make, spool_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with it reaches nobody, and the others are none the worse for it."""
    provider, processor = make(memory := InMemorySpanExporter())
    ended = end_spans(provider, 2)

    class Broken(ReadableSpan):
        @property
        def instrumentation_scope(self) -> Any:
            raise ZeroDivisionError

    good = provider.get_tracer("app").start_span("good")
    for _ in range(3):
        processor.on_end(Broken("broken", context=good.get_span_context()))
    assert provider.force_flush(5000)
    assert Counter(span.name for span in memory.get_finished_spans()) == ended
    (account,) = read_accounts(spool_dir)
    assert (account.offered, account.accepted, account.drops) == (5, 2, {"could not be stored": 3})
    assert len(caplog.records) == 1


def test_fsync(make: Make, spool_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With it, each span is on the platter when it has ended, and so are the names of what holds it."""
    synced: Counter[str] = Counter()
    real = {"fsync": os.fsync, "fdatasync": os.fdatasync}

    def counting(name: str) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            synced[name] += 1
            real[name](descriptor)

        return sync

    for name in real:
        monkeypatch.setattr(os, name, counting(name))
    provider, _ = make(InMemorySpanExporter(), schedule_delay_millis=60_000)
    end_spans(provider, 5)
    assert not synced
    monkeypatch.setenv("CALLSPAN_SPOOL_FSYNC", "on")
    provider, _ = make(SpanExporterDestination(InMemorySpanExporter(), name="other"), schedule_delay_millis=60_000)
    end_spans(provider, 5)
    assert synced["fdatasync"] == 5
    assert synced["fsync"] >= 3
    assert [account.pending for account in read_accounts(spool_dir)] == [5, 5]
