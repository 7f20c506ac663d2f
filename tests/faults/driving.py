"""A program of the fault matrix as the test sees it: what it says, what it has ended, how and when it goes."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).resolve().parent.parent
PYTHON: Final = sys.executable
_FOREIGN: Final = ("OTEL_", "CALLSPAN_", "FAULTS_", "GUNICORN_", "PYTHONPATH")
_LINE: Final = re.compile(r"^(.*);$", re.MULTILINE)

# Programs inherit what is ignored, as of who was started in the background or by nohup.
for _signal, _default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_signal) is signal.SIG_IGN:
        signal.signal(_signal, _default)


class Program:
    """A running program, with its children, in a process group of its own.

    Attributes:
        hung: it had to be killed, or something that it started was still there after it had gone.
        exit_s: seconds from when it began to leave, or was told to, until it was gone.
    """

    def __init__(self, command: Sequence[str], work: Path, env: Mapping[str, str]) -> None:
        self.work = work
        self.lines: list[str] = []
        self.hung = False
        self.told_at: float | None = None
        self.gone_at: float | None = None
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            errors="replace",
            env=dict(env),
            cwd=work,
            start_new_session=True,
        )
        self._threads = [threading.Thread(target=do, daemon=True) for do in (self._read, self._await_end)]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """The program's process id, which is that of its group as well."""
        return self.process.pid

    @property
    def output(self) -> str:
        """What it has printed."""
        return "".join(self.lines)

    @property
    def exit_s(self) -> float | None:
        """Seconds from when it began to leave, or was told to, until it was gone."""
        said = self.work / "left"
        left_at = self.told_at if self.told_at is not None or not said.exists() else float(said.read_text())
        return None if left_at is None or self.gone_at is None else max(0.0, self.gone_at - left_at)

    def hear(self, pattern: str, timeout: float = 30.0) -> re.Match[str]:
        """Waits until it has printed a line in which there is such a thing.

        Raises:
            AssertionError: it did not, in time or before it ended.
        """

        def found() -> re.Match[str] | None:
            return next((match for line in self.lines if (match := re.search(pattern, line))), None)

        with self._changed:
            self._changed.wait_for(lambda: found() or self.gone_at is not None, timeout)
        match = found()
        assert match is not None, f"never said {pattern!r}:\n{self.output}"
        return match

    def wait_for(self, holds: Callable[[], bool], timeout: float = 60.0) -> bool:
        """Waits for a condition while it runs; returns whether it came true."""
        return wait_until(lambda: holds() or self.gone_at is not None, timeout) and holds()

    def say(self, word: str) -> None:
        """Lets it go on where it waits for this word."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()

    def signal(self, number: int) -> None:
        """Sends it a signal that makes it leave."""
        self.told_at = time.monotonic()
        self.process.send_signal(number)

    def finish(self, timeout: float) -> None:
        """Waits for its end, and for that of all that it started; what does not end is killed, and has hung."""
        self._threads[1].join(timeout)
        if self.gone_at is None:
            self.hung = True
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGABRT)  # faulthandler says where it hung
            self._threads[1].join(5)
        if not wait_until(lambda: not living(self.pid), 10):
            self.hung = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    def _await_end(self) -> None:
        self.process.wait()
        with self._changed:
            self.gone_at = time.monotonic()
            self._changed.notify_all()


def environment(work: Path, delivery: str, endpoint: str, changes: Mapping[str, str]) -> dict[str, str]:
    """The environment of a program: that of the test without what would change the outcome."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    paths = [str(work), str(TESTS), *filter(None, [os.environ.get("FAULTS_PYTHONPATH")])]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONFAULTHANDLER": "1",
        "NO_PROXY": "127.0.0.1,localhost",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "CALLSPAN_SPOOL_DIR": str(work / "spool"),
        "FAULTS_WORK": str(work),
        "FAULTS_DELIVERY": delivery,
        **changes,
    }


def write_program(work: Path, source: str) -> Path:
    """Puts a program where it can be run by its path, imported as `program`, and started anew by multiprocessing."""
    path = work / "program.py"
    path.write_text(textwrap.dedent(source))
    return path


def names_ended(work: Path) -> set[str]:
    """Reads the names of the spans whose `end()` had returned."""
    path = work / "ended"
    return set(_LINE.findall(path.read_text())) if path.exists() else set()


def wait_until(holds: Callable[[], object], timeout: float) -> bool:
    """Waits for a condition; returns whether it came true."""
    deadline = time.monotonic() + timeout
    while not holds():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
    return True


def living(group: int) -> list[int]:
    """Lists the processes of a group that have not ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                state, _, its_group = entry.joinpath("stat").read_text().rpartition(")")[2].split()[:3]
                if int(its_group) == group and state not in "ZX":
                    found.append(int(entry.name))
    return found
