"""The account of a spool, as a reader outside of the program sees it: after the program, and while it runs."""

import contextlib
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple, Self

from callspan_exporters._spool import read_accounts

_LOOK_EVERY_S: Final = 0.02
_ENDED: Final = re.compile(rb";$", re.MULTILINE)


class Totals(NamedTuple):
    """The accounts of all destinations together."""

    offered: int = 0
    accepted: int = 0
    delivered: int = 0
    rejected: int = 0
    expired: int = 0
    dropped: int = 0
    pending: int = 0


def totals(spool: Path) -> Totals:
    """Reads the accounts in a spool and adds them up."""
    accounts = read_accounts(spool)
    return Totals(*(sum(getattr(account, name) for account in accounts) for name in Totals._fields))


def broken(account: Totals) -> list[str]:
    """Says what of an account does not add up."""
    complaints = []
    if account.offered != account.accepted + account.dropped:
        complaints.append(f"offered is not accepted + dropped: {account}")
    if account.accepted != account.delivered + account.rejected + account.expired + account.pending:
        complaints.append(f"accepted is not delivered + rejected + expired + pending: {account}")
    if min(account) < 0:
        complaints.append(f"less than nothing: {account}")
    return complaints


class Watch:
    """Reads the accounts of a spool over and over while its `with` block lasts.

    Attributes:
        complaints: what it saw that cannot be, the first few times.
        looks: how often it looked.
    """

    def __init__(self, work: Path, spool: Path, *, complete: bool) -> None:
        """Looks at a spool.

        Args:
            work: where the record of the spans that have ended is.
            spool: the spool.
            complete: whether every span that has ended must be in the account from then on.
        """
        self.complaints: list[str] = []
        self.looks = 0
        self._spool = spool
        self._complete = complete
        self._ended = _EndedCounter(work / "ended")
        self._seen = Totals()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._stop.set()
        self._thread.join()
        self._ended.close()

    def _look_on(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            self.looks += 1
            if len(self.complaints) < 5:
                self.complaints.extend(self._look())

    def _look(self) -> Iterable[str]:
        # First: what had ended before the account was read must be in it.
        ended = self._ended.count()
        account, before = totals(self._spool), self._seen
        yield from broken(account)
        if not self._complete:
            return
        if account.offered < ended:
            yield f"{ended} spans had ended: {account}"
        for name in ("offered", "delivered", "rejected", "expired", "dropped"):
            if getattr(account, name) < getattr(before, name):
                yield f"{name} went back: {account}, after {before}"
        self._seen = account


class _EndedCounter:
    """Counts the spans on record as having ended, reading on from where it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = None
        self._count = 0

    def count(self) -> int:
        if self._file is None:
            with contextlib.suppress(FileNotFoundError):
                self._file = self._path.open("rb")
        if self._file is not None:
            self._count += self._file.read().count(b";")
        return self._count

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
