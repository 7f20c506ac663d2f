"""The ``callspan`` command itself: what it takes and how it refuses."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("callspan")


def callspan(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, encoding="utf-8", timeout=60, check=False)


def test_the_version_is_that_of_the_distribution():
    """The command says which version is installed."""
    assert callspan("--version").stdout == f"callspan {version('callspan')}\n"


def test_help_names_every_sub_command():
    """Who asks for help sees what there is to run."""
    done = callspan("--help")
    assert done.returncode == 0
    assert "show the traces in the spool" in done.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["show", "--last", "0"], ["show", "--last", "x"], ["show", "--last", "1", "--all"]]
)
def test_arguments_that_mean_nothing_are_refused(arguments):
    """A mistyped command is a usage message and exit code 2, not a trace of the interpreter."""
    done = callspan(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: callspan")
    assert "Traceback" not in done.stderr
