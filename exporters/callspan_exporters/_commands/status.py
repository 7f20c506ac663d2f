"""``callspan status``: what became of the spans, in the terms of the account.

The JSON document, to which keys may be added::

    {"spool": "/home/…/spool", "since_unix_nano": 1785585600123456789 or null,
     "destinations": [{"destination": "otlp http://localhost:4318/v1/traces", "offered": 12, "accepted": 12,
                       "delivered": 9, "rejected": 1, "rejected_reasons": {"HTTP 400 Bad Request": 1}, "expired": 0,
                       "dropped": 0, "dropped_reasons": {}, "pending": 2, "oldest_pending_age_s": 3.2 or null,
                       "bytes": 3120, "segments": {"live": 1, "orphaned": 0}}]}
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from callspan_exporters._commands.spool import NoSpoolError, add_spool_argument, chosen_spool, complain
from callspan_exporters._show.labels import printable
from callspan_exporters._spool import Account, read_accounts, read_reasons, since_ns

HELP: Final = "show what became of the spans: offered, accepted, delivered, rejected, expired, dropped, pending"

_NOTHING: Final = "No span was stored in the spool yet ({directory}).\n"
_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"))
_KIB: Final = 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what ``callspan status`` takes."""
    parser.add_argument("--json", action="store_true", help="one JSON document")
    add_spool_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show the account; return the exit code: 0, or 2 for a spool that cannot be read."""
    try:
        directory, present = chosen_spool(arguments)
    except NoSpoolError as error:
        complain(str(error))
        return 2
    accounts = read_accounts(directory) if present else []
    reasons = read_reasons(directory) if present else {}
    began_ns = since_ns(directory) if present else None
    if arguments.json:
        sys.stdout.write(_document(directory, began_ns, accounts, reasons))
    elif not accounts:
        sys.stdout.write(_NOTHING.format(directory=printable(str(directory))))
    else:
        began = f", since {_moment(began_ns)}" if began_ns else ""
        sys.stdout.write(f"{printable(str(directory))}{began}\n")
        for account in accounts:
            sys.stdout.write("\n" + "".join(f"{line}\n" for line in _lines(account, reasons)))
    return 0


def _document(
    directory: Path, began_ns: int | None, accounts: list[Account], reasons: Mapping[str, Mapping[str, int]]
) -> str:
    destinations = [
        {
            "destination": account.destination,
            "offered": account.offered,
            "accepted": account.accepted,
            "delivered": account.delivered,
            "rejected": account.rejected,
            "rejected_reasons": dict(reasons.get(account.destination, {})),
            "expired": account.expired,
            "dropped": account.dropped,
            "dropped_reasons": dict(account.drops),
            "pending": account.pending,
            "oldest_pending_age_s": _age_s(account),
            "bytes": account.bytes,
            "segments": {"live": account.live_segments, "orphaned": account.orphaned_segments},
        }
        for account in accounts
    ]
    document = {"spool": str(directory), "since_unix_nano": began_ns, "destinations": destinations}
    return json.dumps(document, indent=1) + "\n"


def _lines(account: Account, reasons: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return a destination's account as the equations that it keeps, and what is behind their terms."""
    ended = f"delivered {account.delivered:,} + rejected {account.rejected:,} + expired {account.expired:,}"
    lines = [
        printable(account.destination),
        f"  offered   {account.offered:>9,} = accepted {account.accepted:,} + dropped {account.dropped:,}",
        f"  accepted  {account.accepted:>9,} = {ended} + pending {account.pending:,}",
    ]
    age_s = _age_s(account)
    if account.pending:
        oldest = f"the oldest for {_span_of(age_s)}, " if age_s is not None else ""
        segments = f"{account.live_segments} live and {account.orphaned_segments} orphaned segments"
        lines.append(f"  pending   {account.pending:>9,}   {oldest}{_size(account.bytes)} in {segments}")
    for title, of_title in (("rejected", reasons.get(account.destination, {})), ("dropped", account.drops)):
        for reason, count in sorted(of_title.items(), key=lambda item: -item[1]):
            lines.append(f"  {title:<9} {count:>9,}   {printable(reason) or 'no reason given'}")
    return lines


def _age_s(account: Account) -> float | None:
    return None if account.oldest_ns is None else round(max(0.0, time.time() - account.oldest_ns / 1e9), 3)


def _span_of(seconds: float) -> str:
    for length, unit in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: float) -> str:
    unit = "bytes"
    for larger in ("KiB", "MiB", "GiB"):
        if count < 10 * _KIB:
            break
        count, unit = count / _KIB, larger
    return f"{count:,.0f} {unit}"


def _moment(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns / 1e9, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
