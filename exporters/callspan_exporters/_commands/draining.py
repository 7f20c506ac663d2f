"""What ``callspan drain`` does: a delivery without spans of its own."""

import threading
import time
from pathlib import Path
from typing import Final

from callspan_exporters._delivery import Delivery
from callspan_exporters._destinations import destinations_of_environment
from callspan_exporters._settings import BatchSettings, limits

_AGAIN_AFTER_S: Final = 1.0


class Draining:
    """Sends what is left in a spool.

    Attributes:
        destinations: identities of those that it sends to.
        reasons: once it has run, why some of them did not take spans.
    """

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self.destinations = [destination.identity for destination in delivery.destinations()]
        self.reasons: dict[str, str] = {}

    @classmethod
    def of_environment(cls, directory: Path) -> "Draining | None":
        """Return what sends to the destinations of the environment, None where it names none."""
        destinations = destinations_of_environment()
        if not destinations:
            return None
        settings = BatchSettings.from_environment()
        delivery = Delivery(
            destinations, root=directory, limits=limits(settings), settings=settings, exit_budget_s=0.0, talkative=False
        )
        return cls(delivery)

    def run(self, stop: threading.Event, *, timeout_s: float, watch: bool) -> dict[str, int]:
        """Send until nothing is left, or until it is time to stop.

        Args:
            stop: set by who wants it to stop.
            timeout_s: how long to go on, in seconds; when watching, after being told to stop.
            watch: go on when nothing is left.

        Returns:
            How many spans each destination has acknowledged.
        """
        if watch:
            self._delivery.start()
            stop.wait()
            stop.clear()  # whoever asks once more does not wait for what is left
        deadline = time.monotonic() + timeout_s
        while not stop.is_set() and not self._sent_all(stop, deadline):
            if time.monotonic() + _AGAIN_AFTER_S >= deadline or stop.wait(_AGAIN_AFTER_S):
                break
        sent, self.reasons = self._delivery.delivered, self._delivery.reasons
        self._delivery.shutdown(0.0)
        self._delivery.spool.close()  # also under a thread that waits for an answer: what is left is nobody's now
        return sent

    def _sent_all(self, stop: threading.Event, deadline: float) -> bool:
        return self._delivery.flush_everything(stop, deadline) and not self._delivery.pending
