"""``callspan show``: what the command takes, reads and prints."""

import argparse
import io
import sys
from typing import Final

from rich.console import Console

from callspan_exporters._commands.spool import NoSpoolError, add_spool_argument, chosen_spool, complain
from callspan_exporters._show.document import write_json
from callspan_exporters._show.labels import printable
from callspan_exporters._show.traces import StoredTrace, collect
from callspan_exporters._show.tree import trace_tree
from callspan_exporters._spool import read_refusals, read_spans

HELP: Final = "show the traces in the spool, newest first"

_DEFAULT_LAST: Final = 20
# Piped, a line is as long as it is, so that grep finds what belongs together.
_ENDLESS: Final = 1_000_000

_NOTHING: Final = """\
No spans in the spool ({directory}).

To make some, run a program that calls LiteLLM under callspan:

    opentelemetry-instrument python your_program.py

Spans that were delivered leave the spool: look for those where they were sent, by default to the OpenTelemetry
Collector at OTEL_EXPORTER_OTLP_ENDPOINT. With CALLSPAN_SPOOL=off nothing is kept here.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what ``callspan show`` takes."""
    parser.add_argument("--json", action="store_true", help="one JSON document, all traces unless --last is given")
    add_spool_argument(parser)
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--last", type=_count, metavar="N", help=f"the newest N traces (default: {_DEFAULT_LAST})")
    amount.add_argument("--all", action="store_true", help="every trace in the spool")


def run(arguments: argparse.Namespace) -> int:
    """Show the spool; return the exit code: 0, or 2 for a spool that cannot be read."""
    try:
        directory, present = chosen_spool(arguments)
    except NoSpoolError as error:
        complain(str(error))
        return 2
    traces, unreadable = collect(read_spans(directory), read_refusals(directory)) if present else ([], 0)
    last: int | None = arguments.last
    if last is None and not arguments.json and not arguments.all:
        last = _DEFAULT_LAST
    if arguments.json:
        sys.stdout.writelines(write_json(trace.read() for trace in traces[:last]))
    elif traces:
        _print_trees(traces, last)
    else:
        sys.stdout.write(_NOTHING.format(directory=printable(str(directory))))
    if unreadable:
        complain(f"{unreadable} spans in the spool are not OTLP and are not shown")
    return 0


def _print_trees(traces: list[StoredTrace], last: int | None) -> None:
    """Print traces to the terminal, or as plain text with lines of any length to anything else."""
    on_terminal = sys.stdout.isatty()
    # Not on stdout, which it would flush: rich's way to meet a closed pipe is an exit code of its own.
    console = Console(
        file=io.StringIO(),
        force_terminal=on_terminal,
        highlight=False,
        soft_wrap=False,
        width=None if on_terminal else _ENDLESS,
    )
    for index, trace in enumerate(traces[:last]):
        with console.capture() as capture:
            if index:
                console.print()
            console.print(trace_tree(trace.read(), console.width))
        sys.stdout.write(capture.get())
    if last is not None and len(traces) > last:
        sys.stdout.write(f"\n{len(traces) - last} older traces: --last N or --all shows more\n")


def _count(argument: str) -> int:
    """Return how many traces are asked for."""
    number = int(argument)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number
