"""examples/phoenix in a process of its own, as a user starts it and ends it."""

import contextlib
import importlib.metadata
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

EXAMPLE = Path(__file__).parents[3] / "examples/phoenix"
CALLS = EXAMPLE / "calls.py"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0


def absent() -> str | None:
    """What is missing of Phoenix, or None."""
    try:
        importlib.metadata.version("arize-phoenix")
    except importlib.metadata.PackageNotFoundError:
        return "pip install arize-phoenix"
    return None


@contextlib.contextmanager
def phoenix_example(directory: Path) -> Iterator[str]:
    """Runs the example while the `with` block does, and gives the address of its page; then Ctrl-C ends it.

    Args:
        directory: an empty directory, for the data of Phoenix and what the example prints.
    """
    output = directory / "output"
    process = _start(directory, output)
    try:
        address = _address(process, output)
        yield address
        _end(process, output, address)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_TIMEOUT_S)


def _start(directory: Path, output: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    theirs = {"PHOENIX_COLLECTOR_HTTP_ENDPOINT": "http://127.0.0.1:9", "PHOENIX_PROJECT": "of-another-phoenix"}
    # What a shell starts in the background ignores Ctrl-C, and so do its children; a user's terminal does not do that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with output.open("wb") as file:
            return subprocess.Popen(
                [sys.executable, str(EXAMPLE), "--port", "0"],
                env={**environment, **theirs, "XDG_STATE_HOME": str(directory), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    finally:
        signal.signal(signal.SIGINT, before)


def server(address: str) -> str:
    """The address of Phoenix, without the path of what is to be looked at."""
    return address.partition("/redirects")[0]


def told(address: str, project: str) -> dict[str, str]:
    """What a program is told, as the example tells it, for its calls to be in a project of the Phoenix that runs."""
    return {
        "CALLSPAN_DESTINATIONS": "phoenix",
        "PHOENIX_COLLECTOR_ENDPOINT": server(address),
        "PHOENIX_PROJECT_NAME": project,
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
    }


def told_by_otlp(address: str, project: str) -> dict[str, str]:
    """The same in OpenTelemetry's own variables."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": server(address),
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-project-name={quote(project)}",
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
    }


def _address(process: subprocess.Popen[bytes], output: Path) -> str:
    """Waits until the example says where to look."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        lines = output.read_text().splitlines()
        if "Ctrl-C ends Phoenix." in lines:
            [line] = [line for line in lines if line.startswith("Look at ")]
            return line.removeprefix("Look at ")
        time.sleep(0.1)
    raise AssertionError(f"the example did not start Phoenix:\n{output.read_text()}")


def _end(process: subprocess.Popen[bytes], output: Path, address: str) -> None:
    """Presses Ctrl-C: the example ends well, and Phoenix with it."""
    process.send_signal(signal.SIGINT)
    status = process.wait(STOP_TIMEOUT_S)
    assert status == 0, f"exit status {status}:\n{output.read_text()}"
    url = urlsplit(address)
    with socket.socket() as client:
        assert client.connect_ex((url.hostname, url.port)) != 0, "Phoenix still listens"
