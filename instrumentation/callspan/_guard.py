"""The one boundary between telemetry and the application: what fails on our side stops here.

Everything callspan does around a call goes through :func:`guarded`, so that no call site needs a ``try`` of its own
and none of our mistakes can reach the caller (promise 6 of the design).
"""

import functools
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_logger = logging.getLogger("callspan")
_reported: set[str] = set()

P = ParamSpec("P")
R = TypeVar("R")


def guarded(function: Callable[P, R]) -> Callable[P, R | None]:
    """Make ``function`` return ``None`` where it would raise an ``Exception``.

    The first failure of each function is a warning with its traceback, later ones are debug messages: a defect that
    shows at every call must not fill the application's log.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return function(*args, **kwargs)
        except Exception:  # noqa: BLE001  # the boundary itself
            report(function.__qualname__)
            return None

    return run


def report(where: str) -> None:
    """Log the exception being handled, as a warning the first time it comes from ``where``."""
    level = logging.DEBUG if where in _reported else logging.WARNING
    _reported.add(where)
    _logger.log(level, "callspan failed in %s; the call itself is untouched", where, exc_info=True)
