"""Sends what waits for one destination: the thread that does, from its start to its last answer."""

import contextlib
import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from opentelemetry.instrumentation.utils import suppress_instrumentation

from callspan_exporters._accounts import Accounts
from callspan_exporters._batches import Batches
from callspan_exporters._flush import Errand, Flush
from callspan_exporters._http import described
from callspan_exporters._metrics import ExporterMetrics
from callspan_exporters._outcome import Destination, Outcome, Sink, Transport, Verdict
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import Backlog, Spool
from callspan_exporters._troubles import Troubles

_logger = logging.getLogger(__name__)

_ADOPT_EVERY_S: Final = 5.0
_LOOK_EVERY_S: Final = 0.1
_PATIENCE_WITH_OTHERS_S: Final = 0.5


class Sender:
    """One destination's thread and connection. Started by the first span, stopped at exit, begun anew in a child."""

    def __init__(
        self,
        destination: Destination,
        spool: Spool,
        settings: BatchSettings,
        sink: Sink,
        metrics: ExporterMetrics,
        *,
        accounts: Accounts | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            destination: what it sends to.
            spool: where spans wait.
            settings: how they are batched.
            sink: takes those that are refused.
            metrics: of what it does.
            accounts: sends for those of its spans whose calls carry a credential of their own; None where the
                destination does not tell them apart.
        """
        self.destination = destination
        self._spool = spool
        self._settings = settings
        self._metrics = metrics
        self._accounts = accounts
        self._batches = Batches(destination, spool, settings, sink, metrics, accounts=accounts)
        self._abandoned: list[Transport] = []
        self._predecessor: threading.Thread | None = None
        self._reset()

    def follow(self, predecessor: "Sender") -> None:
        """Begin only when another one, which was stopped, has its answer: it may be at the same spans."""
        self._predecessor = predecessor.thread

    @property
    def thread(self) -> threading.Thread | None:
        """What sends, where it was started."""
        return self._thread

    def start(self) -> None:
        """Start the thread, if it is not running. Where none can be started any more, a flush does its work."""
        with self._starting:
            if self.started or self._stop.is_set():
                return
            self.started = True
            name = f"callspan {self.destination.identity}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is about to end
                self._thread = None

    def wake(self) -> None:
        """Have a batch sent without waiting for the schedule. Safe in a signal handler."""
        self._inbox.put(None)

    def flush(self, *, everything: bool, timeout_s: float) -> Flush:
        """Begin to send what is pending at once, also while backing off.

        Args:
            everything: also what was adopted from processes that died.
            timeout_s: how long to go on trying, in seconds.
        """
        flush = Flush(everything=everything, deadline=time.monotonic() + timeout_s)
        thread = self._thread
        if thread is threading.current_thread():  # a callback flushes, and is what would be waited for
            flush.finish(delivered=False)
        elif thread is not None and thread.is_alive():
            self._inbox.put(flush)
            if self._stop.is_set():  # it may not look again
                flush.finish(delivered=False)
        else:
            self._batches.inline_until = flush.deadline
            with suppress_instrumentation():
                self._serve(flush)
        return flush

    def ask(self, work: Callable[[], object], timeout_s: float) -> bool:
        """Have something done where spans are sent, and wait for it so many seconds at most.

        Args:
            work: what it returns is the answer, where that is False.
            timeout_s: how long to wait, in seconds.

        Returns:
            The answer; False where there is none in time.
        """
        errand = Errand(work)
        if not self._has_taken(errand):
            self._do_apart(errand)
        return errand.wait(timeout_s)

    def _has_taken(self, errand: Errand) -> bool:
        thread = self._thread
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            return False
        self._inbox.put(errand)
        return True

    def _do_apart(self, errand: Errand) -> None:
        try:
            threading.Thread(target=self._run_apart, args=[errand], daemon=True).start()
        except RuntimeError:  # the interpreter is about to end: what was never sent to holds nothing back
            if self._batches.connected:
                self._run_apart(errand)

    def _run_apart(self, errand: Errand) -> None:
        with suppress_instrumentation():
            errand.run()

    def stop(self, timeout_s: float, last: Callable[[], object] | None = None) -> bool:
        """Stop the thread.

        Args:
            timeout_s: how long to wait for that, in seconds.
            last: what is done when nothing is sent any more.

        Returns:
            Whether it has stopped.
        """
        self._stop.set()
        thread, deadline = self._thread, time.monotonic() + timeout_s
        errand = Errand(last) if last is not None else None
        if errand is not None:
            self._has_taken(errand)
        self._inbox.put(None)
        if thread is threading.current_thread():
            return True
        if thread is not None:
            thread.join(timeout_s)
        stopped = thread is None or not thread.is_alive()
        # There was no thread, or it had looked for the last time already.
        if errand is not None and stopped and not errand.done:
            self._do_apart(errand)
            errand.wait(deadline - time.monotonic())
        if thread is not None and stopped:
            self._batches.close()
        return stopped

    @property
    def pending(self) -> int:
        """How many spans wait for this destination in what this process holds."""
        return self._batches.pending

    @property
    def pending_in_memory(self) -> int:
        """How many of them end with this process."""
        return self._spool.pending_in_memory(self.destination.identity)

    @property
    def delivered(self) -> int:
        """How many spans its destination has acknowledged."""
        return self._metrics.delivered

    @property
    def busy(self) -> bool:
        """Whether it waits for an answer."""
        return self._metrics.in_flight > 0

    @property
    def troubles(self) -> Troubles:
        """What is wrong with its destination."""
        return self._batches.troubles

    @property
    def known_down(self) -> bool:
        """Whether the last attempt to send failed."""
        return self.troubles.failures > 0

    def after_fork_in_child(self) -> None:
        """Begin anew: the parent keeps its thread and its connection."""
        # Not closed, and kept from being collected: closing would speak on the parent's connection.
        self._abandoned += self._batches.abandon()
        self._predecessor = None
        self._batches.begin_anew()
        self._reset()

    def _reset(self) -> None:
        self.started = False
        self._starting = threading.Lock()
        self._inbox: queue.SimpleQueue[Flush | Errand | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._adopt_at = 0.0

    def _run(self) -> None:
        self._batches.inline_until = None
        with suppress_instrumentation():
            self._await_predecessor()
            while not self._stop.is_set():
                flush = self._wait()
                if not self._stop.is_set():
                    self._serve(flush)
                elif flush is not None:
                    flush.finish(delivered=False)
            self._turn_away()

    def _turn_away(self) -> None:
        """Answer those who wait for a flush that there will not be."""
        with contextlib.suppress(queue.Empty):
            while True:
                asked = self._inbox.get_nowait()
                if isinstance(asked, Errand):
                    asked.run()
                elif asked is not None:
                    asked.finish(delivered=False)

    def _await_predecessor(self) -> None:
        while self._predecessor is not None and self._predecessor.is_alive() and not self._stop.is_set():
            self._predecessor.join(_LOOK_EVERY_S)
        self._predecessor = None

    def _wait(self) -> Flush | None:
        """Wait for a flush, for enough spans, or for the next time to look."""
        until = max(time.monotonic() + self._settings.schedule_delay_s, self._batches.backoff.retry_at)
        while not self._stop.is_set():
            try:
                asked = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            if isinstance(asked, Errand):
                asked.run()
            elif asked is not None or not self._batches.backoff.waiting:
                return asked
        return None

    def _serve(self, flush: Flush | None) -> None:
        try:
            self._adopt(now=flush is not None and flush.everything)
            if flush is None:
                self._send_all(None)
            else:
                targets = [(backlog, backlog.end) for backlog in self._backlogs(everything=flush.everything)]
                while not self._send_all(flush) and self._try_again(flush):
                    pass
                flush.finish(delivered=all(backlog.position >= end for backlog, end in targets))
        except Exception as error:  # the thread must outlive whatever it meets
            _logger.debug("Sending to %s was interrupted", self.destination.identity, exc_info=True)
            self._batches.failed(Outcome(Verdict.RETRY, described(error)))
            if flush is not None:
                flush.finish(delivered=False)

    def _is_over(self, flush: Flush | None) -> bool:
        return self._stop.is_set() or (flush is not None and time.monotonic() >= flush.deadline)

    def _try_again(self, flush: Flush) -> bool:
        """Wait for another attempt within a flush, where one may help."""
        if self._is_over(flush) or not self.troubles.reached or self.troubles.failures > flush.patience:
            return False
        delay_s = self._batches.backoff.retry_at - time.monotonic()
        if delay_s > flush.deadline - time.monotonic():
            return False
        return not self._stop.wait(max(0.0, delay_s))

    def _adopt(self, *, now: bool) -> None:
        if now or time.monotonic() >= self._adopt_at:
            self._adopt_at = time.monotonic() + _ADOPT_EVERY_S
            # Who flushes everything must not find nothing because another destination's sender is looking.
            self._spool.adopt(_PATIENCE_WITH_OTHERS_S if now else 0.0)
            if self._accounts is not None:
                self._accounts.look()
        else:
            self._spool.leave_removed_directory()

    def _backlogs(self, *, everything: bool) -> list[Backlog]:
        return [*self._spool.backlogs(self.destination.identity), *(self._adopted() if everything else [])]

    def _adopted(self) -> list[Backlog]:
        return self._spool.adopted_backlogs(self.destination.identity)

    def _send_all(self, flush: Flush | None) -> bool:
        """Send what is pending now; False where the destination does not take it."""
        try:
            return self._send_backlogs(flush)
        finally:
            if self._accounts is not None:
                self._accounts.finish()

    def _send_backlogs(self, flush: Flush | None) -> bool:
        for backlog in self._spool.backlogs(self.destination.identity):
            if not self._send_backlog(backlog, flush):
                return False
        if flush is not None and not flush.everything:
            return True
        # As many at a time as are held at once, until no dead process has left any more.
        while adopted := [other for other in self._adopted() if other.position < other.end]:
            for backlog in adopted:
                if not self._send_backlog(backlog, flush):
                    return False
                # Who flushes waits for spans of this process, not for those of another.
                if flush is None and not self._inbox.empty():
                    return True
            self._spool.adopt()
        return True

    def _send_backlog(self, backlog: Backlog, flush: Flush | None) -> bool:
        end = backlog.end
        while backlog.position < end and (batch := self._batches.next_batch(backlog)):
            if not self._batches.send(backlog, batch, functools.partial(self._is_over, flush)):
                return False
            if flush is None and not self._inbox.empty():
                break
        return True
