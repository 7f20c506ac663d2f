"""Says once that something is wrong with a destination, and once that it is well again."""

import logging
import time
from typing import Final

from callspan_exporters._outcome import Outcome, Verdict

_logger = logging.getLogger(__name__)

# A collector that restarts is no news, and a program that ends sooner says all of it in one line at exit.
_PATIENCE_S: Final = 10.0
# Refusals that come now and then are one trouble, not many.
_QUIET_S: Final = 60.0


class Troubles:
    """What is wrong with one destination. Used by its sender; others may read."""

    def __init__(self, destination: str) -> None:
        self._destination = destination
        self._since: float | None = None
        self._warned = False
        self._waiting = 0
        self._refused = 0
        self._refused_at: float | None = None
        self.failures = 0
        self.reached = True
        self.reason = ""

    def failed(self, outcome: Outcome, pending: int) -> None:
        """Note that the destination did not take a batch, and warn where it is time to."""
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        self.failures += 1
        self.reached = outcome.reached
        self.reason = outcome.reason
        self._waiting = pending
        overdue = now - self._since >= _PATIENCE_S
        if not self._warned and (overdue or outcome.verdict is Verdict.HELD):
            self._warned = True
            until = "that is mended" if outcome.verdict is Verdict.HELD else "it does"
            _logger.warning(
                "%s does not take spans (%s). %d wait, and are sent once %s%s",
                self._destination,
                outcome.reason,
                pending,
                until,
                f". {outcome.fix}" if outcome.fix else "",
            )

    def well(self) -> None:
        """Note that the destination answered a batch, for better or worse."""
        if self._warned:
            _logger.warning("%s takes spans again; %d have waited for it", self._destination, self._waiting)
        self._warned = False
        self._since = None
        self.failures = 0
        self.reached = True
        self.reason = ""

    def refused(self, count: int, reason: str) -> None:
        """Note that the destination refused spans for good, and warn the first time."""
        self._refused += count
        if self._refused_at is None:
            _logger.warning(
                "%s refused %d spans for good (%s). They are not sent again; `callspan status` counts them, and "
                "`callspan show` shows those that it named",
                self._destination,
                count,
                reason or "no reason given",
            )
        self._refused_at = time.monotonic()

    def took(self) -> None:
        """Note that the destination took a batch, and say so where it had refused spans and no longer does."""
        if self._refused_at is not None and time.monotonic() - self._refused_at >= _QUIET_S:
            _logger.warning("%s refuses no more spans; it had refused %d", self._destination, self._refused)
            self._refused, self._refused_at = 0, None
