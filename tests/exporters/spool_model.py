"""What the spool must hold, told by a model that stores nothing: lists of spans, and what became of them."""

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

IsLost = Callable[[bytes], bool]


class Lane:
    """What one destination is to have of one process: from its disk, or from its memory.

    Attributes:
        first: how many spans the process had stored there before the first of these.
        spans: all that were meant for the destination, in order.
        position: how many of them are settled.
        counts: what became of those.
        again: those that may be sent once more, since an acknowledgement was lost.
    """

    def __init__(self, first: int = 0, spans: Iterable[bytes] = ()) -> None:
        self.first = first
        self.spans = list(spans)
        self.position = 0
        self.counts: Counter[str] = Counter()
        self.again: set[bytes] = set()
        self._received: set[bytes] = set()

    @property
    def waiting(self) -> list[bytes]:
        """Spans that are not settled."""
        return self.spans[self.position :]

    def receive(self, batch: Iterable[bytes], is_lost: IsLost) -> None:
        """Note a batch that is sent: in order, without one that is not due, and without leaving out any but lost ones.

        Args:
            batch: its spans.
            is_lost: whether one may be left out.
        """
        at = self.position
        for span in batch:
            assert span in self.spans[at:], "sent though it does not wait here"
            found = self.spans.index(span, at)
            assert all(map(is_lost, self.spans[at:found])), "an intact span was passed over"
            assert span not in self._received or span in self.again, "sent twice"
            self._received.add(span)
            self.again.discard(span)
            at = found + 1

    def settle(self, last: bytes, **outcomes: int) -> None:
        """Note what became of the spans up to and with the last; those without an outcome were lost."""
        end = self.spans.index(last, self.position) + 1
        lost = end - self.position - sum(outcomes.values())
        self.counts.update(outcomes, expired=lost)
        self.position = end

    def lose_acknowledgement(self, batch: Iterable[bytes]) -> None:
        """Note that spans were sent, and that the process died before it entered that."""
        self.again.update(batch)


class Home:
    """The directory of one process, and its memory.

    Attributes:
        path: the directory; None before there is one.
        disk: for each destination that has an account here.
        memory: the same of what the process keeps in memory; seen in the account of those that have one on disk.
        drops: spans that the process could not keep, for each destination that was there.
        stored: all spans on disk, by ordinal.
        segment: which one a span on disk is in.
        missing: numbers of segments that are gone.
        alive: whether its process lives.
        aged: whether all in it is older than spans may become.
    """

    def __init__(self, destinations: Iterable[str]) -> None:
        self.path: Path | None = None
        self.disk: dict[str, Lane] = {}
        self.memory = {destination: Lane() for destination in destinations}
        self.drops: Counter[str] = Counter()
        self.stored: list[bytes] = []
        self.in_memory = 0
        self.segment: dict[bytes, int] = {}
        self.missing: set[int] = set()
        self.alive = True
        self.aged = False

    @property
    def there(self) -> Path:
        """The directory, of which there is one."""
        assert self.path is not None
        return self.path

    def store(self, span: bytes, segment: int) -> None:
        """Note a span that went to disk."""
        self.stored.append(span)
        self.segment[span] = segment
        for lane in self.disk.values():
            lane.spans.append(span)

    def keep_in_memory(self, span: bytes) -> None:
        """Note a span that the disk refused."""
        self.in_memory += 1
        for lane in self.memory.values():
            lane.spans.append(span)

    def is_gone(self, span: bytes) -> bool:
        """Whether the segment that a span was in is there no more."""
        return self.segment[span] in self.missing

    def account(self, destination: str) -> Counter[str]:
        """Return what the account must say of this directory."""
        disk, memory = self.disk.get(destination), self.memory.get(destination)
        total: Counter[str] = Counter(dropped=self.drops[destination])
        if disk is None:
            return Counter()
        gone = sum(map(self.is_gone, disk.waiting))
        total.update(disk.counts, expired=gone, pending=len(disk.waiting) - gone)
        if memory is not None:
            total.update(memory.counts)
            total["pending" if self.alive else "dropped"] += len(memory.waiting)
        return total
