"""Sending for the accounts of calls that carry a credential of their own, beside the destination's."""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from callspan_exporters._by_call import OWN, ByCall
from callspan_exporters._http import described
from callspan_exporters._outcome import Destination, Outcome, Transport, Verdict
from callspan_exporters._spool import Backlog, Spool, StoredSpan

_logger = logging.getLogger(__name__)

OVER: Final = Outcome(Verdict.RETRY, "time is up")
"""Stands for spans that were not sent because there is no time left."""

_UNKNOWN: Final = Outcome(Verdict.HELD, "a credential that this process does not know", reached=False)
_DELIVERED, _REJECTED, _MOVED = "delivered", "rejected", "moved"
_MOST: Final = 32  # accounts that have a sender of their own at a time


Attempt = Callable[[list[StoredSpan]], Outcome]


class Settling(Protocol):
    """Where a sender enters what became of spans."""

    def settle(self, last: StoredSpan, *, delivered: int = 0, rejected: int = 0) -> None:
        """Enter what became of the spans up to and with ``last``."""
        ...


class Group:
    """The part of a batch that goes to one account: a backlog of its own to who sends it, settled in order."""

    def __init__(self, spans: Sequence[StoredSpan], settled: dict[int, str]) -> None:
        self.spans = spans
        self._settled = settled

    @property
    def left(self) -> list[StoredSpan]:
        """What has not been settled yet."""
        return [span for span in self.spans if span.ordinal not in self._settled]

    def settle(self, last: StoredSpan, *, delivered: int = 0, rejected: int = 0, moved: int = 0) -> None:
        """Note what became of the next spans, up to and with ``last``."""
        what = [_DELIVERED] * delivered + [_REJECTED] * rejected + [_MOVED] * moved
        passed = [span for span in self.left if span.ordinal <= last.ordinal]
        self._settled.update({span.ordinal: each for span, each in zip(passed, what, strict=True)})


class Mixed:
    """A batch of spans for several accounts. Some may be settled before, when the batch was sent as far as it went."""

    def __init__(self, backlog: Backlog, groups: Mapping[str, list[StoredSpan]], settled: dict[int, str]) -> None:
        self._backlog = backlog
        self._settled = settled
        self.groups = {digest: Group(spans, settled) for digest, spans in groups.items()}

    def settle(self) -> None:
        """Enter what became of all of it."""
        spans = sorted((span for group in self.groups.values() for span in group.spans), key=_ordinal)
        what = Counter(self._settled.pop(span.ordinal) for span in spans)
        self._backlog.settle(spans[-1], delivered=what[_DELIVERED], rejected=what[_REJECTED], moved=what[_MOVED])


def _ordinal(span: StoredSpan) -> int:
    return span.ordinal


def _always(outcome: Outcome) -> Attempt:
    return lambda _: outcome


class Senders(Protocol):
    """What sends for accounts that something waits for."""

    def add_account(self, destination: Destination) -> None:
        """Begin to send what waits for an account."""
        ...

    def remove_account(self, identity: str) -> None:
        """End that, for nothing waits any more."""
        ...

    def account_waits(self, identity: str) -> int:
        """Return how many spans wait for an account that is sent for."""
        ...

    def account_is_down(self, identity: str) -> bool:
        """Tell whether an account did not take what was last sent to it."""
        ...


class Accounts:
    """The accounts of calls, for one destination. Used by the thread of its sender.

    Their spans go with those of the destination, grouped by account. What an account does not take is put aside, and
    has a sender of its own until it has gone: a wrong key of one customer delays no other.
    """

    def __init__(self, by_call: ByCall, spool: Spool, senders: Senders) -> None:
        """Look at nothing yet."""
        self._by_call = by_call
        self._spool = spool
        self._senders = senders
        self._reset()

    def grouped(self, backlog: Backlog, batch: list[StoredSpan]) -> Mixed | None:
        """Return a batch by accounts, None where all of it is for the destination's own."""
        groups = self._by_call.grouped(batch)
        if set(groups) == {OWN}:
            return None
        return Mixed(backlog, groups, self._settled.setdefault(backlog, {}))

    def way(self, digest: str, attempt_by: Callable[[Transport, list[StoredSpan]], Outcome]) -> Attempt:
        """Return what sends a part of a batch to an account.

        Args:
            digest: of the account's credential.
            attempt_by: sends by a transport.
        """
        destination = self._by_call.destination(digest)
        if destination is None:
            return _always(_UNKNOWN)
        if self._senders.account_is_down(destination.identity):
            return _always(Outcome(Verdict.HELD, "it is down", reached=False))
        try:
            transport = self._by_call.connect(digest, destination)
        except Exception as error:  # noqa: BLE001  whatever is wrong with what was configured
            return _always(Outcome(Verdict.HELD, described(error), reached=False))
        return functools.partial(attempt_by, transport)

    def is_down(self, digest: str, failure: Outcome) -> bool:
        """Tell whether a failure is one of the destination's, for whatever account."""
        account = self._by_call.destination(digest)
        return account is not None and failure.verdict is Verdict.RETRY and self._by_call.has_address_of(account)

    def put_aside(self, digest: str, group: Group) -> None:
        """Have the rest of a group wait by itself."""
        left = group.left
        identity = self._by_call.identity(digest)
        self._spool.put_aside(identity, left)
        group.settle(left[-1], moved=len(left))
        self._put_aside.add(digest)
        if self._by_call.destination(digest) is None and digest not in self._said:
            self._said.add(digest)
            _logger.warning(
                "%s: %d spans carry a credential of their call that this process does not know. They wait in the spool "
                "until a call of this process, or of another one, carries it too",
                identity,
                len(left),
            )

    def look(self) -> None:
        """Send for the accounts that something waits for and whose credential is known; for the others no longer."""
        known = {self._by_call.identity(digest): digest for digest in self._by_call.known()}
        waiting = set(self._spool.with_accounts(known)) if known else set[str]()
        for identity in list(self._active):
            if identity not in waiting and not self._senders.account_waits(identity):
                self._active.discard(identity)
                self._senders.remove_account(identity)
        for identity in waiting:
            self._begin(known[identity])

    def finish(self) -> None:
        """Let what was put aside be sent. After each round of sending."""
        for digest in self._put_aside:
            self._begin(digest)
        # Those of this destination: what others are filling is theirs to complete.
        self._spool.leave_aside([self._by_call.identity(digest) for digest in self._put_aside])
        self._put_aside.clear()

    def close(self) -> None:
        """Close all connections."""
        self._by_call.close()

    def after_fork_in_child(self) -> list[Transport]:
        """Begin anew; return the parent's connections, which are not to be closed."""
        self._reset()
        return self._by_call.abandon()

    def _begin(self, digest: str) -> None:
        destination = self._by_call.destination(digest)
        if destination is None or destination.identity in self._active or len(self._active) >= _MOST:
            return
        self._active.add(destination.identity)
        self._senders.add_account(destination)

    def _reset(self) -> None:
        self._active: set[str] = set()
        self._put_aside: set[str] = set()
        self._said: set[str] = set()
        self._settled: WeakKeyDictionary[Backlog, dict[int, str]] = WeakKeyDictionary()
