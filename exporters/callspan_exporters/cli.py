"""The ``callspan`` command."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from callspan_exporters._commands import drain, status
from callspan_exporters._show import command as show

_BROKEN_PIPE: Final = 141  # what a shell reports of a program that SIGPIPE ended
_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class _Command:
    """A sub-command: what it is for, what it takes, and what it does, returning the exit code."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


_COMMANDS: Final = {
    "show": _Command(show.HELP, show.add_arguments, show.run),
    "status": _Command(status.HELP, status.add_arguments, status.run),
    "drain": _Command(drain.HELP, drain.add_arguments, drain.run),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what follows its name on the command line; that of this process if not given.

    Returns:
        The exit code.

    Raises:
        SystemExit: the arguments ask for help or the version, or cannot be understood.
    """
    chosen = _parser().parse_args(arguments)
    _make_output_safe()
    try:
        code = _COMMANDS[chosen.command].run(chosen)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more as it exits, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="callspan", description="What became of your LLM calls' spans.")
    parser.add_argument("--version", action="version", version=f"callspan {version('callspan')}")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, command in _COMMANDS.items():
        command.add_arguments(commands.add_parser(name, help=command.help, description=command.help))
    return parser


def _make_output_safe() -> None:
    """Have characters escaped that the terminal's encoding lacks, instead of raising for them."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
