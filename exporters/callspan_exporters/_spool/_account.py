"""What became of the spans in a spool, as any process can read it, also after the one that stored them was killed."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from callspan_exporters._spool._cursor import load_all
from callspan_exporters._spool._directory import process_directories, segment_numbers, segment_path
from callspan_exporters._spool._process_spool import last_ordinal
from callspan_exporters._spool._segment import first_ordinal


@dataclass(frozen=True, slots=True)
class Account:
    """The spans that the processes now in a spool stored for one destination.

    ``accepted == delivered + rejected + expired + damaged + pending``.

    Attributes:
        destination: the identity of the destination.
        accepted: spans stored for it.
        delivered: spans that it acknowledged.
        rejected: spans that it refused for good.
        expired: spans that reached the limit of age or of bytes first.
        damaged: spans that could not be read back.
        pending: spans that wait.
    """

    destination: str
    accepted: int = 0
    delivered: int = 0
    rejected: int = 0
    expired: int = 0
    damaged: int = 0
    pending: int = 0


def read_accounts(directory: Path) -> list[Account]:
    """Return the account of every destination that a spool holds spans for, in the order of their names.

    Takes no lock and changes nothing. A directory goes, and its part of the account with it, once nothing in it waits.

    Args:
        directory: the spool, as `spool_directory` returns it.
    """
    accounts: dict[str, Account] = {}
    for process in process_directories(directory):
        for account in _accounts_of(process):
            total = accounts.get(account.destination)
            accounts[account.destination] = account if total is None else _sum(total, account)
    return [accounts[destination] for destination in sorted(accounts)]


def _accounts_of(process: Path) -> Iterable[Account]:
    # The cursors first: what is stored after they were read waits.
    cursors = load_all(process, writable=False)
    numbers = segment_numbers(process)
    stored = last_ordinal(process, numbers)
    oldest = None
    with contextlib.suppress(OSError, IndexError):
        oldest = first_ordinal(segment_path(process, numbers[0]))
    for destination, cursor in cursors.items():
        mark = cursor.mark
        cursor.close()
        after = max(stored, mark.ordinal)
        # A segment that was removed before this destination had passed it.
        expired = max(0, (after if not numbers else oldest or 0) - mark.ordinal)
        yield Account(
            destination,
            accepted=after - mark.start,
            delivered=mark.delivered,
            rejected=mark.rejected,
            expired=mark.expired + expired,
            damaged=mark.damaged,
            pending=after - mark.ordinal - expired,
        )


def _sum(one: Account, other: Account) -> Account:
    return replace(
        one,
        accepted=one.accepted + other.accepted,
        delivered=one.delivered + other.delivered,
        rejected=one.rejected + other.rejected,
        expired=one.expired + other.expired,
        damaged=one.damaged + other.damaged,
        pending=one.pending + other.pending,
    )
