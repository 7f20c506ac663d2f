"""The spool on disk: any bytes are read without a crash, and every intact record is recovered."""

import os
import shutil
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._spool import (
    UNSTORABLE,
    Limits,
    Spool,
    StoredSpan,
    read_accounts,
    read_spans,
    spool_directory,
)
from callspan_exporters._spool._account import DAMAGED
from callspan_exporters._spool._backlog import Backlog
from callspan_exporters._spool._directory import UnsafeSpoolError, new_process_directory, open_root, process_directories
from callspan_exporters._spool._memory import MemoryBacklog
from callspan_exporters._spool._record import HEADER_SIZE, MAGIC, Kind, pack, scan

A, B = "otlp http://a/v1/traces", "otlp http://b/v1/traces"
RESOURCE, SCOPE = b"resource", b"scope"
SMALL = Limits(segment_bytes=1000)

payloads = st.binary(max_size=200)


def write(path: Path, data: bytes) -> int:
    path.write_bytes(data)
    return os.open(path, os.O_RDONLY)


def records_in(path: Path, data: bytes) -> list[bytes]:
    descriptor = write(path, data)
    try:
        return [record.payload for record in scan(descriptor, 0, len(data))]
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records") / "file"


@given(data=st.one_of(st.binary(max_size=500), st.lists(st.sampled_from([MAGIC, b"C", b"S", b"\0"])).map(b"".join)))
def test_any_bytes_are_read(scratch: Path, data: bytes) -> None:
    """No file whatever makes reading it fail."""
    records_in(scratch, data)


@given(st.lists(st.one_of(payloads.map(lambda payload: (True, payload)), payloads.map(lambda junk: (False, junk)))))
def test_intact_records_are_recovered(scratch: Path, pieces: list[tuple[bool, bytes]]) -> None:
    """Whatever lies between records costs none of them."""
    data = b"".join(pack(Kind.SPAN, piece) if intact else piece for intact, piece in pieces)
    assert records_in(scratch, data) == [piece for intact, piece in pieces if intact]


@given(st.lists(payloads, min_size=1), st.data())
def test_a_damaged_byte_costs_its_record_only(scratch: Path, content: list[bytes], draw: st.DataObject) -> None:
    """Damage is local."""
    packed = [pack(Kind.SPAN, payload, ordinal=number) for number, payload in enumerate(content)]
    victim = draw.draw(st.integers(0, len(packed) - 1))
    at = draw.draw(st.integers(0, len(packed[victim]) - 1))
    damaged = bytearray(packed[victim])
    damaged[at] ^= draw.draw(st.integers(1, 255))
    data = b"".join([*packed[:victim], bytes(damaged), *packed[victim + 1 :]])
    assert records_in(scratch, data) == content[:victim] + content[victim + 1 :]


@given(st.lists(payloads, min_size=1), st.data())
def test_a_torn_end_costs_the_torn_record_only(scratch: Path, content: list[bytes], draw: st.DataObject) -> None:
    """A file that ends anywhere gives all records before that."""
    packed = [pack(Kind.SPAN, payload) for payload in content]
    torn = draw.draw(st.integers(0, len(packed[-1]) - 1))
    assert records_in(scratch, b"".join(packed[:-1]) + packed[-1][:torn]) == content[:-1]


def test_records_larger_than_the_window(scratch: Path) -> None:
    """A record may be of any size, and lie across any boundary of what is read at once."""
    content = [bytes([number]) * size for number, size in enumerate([3 << 20, 10, (1 << 20) - HEADER_SIZE, 1 << 20, 7])]
    assert records_in(scratch, b"".join(pack(Kind.SPAN, payload) for payload in content)) == content


def fill(spool: Spool, count: int, prefix: str = "") -> list[bytes]:
    content = [f"{prefix}{number}".encode() * 10 for number in range(count)]
    for span in content:
        spool.append(RESOURCE, SCOPE, span)
    return content


def drain(backlog: Backlog, at_most: int = 1000) -> list[bytes]:
    sent: list[bytes] = []
    while len(sent) < at_most and (batch := backlog.next_batch(min(7, at_most - len(sent)), 1 << 20)):
        sent += [span.encoded.span for span in batch]
        backlog.settle(batch[-1], delivered=len(batch))
    return sent


def left_by_a_dead_process(spool: Spool) -> None:
    """Lets go of the locks without a farewell."""
    spool.after_fork_in_child()


def test_what_is_stored_is_read(tmp_path: Path) -> None:
    """Across segments, in order, with where it came from, and removed once every destination has passed it."""
    spool = Spool(tmp_path / "spool", SMALL, [A, B])
    content = fill(spool, 100)
    assert [span.span for span in read_spans(tmp_path / "spool")] == content
    assert next(read_spans(tmp_path / "spool")) == EncodedSpan(RESOURCE, SCOPE, content[0])
    segments = len(list((tmp_path / "spool").rglob("*.segment")))
    assert segments > 5
    assert drain(spool.backlogs(A)[1]) == content
    assert len(list((tmp_path / "spool").rglob("*.segment"))) == segments
    assert drain(spool.backlogs(B)[1]) == content
    assert len(list((tmp_path / "spool").rglob("*.segment"))) == 1
    spool.close()
    assert process_directories(tmp_path / "spool") == []
    accounts = read_accounts(tmp_path / "spool")
    assert [(a.offered, a.accepted, a.delivered, a.pending) for a in accounts] == [(100, 100, 100, 0)] * 2


def test_reading_goes_on_while_writing(tmp_path: Path) -> None:
    """A reader at the end of what there is finds what comes after it, in this segment or the next."""
    spool = Spool(tmp_path / "spool", SMALL, [A])
    sent: list[bytes] = []
    content: list[bytes] = []
    for number in range(60):
        content += fill(spool, number % 5, f"{number}-")
        sent += drain(spool.backlogs(A)[-1])
    assert sent == content


def test_adoption_goes_on_where_the_dead_process_was(tmp_path: Path) -> None:
    """Each destination's cursor holds; the directory goes when all is done."""
    dead = Spool(tmp_path / "spool", SMALL, [A, B])
    content = fill(dead, 50)
    assert drain(dead.backlogs(A)[1], 20) == content[:20]
    left_by_a_dead_process(dead)
    heir = Spool(tmp_path / "spool", SMALL, [A])
    heir.adopt()
    (backlog,) = heir.adopted_backlogs(A)
    assert backlog.pending == 30
    assert drain(backlog) == content[20:]
    heir.adopt()
    assert heir.adopted_backlogs(A) == []
    (account,) = [account for account in read_accounts(tmp_path / "spool") if account.destination == B]
    assert account.pending == 50
    other = Spool(tmp_path / "spool", SMALL, [B])
    other.adopt()
    assert drain(other.adopted_backlogs(B)[0]) == content
    other.adopt()
    assert process_directories(tmp_path / "spool") == []


def test_one_adopter_only(tmp_path: Path) -> None:
    """Two processes do not take over the same directory, and nobody that of a living one."""
    dead = Spool(tmp_path / "spool", SMALL, [A])
    fill(dead, 5)
    left_by_a_dead_process(dead)
    alive, first, second = (Spool(tmp_path / "spool", SMALL, [A]) for _ in range(3))
    fill(alive, 5)
    first.adopt()
    second.adopt()
    assert len(first.adopted_backlogs(A)) == 1
    assert second.adopted_backlogs(A) == []
    first.close()
    second.adopt()
    assert len(second.adopted_backlogs(A)) == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_account_adds_up_over_damage(tmp_path_factory: pytest.TempPathFactory, draw: st.DataObject) -> None:
    """Damage in a dead process's segments is counted, and everything intact is delivered, once."""
    root = tmp_path_factory.mktemp("damage") / "spool"
    dead = Spool(root, SMALL, [A])
    content = fill(dead, 40)
    left_by_a_dead_process(dead)
    segments = sorted(root.rglob("*.segment"))
    for _ in range(draw.draw(st.integers(1, 4))):
        victim = draw.draw(st.sampled_from(segments))
        data = bytearray(victim.read_bytes())
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at : at + draw.draw(st.integers(1, 300))] = draw.draw(st.binary(max_size=300))
        victim.write_bytes(data)
    (before,) = read_accounts(root)
    heir = Spool(root, SMALL, [A])
    heir.adopt()
    backlogs = heir.adopted_backlogs(A)
    sent = [span for backlog in backlogs for span in drain(backlog)]
    assert [span for span in content if span in sent] == sent
    assert before.accepted <= 40
    for backlog in backlogs:
        assert backlog.pending == 0
        assert backlog.position == before.accepted
    heir.close()


def test_the_oldest_go_at_the_limit(tmp_path: Path) -> None:
    """The spool stays within its bytes; what went is counted as expired."""
    limits = Limits(max_bytes=5000, segment_bytes=1000)
    spool = Spool(tmp_path / "spool", limits, [A])
    content = fill(spool, 300)
    size = sum(path.stat().st_size for path in (tmp_path / "spool").rglob("*.segment"))
    assert size <= limits.max_bytes + limits.segment_bytes + 500
    (account,) = read_accounts(tmp_path / "spool")
    assert account.accepted == 300 == account.expired + account.pending
    sent = drain(spool.backlogs(A)[1])
    assert sent == content[-account.pending :]
    (account,) = read_accounts(tmp_path / "spool")
    assert (account.delivered, account.delivered + account.expired, account.pending) == (len(sent), 300, 0)


def test_dead_processes_make_room_first(tmp_path: Path) -> None:
    """The limit is of the whole spool, and the oldest process's spans are the oldest."""
    limits = Limits(max_bytes=5000, segment_bytes=1000)
    for _ in range(6):
        dead = Spool(tmp_path / "spool", limits, [A])
        fill(dead, 10)
        left_by_a_dead_process(dead)
    spool = Spool(tmp_path / "spool", limits, [B])
    fill(spool, 30)
    (a, b) = read_accounts(tmp_path / "spool")
    assert (b.expired, b.pending) == (0, 30)
    assert a.pending < 60
    assert a.offered == a.expired + a.pending == 60


def test_a_destination_that_takes_another_ones_place(tmp_path: Path) -> None:
    """It inherits what is pending."""
    spool = Spool(tmp_path / "spool", SMALL, [A])
    content = fill(spool, 20)
    drain(spool.backlogs(A)[1], 5)
    spool.replace_destination(A, B)
    content += fill(spool, 5, "more")
    assert drain(spool.backlogs(B)[1]) == content[5:]
    assert spool.backlogs(A) == []


def test_a_destination_that_comes_later(tmp_path: Path) -> None:
    """It is sent what ends from then on."""
    spool = Spool(tmp_path / "spool", SMALL, [A])
    fill(spool, 20)
    spool.add_destination(B)
    later = fill(spool, 5, "later")
    assert drain(spool.backlogs(B)[1]) == later


def test_a_span_that_ends_while_another_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection of garbage in the midst of storing may end a span: both are stored."""
    spool = Spool(tmp_path / "spool", SMALL, [A])
    fill(spool, 1)
    store = Spool._append

    def interrupted(self: Spool, resource: bytes, scope: bytes, span: bytes) -> None:
        monkeypatch.setattr(Spool, "_append", store)
        self.append(RESOURCE, SCOPE, b"inner")
        store(self, resource, scope, span)

    monkeypatch.setattr(Spool, "_append", interrupted)
    spool.append(RESOURCE, SCOPE, b"outer")
    assert drain(spool.backlogs(A)[1])[1:] == [b"outer", b"inner"]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A write that is cut short leaves nothing behind; memory takes the span, and the disk the later ones again."""
    spool = Spool(tmp_path / "spool", SMALL, [A])
    content = fill(spool, 3)
    write_all = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write_all(descriptor, data[: len(data) // 2]))
    content += fill(spool, 3, "unlucky")
    monkeypatch.setattr(os, "write", write_all)
    monkeypatch.setattr(spool, "_retry_disk_at", 0.0)
    content += fill(spool, 3, "again")
    in_memory, on_disk = (drain(backlog) for backlog in spool.backlogs(A))
    assert (on_disk, in_memory) == (content[:3] + content[6:], content[3:6])
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Without a disk the oldest go, counted."""
    spool = Spool(None, Limits(memory_bytes=1000), [A])
    content = fill(spool, 200)
    (backlog,) = spool.backlogs(A)
    assert isinstance(backlog, MemoryBacklog)
    pending = backlog.pending
    sent = drain(backlog)
    assert sent == content[-pending:]
    assert sum(map(len, sent)) <= 1000
    assert backlog.mark.expired == 200 - pending


def test_leftovers_that_are_not_ours(tmp_path: Path) -> None:
    """Other files in the spool, and segments of a later version, are left alone."""
    root = tmp_path / "spool"
    dead = Spool(root, SMALL, [A])
    fill(dead, 5)
    left_by_a_dead_process(dead)
    (segment,) = root.rglob("*.segment")
    segment.write_bytes(b"CSP9" + b"\0" * 100)
    (root / "notes.txt").write_text("mine")
    (root / "photos").mkdir()
    heir = Spool(root, SMALL, [A])
    heir.adopt()
    fill(heir, 3)
    heir.close()
    assert segment.read_bytes().startswith(b"CSP9")
    assert (root / "notes.txt").exists()
    assert (root / "photos").exists()


def test_a_root_of_ours_is_closed_to_others(tmp_path: Path) -> None:
    """A directory of ours that others may read is closed to them, also behind a link of ours."""
    root = tmp_path / "spool"
    root.mkdir()
    link = tmp_path / "link"
    link.symlink_to(root)
    for path in (root, link):
        root.chmod(0o755)
        open_root(path)
        assert stat.S_IMODE(root.stat().st_mode) == 0o700


def test_directories_above_the_root_are_made_for_us_alone(tmp_path: Path) -> None:
    """Or somebody else could put a directory of theirs in its place."""
    before = os.umask(0)
    try:
        open_root(tmp_path / "state" / "callspan" / "spool")
    finally:
        os.umask(before)
    for path in (tmp_path / "state", tmp_path / "state" / "callspan", tmp_path / "state" / "callspan" / "spool"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_root_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    """Neither their directory nor their link, wherever it leads."""
    root = tmp_path / "spool"
    root.mkdir()
    link = tmp_path / "link"
    link.symlink_to(root)
    os.lchown(link, 12345, 12345)
    with pytest.raises(UnsafeSpoolError, match="link of another user"):
        open_root(link)
    os.chown(root, 12345, 12345)
    with pytest.raises(UnsafeSpoolError, match="belongs to another user"):
        open_root(root)


def test_the_spool_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CALLSPAN_SPOOL_DIR, or else where the XDG specification puts state."""
    monkeypatch.setenv("CALLSPAN_SPOOL_DIR", str(tmp_path / "here"))
    assert spool_directory() == tmp_path / "here"
    monkeypatch.delenv("CALLSPAN_SPOOL_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert spool_directory() == tmp_path / "callspan" / "spool"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert spool_directory() == tmp_path / "home" / ".local" / "state" / "callspan" / "spool"


def test_limits_by_environment(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Quantities have units; what is not understood is named in a warning, and the default used."""
    monkeypatch.setenv("CALLSPAN_SPOOL_MAX_BYTES", "1.5 GiB")
    monkeypatch.setenv("CALLSPAN_SPOOL_MAX_AGE", "12h")
    limits = Limits.from_environment()
    assert (limits.max_bytes, limits.max_age_s) == (3 << 29, 43200)
    monkeypatch.setenv("CALLSPAN_SPOOL_MAX_BYTES", "plenty")
    assert Limits.from_environment().max_bytes == Limits().max_bytes
    assert "CALLSPAN_SPOOL_MAX_BYTES" in caplog.text


def test_expired_spans_are_passed(tmp_path: Path) -> None:
    """Entering spans as expired passes them."""
    spool = Spool(tmp_path / "spool", SMALL, [A])
    fill(spool, 5)
    backlog = spool.backlogs(A)[1]
    batch: list[StoredSpan] = backlog.next_batch(3, 1000)
    backlog.settle(batch[-1], expired=3)
    (account,) = read_accounts(tmp_path / "spool")
    assert (account.expired, account.pending) == (3, 2)


@pytest.mark.parametrize("what", ["the spool", "the file"])
def test_what_waits_in_a_directory_that_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str) -> None:
    """It is still open: nothing of it is lost, nobody is sent twice what it has had, and the account adds up."""
    root = tmp_path / "spool"
    spool = Spool(root, Limits(), [A, B])
    content = fill(spool, 20)
    assert drain(spool.backlogs(A)[1], 7) == content[:7]
    if what == "the file":
        next(root.rglob("*.segment")).unlink()
    else:
        shutil.rmtree(root)
    content += fill(spool, 5, "unsuspecting")
    assert drain(spool.backlogs(A)[1], 2) == content[7:9]
    assert drain(spool.backlogs(B)[1], 3) == []
    spool.adopt()
    content += fill(spool, 3, "later")
    assert drain(spool.backlogs(A)[1]) == content[9:]
    assert drain(spool.backlogs(B)[1]) == content
    assert [(a.offered, a.delivered, a.dropped) for a in read_accounts(root)] == [(28, 28, 0)] * 2
    assert "25 were saved and 0 are lost" in caplog.text


def test_what_cannot_be_saved_of_a_directory_that_is_removed(tmp_path: Path) -> None:
    """Segments that were full are gone with it, which is counted."""
    root = tmp_path / "spool"
    spool = Spool(root, SMALL, [A])
    content = fill(spool, 60)
    shutil.rmtree(root)
    spool.adopt()
    content += fill(spool, 3, "later")
    sent = drain(spool.backlogs(A)[1])
    assert sent == content[-len(sent) :]
    (account,) = read_accounts(root)
    assert (account.offered, account.delivered) == (63, len(sent))
    assert account.drops == {DAMAGED: 63 - len(sent)}


def test_a_destination_that_comes_back(tmp_path: Path) -> None:
    """It gets what ended before it was removed, and after it was added again, and nothing of the time between."""
    spool = Spool(tmp_path / "spool", SMALL, [A, B])
    first = fill(spool, 2, "before")
    assert drain(spool.backlogs(A)[1]) == first
    spool.remove_destination(A)
    between = fill(spool, 3, "between")
    spool.add_destination(A)
    last = fill(spool, 2, "after")
    assert drain(spool.backlogs(A)[1]) == last
    assert drain(spool.backlogs(B)[1]) == first + between + last
    accounts = {account.destination: account for account in read_accounts(tmp_path / "spool")}
    assert [(accounts[name].offered, accounts[name].delivered) for name in (A, B)] == [(4, 4), (7, 7)]


def test_what_nobody_has_a_destination_for(tmp_path: Path) -> None:
    """It goes when it is as old as spans may become."""
    dead = Spool(tmp_path / "spool", SMALL, [A])
    fill(dead, 5)
    left_by_a_dead_process(dead)
    (directory,) = process_directories(tmp_path / "spool")
    other = Spool(tmp_path / "spool", SMALL, [B])
    other.adopt()
    assert directory.exists()
    for path in directory.iterdir():
        os.utime(path, (0, 0))
    other.adopt()
    assert not directory.exists()
    (account,) = read_accounts(tmp_path / "spool")
    assert (account.offered, account.expired, account.pending) == (5, 5, 0)


def test_a_directory_that_was_half_made(tmp_path: Path) -> None:
    """What a process left that was killed while it made or removed one is cleared away, once it is surely dead."""
    root = tmp_path / "spool"
    open_root(root)
    newborn, _, lock = new_process_directory(root)
    spool = Spool(root, SMALL, [A])
    os.utime(newborn, (0, 0))
    spool.adopt()
    assert newborn.exists()
    os.close(lock)
    os.utime(newborn)
    spool.adopt()
    assert newborn.exists()
    os.utime(newborn, (0, 0))
    spool.adopt()
    assert not newborn.exists()


def test_many_threads(tmp_path: Path) -> None:
    """Each span is stored once, whichever thread ends it, while another one reads."""
    spool = Spool(tmp_path / "spool", SMALL, [A])
    threads = [threading.Thread(target=fill, args=(spool, 300, f"{number}-")) for number in range(8)]
    for thread in threads:
        thread.start()
    sent: list[bytes] = []
    while any(thread.is_alive() for thread in threads):
        if len(backlogs := spool.backlogs(A)) > 1:
            sent += drain(backlogs[1], 50)
    sent += drain(spool.backlogs(A)[1], 10_000)
    assert sorted(sent) == sorted(f"{number}-{span}".encode() * 10 for number in range(8) for span in range(300))
    (account,) = read_accounts(tmp_path / "spool")
    assert (account.offered, account.accepted, account.delivered) == (2400, 2400, 2400)


def test_an_interrupt_in_the_midst_of_storing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler may raise anywhere: the spans before and after are delivered, and the account adds up."""
    spool = Spool(tmp_path / "spool", SMALL, [A])
    content = fill(spool, 3)

    def interrupted(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", write_all)
        raise KeyboardInterrupt

    write_all = os.write
    monkeypatch.setattr(os, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(spool, 1)
    content += fill(spool, 30, "later")
    assert drain(spool.backlogs(A)[1]) == content
    (account,) = read_accounts(tmp_path / "spool")
    assert (account.offered, account.accepted, account.delivered, account.drops) == (34, 33, 33, {UNSTORABLE: 1})
