"""Spans that each kind of destination sends by a second of CPU time, beside the stock exporters.

``python tests/benchmarks/bench_destinations.py [--spans 20000] [--turns 3]``. Receivers in processes of their own read
and discard. A process that died has left a backlog, which the machinery of ``callspan drain`` sends, the reading
included; the stock exporters are given the same spans from memory, in batches of as many, so that theirs is the way
without a spool. Each turn has all of them; ratios are of one turn's figures, and their median is told.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parents[1]))  # where the tests find what they share

from bench_throughput import from_spool
from measuring import llm_spans, receiver
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as StockGrpc
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as StockHttp
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from callspan_exporters import CallbackDestination, OTLPDestination, SpanExporterDestination
from callspan_exporters.otlp import GRPC
from loopback.example_kind import ExampleDestination
from loopback.kinds import ALL

if TYPE_CHECKING:
    from callspan_exporters.destination import Destination

BATCH = 512
PEER = "stock HTTP exporter, from memory"


def from_memory(exporter: SpanExporter, count: int, spans: list[ReadableSpan]) -> float:
    """Return the CPU seconds that a stock exporter takes for as many."""
    start = time.process_time()
    for first in range(0, count, BATCH):
        some = [spans[number % len(spans)] for number in range(first, min(first + BATCH, count))]
        assert exporter.export(some) is SpanExportResult.SUCCESS
    taken = time.process_time() - start
    exporter.shutdown()
    return taken


@contextlib.contextmanager
def grpc_receiver() -> Generator[str, None, None]:
    """Run a receiver by gRPC, and return where it is."""
    command = [sys.executable, str(Path(__file__).with_name("discarding_grpc_receiver.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        assert process.stdin is not None
        process.stdin.close()


def ways(http: str, grpc: str, count: int) -> dict[str, Callable[[], float]]:
    """Return what is measured, by name; the stock exporter by HTTP is what the others are compared with."""
    base = http.removesuffix("/v1/traces")
    spans = llm_spans(BATCH)
    destinations: dict[str, Callable[[], Destination]] = {
        "otlp, HTTP": lambda: OTLPDestination(http),
        "otlp, HTTP, gzip": lambda: OTLPDestination(http, compression="gzip"),
        "otlp, gRPC": lambda: OTLPDestination(grpc, protocol=GRPC),
        **{kind.name: lambda kind=kind: kind.destination(base) for kind in ALL if kind.name != "otlp"},
        "somebody's kind, JSON": lambda: ExampleDestination(base, "key"),
        "a SpanExporter (stock HTTP)": lambda: SpanExporterDestination(StockHttp(http)),
        "a callback that does nothing": lambda: CallbackDestination("bench", lambda _span: None),
    }
    return {
        **{name: lambda make=make: from_spool(make(), count, BATCH) for name, make in destinations.items()},
        "stock HTTP exporter, gzip": lambda: from_memory(StockHttp(http, compression=Compression.Gzip), count, spans),
        "stock gRPC exporter": lambda: from_memory(StockGrpc(grpc, insecure=True), count, spans),
        PEER: lambda: from_memory(StockHttp(http), count, spans),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spans", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    count: int = arguments.spans
    with receiver() as to, grpc_receiver() as grpc:
        measured = ways(to.endpoint, grpc, count)
        taken: dict[str, list[float]] = {name: [] for name in measured}
        for _ in range(arguments.turns):
            for name, way in measured.items():
                taken[name].append(way())
    print(f"{count:,} spans in batches of {BATCH} or what the destination takes at once")
    print(f"{'':34}{'spans/CPU s':>12}{'CPU us/span':>12}{'times stock':>12}")
    for name, values in taken.items():
        seconds = statistics.median(values)
        times = statistics.median(peer / value for peer, value in zip(taken[PEER], values, strict=True))
        print(f"{name:34}{count / seconds:12,.0f}{seconds / count * 1e6:12.1f}{times:12.2f}")


if __name__ == "__main__":
    main()
