"""How long the end of a span holds its thread up: ``python tests/benchmarks/bench_on_end.py``.

callspan encodes the span and writes it to disk; the stock batch processor puts it in a queue, and encodes it later on
a thread that competes for the same interpreter, so the official encoder is measured beside it. Measured in one process,
in four at once on one spool, which keep in step so that all do the same at any time, and in one with ``fsync=True``.
The floors are the system calls without which no span is on disk.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measuring import Nowhere, Ways, llm_span, take_turns, tell
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from callspan_exporters import DurableSpanProcessor
from callspan_exporters._encoding import encode_span
from callspan_exporters._spool._record import HEADER_SIZE

PROCESSES = 4


class NowhereExporter(SpanExporter):
    """The same for the stock processor."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def floor(directory: Path, record: bytes, *, fsync: bool) -> Callable[[ReadableSpan], object]:
    """Return what appends a record to a file and does nothing else."""
    descriptor = os.open(directory / f"floor-{os.getpid()}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append(_span: ReadableSpan) -> None:
        os.write(descriptor, record)
        if fsync:
            os.fdatasync(descriptor)

    return append


def measure(
    directory: Path, *, fsync: bool = False, together: Callable[[], object] = lambda: None
) -> dict[str, tuple[float, ...]]:
    """Measure on_end of both processors in turns."""
    durable = DurableSpanProcessor(Nowhere(), spool=directory / "spool", spool_max_bytes=4 << 30, fsync=fsync)
    # Large enough that no span is dropped, which would be cheap.
    stock = BatchSpanProcessor(NowhereExporter(), max_queue_size=100_000)
    span = llm_span()
    record = b"." * (HEADER_SIZE + len(encode_span(span)))
    ways: Ways = {
        "callspan on_end": durable.on_end,
        "of which encoding": encode_span,
        f"floor: write{' + fdatasync' if fsync else ''}": floor(directory, record, fsync=fsync),
        "stock batch processor on_end": stock.on_end,
        "official encoding, later": lambda span: encode_spans([span]).SerializeToString(),
    }
    taken = take_turns(ways, span, together)
    together()
    assert durable.shutdown(), "not all was delivered"
    stock.shutdown()
    return {name: each.summary() for name, each in taken.items()}


def one_of_several(directory: Path, barrier: Any, results: Any) -> None:
    """Measure in step with others."""
    results.put(measure(directory, together=barrier.wait))


def several(directory: Path) -> dict[str, tuple[float, ...]]:
    """Measure in several processes at once, and return the medians of theirs."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [context.Process(target=one_of_several, args=(directory, barrier, results)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    found = [results.get() for _ in processes]
    for process in processes:
        process.join()
    columns = {name: zip(*(each[name] for each in found), strict=True) for name in found[0]}
    return {name: tuple(map(statistics.median, of_all)) for name, of_all in columns.items()}


def main() -> None:
    """Measure and print three tables."""
    print(f"a span of {len(encode_span(llm_span()))} bytes")
    with tempfile.TemporaryDirectory() as directory:
        print("\none process")
        tell(measure(Path(directory)))
    with tempfile.TemporaryDirectory() as directory:
        print(f"\n{PROCESSES} processes at once, {os.cpu_count()} cores; the medians of theirs")
        tell(several(Path(directory)))
    with tempfile.TemporaryDirectory() as directory:
        print("\none process, fsync=True")
        tell(measure(Path(directory), fsync=True))


if __name__ == "__main__":
    main()
