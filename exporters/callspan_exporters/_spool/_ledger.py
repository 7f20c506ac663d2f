"""The account that outlives the directories: what became of the spans of processes that have nothing waiting any more.

A directory's account is entered, and the directory removed, under one lock. Readers take that lock as well, shared, so
that they find every directory's spans in one place or the other. Where a process dies between the two steps, the
ledger names the directory, and nobody counts it again.
"""

import contextlib
import fcntl
import json
import os
import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from callspan_exporters._spool._account import Account, accounts_of
from callspan_exporters._spool._cursor import file_name
from callspan_exporters._spool._directory import began_ns, is_live, open_private, process_directories, remove
from callspan_exporters._spool._notices import later

FILE: Final = "ledger.json"
_LOCK: Final = "ledger.lock"
_VERSION: Final = 1
# For somebody who was stopped, or counts a large spool, while an exit waits.
PATIENCE_S: Final = 0.5
_READER_PATIENCE_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.005
_DAMAGED: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
_NUMBERS: Final = ("accepted", "delivered", "rejected", "expired")


@dataclass(slots=True)
class Ledger:
    """What is in the file.

    Attributes:
        since_ns: when it was begun, nanoseconds since the epoch; 0 where there is none yet.
        accounts: what was entered, by destination.
        entered: names of directories and cursors whose account is in it already.
    """

    since_ns: int = 0
    accounts: dict[str, Account] = field(default_factory=dict[str, Account])
    entered: set[str] = field(default_factory=set[str])

    def add(self, accounts: Iterable[Account]) -> None:
        """Enter accounts. Of what is still pending in them, nobody knows any more: it has expired."""
        for account in accounts:
            ended = Account(
                account.destination,
                accepted=account.accepted,
                delivered=account.delivered,
                rejected=account.rejected,
                expired=account.expired + account.pending,
                drops=account.drops,
            )
            known = self.accounts.get(account.destination)
            self.accounts[account.destination] = ended if known is None else known + ended


def prepare(root: Path) -> None:
    """Make the lock, for readers to find it from the beginning.

    Raises:
        OSError: it cannot be made.
    """
    os.close(open_private(root / _LOCK, os.O_RDWR | os.O_CREAT))


def retire(directory: Path, patience_s: float = PATIENCE_S) -> bool:
    """Enter the account of a process's directory that we hold the lock of, and remove it.

    Args:
        directory: of the process.
        patience_s: how long to wait for who reads or writes the ledger, in seconds.

    Returns:
        Whether that was done. Where it was not, somebody else will.
    """
    root = directory.parent
    with _locked(root, fcntl.LOCK_EX, patience_s) as locked:
        if not locked:
            return False
        try:
            ledger = _ledger_to_change(root)
            if directory.name not in ledger.entered:
                ledger.add(_not_entered(directory, ledger, live=False).values())
                ledger.entered.add(directory.name)
                _write(root, ledger)
        except OSError:
            return False
        remove(directory)
    return True


def enter_one(cursor: Path) -> bool:
    """Enter the account of one destination in the directory of a process that goes on, and remove it.

    Returns:
        Whether that was done.
    """
    root = cursor.parent.parent
    with _locked(root, fcntl.LOCK_EX, PATIENCE_S) as locked:
        if not locked:
            return False
        try:
            ledger = _ledger_to_change(root)
            name = f"{cursor.parent.name}/{cursor.name}"
            accounts = accounts_of(cursor.parent, live=True)
            ledger.add(account for known, account in accounts.items() if file_name(known) == cursor.name)
            ledger.entered.add(name)
            _write(root, ledger)
            cursor.unlink(missing_ok=True)
            # Another account by that name may begin in this directory, and is none that was entered.
            ledger.entered.discard(name)
            _write(root, ledger)
        except OSError:
            return False
    return True


def replace(directory: Path, accounts: Iterable[Account]) -> None:
    """Enter accounts in the place of a directory's own, of which somebody has removed at least a part.

    Raises:
        OSError: they cannot be written.
    """
    root = directory.parent
    with _locked(root, fcntl.LOCK_EX, PATIENCE_S):
        ledger = _ledger_to_change(root)
        ledger.add(accounts)
        ledger.entered.add(directory.name)
        _write(root, ledger)
        remove(directory)


def read_accounts(root: Path) -> list[Account]:
    """Return the account of every destination that a spool has ever held spans for, in the order of their names.

    Changes nothing, and waits only for somebody who is entering an account at the moment.

    Args:
        root: the spool, as `spool_directory` returns it.
    """
    with _locked(root, fcntl.LOCK_SH, _READER_PATIENCE_S):
        ledger = read_ledger(root)
        totals = dict(ledger.accounts)
        for directory in process_directories(root):
            if directory.name not in ledger.entered:
                for destination, account in _not_entered(directory, ledger, live=is_live(directory)).items():
                    known = totals.get(destination)
                    totals[destination] = account if known is None else known + account
    return [totals[destination] for destination in sorted(totals)]


def since_ns(root: Path) -> int | None:
    """Return from when on a spool has an account, nanoseconds since the epoch; None where it has none.

    Args:
        root: the spool, as `spool_directory` returns it.
    """
    directories = process_directories(root)
    times = [began_ns(directories[0])] if directories else []
    if began := read_ledger(root).since_ns:
        times.append(began)
    return min(times, default=None)


def read_ledger(root: Path) -> Ledger:
    """Return what the file says; an empty one where there is none, or none that can be read."""
    with contextlib.suppress(OSError):
        return _ledger_to_change(root)
    return Ledger()


def _ledger_to_change(root: Path) -> Ledger:
    """Return what the file says; an empty one where there is none, or a damaged one.

    Raises:
        OSError: it cannot be read, which does not say that there is nothing in it.
    """
    try:
        content: Any = json.loads((root / FILE).read_bytes())
        if content["version"] != _VERSION:
            return Ledger()
        return Ledger(
            int(content["since_ns"]),
            {name: _account(name, entry) for name, entry in content["destinations"].items()},
            {_text(name) for name in content["entered"]},
        )
    except (FileNotFoundError, *_DAMAGED):
        return Ledger()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a name")
    return value


def _not_entered(directory: Path, ledger: Ledger, *, live: bool) -> dict[str, Account]:
    accounts = accounts_of(directory, live=live)
    entered = ledger.entered
    return {name: found for name, found in accounts.items() if f"{directory.name}/{file_name(name)}" not in entered}


def _account(destination: str, entry: Mapping[str, Any]) -> Account:
    numbers = {name: int(entry[name]) for name in _NUMBERS}
    drops = {str(reason): int(count) for reason, count in entry["drops"].items()}
    return Account(destination, **numbers, drops=drops)


def _write(root: Path, ledger: Ledger) -> None:
    """Put a ledger in the place of the one there is, whole.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    _put_damaged_aside(root, ledger)
    ledger.since_ns = ledger.since_ns or since_ns(root) or time.time_ns()
    destinations = {
        name: {number: getattr(account, number) for number in _NUMBERS} | {"drops": dict(Counter(account.drops))}
        for name, account in sorted(ledger.accounts.items())
    }
    content = {
        "version": _VERSION,
        "since_ns": ledger.since_ns,
        "destinations": destinations,
        "entered": sorted(name for name in ledger.entered if (root / name).exists()),
    }
    newborn = root / f"{FILE}.new"
    descriptor = open_private(newborn, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        data = json.dumps(content, indent=1).encode()
        if os.write(descriptor, data) != len(data):
            raise OSError("no space for the ledger")
    finally:
        os.close(descriptor)
    newborn.rename(root / FILE)


def _put_damaged_aside(root: Path, ledger: Ledger) -> None:
    """Keep a file that cannot be read from being overwritten.

    Raises:
        OSError: it is of a later version, which this one must not change.
    """
    if ledger.since_ns:
        return
    with contextlib.suppress(FileNotFoundError):
        with contextlib.suppress(ValueError, AttributeError, RecursionError):
            if json.loads((root / FILE).read_bytes()).get("version", _VERSION) != _VERSION:
                raise OSError(f"{root / FILE} is of another version")
        (root / FILE).rename(root / f"{FILE}.damaged")
        later("%s could not be read. It is kept as %s.damaged, and a new account begun", root / FILE, FILE)


@contextlib.contextmanager
def _locked(root: Path, kind: int, patience_s: float) -> Generator[bool, None, None]:
    """Hold the ledger's lock; whether that could be had in time is what it yields."""
    flags = os.O_RDONLY if kind == fcntl.LOCK_SH else os.O_RDWR | os.O_CREAT
    try:
        descriptor = open_private(root / _LOCK, flags)
    except OSError:
        yield False
        return
    locked = False
    try:
        locked = _try_until(descriptor, kind, time.monotonic() + patience_s)
        yield locked
    finally:
        if locked:  # said, not left to the closing: a child forked meanwhile has the file open as well
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _try_until(descriptor: int, kind: int, deadline: float) -> bool:
    while True:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_LOOK_EVERY_S)
