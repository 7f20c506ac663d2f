"""What the benchmarks share: the spans they process, where those go, and how time is taken and told.

A benchmark compares with a peer or a floor that takes turns with it in the same run, so that a busy machine slows both
alike: the ratios are the figures to go by. Where other processes would disturb the wall clock, CPU time is taken.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

import contextlib
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import SpanKind

from callspan import semconv
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import encode_resource, encode_scope, encode_span
from callspan_exporters._outcome import Outcome, Verdict
from callspan_exporters._spool import Limits, Spool

ROUNDS = 40
SPANS_A_ROUND = 250
MAX_AGE_S = 86400.0

# What the shell of whoever runs this happens to say is not measured.
for variable in [name for name in os.environ if name.startswith(("OTEL_", "CALLSPAN_"))]:
    del os.environ[variable]


def llm_spans(count: int) -> list[ReadableSpan]:
    """Return ended spans such as chat calls make: 21 attributes, 4 events, about 1.5 KB of OTLP each."""
    tracer = TracerProvider(resource=Resource({"service.name": "benchmark"}), shutdown_on_exit=False).get_tracer("llm")
    spans: list[ReadableSpan] = []
    for number in range(count):
        with tracer.start_as_current_span("request"):
            span = tracer.start_span("chat gpt-4o-mini", kind=SpanKind.CLIENT)
        span.set_attributes(
            {
                semconv.GEN_AI_OPERATION_NAME: "chat",
                semconv.GEN_AI_PROVIDER_NAME: "openai",
                semconv.GEN_AI_REQUEST_MODEL: "gpt-4o-mini",
                semconv.GEN_AI_RESPONSE_MODEL: "gpt-4o-mini-2024-07-18",
                semconv.GEN_AI_RESPONSE_ID: f"chatcmpl-{number:032x}",
                semconv.GEN_AI_RESPONSE_FINISH_REASONS: ["stop"],
                semconv.GEN_AI_REQUEST_TEMPERATURE: 0.2,
                semconv.GEN_AI_REQUEST_TOP_P: 1.0,
                semconv.GEN_AI_REQUEST_MAX_TOKENS: 512,
                semconv.GEN_AI_REQUEST_STREAM: True,
                semconv.GEN_AI_REQUEST_STOP_SEQUENCES: ["\n\n", "END"],
                semconv.GEN_AI_USAGE_INPUT_TOKENS: 1234 + number % 512,
                semconv.GEN_AI_USAGE_OUTPUT_TOKENS: 345 + number % 64,
                semconv.SERVER_ADDRESS: "api.openai.com",
                semconv.SERVER_PORT: 443,
                semconv.LITELLM_CALL_ID: f"3f2b8c1e-7a6d-4e5f-9b8a-{number:012x}",
                semconv.LITELLM_OVERHEAD: 0.0123,
                semconv.GEN_AI_SYSTEM_INSTRUCTIONS: "You are a helpful assistant. " * 14,
                semconv.CALLSPAN_OUTCOME: semconv.OUTCOME_SUCCESS,
                semconv.CALLSPAN_COST_AMOUNT: 0.000392,
                semconv.CALLSPAN_COST_CURRENCY: "USD",
            }
        )
        for name in (semconv.EVENT_PRE_API_CALL, semconv.EVENT_POST_API_CALL, semconv.EVENT_FIRST_CHUNK):
            span.add_event(name)
        span.add_event(semconv.EVENT_SUCCESS, {semconv.GEN_AI_RESPONSE_MODEL: "gpt-4o-mini-2024-07-18"})
        span.end()
        assert isinstance(span, ReadableSpan)
        spans.append(span)
    return spans


def llm_span() -> ReadableSpan:
    """Return one of them."""
    return llm_spans(1)[0]


class Nowhere:
    """A destination that takes everything at once, so that only what callspan itself does is measured."""

    identity = "nowhere"
    timeout_s = 1.0
    component_type = "nowhere"

    def connect(self) -> "Nowhere":
        return self

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        pass

    def force_flush(self, timeout_s: float) -> bool:
        return True

    def shutdown(self) -> None:
        pass


@dataclass(frozen=True)
class Receiver:
    """A `discarding_receiver` in a process of its own, whose CPU time is not ours.

    Attributes:
        endpoint: where spans are posted to.
    """

    endpoint: str

    @property
    def received_bytes(self) -> int:
        """How many bytes of requests it has read."""
        with urllib.request.urlopen(self.endpoint) as response:
            return int(response.read())


@contextlib.contextmanager
def receiver(behaviour: str = "answer") -> Generator[Receiver, None, None]:
    """Run a receiver: one that answers, or one that hangs."""
    command = [sys.executable, str(Path(__file__).with_name("discarding_receiver.py")), behaviour]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Receiver(f"http://127.0.0.1:{int(process.stdout.readline())}/v1/traces")
        assert process.stdin is not None
        process.stdin.close()


def store_and_die(root: Path, destination: str, count: int, max_bytes: int) -> None:
    """Store spans for a destination in the spool and die, as the process does that is killed with a backlog."""
    spans = [encode_span(span) for span in llm_spans(512)]
    source = llm_span()
    resource, scope = encode_resource(source.resource), encode_scope(source.instrumentation_scope)
    spool = Spool(root, Limits.of_size(max_bytes, MAX_AGE_S), [destination])
    for number in range(count):
        spool.append(resource, scope, spans[number % len(spans)])
    os._exit(0)


@dataclass
class Taken:
    """What one way took.

    Attributes:
        wall: microseconds of every span.
        cpu: microseconds of CPU time of the thread, a mean for every turn: to ask for it costs what a span does.
    """

    wall: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])

    def summary(self) -> tuple[float, ...]:
        """Return median, median of the quietest turn and 99th percentile of the wall time, and the median CPU time."""
        turns = [self.wall[start : start + SPANS_A_ROUND] for start in range(0, len(self.wall), SPANS_A_ROUND)]
        return (
            statistics.median(self.wall),
            min(map(statistics.median, turns)),
            statistics.quantiles(self.wall, n=100)[98],
            statistics.median(self.cpu),
        )


Ways = dict[str, Callable[[ReadableSpan], object]]


def take_turns(ways: Ways, span: ReadableSpan, together: Callable[[], object] = lambda: None) -> dict[str, Taken]:
    """Give the span to each way in turns, and return what each took.

    Args:
        ways: what to measure, by name.
        span: what each is given, ``ROUNDS * SPANS_A_ROUND`` times.
        together: called before every turn, for several processes to keep in step.
    """
    taken = {name: Taken() for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            together()
            start = time.thread_time_ns()
            taken[name].wall += _microseconds(way, span)
            taken[name].cpu.append((time.thread_time_ns() - start) / 1000 / SPANS_A_ROUND)
    return taken


def tell(summaries: dict[str, tuple[float, ...]]) -> None:
    """Print what each way took, and how that of the first is to it."""
    print(f"{'microseconds a span':32}{'median':>9}{'quietest':>9}{'p99':>9}{'ratio':>9}{'CPU':>9}{'ratio':>9}")
    first, _, _, first_cpu = next(iter(summaries.values()))
    for name, (median, quietest, p99, cpu) in summaries.items():
        ratio, cpu_ratio = median / first, cpu / first_cpu
        print(f"{name:32}{median:9.1f}{quietest:9.1f}{p99:9.1f}{ratio:9.2f}{cpu:9.1f}{cpu_ratio:9.2f}")


def compare(ways: Ways, span: ReadableSpan) -> None:
    """Measure in turns and print."""
    tell({name: taken.summary() for name, taken in take_turns(ways, span).items()})


def _microseconds(way: Callable[[ReadableSpan], object], span: ReadableSpan) -> list[float]:
    taken: list[float] = []
    for _ in range(SPANS_A_ROUND):
        start = time.perf_counter_ns()
        way(span)
        taken.append((time.perf_counter_ns() - start) / 1000)
    return taken
