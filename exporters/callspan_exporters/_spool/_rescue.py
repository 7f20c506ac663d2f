"""What can be saved where somebody removes the directory of a process that goes on.

The segment that is being written is still open, and what waits in it can be read. Older ones are gone.
"""

import contextlib
from collections.abc import Mapping

from callspan_exporters._spool._account import DAMAGED, Account
from callspan_exporters._spool._cursor import Cursor, Mark, Start
from callspan_exporters._spool._process_spool import ProcessSpool


class Rescue:
    """The way of what waits from a directory that is gone to a new one.

    Attributes:
        spans: those that wait for any destination and can be read, in order.
        next_ordinal: the one after the last that was stored there.
        lost: how many cannot be read.
    """

    def __init__(self, gone: ProcessSpool) -> None:
        self._cursors: Mapping[str, Cursor] = dict(gone.cursors)
        self.next_ordinal = gone.next_ordinal
        try:
            self.spans = gone.unsent()
        except OSError:
            self.spans = []
        self._not_yet = set(self._cursors)
        self.lost = max((self._lost(cursor) for cursor in self._cursors.values()), default=0)

    def starts(self) -> dict[str, Start]:
        """Return what the accounts in the new directory begin with: not what became of spans on disk before."""
        return {
            name: Start(Mark(segment=1), cursor.memory, cursor.dropped_before) for name, cursor in self._cursors.items()
        }

    def accounts(self) -> list[Account]:
        """Return what became of the spans that do not come along."""
        return [self._account(cursor) for cursor in self._cursors.values()]

    def arrive(self, ordinal: int, new: ProcessSpool) -> None:
        """Have those destinations begin here that have had all before this span, and not yet this one.

        Args:
            ordinal: that it had; it is about to be stored anew.
            new: the new directory.
        """
        writer = new.writer
        for name in list(self._not_yet):
            if self._cursors[name].mark.ordinal > ordinal or writer is None:
                continue
            self._not_yet.discard(name)
            begin = Mark(writer.number, writer.size, start=new.next_ordinal, ordinal=new.next_ordinal)
            with contextlib.suppress(OSError, KeyError):
                new.cursors[name].move(begin)

    def _lost(self, cursor: Cursor) -> int:
        waiting = self.next_ordinal - cursor.mark.ordinal
        return waiting - sum(span.ordinal >= cursor.mark.ordinal for span in self.spans)

    def _account(self, cursor: Cursor) -> Account:
        mark = cursor.mark
        return Account(
            cursor.destination,
            accepted=mark.delivered + mark.rejected + mark.expired,
            delivered=mark.delivered,
            rejected=mark.rejected,
            expired=mark.expired,
            drops={DAMAGED: mark.damaged + self._lost(cursor)},
        )
