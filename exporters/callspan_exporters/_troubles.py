"""Says once that a destination does not take spans, and once that it does again."""

import logging
import time
from typing import Final

from callspan_exporters._outcome import Outcome, Verdict

_logger = logging.getLogger(__name__)

# A collector that restarts is no news, and a program that ends sooner says all of it in one line at exit.
_PATIENCE_S: Final = 10.0


class Troubles:
    """What is wrong with one destination. Used by its sender; others may read."""

    def __init__(self, destination: str) -> None:
        self._destination = destination
        self._since: float | None = None
        self._warned = False
        self._warned_of_refusals = False
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
        overdue = now - self._since >= _PATIENCE_S
        if not self._warned and (overdue or outcome.verdict is Verdict.HELD):
            self._warned = True
            until = "that is mended" if outcome.verdict is Verdict.HELD else "it does"
            _logger.warning(
                "%s does not take spans (%s). %d wait, and are sent once %s",
                self._destination,
                outcome.reason,
                pending,
                until,
            )

    def well(self) -> None:
        """Note that the destination took a batch."""
        if self._warned:
            _logger.warning("%s takes spans again", self._destination)
        self._warned = False
        self._since = None
        self.failures = 0
        self.reached = True
        self.reason = ""

    def refused(self, count: int, reason: str) -> None:
        """Note that the destination refused spans for good, and warn the first time."""
        level = logging.DEBUG if self._warned_of_refusals else logging.WARNING
        self._warned_of_refusals = True
        _logger.log(level, "%s refused %d spans for good (%s)", self._destination, count, reason or "no reason given")
