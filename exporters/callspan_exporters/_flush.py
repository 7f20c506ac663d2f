"""A request to send at once, and the answer to it."""

import threading
import time
from typing import Final

_MORE_ATTEMPTS: Final = 10


class Flush:
    """Passed to a sender by who waits for it.

    Attributes:
        everything: also what was adopted from processes that died.
        deadline: on the monotonic clock, when nobody waits any more.
        patience: after how many failed attempts in a row to give up.
    """

    def __init__(self, *, everything: bool, deadline: float) -> None:
        self.everything = everything
        self.deadline = deadline
        # A program that ends has no use for a backend's good times: what is kept is sent by the next one.
        self.patience = 1 if everything else _MORE_ATTEMPTS
        self._done = threading.Event()
        self._delivered = False

    def finish(self, *, delivered: bool) -> None:
        """Answer."""
        self._delivered = delivered
        self._done.set()

    @property
    def done(self) -> bool:
        """Whether there is an answer."""
        return self._done.is_set()

    def wait(self, deadline: float) -> bool:
        """Wait for the answer until a moment on the monotonic clock; no answer by then is a no."""
        return self._done.wait(max(0.0, deadline - time.monotonic())) and self._delivered
