"""Which spool a command is about, and how it refuses one that cannot be read."""

import argparse
import os
import sys
from pathlib import Path

from callspan_exporters._show.labels import printable
from callspan_exporters._spool import spool_directory
from callspan_exporters.environment_variables import CALLSPAN_SPOOL_DIR


class NoSpoolError(Exception):
    """The spool cannot be read; says why, and which setting to mend."""


def add_spool_argument(parser: argparse.ArgumentParser) -> None:
    """Have a command take ``--spool``."""
    parser.add_argument("--spool", type=Path, metavar="DIR", help=f"the spool (default: ${CALLSPAN_SPOOL_DIR})")


def chosen_spool(arguments: argparse.Namespace) -> tuple[Path, bool]:
    """Return the spool that a command is about, and whether it is there: where nobody named one, none yet is no error.

    Raises:
        NoSpoolError: it cannot be read.
    """
    chosen: Path | None = arguments.spool
    try:
        directory = chosen.expanduser().absolute() if chosen else spool_directory()
        return directory, _present(directory, needed=chosen is not None or bool(os.environ.get(CALLSPAN_SPOOL_DIR)))
    except (OSError, RuntimeError) as error:
        setting = "--spool" if chosen else CALLSPAN_SPOOL_DIR
        reason = error.strerror or error if isinstance(error, OSError) else error
        where = f" {printable(str(error.filename))}" if isinstance(error, OSError) and error.filename else ""
        raise NoSpoolError(
            f"cannot read the spool{where}: {reason}; set {setting} to the directory that the program writes to"
        ) from error


def complain(message: str) -> None:
    """Say on stderr what is wrong, after all that was said on stdout."""
    sys.stdout.flush()
    sys.stderr.write(f"callspan: {message}\n")


def _present(directory: Path, *, needed: bool) -> bool:
    try:
        os.scandir(directory).close()
    except FileNotFoundError:
        if needed:
            raise
        return False
    return True
