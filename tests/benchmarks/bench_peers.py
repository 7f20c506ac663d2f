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

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from peer_process import BLOCKS, Figures

ROOT = Path(__file__).parents[2]
PROCESS = Path(__file__).with_name("peer_process.py")
COLUMNS = {
    "sync": ("sync", "wall"),
    "async": ("async", "wall"),
    "sync stream, a chunk": ("stream", "wall"),
    "async stream, a chunk": ("astream", "wall"),
    "CPU sync": ("sync", "cpu"),
    "CPU async": ("async", "cpu"),
}
EVERYWHERE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "CALLSPAN_DESTINATIONS": "none", "PYTHONHASHSEED": "0"}
EVERYWHERE |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
FOREIGN = ("OTEL_", "CALLSPAN_", "LITELLM_", "TRACELOOP_", "OPENINFERENCE_", "LOGFIRE_", "OPENLIT_")


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
            [python, PROCESS, name, "on" if content else "off"],
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
    arguments = parser.parse_args()
    workers, failed = start(arguments.litellm)
    take_turns(workers, arguments.rounds, failed)
    tell(workers, failed)


if __name__ == "__main__":
    main()
