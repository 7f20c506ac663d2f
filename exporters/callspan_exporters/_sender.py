"""Sends what waits for one destination: batch, send, split, back off, acknowledge."""

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from opentelemetry.instrumentation.utils import suppress_instrumentation

from callspan import semconv
from callspan_exporters._accounts import OVER, Accounts, Attempt, Mixed, Settling
from callspan_exporters._backoff import Backoff
from callspan_exporters._by_call import OWN
from callspan_exporters._flush import Errand, Flush
from callspan_exporters._http import described
from callspan_exporters._metrics import ExporterMetrics
from callspan_exporters._outcome import Destination, Outcome, Sink, Transport, Verdict
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import Backlog, Spool, StoredSpan
from callspan_exporters._troubles import Troubles

_logger = logging.getLogger(__name__)

_ADOPT_EVERY_S: Final = 5.0
_SHORTEST_REQUEST_S: Final = 0.05
_LOOK_EVERY_S: Final = 0.1
_PATIENCE_WITH_OTHERS_S: Final = 0.5
# Below the four megabytes that a Collector's gRPC receiver takes by default.
_MAX_REQUEST_BYTES: Final = 3 << 20


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
        self._accounts = accounts
        wanted: int = getattr(destination, "max_batch_size", settings.max_export_batch_size)
        self._batch_size = min(wanted, settings.max_export_batch_size)
        self._spool = spool
        self._settings = settings
        self._sink = sink
        self._metrics = metrics
        self._abandoned: list[Transport | None] = []
        self._transport: Transport | None = None
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
            self._inline_until = flush.deadline
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
            if self._transport is not None:
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
        if thread is not None and stopped and self._transport is not None:
            self._transport.close()
            self._transport = None
        if thread is not None and stopped and self._accounts is not None:
            self._accounts.close()
        return stopped

    @property
    def pending(self) -> int:
        """How many spans wait for this destination in what this process holds."""
        return sum(backlog.pending for backlog in self._backlogs(everything=True))

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
    def known_down(self) -> bool:
        """Whether the last attempt to send failed."""
        return self.troubles.failures > 0

    def after_fork_in_child(self) -> None:
        """Begin anew: the parent keeps its thread and its connection."""
        # Not closed, and kept from being collected: closing would speak on the parent's connection.
        self._abandoned.append(self._transport)
        if self._accounts is not None:
            self._abandoned += self._accounts.after_fork_in_child()
        self._transport = self._predecessor = None
        self._reset()

    def _reset(self) -> None:
        self.started = False
        self.troubles = Troubles(self.destination.identity)
        self._starting = threading.Lock()
        self._inbox: queue.SimpleQueue[Flush | Errand | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._backoff = Backoff()
        self._adopt_at = 0.0
        self._inline_until: float | None = None
        self._export_began: float | None = None
        self._metrics.reset()

    def _run(self) -> None:
        self._inline_until = None
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
        until = max(time.monotonic() + self._settings.schedule_delay_s, self._backoff.retry_at)
        while not self._stop.is_set():
            try:
                asked = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            if isinstance(asked, Errand):
                asked.run()
            elif asked is not None or not self._backoff.waiting:
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
            self._failed(Outcome(Verdict.RETRY, described(error)))
            if flush is not None:
                flush.finish(delivered=False)

    def _is_over(self, flush: Flush | None) -> bool:
        return self._stop.is_set() or (flush is not None and time.monotonic() >= flush.deadline)

    def _try_again(self, flush: Flush) -> bool:
        """Wait for another attempt within a flush, where one may help."""
        if self._is_over(flush) or not self.troubles.reached or self.troubles.failures > flush.patience:
            return False
        delay_s = self._backoff.retry_at - time.monotonic()
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
        while backlog.position < end and (batch := self._next_batch(backlog)):
            if not self._send_batch(backlog, batch, flush):
                return False
            if flush is None and not self._inbox.empty():
                break
        return True

    def _send_batch(self, backlog: Backlog, batch: list[StoredSpan], flush: Flush | None) -> bool:
        accounts = self._accounts
        mixed = accounts.grouped(backlog, batch) if accounts is not None else None
        if accounts is None or mixed is None:
            return self._send(backlog, batch, flush)
        return self._send_by_call(accounts, mixed, flush)

    def _send_by_call(self, accounts: Accounts, mixed: Mixed, flush: Flush | None) -> bool:
        """Send what goes to the destination's own account, then what goes to those of calls, and settle all of it.

        What another account does not take is put aside, to wait for that alone, unless the destination is down for all.
        """
        for digest, group in mixed.groups.items():
            if digest == OWN:
                if not self._send(group, group.left, flush):
                    return False
                continue
            failure = self._send_parts(group, group.left, flush, accounts.way(digest, self._attempt_by))
            if failure is OVER:
                return False
            if failure is not None and accounts.is_down(digest, failure):
                self._failed(failure)
                return False
            if failure is not None:
                accounts.put_aside(digest, group)
        mixed.settle()
        return True

    def _next_batch(self, backlog: Backlog) -> list[StoredSpan]:
        """Return the next spans that are not too old, and enter those that are as expired."""
        horizon_ns = time.time_ns() - int(self._spool.limits.max_age_s * 1e9)
        while batch := backlog.next_batch(self._batch_size, _MAX_REQUEST_BYTES):
            expired = [span for span in batch if span.time_ns < horizon_ns]
            if not expired:
                return batch
            backlog.settle(expired[-1], expired=len(expired))
            self._metrics.failed[semconv.ERROR_TYPE_EXPIRED] += len(expired)
        return []

    def _send(self, backlog: Settling, batch: list[StoredSpan], flush: Flush | None) -> bool:
        failure = self._send_parts(backlog, batch, flush, self._attempt)
        if failure is not None and failure is not OVER:
            self._failed(failure)
        return failure is None

    def _send_parts(
        self,
        backlog: Settling,
        batch: list[StoredSpan],
        flush: Flush | None,
        attempt: Attempt,
    ) -> Outcome | None:
        """Send a batch, in parts down to single spans where the destination does not take it whole.

        Not after the end of a flush, which the application may wait for, and not once this is to stop.

        Returns:
            Why the rest was not taken; ``None`` where all was taken or refused for good.
        """
        parts = deque([batch] if batch else [])
        while parts:
            if self._is_over(flush):
                return OVER
            part = parts.popleft()
            outcome = attempt(part)
            if outcome.verdict in (Verdict.RETRY, Verdict.HELD):
                return outcome
            self._well()
            if outcome.verdict is Verdict.DELIVERED:
                self._delivered(backlog, part, outcome)
            elif len(part) == 1:
                self._refused(backlog, part[0], outcome.reason)
            else:
                parts.extendleft((part[len(part) // 2 :], part[: len(part) // 2]))
        return None

    def _attempt(self, part: list[StoredSpan]) -> Outcome:
        if self._transport is None:
            try:
                self._transport = self.destination.connect()
            except Exception as error:  # noqa: BLE001  whatever is wrong with what was configured
                return Outcome(Verdict.HELD, described(error), reached=False)
        return self._attempt_by(self._transport, part)

    def _attempt_by(self, transport: Transport, part: list[StoredSpan]) -> Outcome:
        if self._export_began is None:
            self._export_began = time.monotonic()
        timeout_s = min(self.destination.timeout_s, self._settings.export_timeout_s)
        if self._inline_until is not None:  # it is the application that waits
            timeout_s = max(_SHORTEST_REQUEST_S, min(timeout_s, self._inline_until - time.monotonic()))
        self._metrics.in_flight = len(part)
        try:
            return transport.send([span.encoded for span in part], timeout_s)
        finally:
            self._metrics.in_flight = 0

    def _delivered(self, backlog: Settling, part: list[StoredSpan], outcome: Outcome) -> None:
        refused = min(outcome.refused, len(part))
        backlog.settle(part[-1], delivered=len(part) - refused, rejected=refused)
        self._metrics.delivered += len(part) - refused
        self._concluded(refused, outcome.reason)
        if refused:
            self._sink.refused_some(self.destination.identity, refused, outcome.reason)
        self.troubles.took()

    def _refused(self, backlog: Settling, span: StoredSpan, reason: str) -> None:
        self._sink.refused(self.destination.identity, span.encoded, reason)
        backlog.settle(span, rejected=1)
        self._concluded(1, reason)

    def _concluded(self, refused: int, reason: str) -> None:
        """Note that a part of a batch has come to its end."""
        now = time.monotonic()
        began, self._export_began = self._export_began or now, None
        self._metrics.concluded(now - began, semconv.ERROR_TYPE_REJECTED if refused else "")
        if refused:
            self._metrics.failed[semconv.ERROR_TYPE_REJECTED] += refused
            self.troubles.refused(refused, reason)

    def _failed(self, outcome: Outcome) -> None:
        self.troubles.failed(outcome, self.pending)
        self._backoff.failed(outcome.retry_after_s)

    def _well(self) -> None:
        self.troubles.well()
        self._backoff.well()
