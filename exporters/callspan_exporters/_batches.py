"""One batch at a time for one destination: send, split, note what became of each span, close or abandon the way."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from callspan import semconv
from callspan_exporters._accounts import OVER, Accounts, Attempt, Mixed, Settling
from callspan_exporters._backoff import Backoff
from callspan_exporters._by_call import OWN
from callspan_exporters._http import described
from callspan_exporters._metrics import ExporterMetrics
from callspan_exporters._outcome import Destination, Outcome, Sink, Transport, Verdict
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import Backlog, Spool, StoredSpan
from callspan_exporters._troubles import Troubles

_SHORTEST_REQUEST_S: Final = 0.05
# Below the four megabytes that a Collector's gRPC receiver takes by default.
_MAX_REQUEST_BYTES: Final = 3 << 20

IsOver = Callable[[], bool]
"""Asked between requests: the application may wait for the end of a flush, and the sender may be told to stop."""


class Batches:
    """What a sender sends, and the way it goes. Used by the thread that sends.

    Attributes:
        destination: what it sends to.
        troubles: what is wrong with it.
        backoff: when to try again.
        inline_until: until when the application waits for what is sent in its own thread; None in a thread of ours.
    """

    def __init__(
        self,
        destination: Destination,
        spool: Spool,
        settings: BatchSettings,
        sink: Sink,
        metrics: ExporterMetrics,
        *,
        accounts: Accounts | None,
    ) -> None:
        """Connect to nothing yet. The arguments are those of ``Sender``."""
        self.destination = destination
        self._spool = spool
        self._settings = settings
        self._sink = sink
        self._metrics = metrics
        self._accounts = accounts
        wanted: int = getattr(destination, "max_batch_size", settings.max_export_batch_size)
        self._batch_size = min(wanted, settings.max_export_batch_size)
        self._transport: Transport | None = None
        self.begin_anew()

    def begin_anew(self) -> None:
        """Begin with a destination of which nothing is known."""
        self.troubles = Troubles(self.destination.identity)
        self.backoff = Backoff()
        self.inline_until: float | None = None
        self._export_began: float | None = None
        self._metrics.reset()

    @property
    def pending(self) -> int:
        """How many spans wait for the destination in what this process holds."""
        identity = self.destination.identity
        waiting = [*self._spool.backlogs(identity), *self._spool.adopted_backlogs(identity)]
        return sum(backlog.pending for backlog in waiting)

    @property
    def connected(self) -> bool:
        """Whether there is a way to the destination."""
        return self._transport is not None

    def close(self) -> None:
        """Close all connections."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        if self._accounts is not None:
            self._accounts.close()

    def abandon(self) -> list[Transport]:
        """Return the connections, which are the parent's, and forget them."""
        transport, self._transport = self._transport, None
        of_accounts = self._accounts.after_fork_in_child() if self._accounts is not None else []
        return [*([transport] if transport is not None else []), *of_accounts]

    def next_batch(self, backlog: Backlog) -> list[StoredSpan]:
        """Return the next spans that are not too old, and enter those that are as expired."""
        horizon_ns = time.time_ns() - int(self._spool.limits.max_age_s * 1e9)
        while batch := backlog.next_batch(self._batch_size, _MAX_REQUEST_BYTES):
            expired = [span for span in batch if span.time_ns < horizon_ns]
            if not expired:
                return batch
            backlog.settle(expired[-1], expired=len(expired))
            self._metrics.failed[semconv.ERROR_TYPE_EXPIRED] += len(expired)
        return []

    def send(self, backlog: Backlog, batch: list[StoredSpan], is_over: IsOver) -> bool:
        """Send a batch, and enter what became of it; False where the destination does not take all of it."""
        accounts = self._accounts
        mixed = accounts.grouped(backlog, batch) if accounts is not None else None
        if accounts is None or mixed is None:
            return self._send_own(backlog, batch, is_over)
        return self._send_by_call(accounts, mixed, is_over)

    def failed(self, outcome: Outcome) -> None:
        """Note that the destination did not take something, which is to be sent again later."""
        self.troubles.failed(outcome, self.pending)
        self.backoff.failed(outcome.retry_after_s)

    def _send_by_call(self, accounts: Accounts, mixed: Mixed, is_over: IsOver) -> bool:
        """Send what goes to the destination's own account, then what goes to those of calls, and settle all of it.

        What another account does not take is put aside, to wait for that alone, unless the destination is down for all.
        """
        for digest, group in mixed.groups.items():
            if digest == OWN:
                if not self._send_own(group, group.left, is_over):
                    return False
                continue
            failure = self._send_parts(group, group.left, is_over, accounts.way(digest, self._attempt_by))
            if failure is OVER:
                return False
            if failure is not None and accounts.is_down(digest, failure):
                self.failed(failure)
                return False
            if failure is not None:
                accounts.put_aside(digest, group)
        mixed.settle()
        return True

    def _send_own(self, backlog: Settling, batch: list[StoredSpan], is_over: IsOver) -> bool:
        failure = self._send_parts(backlog, batch, is_over, self._attempt)
        if failure is not None and failure is not OVER:
            self.failed(failure)
        return failure is None

    def _send_parts(
        self,
        backlog: Settling,
        batch: list[StoredSpan],
        is_over: IsOver,
        attempt: Attempt,
    ) -> Outcome | None:
        """Send a batch, in parts down to single spans where the destination does not take it whole.

        Not after the end of a flush, which the application may wait for, and not once this is to stop.

        Returns:
            Why the rest was not taken; ``None`` where all was taken or refused for good.
        """
        parts = deque([batch] if batch else [])
        while parts:
            if is_over():
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
        if self.inline_until is not None:  # it is the application that waits
            timeout_s = max(_SHORTEST_REQUEST_S, min(timeout_s, self.inline_until - time.monotonic()))
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

    def _well(self) -> None:
        self.troubles.well()
        self.backoff.well()
