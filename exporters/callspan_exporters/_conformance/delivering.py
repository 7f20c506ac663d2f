"""The whole way from the spool to a destination, by callspan's own sender."""

import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from callspan_exporters._conformance.spans import UNREADABLE
from callspan_exporters._delivery import Delivery
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._outcome import Destination
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import Limits

_PATIENCE_S: Final = 60.0


def delivered_around(destination: Destination, spans: Sequence[EncodedSpan]) -> int:
    """Do the same in a spool of its own, with a span among them that cannot be read."""
    middle = len(spans) // 2
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "spool")
        return delivered(destination, root, [*spans[:middle], UNREADABLE, *spans[middle:]], batch=len(spans) + 1)


def delivered(destination: Destination, root: Path, spans: Sequence[EncodedSpan], batch: int) -> int:
    """Store spans and have them sent until none is left.

    Args:
        destination: where they go.
        root: of a new spool.
        spans: to be stored.
        batch: how many go in one request.

    Returns:
        How many are left all the same, after a minute.
    """
    settings = BatchSettings(schedule_delay_s=0.1, max_export_batch_size=batch)
    delivery = Delivery(
        [destination], root=root, limits=Limits(), settings=settings, exit_budget_s=0.0, talkative=False
    )
    try:
        for span in spans:
            delivery.append(*span)
        deadline = time.monotonic() + _PATIENCE_S
        while delivery.pending and time.monotonic() < deadline:
            delivery.flush_everything(threading.Event(), min(deadline, time.monotonic() + 1.0))
        return delivery.pending
    finally:
        delivery.shutdown(0.0)
