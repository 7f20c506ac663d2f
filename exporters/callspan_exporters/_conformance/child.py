"""A destination in a process of its own: what it is called there, what it imports too late, whether it survives a fork.

Run with a description in JSON; prints what was found in JSON as its last line.
"""

import faulthandler
import importlib
import importlib.util
import json
import operator
import os
import queue
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from callspan_exporters._conformance.spans import some_spans
from callspan_exporters._outcome import Destination

_HERE: Final = "127.0.0.1,localhost"
_TIMEOUT_S: Final = 20.0
_PATIENCE_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in the other process.

    Attributes:
        identity: of the destination.
        imported: the modules that were imported by connecting and sending.
        sent: the verdict on a batch, by name.
        forked: that on another, in a forked child.
    """

    identity: str
    imported: list[str]
    sent: str
    forked: str


def in_another_process(test: type, url: str) -> Found:
    """Have the destination of a test class made and used in a new process.

    Args:
        test: the class, which can be called without arguments.
        url: what its ``destination`` is given.
    """
    about = {
        "module": test.__module__,
        "file": str(getattr(sys.modules[test.__module__], "__file__", "")),
        "name": test.__qualname__,
        "url": url,
    }
    path = os.pathsep.join(entry for entry in sys.path if entry)
    output = _output_of([sys.executable, "-m", __name__, json.dumps(about)], path)
    return Found(**json.loads(output.splitlines()[-1]))


def _output_of(command: list[str], path: str) -> str:
    process = subprocess.Popen(  # noqa: S603  our own module
        command,
        env={**os.environ, "PYTHONPATH": path, "NO_PROXY": _HERE, "no_proxy": _HERE},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            out, err = process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # those that it forked too; faulthandler says where they hang
            out, err = process.communicate()
            raise AssertionError(f"the destination hangs in a process of its own, or in its child:\n{err}") from None
    if process.returncode:
        raise AssertionError(f"the destination failed in a process of its own:\n{out}\n{err}")
    return out


def _loaded(about: dict[str, str]) -> type:
    try:
        module = importlib.import_module(about["module"])
    except ImportError:  # pytest has names of its own for test modules
        spec = importlib.util.spec_from_file_location(about["module"], about["file"])
        assert spec is not None  # noqa: S101  for the type checker: it is a file
        assert spec.loader is not None  # noqa: S101
        module = sys.modules[about["module"]] = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(Path(about["file"]).parent))
        spec.loader.exec_module(module)
    return operator.attrgetter(about["name"])(module)


def _in_thread(work: Callable[[], str]) -> str:
    """Return what is done in a thread, which then waits: a thread that ends at a fork may hold locks of OpenSSL's."""
    results: queue.SimpleQueue[str] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(work())
        except BaseException:  # noqa: BLE001  whatever it is, it was promised not to be
            results.put(f"it raised\n{traceback.format_exc()}")
        threading.Event().wait()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        return results.get(timeout=_TIMEOUT_S * 2)
    except queue.Empty:
        frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return f"it has not returned\n{''.join(traceback.format_stack(frame))}"


def _sent(destination: Destination) -> str:
    transport = destination.connect()
    try:
        return transport.send(some_spans(2), _TIMEOUT_S).verdict.name
    finally:
        transport.close()


def _sent_in_child(destination: Destination) -> str:
    reading, writing = os.pipe()
    if not os.fork():
        try:
            os.write(writing, _in_thread(lambda: _sent(destination)).encode())
        except BaseException:  # noqa: BLE001  the child must not go on as its parent
            traceback.print_exc()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        return answer.read()


def main(about: dict[str, Any]) -> None:
    """Look, and print what was found."""
    faulthandler.enable()
    destination: Destination = _loaded(about)().destination(about["url"])
    known = set(sys.modules)
    sent = _in_thread(lambda: _sent(destination))
    imported = sorted(set(sys.modules) - known)
    found = Found(destination.identity, imported, sent, _sent_in_child(destination))
    sys.stdout.write("\n" + json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
