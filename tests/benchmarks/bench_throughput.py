"""Spans delivered by a second of CPU time: ``python tests/benchmarks/bench_throughput.py [--spans 50000] [--turns 3]``.

A receiver in a process of its own reads and discards; both sides post the same spans to it over HTTP.

* From the spool: a process that died has left a backlog, and the machinery of ``callspan drain`` sends it, the reading
  included; the peer is the stock exporter's ``export()`` of the same spans, which are in its memory already. The floor
  is the posting alone, of requests that were made before, by the standard library.
* The whole way: from ``on_end`` to the acknowledgement, in one process, all its threads counted. callspan's encoding
  is in ``on_end``, that of the stock processor in its exporting thread; both are counted.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

import argparse
import http.client
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from measuring import MAX_AGE_S, Receiver, llm_spans, receiver, store_and_die
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from callspan_exporters import DurableSpanProcessor, OTLPDestination
from callspan_exporters._delivery import Delivery
from callspan_exporters._outcome import Destination
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import Limits

BATCHES = (512, 2048)
SPOOL_BYTES = 4 << 30
DEADLINE_S = 600.0


def timed(work: Callable[[], object]) -> float:
    """Return the CPU seconds that this process, all its threads, spends on something."""
    start = time.process_time()
    work()
    return time.process_time() - start


def from_spool(destination: Destination, count: int, batch: int) -> float:
    """Return the CPU seconds that sending what a process that died has left takes."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "spool")
        arguments = (root, destination.identity, count, SPOOL_BYTES)
        dying = multiprocessing.get_context("spawn").Process(target=store_and_die, args=arguments)
        dying.start()
        dying.join()
        delivery = Delivery(
            [destination],
            root=root,
            limits=Limits.of_size(SPOOL_BYTES, MAX_AGE_S),
            settings=BatchSettings(max_export_batch_size=batch),
            exit_budget_s=0.0,
            talkative=False,
        )
        taken = timed(lambda: delivery.flush_everything(threading.Event(), time.monotonic() + DEADLINE_S))
        assert delivery.delivered == {destination.identity: count}, delivery.delivered
        delivery.shutdown(0.0)
        return taken


def stock_export(to: Receiver, count: int, batch: int, spans: list[ReadableSpan]) -> float:
    """Export the same spans from memory."""
    exporter = OTLPSpanExporter(to.endpoint)

    def export() -> None:
        for start in range(0, count, batch):
            some = [spans[number % len(spans)] for number in range(start, min(start + batch, count))]
            assert exporter.export(some) is SpanExportResult.SUCCESS

    taken = timed(export)
    exporter.shutdown()
    return taken


def post_only(to: Receiver, count: int, batch: int, spans: list[ReadableSpan]) -> float:
    """Post as many bytes in as many requests."""
    parts = urlsplit(to.endpoint)
    body = encode_spans([spans[number % len(spans)] for number in range(batch)]).SerializeToString()
    connection = http.client.HTTPConnection(parts.netloc)

    def post() -> None:
        for _ in range(0, count, batch):
            connection.request("POST", parts.path, body, {"content-type": "application/x-protobuf"})
            connection.getresponse().read()

    taken = timed(post)
    connection.close()
    return taken


def whole_way(processor: DurableSpanProcessor | BatchSpanProcessor, count: int, spans: list[ReadableSpan]) -> float:
    """End spans and wait until they are acknowledged."""

    def end() -> None:
        for number in range(count):
            processor.on_end(spans[number % len(spans)])
        assert processor.force_flush(int(DEADLINE_S * 1000))

    taken = timed(end)
    processor.shutdown()
    return taken


def durable(to: Receiver, count: int, batch: int, spans: list[ReadableSpan]) -> float:
    """Take the whole way with callspan."""
    with tempfile.TemporaryDirectory() as directory:
        destination = OTLPDestination(to.endpoint)
        processor = DurableSpanProcessor(
            destination, max_export_batch_size=batch, spool=directory, spool_max_bytes=SPOOL_BYTES
        )
        return whole_way(processor, count, spans)


def stock(to: Receiver, count: int, batch: int, spans: list[ReadableSpan]) -> float:
    """Take the whole way with the stock processor, whose queue holds all of it: what it drops would cost nothing."""
    exporter = OTLPSpanExporter(to.endpoint)
    processor = BatchSpanProcessor(exporter, max_queue_size=count + batch, max_export_batch_size=batch)
    return whole_way(processor, count, spans)


def compare(title: str, ways: dict[str, Callable[[], float]], count: int, turns: int, to: Receiver) -> None:
    """Take turns and print; ratios are of a turn's two figures, the last way's to each."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    received: dict[str, int] = {}
    for _ in range(turns):
        for name, way in ways.items():
            before = to.received_bytes
            taken[name].append(way())
            received[name] = to.received_bytes - before
    print(f"\n{title}")
    print(f"{'':34}{'spans/CPU s':>12}{'CPU us/span':>12}{'times stock':>12}{'MB received':>12}")
    last = next(reversed(taken.values()))
    for name, values in taken.items():
        seconds = statistics.median(values)
        times = statistics.median(peer / value for peer, value in zip(last, values, strict=True))
        row = f"{count / seconds:12,.0f}{seconds / count * 1e6:12.2f}{times:12.2f}{received[name] / 1e6:12.1f}"
        print(f"{name:34}{row}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spans", type=int, default=50_000)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    count, turns = arguments.spans, arguments.turns
    spans = llm_spans(512)
    with receiver() as to:
        for batch in BATCHES:
            delivering: dict[str, Callable[[], float]] = {
                "callspan, from the spool": lambda batch=batch: from_spool(OTLPDestination(to.endpoint), count, batch),
                "floor: posting alone": lambda batch=batch: post_only(to, count, batch, spans),
                "stock export(), from memory": lambda batch=batch: stock_export(to, count, batch, spans),
            }
            compare(f"delivery of {count:,} spans, batches of {batch}", delivering, count, turns, to)
            ending: dict[str, Callable[[], float]] = {
                "callspan, on_end to answer": lambda batch=batch: durable(to, count, batch, spans),
                "stock, on_end to answer": lambda batch=batch: stock(to, count, batch, spans),
            }
            compare(f"the whole way of {count:,} spans, batches of {batch}", ending, count, turns, to)


if __name__ == "__main__":
    main()
