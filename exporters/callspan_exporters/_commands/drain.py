"""``callspan drain``: sends what processes that died have left, to the destinations of the environment."""

import argparse
import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Final

from callspan_exporters._commands.spool import NoSpoolError, add_spool_argument, chosen_spool, complain
from callspan_exporters._outcome import OF_CALL, OF_CALLBACK
from callspan_exporters._show.labels import printable
from callspan_exporters._spool import read_accounts
from callspan_exporters.environment_variables import CALLSPAN_DESTINATIONS

HELP: Final = "send what is left in the spool; exit code 0 when all of it went, 1 when something is still left"

_DEFAULT_TIMEOUT_S: Final = 60.0
_REDRAW_S: Final = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what ``callspan drain`` takes."""
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=_DEFAULT_TIMEOUT_S,
        metavar="SECONDS",
        help=f"how long to go on trying (default: {_DEFAULT_TIMEOUT_S:g}); with --watch, how long once asked to stop",
    )
    parser.add_argument("--watch", action="store_true", help="go on, also with what is left later, until interrupted")
    add_spool_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Drain the spool.

    Returns:
        The exit code: 0 when nothing is left of processes that died, 1 when something is, 2 for a spool that cannot be
        read or where no destination is configured.
    """
    logging.basicConfig(level=logging.WARNING, format="callspan: %(message)s")
    watch: bool = arguments.watch
    try:
        directory, present = chosen_spool(arguments)
    except NoSpoolError as error:
        complain(str(error))
        return 2
    if not present and not watch:
        sys.stdout.write(f"Nothing was ever stored in the spool ({printable(str(directory))}).\n")
        return 0
    # Not at import: `callspan show` and `status` need neither an SDK nor an HTTP client.
    from callspan_exporters._commands.draining import Draining  # noqa: PLC0415

    draining = Draining.of_environment(directory)
    if draining is None:
        complain(f"there is no destination to send to: {CALLSPAN_DESTINATIONS} names none")
        return 2
    with _stopped_by_signals() as stop, _progress(directory, draining.destinations):
        sent = draining.run(stop, timeout_s=arguments.timeout, watch=watch)
    return _say_what_became(directory, sent, draining.reasons)


@contextlib.contextmanager
def _stopped_by_signals() -> Generator[threading.Event, None, None]:
    """Turn SIGTERM and SIGINT into a wish to stop: as the first process of a container, it would not hear them."""
    stop = threading.Event()

    def wish(_number: int, _frame: object) -> None:
        stop.set()

    before = {number: signal.signal(number, wish) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _progress(directory: Path, destinations: list[str]) -> Generator[None, None, None]:
    """Show on a terminal, while something is done, how many spans are left."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    done = threading.Event()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("spans"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True), transient=True) as bars:
        tasks = {name: bars.add_task(printable(name), total=None) for name in destinations}

        def redraw() -> None:
            while not done.wait(_REDRAW_S):
                for account in read_accounts(directory):
                    if account.destination in tasks:
                        gone = account.accepted - account.pending
                        bars.update(tasks[account.destination], completed=gone, total=account.accepted)

        drawing = threading.Thread(target=redraw, daemon=True)
        drawing.start()
        try:
            yield
        finally:
            done.set()
            drawing.join()


def _say_what_became(directory: Path, sent: dict[str, int], reasons: dict[str, str]) -> int:
    """Say what was sent and what is left; return the exit code."""
    for destination, count in sent.items():
        sys.stdout.write(f"{_spans(count)} sent to {printable(destination)}\n")
    left = 0
    for account in read_accounts(directory):
        destination = printable(account.destination)
        if account.orphaned_segments:
            left += account.pending
            reason = reasons.get(account.destination)
            why = f" ({printable(reason)})" if reason else ""
            if account.destination.startswith(OF_CALLBACK):
                why = ", which a process is handed that registers the callback"
            elif OF_CALL in account.destination:
                why = ", whose key calls carry: a process sends them that makes such a call"
            elif account.destination not in sent:
                why = ", which is not configured here: nothing was sent to it"
            complain(f"{_spans(account.pending)} left for {destination}{why}")
        elif account.pending:
            sys.stdout.write(f"{_spans(account.pending)} for {destination} with processes that live, which send them\n")
    return 1 if left else 0


def _spans(count: int) -> str:
    return f"{count:,} {'span' if count == 1 else 'spans'}"


def _seconds(argument: str) -> float:
    """Return how long to try."""
    seconds = float(argument)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError("a number of seconds")
    return seconds
