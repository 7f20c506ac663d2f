"""What the account of a whole spool must be, and whether it is: directory by directory, and what was entered before."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from callspan_exporters._spool import Account, read_accounts
from exporters.spool_model import Home

_MORE_PER_SPAN = 400  # bytes at most of records, and of a new segment's beginning


class Books:
    """The account by the model.

    Attributes:
        homes: the directories that the account must show.
        entered: what became of spans of directories that have gone, by destination.
    """

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.homes: list[Home] = []
        self.entered: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._root = root
        self._max_bytes = max_bytes
        self._size = 0

    def grow(self, spans: Iterable[bytes]) -> None:
        """Note spans that are about to be stored: by so much the spool may be beyond its limit."""
        self._size += sum(len(span) + _MORE_PER_SPAN for span in spans)

    def enter(self, destination: str, account: Counter[str]) -> None:
        """Enter an account that is closed. What waited has expired."""
        waiting = account.pop("pending", 0)
        self.entered[destination].update(account, expired=waiting)

    def check(self) -> None:
        """Compare with what anybody reads, after noticing what has gone from the disk, which only some may."""
        for home in list(self.homes):
            self._notice_gone(home, allowed=home.aged or self._size > self._max_bytes)
        self._size = sum(path.stat().st_size for path in self._root.glob("*/*.segment"))
        accounts = {account.destination: account for account in read_accounts(self._root)}
        for destination in {*self.entered, *accounts, *(name for home in self.homes for name in home.disk)}:
            self._compare(destination, accounts.get(destination, Account(destination)))

    def _compare(self, destination: str, account: Account) -> None:
        assert account.accepted == account.delivered + account.rejected + account.expired + account.pending
        homes = [home for home in self.homes if destination in home.disk]
        expected = sum((home.account(destination) for home in homes), self.entered[destination])
        assert account.offered == expected.total(), f"{account} is not {expected}"
        assert (account.delivered, account.rejected) == (expected["delivered"], expected["rejected"])
        numbers = (account.expired, account.dropped, account.pending)
        assert numbers == (expected["expired"], expected["dropped"], expected["pending"]), (
            f"{account} is not {expected}"
        )

    def _notice_gone(self, home: Home, *, allowed: bool) -> None:
        there = {int(path.stem) for path in home.there.glob("*.segment")}
        fresh = set(home.segment.values()) - there - home.missing
        waiting = {span for lane in home.disk.values() for span in lane.waiting if home.segment[span] in fresh}
        assert allowed or not waiting, "removed before it was sent"
        home.missing |= fresh
        if not home.there.exists():
            self.homes.remove(home)
            assert not home.alive
            for destination in home.disk:
                self.enter(destination, home.account(destination))
