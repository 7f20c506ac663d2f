"""What a span costs as the backlog grows: ``python tests/benchmarks/bench_backlog.py [--most 1000000]``.

A million spans take about 1.6 GB of disk. The destination takes nothing while the backlog grows. At every size,
spans are appended, and as many are sent from its front to a receiver that reads and discards; in turns with each, the
floor: the same bytes appended to a file, and encoding and posting by the official exporter, whose time serves as the
clock: the ratios are of both to it, then to the first size, for the machine may not be as fast at every size. At the
end another process, which starts with nothing, sends all that is left.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

import argparse
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measuring import MAX_AGE_S, Receiver, llm_spans, receiver
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from callspan_exporters import DurableSpanProcessor, OTLPDestination
from callspan_exporters._delivery import Delivery
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import encode_span
from callspan_exporters._outcome import Outcome, Transport, Verdict
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import Limits
from callspan_exporters._spool._record import HEADER_SIZE

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SAMPLE, TURNS = 2048, 8  # a turn's spans; eight turns begin six segments, and send four batches each
SPOOL_BYTES = 8 << 30
DEADLINE_S = 600.0
STOCK = "stock export()"


class Gate:
    """A destination that passes on as many spans as it is told to, and is down otherwise."""

    timeout_s = 10.0
    component_type = "gate"

    def __init__(self, endpoint: str) -> None:
        self._behind = OTLPDestination(endpoint)
        self.identity = self._behind.identity
        self.passes = 0

    def connect(self) -> Transport:
        transport = self._behind.connect()
        gate = self

        class Way:
            def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
                if gate.passes < len(spans):
                    return Outcome(Verdict.RETRY, "the gate is closed", reached=False)
                gate.passes -= len(spans)
                return transport.send(spans, timeout_s)

            def close(self) -> None:
                transport.close()

        return Way()

    def force_flush(self, timeout_s: float) -> bool:
        return True

    def shutdown(self) -> None:
        pass


def timed(clock: Callable[[], int], work: Callable[[], object], count: int) -> float:
    """Return the microseconds of CPU time that each of so many spans took."""
    start = clock()
    work()
    return (clock() - start) / 1000 / count


class Growing:
    """A backlog that grows, measured as it does."""

    def __init__(self, directory: Path, to: Receiver) -> None:
        self._spans = llm_spans(512)
        self._gate = Gate(to.endpoint)
        self._processor = DurableSpanProcessor(
            self._gate, spool=directory / "spool", spool_max_bytes=SPOOL_BYTES, exit_budget=0.0
        )
        self._exporter = OTLPSpanExporter(to.endpoint)
        self._record = b"." * (HEADER_SIZE + len(encode_span(self._spans[0])))
        self._file = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.size = 0

    def grow(self, count: int) -> None:
        """Append spans."""
        spans, on_end = self._spans, self._processor.on_end
        for number in range(count):
            on_end(spans[number % len(spans)])
        self.size += count

    def sample(self) -> dict[str, float]:
        """Return what a span costs at this size, CPU microseconds, the medians of several turns."""
        taken: dict[str, list[float]] = {"append": [], "floor: write": [], "send": [], STOCK: []}
        for _ in range(TURNS):
            taken["append"].append(timed(time.thread_time_ns, lambda: self.grow(SAMPLE), SAMPLE))
            taken["floor: write"].append(timed(time.thread_time_ns, self._write, SAMPLE))
            taken["send"].append(timed(time.process_time_ns, self._send, SAMPLE))
            taken[STOCK].append(timed(time.process_time_ns, self._export, len(self._spans)))
        return {name: statistics.median(values) for name, values in taken.items()}

    def close(self) -> None:
        """Leave the backlog to another process."""
        self._processor.shutdown()
        os.close(self._file)

    def _write(self) -> None:
        for _ in range(SAMPLE):
            os.write(self._file, self._record)

    def _send(self) -> None:
        self._gate.passes = SAMPLE
        self._processor.force_flush(DEADLINE_S * 1000)  # until the gate closes
        assert self._gate.passes < BatchSettings().max_export_batch_size, self._gate.passes
        self.size -= SAMPLE - self._gate.passes
        self._gate.passes = 0

    def _export(self) -> None:
        self._exporter.export(self._spans)


def send_the_rest(root: Path, endpoint: str, results: Any) -> None:
    """Send what another process has left; the result is how many spans, CPU microseconds of each, and growth of RSS."""
    destination = OTLPDestination(endpoint)
    limits, settings = Limits.of_size(SPOOL_BYTES, MAX_AGE_S), BatchSettings()
    delivery = Delivery([destination], root=root, limits=limits, settings=settings, exit_budget_s=0.0, talkative=False)
    before, start = resident_mb(), time.process_time_ns()
    delivery.flush_everything(threading.Event(), time.monotonic() + DEADLINE_S)
    count = delivery.delivered[destination.identity]
    results.put((count, (time.process_time_ns() - start) / 1000 / count, resident_mb() - before))


def resident_mb() -> float:
    """Return how much memory this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(most: int, directory: Path, to: Receiver) -> None:
    """Grow a backlog, and print a line at every size."""
    growing = Growing(directory, to)
    growing.grow(1)
    print(f"{'backlog':>10}{'append':>9}{'ratio':>7}{'floor':>9}{'send':>9}{'ratio':>7}{'stock':>9}{'RSS MB':>9}")
    first: dict[str, float] = {}
    for size in [size for size in SIZES if size <= most] or [most]:
        growing.grow(max(0, size - growing.size))
        found = growing.sample()
        first = first or found
        append, send = (found[way] / found[STOCK] * first[STOCK] / first[way] for way in ("append", "send"))
        row = f"{found['append']:9.1f}{append:7.2f}{found['floor: write']:9.1f}{found['send']:9.1f}{send:7.2f}"
        print(f"{size:10,}{row}{found['stock export()']:9.1f}{resident_mb():9.1f}", flush=True)
    growing.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=SIZES[-1], help="spans in the backlog at the end")
    most: int = parser.parse_args().most
    context = multiprocessing.get_context("spawn")
    print("CPU microseconds a span; the send includes reading and posting")
    with tempfile.TemporaryDirectory() as directory, receiver() as to:
        measure(most, Path(directory), to)
        results = context.Queue()
        sending = context.Process(target=send_the_rest, args=(Path(directory, "spool"), to.endpoint, results))
        sending.start()
        count, microseconds, growth_mb = results.get()
        sending.join()
        print(f"another process sent the {count:,} that were left: {microseconds:.1f} each, RSS +{growth_mb:.1f} MB")


if __name__ == "__main__":
    main()
