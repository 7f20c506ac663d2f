"""Spans that are put aside for an account of their own: nothing is lost on the way, and the books add up."""

import os
import time
from pathlib import Path

import pytest

from callspan_exporters._spool import Account, Limits, Spool, StoredSpan, read_accounts
from callspan_exporters._spool._backlog import Backlog
from exporters.spool_faults import fill_disk

MAIN, ASIDE, OTHER = "langfuse https://h", "langfuse https://h call~ab12", "otlp http://o"


def stored(root: Path | None, count: int = 6, **limits: int) -> Spool:
    spool = Spool(root, Limits(**limits), [MAIN, OTHER])
    for number in range(count):
        spool.append(b"resource", b"scope", b"span %d" % number)
    return spool


def put_aside_half(spool: Spool) -> list[StoredSpan]:
    """Every second span is for the other account, the others are delivered."""
    (backlog,) = [each for each in spool.backlogs(MAIN) if each.pending]
    batch = backlog.next_batch(100, 1 << 20)
    aside = batch[1::2]
    spool.put_aside(ASIDE, aside)
    backlog.settle(batch[-1], delivered=len(batch) - len(aside), moved=len(aside))
    return aside


def account(root: Path, destination: str) -> Account:
    (found,) = [each for each in read_accounts(root) if each.destination == destination]
    assert found.accepted == found.delivered + found.rejected + found.expired + found.pending
    assert found.dropped == 0
    return found


def deliver(backlogs: list[Backlog]) -> list[bytes]:
    sent: list[bytes] = []
    for backlog in backlogs:
        while batch := backlog.next_batch(100, 1 << 20):
            sent += [span.encoded.span for span in batch]
            backlog.settle(batch[-1], delivered=len(batch))
    return sent


def test_the_books_add_up(tmp_path: Path) -> None:
    """A span counts where it waits, and the other destinations know nothing of it."""
    spool = stored(tmp_path)
    aside = put_aside_half(spool)
    assert (account(tmp_path, MAIN).accepted, account(tmp_path, MAIN).delivered) == (3, 3)
    assert (account(tmp_path, ASIDE).accepted, account(tmp_path, ASIDE).pending) == (3, 3)
    assert account(tmp_path, OTHER).pending == 6
    oldest = account(tmp_path, ASIDE).oldest_ns
    assert oldest == aside[0].time_ns  # so that it expires as if it had never been moved
    spool.close()
    assert account(tmp_path, MAIN).accepted == 3
    assert account(tmp_path, ASIDE).pending == 3


def test_this_process_sends_what_it_has_put_aside(tmp_path: Path) -> None:
    spool = stored(tmp_path)
    put_aside_half(spool)
    spool.adopt_for(ASIDE)
    spool.leave_aside([ASIDE])
    assert deliver(spool.backlogs(ASIDE)) == [b"span 1", b"span 3", b"span 5"]
    spool.adopt()
    assert (account(tmp_path, ASIDE).delivered, account(tmp_path, ASIDE).pending) == (3, 0)
    assert spool.backlogs(ASIDE) == []
    spool.close()


def test_another_process_sends_what_is_not_ours(tmp_path: Path) -> None:
    """While this one lives, too."""
    spool = stored(tmp_path)
    put_aside_half(spool)
    spool.leave_aside([ASIDE])
    another = Spool(tmp_path, Limits(), [])
    assert another.with_accounts([ASIDE, "langfuse https://h call~cd34"]) == [ASIDE]
    another.adopt_for(ASIDE)
    another.adopt()
    assert deliver(another.adopted_backlogs(ASIDE)) == [b"span 1", b"span 3", b"span 5"]
    another.close()
    assert account(tmp_path, ASIDE).delivered == 3
    assert deliver(spool.backlogs(OTHER)) == [b"span %d" % number for number in range(6)]
    spool.close()


def test_a_process_that_dies_in_between_repeats_and_loses_nothing(tmp_path: Path) -> None:
    """What was put aside and not yet passed is put aside again: at least once, and counted as often."""
    spool = stored(tmp_path)
    (backlog,) = [each for each in spool.backlogs(MAIN) if each.pending]
    spool.put_aside(ASIDE, backlog.next_batch(2, 1 << 20)[1:])
    spool.after_fork_in_child()  # lets go of the locks without a farewell
    another = Spool(tmp_path, Limits(), [MAIN, OTHER])
    another.adopt()
    (adopted,) = another.adopted_backlogs(MAIN)
    batch = adopted.next_batch(100, 1 << 20)
    another.put_aside(ASIDE, batch[1::2])
    adopted.settle(batch[-1], delivered=3, moved=3)
    another.close()
    assert account(tmp_path, MAIN).accepted == 3
    assert account(tmp_path, ASIDE).pending == 4


@pytest.mark.parametrize("part", [True, False], ids=["cut short", "refused"])
def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, part: bool) -> None:
    """What cannot be stored again waits in memory."""
    spool = stored(tmp_path)
    with monkeypatch.context() as patch:
        fill_disk(patch, part=part)
        put_aside_half(spool)
    assert spool.pending_in_memory(ASIDE) == 3
    assert deliver(spool.backlogs(ASIDE)) == [b"span 1", b"span 3", b"span 5"]
    spool.close()


def test_without_a_disk() -> None:
    spool = stored(None)
    put_aside_half(spool)
    assert spool.with_accounts([ASIDE]) == [ASIDE]
    assert deliver(spool.backlogs(ASIDE)) == [b"span 1", b"span 3", b"span 5"]
    spool.adopt_no_more_for(ASIDE)
    assert spool.backlogs(ASIDE) == []
    assert deliver(spool.backlogs(OTHER)) == [b"span %d" % number for number in range(6)]


def test_a_child_keeps_no_lock_of_what_is_being_filled(tmp_path: Path) -> None:
    """Or nobody could take over what its parent put aside for as long as it lives."""
    spool = stored(tmp_path)
    put_aside_half(spool)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        spool.after_fork_in_child()
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    spool.close()
    another = Spool(tmp_path, Limits(), [])
    another.adopt_for(ASIDE)
    deadline = time.monotonic() + 20
    while not another.adopted_backlogs(ASIDE) and time.monotonic() < deadline:
        another.adopt()
        time.sleep(0.01)
    sent = deliver(another.adopted_backlogs(ASIDE))
    another.close()
    os.close(writing)
    os.waitpid(child, 0)
    assert sent == [b"span 1", b"span 3", b"span 5"]


def test_many_spans_take_several_segments(tmp_path: Path) -> None:
    spool = stored(tmp_path, count=200, segment_bytes=1000)
    sent: list[bytes] = []
    for _ in range(100):
        waiting = [each for each in spool.backlogs(MAIN) if each.pending]
        if not waiting:
            break
        put_aside_half(spool)
    spool.adopt_for(ASIDE)
    spool.leave_aside([ASIDE])
    sent = deliver(spool.backlogs(ASIDE))
    assert len(sent) == account(tmp_path, ASIDE).delivered
    assert account(tmp_path, MAIN).delivered + len(sent) == 200
    spool.close()
