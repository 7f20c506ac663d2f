"""Arize Phoenix on this machine, and in its page the LLM calls of a program.

    pip install -e '.[litellm]' arize-phoenix
    python examples/phoenix                         # calls.py beside this file, which needs no key
    python examples/phoenix my_program.py --or that # or a program of yours

It prints the address, and stays until Ctrl-C. What Phoenix has seen is kept for the next time, in a folder of its own.
The program runs as it would elsewhere, under `opentelemetry-instrument`; all that it is told is in `environment()`.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

CALLS = Path(__file__).with_name("calls.py")
PROJECT = "callspan"
STATE = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")


def environment(address: str) -> dict[str, str]:
    """What a program has to be told for its calls to be in Phoenix, with what was said and answered."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PHOENIX_")}
    return {
        **others,
        "CALLSPAN_DESTINATIONS": "phoenix",
        "PHOENIX_COLLECTOR_ENDPOINT": address,
        "PHOENIX_PROJECT_NAME": PROJECT,
        "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY",
    }


@contextlib.contextmanager
def phoenix(address: str, port: int, data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run Phoenix while the `with` block does."""
    settings = {
        "PHOENIX_WORKING_DIR": str(data),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": "0",  # any: it opens one, which may be a collector's
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }
    with (data / "phoenix.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "phoenix.server.main", "serve"],
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us
        )
    try:
        while not in_service(address):
            if process.poll() is not None:
                sys.exit(f"Phoenix did not start: {log.name} says why\n{Path(log.name).read_text()[-1000:]}")
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait()


def in_service(address: str) -> bool:
    """Whether Phoenix answers."""
    try:
        return httpx.get(f"{address}/healthz", trust_env=False).is_success
    except httpx.TransportError:
        return False


def free_port(port: int) -> int:
    """Return the port if nothing listens there; for 0, any such port."""
    try:
        with socket.create_server(("127.0.0.1", port)) as server:
            return server.getsockname()[1]
    except OSError as error:
        sys.exit(f"port {port} is not free ({error.strerror}); --port takes another")


def main() -> None:
    """Start Phoenix, run the program, and stay."""
    parser = argparse.ArgumentParser(prog="python examples/phoenix", description="A program's LLM calls in Phoenix.")
    parser.add_argument("--port", type=int, default=6006, help="of Phoenix's page, by default %(default)s; 0 for any")
    parser.add_argument("--data", type=Path, default=STATE / "callspan/phoenix", help="folder for what Phoenix keeps")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="a Python program and its arguments")
    given = parser.parse_args()
    given.data.mkdir(parents=True, exist_ok=True)
    port = free_port(given.port)
    address = f"http://127.0.0.1:{port}"
    print("Phoenix starts. The first time takes longer.", flush=True)
    with contextlib.suppress(KeyboardInterrupt), phoenix(address, port, given.data) as process:
        instrument = Path(sys.executable).with_name("opentelemetry-instrument")
        program = [instrument, "--", sys.executable, *(given.program or [CALLS])]
        subprocess.run(program, env=environment(address), check=False)  # noqa: S603  # the user's own
        print(f"\nLook at {address}/redirects/projects/{PROJECT}\nCtrl-C ends Phoenix.", flush=True)
        process.wait()
        sys.exit(f"Phoenix has ended; {given.data / 'phoenix.log'} may say why")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # Phoenix ends with it, as with Ctrl-C
    main()
