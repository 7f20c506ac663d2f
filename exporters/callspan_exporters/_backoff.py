"""When to try a destination again that did not take spans."""

import random
import time
from typing import Final

_FIRST_S: Final = 1.0
_LONGEST_S: Final = 30.0


class Backoff:
    """Waits twice as long after every failure in a row. Never gives up: that is for the spans' age to decide.

    Attributes:
        retry_at: on the monotonic clock; in the past where there is nothing to wait for.
    """

    def __init__(self) -> None:
        self.retry_at = 0.0
        self._next_s = _FIRST_S

    @property
    def waiting(self) -> bool:
        """Whether it is too early for another attempt."""
        return self.retry_at > time.monotonic()

    def failed(self, retry_after_s: float | None) -> None:
        """Wait, as long as the destination asks for, if it does."""
        # Half of it at least, and never in step with other processes that lost the same destination.
        delay_s = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311
        self._next_s = min(self._next_s * 2, _LONGEST_S)
        self.retry_at = time.monotonic() + (delay_s if retry_after_s is None else retry_after_s)

    def well(self) -> None:
        """Begin anew."""
        self.retry_at = 0.0
        self._next_s = _FIRST_S
