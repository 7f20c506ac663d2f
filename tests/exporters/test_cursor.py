"""The file of a destination's account: whatever happened to its bytes, no span is lost by it, and no later format."""

import dataclasses
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callspan_exporters._spool import Account, Limits, Spool, read_accounts
from callspan_exporters._spool._cursor import NOWHERE, Cursor, Mark, Start, create, file_name, load, load_all
from callspan_exporters._spool._directory import process_directories

A, B = "otlp http://a/v1/traces", "callback b"
LONG = "otlp http://host/" + "längst/" * 60
PLACES = {"disk": (0, 128), "memory": (256, 384)}
HEADER = 512
MAGIC = b"CSC2"

numbers = st.integers(0, 2**40)
marks = st.builds(
    lambda segment, offset, start, outcomes: Mark(segment, offset, start, start + sum(outcomes), *outcomes),
    *[numbers] * 3,
    st.tuples(*[numbers] * 4),
)
names = st.one_of(st.sampled_from([A, B, LONG]), st.text(st.characters(codec="utf-8"), min_size=1, max_size=200))
lanes = st.sampled_from(["disk", "memory"])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cursors")


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def begun(directory: Path, destination: str, start: Start) -> Path:
    """A file as it is begun."""
    cursor = create(directory, destination, start)
    cursor.close()
    return cursor.path


def read(path: Path, begin: Mark = NOWHERE) -> Cursor | None:
    """What a file says, with all of it closed."""
    cursor = load(path, begin=begin)
    if cursor is not None:
        cursor.close()
    return cursor


def mark_of(cursor: Cursor | None, lane: str) -> Mark:
    """A mark, wherever it was written."""
    assert cursor is not None
    return dataclasses.replace(cursor.mark if lane == "disk" else cursor.memory, sequence=0)


def mover(cursor: Cursor, lane: str) -> Callable[[Mark], None]:
    return cursor.move if lane == "disk" else cursor.move_memory


@given(content=st.one_of(st.binary(max_size=700), st.lists(st.sampled_from([MAGIC, b"CSC", b"\0" * 60])).map(b"".join)))
@example(content=b"CSC")
@pytest.mark.parametrize("name", ["x.cursor", file_name(A), file_name(LONG)])
def test_any_bytes_are_read(scratch: Path, name: str, content: bytes) -> None:
    """Whatever is in a file, reading it gives an account or none, for one destination, and the file stays closed."""
    path = scratch / name
    path.write_bytes(content)
    before = open_files()
    cursor = read(path)
    load_all(scratch)
    assert cursor is None or cursor.destination
    assert open_files() <= before + 3, "a file that is no account was left open"
    path.unlink()


@given(destination=names, start=st.builds(Start, marks, marks, numbers), moves=st.lists(st.tuples(lanes, marks)))
def test_what_is_written_is_read(scratch: Path, destination: str, start: Start, moves: list[tuple[str, Mark]]) -> None:
    """Of each pair of places the mark that was written last counts, whatever the destination is called."""
    cursor = create(scratch, destination, start)
    for lane, mark in moves:
        mover(cursor, lane)(mark)
    cursor.close()
    found = read(cursor.path)
    assert found is not None
    assert (found.destination, found.dropped_before) == (destination, start.dropped)
    assert (found.mark, found.memory) == (cursor.mark, cursor.memory)
    cursor.path.unlink()


@settings(max_examples=10, deadline=None)
@given(lane=lanes, old=st.lists(marks, max_size=3), new=marks)
def test_a_torn_write_leaves_the_older_mark(scratch: Path, lane: str, old: list[Mark], new: Mark) -> None:
    """At whichever byte the write of a mark ends, in either place, the file says the mark before it, or that one."""
    cursor = create(scratch, A, Start(Mark(segment=1), Mark(segment=2)))
    for mark in old:
        mover(cursor, lane)(mark)
    before, older = cursor.path.read_bytes(), mark_of(read(cursor.path), lane)
    mover(cursor, lane)(new)
    cursor.close()
    after = cursor.path.read_bytes()
    place = PLACES[lane][(len(old) + 1) % 2]
    for size in range(128):
        torn = before[:place] + after[place : place + size] + before[place + size :]
        cursor.path.write_bytes(torn)
        expected = new if torn == after else older
        assert mark_of(read(cursor.path), lane) == dataclasses.replace(expected, sequence=0)


@given(lane=lanes, places=st.tuples(*[st.integers(4, 79)] * 2), flips=st.tuples(*[st.integers(1, 255)] * 2))
def test_damage_to_both_marks(scratch: Path, lane: str, places: tuple[int, int], flips: tuple[int, int]) -> None:
    """Where neither mark is intact, the account of the disk begins where the spans do, and that of memory anew."""
    begin, mark = Mark(segment=7, start=30, ordinal=30), Mark(segment=9, ordinal=50, delivered=50)
    cursor = create(scratch, A, Start(mark, mark))
    mover(cursor, lane)(mark)
    cursor.close()
    content = bytearray(cursor.path.read_bytes())
    for place, at, flip in zip(PLACES[lane], places, flips, strict=True):
        content[place + at] ^= flip
    cursor.path.write_bytes(content)
    found = read(cursor.path, begin)
    assert mark_of(found, lane) == (begin if lane == "disk" else NOWHERE)
    assert mark_of(found, "memory" if lane == "disk" else "disk") == mark


@given(at=st.integers(0, 16 + len(A) + 3), flip=st.integers(1, 255))
def test_a_damaged_header(scratch: Path, at: int, flip: int) -> None:
    """The name of the file says whose it is where the header does not, and the marks hold."""
    mark = Mark(segment=3, ordinal=50, delivered=50)
    path = begun(scratch, A, Start(mark, dropped=4))
    content = bytearray(path.read_bytes())
    content[HEADER + at] ^= flip
    path.write_bytes(content)
    found = read(path)
    assert found is not None
    assert (found.destination, found.mark, found.dropped_before) == (A, mark, 0)


@given(size=st.integers(0, HEADER + 100))
@example(size=3)
def test_a_file_that_ends_early(scratch: Path, size: int) -> None:
    """However little is left, it is an account, begun anew where no mark is left, also once it is written again."""
    mark, begin = Mark(segment=3, ordinal=50, delivered=50), Mark(segment=2, start=9, ordinal=9)
    path = begun(scratch, A, Start(mark))
    path.write_bytes(path.read_bytes()[:size])
    cursor = load(path, begin=begin)
    assert cursor is not None
    assert (cursor.destination, mark_of(cursor, "disk")) == (A, mark if size >= 80 else begin)
    cursor.move(mark)
    cursor.close()
    assert mark_of(read(path), "disk") == mark


@given(destinations=st.lists(names, min_size=2, max_size=6, unique=True))
@example(destinations=[LONG + "a", LONG + "b", LONG])
def test_names(scratch: Path, destinations: list[str]) -> None:
    """Each destination has a file of its own, that a file system takes, however long its name, whatever is in it."""
    for destination in destinations:
        assert len(file_name(destination)) < 240
        begun(scratch, destination, Start(Mark()))
    found = load_all(scratch)
    for cursor in found.values():
        cursor.close()
        cursor.path.unlink()
    assert set(found) >= set(destinations)


def test_a_rename_keeps_the_account(tmp_path: Path) -> None:
    """A destination that takes another one's place goes on from its marks; the other has no file any more."""
    cursor = create(tmp_path, A, Start(Mark(segment=1), dropped=3))
    for ordinal in (5, 9):
        cursor.move(Mark(segment=2, ordinal=ordinal, delivered=ordinal))
        cursor.move_memory(Mark(ordinal=ordinal, rejected=ordinal))
    cursor.rename(LONG)
    cursor.move(Mark(segment=2, ordinal=12, delivered=12))
    cursor.close()
    assert [path.name for path in tmp_path.iterdir()] == [file_name(LONG)]
    found = read(cursor.path)
    assert found is not None
    assert (found.destination, found.dropped_before) == (LONG, 3)
    assert (found.mark.delivered, found.memory.rejected) == (12, 9)


@pytest.mark.parametrize("room", [0, 100, 500, 540])
def test_a_file_that_the_disk_does_not_take_whole(tmp_path: Path, room: int) -> None:
    """It is no account, and nothing of it stays: half of a mark would be taken for damage."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large|No space"):
            create(tmp_path, A, Start(Mark(segment=1)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def left_behind(root: Path) -> tuple[Path, list[bytes]]:
    """A directory of a process that died, which has sent A the first 9 of 20 spans, and its spans."""
    spool = Spool(root, Limits(segment_bytes=1000), [A])
    content = [b"%02d " % number + b"." * 100 for number in range(20)]
    for span in content:
        spool.append(b"resource", b"scope", span)
    backlog = spool.backlogs(A)[1]
    for _ in range(3):
        batch = backlog.next_batch(3, 1000)
        backlog.settle(batch[-1], delivered=len(batch))
    spool.after_fork_in_child()
    (directory,) = process_directories(root)
    return directory, content


def drained(heir: Spool, destination: str) -> list[bytes]:
    """What an heir is given to send."""
    heir.adopt()
    sent: list[bytes] = []
    for backlog in heir.adopted_backlogs(destination):
        while batch := backlog.next_batch(5, 1000):
            sent += [span.encoded.span for span in batch]
            backlog.settle(batch[-1], delivered=len(batch))
    heir.close()
    return sent


def test_spans_begin_anew_where_both_marks_are_damaged(spool_dir: Path) -> None:
    """All that is still there is sent, though some of it a second time, and the account adds up."""
    directory, content = left_behind(spool_dir)
    first = content.index(next(span for span in content if span in oldest_segment(directory)))
    path = directory / file_name(A)
    path.write_bytes(b"\0" * 256 + path.read_bytes()[256:])
    (before,) = read_accounts(spool_dir)
    assert (before.offered, before.pending) == (20 - first, 20 - first)
    assert drained(Spool(spool_dir, Limits(), [A]), A) == content[first:]
    (account,) = read_accounts(spool_dir)
    assert (account.offered, account.delivered, account.pending) == (20 - first, 20 - first, 0)


def oldest_segment(directory: Path) -> bytes:
    return min(directory.glob("*.segment")).read_bytes()


@pytest.mark.parametrize("version", [b"1", b"9"])
@pytest.mark.parametrize("settled", [False, True])
def test_a_file_of_another_version(spool_dir: Path, version: bytes, settled: bool) -> None:
    """The whole directory is left to those who know the format, also by who has another account in it."""
    directory, _ = left_behind(spool_dir)
    mark = Mark(segment=99, ordinal=20 if settled else 0, expired=20 if settled else 0)
    other = begun(directory, B, Start(mark))
    other.write_bytes(other.read_bytes().replace(MAGIC, b"CSC" + version))
    copy = shutil.copytree(directory, spool_dir.parent / "copy")
    for destinations in ([A], [B], [A, B]):
        heir = Spool(spool_dir, Limits(), destinations)
        assert [span for name in destinations for span in drained(heir, name)] == []
    same = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == same
    accounts: list[Account] = read_accounts(spool_dir)
    assert [(account.destination, account.offered, account.pending) for account in accounts] == [(A, 20, 11)]
