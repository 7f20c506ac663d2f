"""Four processes that send to one Collector with the configuration we ship, its queue on disk and its file included.

``python tests/benchmarks/bench_collector.py [--spans 20000] [--turns 3]``, once
``python tests/end_to_end/collector/build.py`` has built it. Each process ends its spans as fast as it can, with
callspan or with the stock processor, flushes and exits. Told are, of each turn's medians: spans that ended in a second,
from the start of the first process's load to the exit of the last; CPU time of the processes and of the Collector for a
span; spans that never came to the Collector's file. The stock processor drops what its queue of 2,048 has no room for,
so it is measured with one that holds all as well.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # where the tests find what they share

from end_to_end.collector.build import cached
from end_to_end.collector.running import Collector

PROCESSES = 4
FLUSH_S = 300.0
ARRIVE_S = 60.0
TICKS = os.sysconf("SC_CLK_TCK")

WAYS = {
    "callspan": "callspan",
    "stock": "stock",
    "stock, queue of all": "stock-all",
}
_LOAD = """
import sys, time
sys.path.append({benchmarks!r})
from measuring import llm_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from callspan_exporters import DurableSpanProcessor, OTLPDestination

way, endpoint, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
if way == "callspan":
    processor = DurableSpanProcessor(OTLPDestination(endpoint), spool=sys.argv[4])
else:
    queue = {{"max_queue_size": count + 512}} if way == "stock-all" else {{}}
    processor = BatchSpanProcessor(OTLPSpanExporter(endpoint), **queue)
spans = llm_spans(512)
print("ready", flush=True)
sys.stdin.readline()
began = time.process_time()
for number in range(count):
    processor.on_end(spans[number % len(spans)])
ended = time.process_time() - began
processor.force_flush({flush_ms})
processor.shutdown()
print(ended, time.process_time() - began, flush=True)
"""


@dataclass(frozen=True)
class Turn:
    """What one turn of one way took, for all of its spans.

    Attributes:
        wall_s: until the last process has exited.
        on_end_s: CPU time of the processes in `on_end`, that of other threads meanwhile included.
        cpu_s: CPU time of the processes, the flush included.
        collector_s: CPU time of the Collector, until all that was sent is in its file.
        arrived: spans in its file.
    """

    wall_s: float
    on_end_s: float
    cpu_s: float
    collector_s: float
    arrived: int


def turn(way: str, count: int, program: Path) -> Turn:
    """Run one way once, with a Collector of its own."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Collector(program, Path(directory, "collector")) as collector,
    ):
        endpoint = f"{collector.http_endpoint}/v1/traces"
        processes = [_start(way, endpoint, count, Path(directory, "spool")) for _ in range(PROCESSES)]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        pid = _pid_of(collector)
        before, began = _cpu_s(pid), time.monotonic()
        printed = [process.communicate("\n")[0] for process in _told_at_once(processes)]
        wall_s = time.monotonic() - began
        figures = [tuple(map(float, text.split())) for text in printed]
        arrived = _arrived(collector.output, PROCESSES * count)
        collector_s = _cpu_s(pid) - before
        return Turn(wall_s, sum(each[0] for each in figures), sum(each[1] for each in figures), collector_s, arrived)


def _start(way: str, endpoint: str, count: int, spool: Path) -> "subprocess.Popen[str]":
    source = _LOAD.format(benchmarks=str(Path(__file__).parent), flush_ms=int(FLUSH_S * 1000))
    return subprocess.Popen(
        [sys.executable, "-c", source, way, endpoint, str(count), str(spool)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _told_at_once(processes: "list[subprocess.Popen[str]]") -> "list[subprocess.Popen[str]]":
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return processes


def _pid_of(collector: Collector) -> int:
    process = collector._process
    assert process is not None
    return process.pid


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _arrived(output: Path, expected: int) -> int:
    """Return how many spans the file holds, once it holds all or grows no more."""
    deadline = time.monotonic() + ARRIVE_S
    size, since = -1, time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < 5:
        now = sum(path.stat().st_size for path in _files(output))
        if now != size:
            size, since = now, time.monotonic()
            if _count(output) >= expected:
                break
        time.sleep(0.5)
    return _count(output)


def _files(output: Path) -> list[Path]:
    # Rotated ones stand beside it, with a time in their names.
    return sorted(output.parent.glob(f"{output.stem}*{output.suffix}"))


def _count(output: Path) -> int:
    found = 0
    for path in _files(output):
        with path.open() as lines:
            found += sum(line.count('"spanId":') for line in lines)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spans", type=int, default=20_000, help="of each process")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    program, count = cached(), arguments.spans
    if not program.exists():
        sys.exit("no Collector: `python tests/end_to_end/collector/build.py` builds one")
    taken: dict[str, list[Turn]] = {name: [] for name in WAYS}
    for _ in range(arguments.turns):
        for name, way in WAYS.items():
            taken[name].append(turn(way, count, program))
    total = PROCESSES * count
    print(
        f"{PROCESSES} processes of {count:,} spans each, one Collector, HTTP; CPU time in microseconds a span that came"
    )
    print(f"{'':22}{'spans/s':>10}{'CPU on_end':>12}{'CPU in all':>12}{'Collector':>12}{'lost of ' + f'{total:,}':>18}")
    for name, turns in taken.items():
        arrived = statistics.median(each.arrived for each in turns) or 1
        rate = statistics.median(each.arrived / each.wall_s for each in turns)
        on_end, cpu, collector = (
            statistics.median(getattr(each, of) / (each.arrived or 1) * 1e6 for each in turns)
            for of in ("on_end_s", "cpu_s", "collector_s")
        )
        lost = Counter(total - each.arrived for each in turns)
        print(f"{name:22}{rate:10,.0f}{on_end:12.1f}{cpu:12.1f}{collector:12.1f}{total - arrived:18,.0f}", end="")
        print(f"   {json.dumps(sorted(lost.elements()))}" if len(lost) > 1 else "")


if __name__ == "__main__":
    main()
