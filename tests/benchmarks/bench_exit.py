"""How long the exit of a program takes: ``python tests/benchmarks/bench_exit.py [--repetitions 7] [--slow 1]``.

Seconds from the last line of a program to its end, as who started it sees it: with nothing to send, and with 1,000
spans that ended just before, to a collector that answers, refuses connections, or takes them and never answers. The
floor is the same program, with the same imports, whose provider has no processor. callspan and the stock processor
take turns, both with their defaults. A case in which exit waits for a timeout takes ``--slow`` repetitions.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator

from measuring import receiver

PROGRAM = """
import sys, time
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from callspan_exporters import DurableSpanProcessor

way, endpoint, count, spool = sys.argv[1:]
provider = TracerProvider()
if way == "callspan":
    provider.add_span_processor(DurableSpanProcessor(OTLPSpanExporter(endpoint), spool=spool))
elif way == "stock":
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
tracer = provider.get_tracer("exit")
for number in range(int(count)):
    tracer.start_span("chat gpt-4o-mini", attributes={"gen_ai.request.model": "gpt-4o-mini"}).end()
print(time.monotonic(), flush=True)
"""
SPANS = 1000
CASES = {
    "no spans": ("answer", 0),
    "1,000 spans, collector up": ("answer", SPANS),
    "1,000 spans, collector down": ("down", SPANS),
    "1,000 spans, collector hangs": ("hang", SPANS),
}
SLOW = ("down", "hang")
WAYS = ("callspan", "stock", "no processor")


@contextlib.contextmanager
def collector(behaviour: str) -> Generator[str, None, None]:
    """Run one, and return its endpoint."""
    if behaviour == "down":
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1/traces"
        return
    with receiver(behaviour) as running:
        yield running.endpoint


def exit_s(way: str, endpoint: str, count: int) -> float:
    """Run the program, and return the seconds from its last line to its end."""
    with tempfile.TemporaryDirectory() as spool:
        command = [sys.executable, "-c", PROGRAM, way, endpoint, str(count), spool]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            last_line = float(process.stdout.readline())
            process.wait()
            return time.monotonic() - last_line


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--slow", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{'seconds':30}{''.join(f'{way:>14}' for way in WAYS)}{'to stock':>14}")
    for case, (behaviour, count) in CASES.items():
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(arguments.slow if behaviour in SLOW else arguments.repetitions):
            for way, values in taken.items():
                with collector(behaviour) as endpoint:
                    values.append(exit_s(way, endpoint, count))
        medians = {way: statistics.median(values) for way, values in taken.items()}
        row = "".join(f"{median:14.3f}" for median in medians.values())
        print(f"{case:30}{row}{medians['callspan'] / medians['stock']:14.3f}", flush=True)


if __name__ == "__main__":
    main()
