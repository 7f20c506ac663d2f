"""Where spans are put aside that cannot go where the others of their batch go, for whoever can send them later.

They have a directory of their own, as those of a dead process do, with an account for the one destination that they are
for: so whoever has it takes them over, they expire with the rest, and the books add up.
"""

import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from callspan_exporters._spool._cursor import Mark, Start
from callspan_exporters._spool._process_spool import ProcessSpool
from callspan_exporters._spool._segment import StoredSpan
from callspan_exporters._spool._tally import Tally


class Parking:
    """Directories that are being filled, by any thread."""

    def __init__(self, root: Path, segment_bytes: int, *, fsync: bool) -> None:
        """Make nothing yet.

        Args:
            root: the spool.
            segment_bytes: how large one file becomes.
            fsync: whether what is stored survives the loss of power.
        """
        self._root = root
        self._segment_bytes = segment_bytes
        self._fsync = fsync
        self._lock = threading.Lock()
        self.open: dict[str, ProcessSpool] = {}

    def put(self, destination: str, spans: Sequence[StoredSpan]) -> None:
        """Store spans for a destination. When this returns, they survive the death of the process.

        Raises:
            OSError: not all could be stored; none of them is passed where it comes from, so some come twice.
        """
        with self._lock:
            self._put(destination, spans)

    def _put(self, destination: str, spans: Sequence[StoredSpan]) -> None:
        spool = self.open.get(destination)
        if spool is None:
            tally, start = Tally(), Start(Mark(segment=1))
            spool = self.open[destination] = ProcessSpool.create(
                self._root, {destination: start}, tally, fsync=self._fsync
            )
            tally.close()
        for span in spans:
            resource, scope, encoded = span.encoded
            spool.append(resource, scope, encoded, self._segment_bytes, time_ns=span.time_ns)

    def take(self, destinations: Iterable[str]) -> dict[str, ProcessSpool]:
        """Return what was filled for some destinations, complete, by destination. From now on others are filled."""
        with self._lock:
            filled = {each: self.open.pop(each) for each in destinations if each in self.open}
        for spool in filled.values():
            spool.stop_writing()
        return filled
