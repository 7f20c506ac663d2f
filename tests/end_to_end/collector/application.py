"""An application that makes calls without end: run by itself it is the program, imported the process of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider

from callspan_exporters import DurableSpanProcessor
from loopback.processes import SCRIPTS, command, environment, run_python


class Application:
    """The program below as a child process, stopped and started again as the test says.

    Args:
        endpoint: where it sends its spans by OTLP/HTTP.
        directory: where its spool and its ledger are.
    """

    def __init__(self, endpoint: str, directory: Path) -> None:
        directory.mkdir()
        self._ledger = directory / "ledger"
        self._environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "CALLSPAN_SPOOL_DIR": str(directory / "spool"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.stop(signal.SIGKILL)

    @property
    def ended(self) -> list[str]:
        """The ids of the spans whose `end()` has returned."""
        return self._ledger.read_text().split() if self._ledger.exists() else []

    def start(self) -> None:
        """Starts it and waits until it makes calls."""
        before = len(self.ended)
        self._process = subprocess.Popen(
            command(Path(__file__), arguments=[str(self._ledger)]), env=environment(self._environment)
        )
        self.work(1, since=before)

    def work(self, spans: int, since: int | None = None) -> None:
        """Lets it end so many spans more."""
        enough = (len(self.ended) if since is None else since) + spans
        deadline = time.monotonic() + 30
        while len(self.ended) < enough:
            assert self._process is not None
            assert self._process.poll() is None, "the application has ended"
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, by SIGKILL if so told."""
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait(30)
            self._process = None

    def drain(self) -> None:
        """Sends what is left in its spool, as `callspan drain` does from a cron line."""
        run_python(SCRIPTS / "callspan", arguments=["drain", "--timeout", "40"], env=self._environment)


def make_calls(ledger: Path) -> None:
    """Makes calls of an attempt each, and notes the spans once they have ended."""

    def note(spans: Iterable[object]) -> None:
        ids = "".join(f"{span.get_span_context().span_id:016x}\n" for span in spans)
        os.write(notes, ids.encode())

    notes = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    provider = TracerProvider()
    provider.add_span_processor(DurableSpanProcessor(OTLPSpanExporter()))
    tracer = provider.get_tracer("application")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())  # as servers do: what has begun is brought to its end
    while not stopped.wait(0.005):
        with tracer.start_as_current_span("call") as call, tracer.start_as_current_span("attempt") as attempt:
            pass
        note((attempt, call))


if __name__ == "__main__":
    make_calls(Path(sys.argv[1]))
