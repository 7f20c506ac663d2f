"""What callspan and its peers add to a call, and to a chunk of a stream: ``python tests/benchmarks/bench_peers.py``.

Every peer has a virtual environment of its own, made once and kept in the cache, with the same LiteLLM in all, and for
message content off and on a process each. They take turns, in random order; what is added is the difference in a round
to a process without instrumentation in the same environment, as some peers pin packages that LiteLLM needs.

A shared machine changes its speed many times a second, by more than what is measured. So all processes are on one CPU,
and before every call, and every 16 chunks, work that is always the same is timed, by which the call is divided. In the
table it is microseconds again, at the median speed of the run.

The floor is the call wrapped by hand, as in ``bench_calls.py``. Spans end in a processor that counts them; metrics and
events are off. CPU time is of all threads until the process is quiet, and so has what is done after the call.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for
# ruff: noqa: PLC0415  a worker has but its own peer, and LiteLLM is imported once the tracer provider is set

import argparse
import asyncio
import copy
import gc
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

ROOT = Path(__file__).parents[2]
WARM_UP = {"sync": 3, "async": 3, "stream": 0, "astream": 0}
BLOCKS = {"sync": 15, "async": 15, "stream": 1, "astream": 1}
COLUMNS = {
    "sync": ("sync", "wall"),
    "async": ("async", "wall"),
    "sync stream, a chunk": ("stream", "wall"),
    "async stream, a chunk": ("astream", "wall"),
    "CPU sync": ("sync", "cpu"),
    "CPU async": ("async", "cpu"),
}
CHAT: dict[str, Any] = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}
SHORT: dict[str, Any] = CHAT | {"mock_response": "Hello!"}
LONG: dict[str, Any] = CHAT | {"mock_response": "word " * 200, "stream": True}
CHUNKS_A_LAP = 16
VALUES = ("chat", "openai", "gpt-4o-mini", 0.2, 1.0, 512, "chatcmpl-1", ["stop"], 10, 20, "127.0.0.1", 8080, 0.000392)
FIFTEEN = {f"gen_ai.attribute_{number}": value for number, value in enumerate((*VALUES, "gpt-4o-mini", "3f2b8c1e"))}
REFERENCE = [{"role": "user", "content": "x" * 50, "number": number, "more": [1, 2, 3]} for number in range(12)]
EVERYWHERE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "CALLSPAN_DESTINATIONS": "none", "PYTHONHASHSEED": "0"}
EVERYWHERE |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
FOREIGN = ("OTEL_", "CALLSPAN_", "LITELLM_", "TRACELOOP_", "OPENINFERENCE_", "LOGFIRE_", "OPENLIT_")

Figures = dict[str, float]


class Peer(NamedTuple):
    """Something that instruments LiteLLM: what is installed for it, and its variables with content off and on."""

    packages: tuple[str, ...] = ()
    off: dict[str, str] | None = None
    on: dict[str, str] | None = None

    @property
    def home(self) -> str:
        """The package that its environment is named for."""
        return self.packages[0].partition("[")[0] if self.packages else "litellm"


CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
HIDE = {"OPENINFERENCE_HIDE_INPUTS": "true", "OPENINFERENCE_HIDE_OUTPUTS": "true"}
NO_METRICS = {"TRACELOOP_METRICS_ENABLED": "false"}
REQUEST_SPAN = {"USE_OTEL_LITELLM_REQUEST_SPAN": "true"}
WITHOUT_CONTENT = ("plain", "floor")
PEERS = {
    "plain": Peer(),
    "floor": Peer(),
    "callspan": Peer(("callspan", "-e", str(ROOT)), {CAPTURE: "NO_CONTENT"}, {CAPTURE: "SPAN_ONLY"}),
    "Traceloop": Peer(
        ("opentelemetry-instrumentation-litellm",), NO_METRICS | {"TRACELOOP_TRACE_CONTENT": "false"}, NO_METRICS
    ),
    "OpenInference": Peer(("openinference-instrumentation-litellm",), HIDE),
    "Logfire": Peer(("logfire[litellm]",), HIDE),
    "OpenLIT": Peer(("openlit",)),
    "LiteLLM's `otel`": Peer((), REQUEST_SPAN, REQUEST_SPAN),
}


class Counter(SpanProcessor):
    """Does nothing but count."""

    spans = 0

    def on_end(self, span: ReadableSpan) -> None:
        self.spans += 1


def switch_on(name: str, counter: Counter, *, content: bool) -> None:
    """Instrument LiteLLM as the peer's documentation says."""
    if name == "Logfire":
        import logfire

        logfire.configure(send_to_logfire=False, console=False, additional_span_processors=[counter])
        logfire.instrument_litellm()
        return
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(counter)
    trace.set_tracer_provider(provider)
    if name == "callspan":
        import callspan

        callspan.instrument()
    elif name in ("Traceloop", "OpenInference"):
        entry_points = metadata.entry_points(group="opentelemetry_instrumentor", name="litellm")
        next(iter(entry_points)).load()().instrument()
    elif name == "OpenLIT":
        import openlit

        prices = Path(sys.prefix, "prices.json")  # it would fetch them
        prices.write_text('{"chat": {"gpt-4o-mini": {"promptPrice": 0.00015, "completionPrice": 0.0006}}}')
        quiet = {"disable_metrics": True, "disable_events": True, "pricing_json": str(prices)}
        openlit.init(capture_message_content=content, **quiet)
    elif name.startswith("LiteLLM"):
        import litellm

        litellm.turn_off_message_logging = not content
        litellm.callbacks = ["otel"]


class Watch:
    """Takes time in units of what a reference takes at the same moment.

    Attributes:
        laps: what has been timed, in units.
        unit_ns: the unit of the last lap, in nanoseconds.
    """

    def __init__(self) -> None:
        self.laps: list[float] = []
        self._start = self.unit_ns = 0

    def start(self) -> None:
        """Look how fast the machine is, and start."""
        before = time.perf_counter_ns()
        for _ in range(3):
            json.loads(json.dumps(copy.deepcopy(REFERENCE)))
        self._start = time.perf_counter_ns()
        self.unit_ns = self._start - before

    def stop(self) -> None:
        """End a lap."""
        self.laps.append((time.perf_counter_ns() - self._start) / self.unit_ns)

    def count(self, chunks: int) -> int:
        """Count a chunk, and begin another lap now and then."""
        if chunks % CHUNKS_A_LAP == CHUNKS_A_LAP - 1:
            self.stop()
            self.start()
        return chunks + 1

    def total(self) -> float:
        """All laps; for those in the middle of a stream, which are alike, their median."""
        first, *middle, last = self.laps if len(self.laps) > 1 else (0.0, *self.laps)
        return first + last + len(middle) * (statistics.median(middle) if middle else 0)


Call = Callable[[Watch], Coroutine[Any, Any, int]]


def calls() -> dict[str, Call]:
    """What is measured: each returns its chunks, or one. The synchronous ones wait for nothing, and need no loop."""
    import litellm

    litellm.disable_streaming_logging = True

    async def sync(_watch: Watch) -> int:
        return bool(litellm.completion(**SHORT))

    async def async_(_watch: Watch) -> int:
        return bool(await litellm.acompletion(**SHORT))

    async def stream(watch: Watch) -> int:
        chunks = 0
        for _ in litellm.completion(**LONG):
            chunks = watch.count(chunks)
        return chunks

    async def astream(watch: Watch) -> int:
        chunks = 0
        async for _ in await litellm.acompletion(**LONG):
            chunks = watch.count(chunks)
        return chunks

    return {"sync": sync, "async": async_, "stream": stream, "astream": astream}


def by_hand(call: Call) -> Call:
    """The floor."""
    tracer = trace.get_tracer("floor")

    async def wrapped(watch: Watch) -> int:
        with tracer.start_as_current_span("chat gpt-4o-mini") as span:
            chunks = await call(watch)
            for name, value in FIFTEEN.items():
                span.set_attribute(name, value)
        return chunks

    return wrapped


async def settle(*, in_loop: bool) -> None:
    """Wait until what the process does in the background is done: it uses next to no CPU time."""
    looks = [time.process_time()]
    while len(looks) < 3 or (looks[-1] - looks[-3] > 0.0003 and len(looks) < 1000):
        await asyncio.sleep(0.001) if in_loop else time.sleep(0.001)  # noqa: ASYNC251
        looks.append(time.process_time())


async def measure(kind: str, call: Call, counter: Counter) -> Figures:
    """Make a block of calls: medians, a chunk, in units of the reference, and spans a call."""
    taken: list[tuple[float, float, float]] = []
    spans = counter.spans
    for _ in range(WARM_UP[kind] + BLOCKS[kind]):
        watch = Watch()
        watch.start()
        cpu = time.process_time_ns()
        chunks = await call(watch)
        watch.stop()
        await settle(in_loop=kind.startswith("a"))
        cpu = time.process_time_ns() - cpu
        taken.append((watch.total() / chunks, cpu / watch.unit_ns / chunks, watch.unit_ns / 1000))
    wall, cpus, units = map(statistics.median, zip(*taken[WARM_UP[kind] :], strict=True))
    return {"wall": wall, "cpu": cpus, "unit": units, "spans": (counter.spans - spans) / len(taken)}


def outside_a_loop(coroutine: Coroutine[Any, Any, Figures]) -> Figures:
    """Run what waits for nothing, as a synchronous program does: LiteLLM looks for a running loop."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError


def serve(name: str, *, content: bool) -> Iterator[dict[str, Any]]:
    """Yield which versions there are, and figures for each line of the input, which names a kind of call."""
    counter, loop = Counter(), asyncio.new_event_loop()
    switch_on(name, counter, content=content)
    ways = {kind: by_hand(call) if name == "floor" else call for kind, call in calls().items()}
    home = Path(sys.prefix).name.rpartition("-")[0]

    def block(kind: str) -> Figures:
        coroutine = measure(kind, ways[kind], counter)
        return loop.run_until_complete(coroutine) if kind.startswith("a") else outside_a_loop(coroutine)

    for kind in ways:
        block(kind)  # the first calls load what LiteLLM loads late
    yield {package: metadata.version(package) for package in (home, "openai", "opentelemetry-sdk")}
    gc.freeze()
    for kind in map(str.strip, sys.stdin):
        gc.collect()
        gc.disable()
        figures = block(kind)
        gc.enable()
        yield figures


def work(name: str, *, content: bool) -> None:
    """Be the process of a peer."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a peer prints is no answer
    try:
        for answer in serve(name, content=content):
            print(json.dumps(answer), file=answers)
    except Exception as error:  # noqa: BLE001  whatever it is, it is the reason why the peer cannot be measured
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=answers)


def python_of(peer: Peer, litellm: str) -> Path:
    """Make the peer's environment unless it is there, and return its interpreter."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "callspan")
    directory = Path(os.environ.get("CALLSPAN_CACHE_DIR") or cache, "peers", f"{peer.home}-{litellm}")
    python, made, overrides = directory / "bin" / "python", directory / "made", directory / "overrides.txt"
    if made.exists():
        return python
    shutil.rmtree(directory, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", directory], check=True)
    overrides.write_text("certifi\n")  # LiteLLM can ask for a newer one than there is
    install: list[Any] = [python, "-m", "pip", "install"]
    if (uv := Path(sys.executable).with_name("uv")).exists():
        install = [uv, "pip", "install", "--compile-bytecode", "--override", overrides, "--python", python]
    packages = peer.packages[1:] if "-e" in peer.packages else peer.packages
    command = [*install, "--quiet", f"litellm=={litellm}", "mcp", "opentelemetry-sdk", *packages]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"cannot be installed: {' '.join(done.stderr.split())}")
    made.touch()
    return python


class Worker:
    """A process of a peer, or a plain one, and what has been measured in it."""

    def __init__(self, name: str, python: Path, *, content: bool = False, plain: "Worker | None" = None) -> None:
        self.name, self.plain = name, plain or self
        self.figures: dict[str, list[Figures]] = {kind: [] for kind in BLOCKS}
        kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        variables = PEERS[name].on if content else PEERS[name].off
        self._process = subprocess.Popen(
            [python, __file__, "--work", name, "on" if content else "off"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=kept | EVERYWHERE | (variables or {}),
        )
        self.versions: dict[str, str] = self._answer()

    def run(self, kind: str) -> None:
        """Have it make a block of calls."""
        print(kind, file=self._process.stdin, flush=True)
        self.figures[kind].append(self._answer())

    def of(self, kind: str, what: str) -> list[float]:
        """What it has taken, or recorded, in each round."""
        return [figures[what] for figures in self.figures[kind]]

    def added(self, kind: str, what: str) -> list[float]:
        """What it takes more than the plain one, in each round."""
        return [mine - its for mine, its in zip(self.of(kind, what), self.plain.of(kind, what), strict=True)]

    def spans(self) -> str:
        """How many it has recorded for a call, for each kind where they differ."""
        counts = [f"{statistics.mean(self.of(kind, 'spans')):.3g}" for kind in BLOCKS]
        return counts[0] if len(set(counts)) == 1 else ", ".join(counts)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer = json.loads(self._process.stdout.readline() or '{"error": "its process died"}')
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


def start(litellm: str) -> tuple[list[Worker], dict[str, str]]:
    """Start all processes. Returns them, and why peers have none."""
    plain: dict[str, Worker] = {}
    workers: list[Worker] = []
    failed: dict[str, str] = {}
    for name, peer in PEERS.items():
        try:
            python = python_of(peer, litellm)
            base = plain[peer.home] = plain.get(peer.home) or Worker("plain", python)
            contents = [False] if name == "floor" else [False, True] if name != "plain" else []
            workers += [Worker(name, python, content=content, plain=base) for content in contents]
        except (RuntimeError, OSError) as error:
            failed[name] = str(error)
    return [*plain.values(), *workers], failed


def take_turns(workers: list[Worker], rounds: int, failed: dict[str, str]) -> None:
    """Have each make a block of each kind of call in each round, except those that have failed."""
    for number in range(rounds):
        for kind in BLOCKS:
            for worker in random.sample(workers, len(workers)):
                try:
                    if worker.name not in failed:
                        worker.run(kind)
                except (RuntimeError, OSError) as error:
                    failed[worker.name] = str(error)
        if needed := failed.keys() & {"plain", "floor"}:
            sys.exit(f"nothing to compare with: {failed[needed.pop()]}")
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)


def tell(workers: list[Worker], failed: dict[str, str]) -> None:
    """Print the table: medians, half the interquartile range, and of calls the ratio to the floor."""
    plain = [worker for worker in workers if worker.name == "plain"]
    floor = next(worker for worker in workers if worker.name == "floor")
    unit = statistics.median(us for worker in plain for kind in BLOCKS for us in worker.of(kind, "unit"))

    def cell(worker: Worker, kind: str, what: str) -> str:
        low, median, high = (unit * added for added in statistics.quantiles(worker.added(kind, what), n=4))
        if kind.endswith("stream"):
            return f"{median:.1f} ± {(high - low) / 2:.1f}"
        ratio = median / unit / statistics.median(floor.added(kind, what))
        return f"{median:.0f} ± {(high - low) / 2:.0f}, {ratio:.1f}x"

    alone = [[unit * statistics.median(one.of(*column)) for one in plain] for column in COLUMNS.values()]
    rows = [["µs added, content off / on", "spans a call", *COLUMNS], ["---"] * (2 + len(COLUMNS))]
    rows.append(["LiteLLM alone, in each environment", "0", *(f"{min(us):.0f} to {max(us):.0f}" for us in alone)])
    for name, peer in PEERS.items():
        peers = [worker for worker in workers if worker.name == name != "plain"]
        if name in failed:
            rows.append([name, failed[name], *[""] * len(COLUMNS)])
        elif peers:
            title = f"{name} {peers[0].versions[peer.home]}" if peer.packages else name
            cells = [" / ".join(cell(worker, *column) for worker in peers) for column in COLUMNS.values()]
            rows.append([title, " / ".join(dict.fromkeys(worker.spans() for worker in peers)), *cells])
    print("", *(f"| {' | '.join(row)} |" for row in rows), "", sep="\n")
    for worker in plain:
        print(", ".join(f"{package} {version}" for package, version in worker.versions.items()))


def main() -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--litellm", default=metadata.version("litellm"), help="its version in all environments")
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work[0], content=arguments.work[1] == "on")
        return
    workers, failed = start(arguments.litellm)
    take_turns(workers, arguments.rounds, failed)
    tell(workers, failed)


if __name__ == "__main__":
    main()
