"""What a sender is asked to do at once, and the answer to it."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

_logger = logging.getLogger(__name__)

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


class Errand:
    """Something else that a sender's thread is to do, which may take longer than anybody waits for it."""

    def __init__(self, work: Callable[[], object]) -> None:
        """Prepare.

        Args:
            work: somebody else's, maybe, and may raise. What it returns is the answer, where that is False.
        """
        self._work = work
        self._done = threading.Event()
        self._succeeded = False

    def run(self) -> None:
        """Do it, and answer. Never raises."""
        try:
            self._succeeded = self._work() is not False
        except Exception:  # the thread must outlive whatever it meets
            _logger.warning("A destination failed to flush or to shut down", exc_info=True)
        finally:
            self._done.set()

    @property
    def done(self) -> bool:
        """Whether there is an answer."""
        return self._done.is_set()

    def wait(self, timeout_s: float) -> bool:
        """Wait so many seconds for the answer; no answer by then is a no."""
        return self._done.wait(max(0.0, timeout_s)) and self._succeeded
