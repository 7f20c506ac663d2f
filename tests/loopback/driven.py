"""A program that does one thing after the other as it is told, so that a test can look at what is around it between."""

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from loopback.processes import start_python

_PROGRAM = """
import os, signal, socket, sys, time
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
commands = connection.makefile("rw")
{prelude}
for line in commands:
    answer = None
    exec(line.encode().decode("unicode_escape"))
    commands.write(repr(answer) + "\\n")
    commands.flush()
"""

DELIVERY = """
from callspan_exporters import ensure_delivery
assert ensure_delivery()
from opentelemetry import trace
provider = trace.get_tracer_provider()
tracer = trace.get_tracer("app")

def spans(count, prefix=""):
    for number in range(count):
        tracer.start_span(f"{prefix}{number}").end()
"""
"""Makes ready what most programs need: `provider`, and `spans(count, prefix)` that end at once."""


@dataclass
class Driven:
    """A running program.

    Attributes:
        process: its process.
        said: lines of what it has printed on stderr, all of them once it has ended.
    """

    process: subprocess.Popen[str]
    connection: socket.socket
    commands: Any
    said: list[str] = field(default_factory=list)

    def do(self, command: str) -> Any:
        """Has it run some lines of Python, and returns what is in `answer` then."""
        self.commands.write(command.encode("unicode_escape").decode() + "\n")
        self.commands.flush()
        line = self.commands.readline()
        assert line, f"it has ended:\n{''.join(self.said)}"
        return eval(line)

    def end(self, timeout: float = 60.0) -> int:
        """Has it end as programs do, and returns its exit status."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """Ends it by SIGKILL."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(60)

    @property
    def warnings(self) -> list[str]:
        """What it has said of destinations that do not take spans, or take them again."""
        return [line for line in self.said if "does not take" in line or "takes spans again" in line]


@contextlib.contextmanager
def driven(
    prelude: str = DELIVERY, *, env: Mapping[str, str | None] | None = None, auto_instrument: bool = False
) -> Iterator[Driven]:
    """Runs a program while the `with` block does.

    Args:
        prelude: what it does first.
        env: what to change in its environment.
        auto_instrument: runs it under `opentelemetry-instrument`.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        start_python(
            _PROGRAM.format(prelude=prelude),
            arguments=[str(listener.getsockname()[1])],
            env=env,
            auto_instrument=auto_instrument,
        ) as process,
    ):
        listener.settimeout(60)
        connection, _ = listener.accept()
        with connection, connection.makefile("rw") as commands:
            running = Driven(process, connection, commands)
            assert process.stderr is not None
            reading = threading.Thread(target=lambda: running.said.extend(process.stderr or ()), daemon=True)
            reading.start()
            yield running
            running.end()
        reading.join(10)
