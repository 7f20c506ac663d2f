"""Child processes: programs run as a user runs them, with what they printed kept."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

SCRIPTS = Path(sys.executable).parent


def command(program: str | Path, *, auto_instrument: bool = False, arguments: Sequence[str] = ()) -> list[str]:
    """The command line that runs a program: a path, or the source itself.

    Args:
        program: what to run; a string is source code, dedented.
        auto_instrument: puts `opentelemetry-instrument` of the running environment in front.
        arguments: what the program finds in `sys.argv`.
    """
    run = [str(program)] if isinstance(program, Path) else ["-c", textwrap.dedent(program)]
    launcher = [str(SCRIPTS / "opentelemetry-instrument")] if auto_instrument else []
    return [*launcher, sys.executable, *run, *arguments]


def environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """The environment of a child: the test's own, changed; None takes a variable away."""
    changed = {**os.environ, "PYTHONFAULTHANDLER": "1", **(changes or {})}
    return {name: value for name, value in changed.items() if value is not None}


def run_python(
    program: str | Path,
    *,
    env: Mapping[str, str | None] | None = None,
    auto_instrument: bool = False,
    arguments: Sequence[str] = (),
    timeout: float = 60.0,
    check: bool = True,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end.

    Args:
        program: what to run; a string is source code.
        env: what to change in the environment; None takes a variable away.
        auto_instrument: runs it under `opentelemetry-instrument`.
        arguments: what the program finds in `sys.argv`.
        timeout: seconds after which it and its children are killed.
        check: fails the test, with what it printed, when its exit status is not 0.
        cwd: the directory it runs in.
    """
    with start_python(program, env=env, auto_instrument=auto_instrument, arguments=arguments, cwd=cwd) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # faulthandler says where it hung
            out, err = process.communicate()
            raise AssertionError(f"still running after {timeout} s\n{out}\n{err}") from None
    if check and process.returncode:
        raise AssertionError(f"exit status {process.returncode}\n{out}\n{err}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@contextlib.contextmanager
def start_python(
    program: str | Path,
    *,
    env: Mapping[str, str | None] | None = None,
    auto_instrument: bool = False,
    arguments: Sequence[str] = (),
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Runs a program while the `with` block does; then whatever of it and its children still runs is killed."""
    process = subprocess.Popen(
        command(program, auto_instrument=auto_instrument, arguments=arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(env),
        cwd=cwd,
        start_new_session=True,
    )
    try:
        with process:
            try:
                yield process
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    finally:
        process.wait()
