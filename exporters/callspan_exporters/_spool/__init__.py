"""The spool: a persistent queue on disk that ended spans enter before anything else happens to them."""

from callspan_exporters._spool._account import Account
from callspan_exporters._spool._adoption import left_for_any
from callspan_exporters._spool._backlog import Backlog
from callspan_exporters._spool._dead_letter import DeadLetters, Refusal, read_reasons, read_refusals
from callspan_exporters._spool._directory import spool_directory
from callspan_exporters._spool._ledger import read_accounts, since_ns
from callspan_exporters._spool._limits import Limits
from callspan_exporters._spool._segment import StoredSpan, read_spans
from callspan_exporters._spool._spool import Spool
from callspan_exporters._spool._tally import AFTER_SHUTDOWN, UNSTORABLE

__all__ = [
    "AFTER_SHUTDOWN",
    "UNSTORABLE",
    "Account",
    "Backlog",
    "DeadLetters",
    "Limits",
    "Refusal",
    "Spool",
    "StoredSpan",
    "left_for_any",
    "read_accounts",
    "read_reasons",
    "read_refusals",
    "read_spans",
    "since_ns",
    "spool_directory",
]
