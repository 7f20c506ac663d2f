"""What befalls a process in the midst of it: no descriptors, a full disk, an interrupt, a fork, a logging handler."""

import errno
import fcntl
import logging
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from callspan_exporters._spool import UNSTORABLE, Limits, Spool, read_accounts
from callspan_exporters._spool._directory import UnsafeSpoolError, open_root, process_directories
from callspan_exporters._spool._disk_backlog import DiskBacklog
from exporters.test_spool import SMALL, A, B, drain, fill, left_by_a_dead_process
from loopback.processes import run_python


def accounts(root: Path) -> dict[str, tuple[int, ...]]:
    """Return what each destination's account says: offered, delivered, expired, dropped, pending."""
    return {
        account.destination: (account.offered, account.delivered, account.expired, account.dropped, account.pending)
        for account in read_accounts(root)
    }


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.fixture
def few_descriptors() -> Iterator[Callable[[int], None]]:
    """Leaves the process so many descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def leave(count: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            while count and taken:
                count -= 1
                os.close(taken.pop())

    yield leave
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_segment_that_cannot_be_opened_for_now(tmp_path: Path, few_descriptors: Callable[[int], None]) -> None:
    """It is not taken for one that has gone."""
    spool = Spool(tmp_path / "spool", Limits(), [A])
    content = fill(spool, 20)
    backlog = spool.backlogs(A)[1]
    few_descriptors(0)
    with pytest.raises(OSError, match="Too many open files"):
        backlog.next_batch(5, 1 << 20)
    with pytest.raises(OSError, match="Too many open files"):
        backlog.next_batch(5, 1 << 20)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    assert drain(backlog) == content
    assert accounts(tmp_path / "spool") == {A: (20, 20, 0, 0, 0)}


@pytest.mark.parametrize("left", range(6))
def test_adopting_without_descriptors(tmp_path: Path, few_descriptors: Callable[[int], None], left: int) -> None:
    """Whatever can be opened and what cannot: it is left as it is until all can."""
    root = tmp_path / "spool"
    dead = Spool(root, SMALL, [A, B])
    content = fill(dead, 40)
    left_by_a_dead_process(dead)
    spool = Spool(root, SMALL, [A, B])
    few_descriptors(left)
    spool.adopt()
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    spool.adopt()
    for destination in (A, B):
        assert [drain(backlog) for backlog in spool.adopted_backlogs(destination)] == [content]
    spool.close()
    assert accounts(root) == {A: (40, 40, 0, 0, 0), B: (40, 40, 0, 0, 0)}


def test_no_descriptors_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each span is stored once, though what keeps to the limit cannot look."""
    root = tmp_path / "spool"
    spool = Spool(root, Limits(max_bytes=5000, segment_bytes=1000), [A])
    really_iterate = Path.iterdir

    def iterdir(path: Path) -> Any:
        if path == root:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really_iterate(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", iterdir)
        fill(spool, 100)
    assert not spool.memory.next_ordinal
    spool.adopt()
    assert sum(path.stat().st_size for path in root.rglob("*.segment")) <= 5000
    (account,) = read_accounts(root)
    assert (account.offered, account.accepted) == (100, 100)


def test_a_segment_that_can_never_be_opened(tmp_path: Path) -> None:
    """It is damaged, and holds up nothing behind it."""
    root = tmp_path / "spool"
    dead = [Spool(root, SMALL, [A]) for _ in range(2)]
    content = [fill(spool, 40, str(number)) for number, spool in enumerate(dead)]
    for spool in dead:
        left_by_a_dead_process(spool)
    second = sorted(process_directories(root)[0].glob("*.segment"))[1]
    second.unlink()
    second.symlink_to("/dev/null")
    heir = Spool(root, SMALL, [A])
    heir.adopt()
    sent = [drain(backlog) for backlog in heir.adopted_backlogs(A)]
    assert sent[1] == content[1]
    assert 20 < len(sent[0]) < 40
    heir.close()
    assert accounts(root) == {A: (80, 40 + len(sent[0]), 0, 40 - len(sent[0]), 0)}


def test_a_fork_while_the_limit_is_kept(tmp_path: Path) -> None:
    """The child does not hold what the parent has let go of: the dead one's directory would seem to live."""
    root = tmp_path / "spool"
    dead = Spool(root, Limits(segment_bytes=3 << 20), [B])
    for _ in range(40_000):
        dead.append(b"resource", b"scope", b"." * 100)
    left_by_a_dead_process(dead)
    done = run_python(
        """
        import os, sys, threading, time
        from pathlib import Path
        from callspan_exporters._spool import Limits, Spool
        from callspan_exporters._spool._directory import is_live

        root, dead = map(Path, sys.argv[1:])
        spool = Spool(root, Limits(max_bytes=4 << 20), ["other"])
        spool.append(b"r", b"s", b"span")
        os.register_at_fork(
            before=spool.before_fork,
            after_in_parent=spool.after_fork_in_parent,
            after_in_child=spool.after_fork_in_child,
        )

        def held():
            files = Path("/proc/self/fd").iterdir()
            return any(os.path.realpath(file) == str(dead / "lock") for file in files)

        sys.setswitchinterval(1e-5)
        keeping = threading.Thread(target=spool.adopt)
        keeping.start()
        while keeping.is_alive() and not held():
            pass
        print("in the midst" if keeping.is_alive() else "too late")
        if (child := os.fork()) == 0:
            time.sleep(60)
            os._exit(0)
        keeping.join()
        print("held" if is_live(dead) else "free")
        os.kill(child, 9)
        """,
        arguments=[str(root), str(process_directories(root)[0])],
    )
    assert done.stdout.split("\n")[1] == "free"


def test_a_ledger_that_cannot_be_opened_for_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was entered in it stays."""
    root = tmp_path / "spool"
    first = Spool(root, Limits(), [A])
    fill(first, 10)
    drain(first.backlogs(A)[1])
    first.close()
    second = Spool(root, Limits(), [A])
    fill(second, 1)
    drain(second.backlogs(A)[1])
    really_read, short = Path.read_bytes, [True]

    def read_bytes(path: Path) -> bytes:
        if path.name == "ledger.json" and short:
            short.clear()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really_read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", read_bytes)
        second.close()
    assert accounts(root) == {A: (11, 11, 0, 0, 0)}


def test_many_small_processes_keep_to_the_limit(tmp_path: Path) -> None:
    """None of them stores as much as a segment holds."""
    root = tmp_path / "spool"
    limits = Limits(max_bytes=20_000, segment_bytes=5000)
    for _ in range(30):
        spool = Spool(root, limits, [A])
        fill(spool, 20)
        spool.adopt()  # as its sender does at exit, at the latest
        left_by_a_dead_process(spool)
        assert sum(path.stat().st_size for path in root.rglob("*.segment")) <= limits.max_bytes
    (account,) = read_accounts(root)
    assert account.offered == 600
    assert account.expired + account.pending == 600
    assert account.expired > 0


def test_a_logging_handler_that_ends_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a lock of its own, which another thread holds that ends a span: nobody waits for the other."""
    spool = Spool(tmp_path / "spool", Limits(), [A])
    started = threading.Event()

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            started.set()
            time.sleep(0.2)
            fill(spool, 1, "logged")

    handler = Handler()
    logger = logging.getLogger("callspan_exporters")
    logger.addHandler(handler)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", refuse)
            warning = threading.Thread(target=fill, args=(spool, 1), daemon=True)
            other = threading.Thread(target=lambda: logger.error("something else"), daemon=True)
            other.start()
            started.wait(5)
            warning.start()
            for thread in (warning, other):
                thread.join(5)
                assert not thread.is_alive(), "they wait for each other"
    finally:
        logger.removeHandler(handler)


def refuse(*_: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_limit_does_not_wait_for_who_reads_the_ledger(tmp_path: Path) -> None:
    """One that was stopped while it did would hold up every span."""
    root = tmp_path / "spool"
    limits = Limits(max_bytes=10_000, segment_bytes=1000)
    for _ in range(6):
        dead = Spool(root, limits, [A])
        fill(dead, 10)
        left_by_a_dead_process(dead)
    with (root / "ledger.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        spool = Spool(root, limits, [A])
        started = time.monotonic()
        fill(spool, 200)
        assert time.monotonic() - started < 0.5  # which is what one would wait for one directory


def test_a_mark_is_on_disk_before_anybody_goes_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds all settled removes the spans, and enters the account that is in the file."""
    spool = Spool(tmp_path / "spool", Limits(), [A])
    fill(spool, 10)
    backlog = spool.backlogs(A)[1]
    batch = backlog.next_batch(100, 1 << 20)
    seen: list[int] = []
    really_write = os.pwrite

    def pwrite(*arguments: Any) -> int:
        seen.append(backlog.position)
        return really_write(*arguments)

    monkeypatch.setattr(os, "pwrite", pwrite)
    backlog.settle(batch[-1], delivered=10)
    assert (seen, backlog.position) == ([0], 10)


def test_a_mark_that_could_not_be_written_when_it_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is before the spans go; where it still cannot be, they stay."""
    root = tmp_path / "spool"
    for still in (False, True):
        spool = Spool(root, Limits(), [A])
        fill(spool, 10)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", refuse)
            drain(spool.backlogs(A)[1])
            if still:
                spool.close()
        spool.close()
        assert accounts(root) == {A: (20, 10, 0, 0, 10) if still else (10, 10, 0, 0, 0)}


@pytest.mark.parametrize("after_the_write", [True, False])
def test_a_timeout_of_the_applications(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_the_write: bool) -> None:
    """It is raised by a signal handler, and an OSError as those of the disk are: the span is stored once, or not."""
    spool = Spool(tmp_path / "spool", Limits(), [A])
    content = fill(spool, 5)
    really_write = os.write

    def write(descriptor: int, data: bytes) -> int:
        monkeypatch.setattr(os, "write", really_write)
        if after_the_write:
            really_write(descriptor, data)
        raise TimeoutError

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(TimeoutError):
        fill(spool, 1, "interrupted")
    stored = [b"interrupted0" * 10] if after_the_write else []
    content += stored + fill(spool, 5, "later")
    assert drain(spool.backlogs(A)[1]) == content
    assert not spool.memory.next_ordinal
    (account,) = read_accounts(tmp_path / "spool")
    assert account.drops == ({} if after_the_write else {UNSTORABLE: 1})
    assert (account.offered, account.delivered) == (11, len(content))


def test_a_directory_that_is_closed_to_us_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process has given its rights up, memory takes what follows."""
    spool = Spool(tmp_path / "spool", SMALL, [A])
    fill(spool, 5)
    really_stat = os.stat

    def closed(path: Any, *arguments: Any, **named: Any) -> Any:
        if str(path).endswith(".segment"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return really_stat(path, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", refuse)
        patch.setattr(os, "stat", closed)
        content = fill(spool, 5)
    assert drain(spool.backlogs(A)[0]) == content


def test_what_was_sent_from_memory_while_the_directory_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait any more, for no reader."""
    spool = Spool(tmp_path / "spool", Limits(), [A])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        fill(spool, 10)
    spool._retry_disk_at = 0.0
    really_rename = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name.startswith(".new-"):
            drain(spool.backlogs(A)[0])
        return really_rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        fill(spool, 1)
    assert accounts(tmp_path / "spool") == {A: (11, 10, 0, 0, 1)}


def test_a_disk_that_is_full_when_a_segment_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left open, and no empty file."""
    spool = Spool(tmp_path / "spool", SMALL, [A])
    fill(spool, 30)
    before, files = descriptors(), len(list((tmp_path / "spool").rglob("*.segment")))
    monkeypatch.setattr(os, "write", refuse)
    for _ in range(5):
        spool._retry_disk_at = 0.0
        fill(spool, 30)
    assert descriptors() == before
    assert len(list((tmp_path / "spool").rglob("*.segment"))) == files


def test_a_disk_that_is_full_when_a_directory_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor then, wherever it runs out."""
    before = descriptors()
    for room in range(8):
        calls = iter(range(room))
        really_open = os.open

        def open_(path: Any, flags: int, *others: Any, **named: Any) -> int:
            if flags & os.O_CREAT and next(calls, None) is None:  # noqa: B023  used up at once
                refuse()
            return really_open(path, flags, *others, **named)  # noqa: B023

        with monkeypatch.context() as patch:
            patch.setattr(os, "open", open_)
            spool = Spool(tmp_path / str(room), Limits(), [A, B])
            fill(spool, 1)
        left_by_a_dead_process(spool)
        assert descriptors() == before


def test_what_was_passed_over_and_is_gone_is_forgotten(tmp_path: Path) -> None:
    """A process may live for years."""
    root = tmp_path / "spool"
    spool = Spool(root, Limits(), [A])
    for _ in range(5):
        dead = Spool(root, Limits(), [A])
        fill(dead, 1)
        left_by_a_dead_process(dead)
        spool.adopt()
        drain(spool.adopted_backlogs(A)[0])
        spool.adopt()
    spool.adopt()
    assert len(spool.adoption._let_be) <= len(process_directories(root))


def test_a_destination_that_takes_nothing_stands_in_nobodys_way(tmp_path: Path) -> None:
    """What many dead processes left goes to the others, a few at a time, and to it when it is well again."""
    root = tmp_path / "spool"
    for _ in range(30):
        dead = Spool(root, Limits(), [A, B])
        fill(dead, 2)
        left_by_a_dead_process(dead)
    spool = Spool(root, Limits(), [A, B])
    before = descriptors()
    spool.adopt()
    its_turn = {backlog.spool.path for backlog in spool.adopted_backlogs(A)}
    handed_over = 0
    while backlogs := spool.adopted_backlogs(B):
        handed_over += sum(len(drain(backlog)) for backlog in backlogs)
        spool.adopt()
        # Its sender may be in the midst of any of them.
        assert its_turn <= {left.path for left in spool.adoption.held}
        assert len(spool.adoption.held) <= 16
        assert descriptors() - before <= 16 * 5
    assert handed_over == 60
    assert accounts(root) == {A: (60, 0, 0, 0, 60), B: (60, 60, 0, 0, 0)}
    while backlogs := spool.adopted_backlogs(A):
        handed_over += sum(len(drain(backlog)) for backlog in backlogs)
        spool.adopt()
    assert handed_over == 120
    assert accounts(root) == {A: (60, 60, 0, 0, 0), B: (60, 60, 0, 0, 0)}
    assert process_directories(root) == []


def test_a_directory_that_holds_other_things(tmp_path: Path) -> None:
    """It keeps its mode, for others may use it; where they may write to it, it is refused."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "notes").touch()
    for mode, refused in ((0o755, False), (0o1777, True)):
        shared.chmod(mode)
        if refused:
            with pytest.raises(UnsafeSpoolError, match="give the spool one of its own"):
                open_root(shared)
        else:
            open_root(shared)
        assert shared.stat().st_mode & 0o7777 == mode
    ours = tmp_path / "ours"
    fill(Spool(ours, Limits(), [A]), 1)
    ours.chmod(0o755)
    open_root(ours)
    assert ours.stat().st_mode & 0o7777 == 0o700


def test_a_spool_that_is_closed_while_a_request_is_on_its_way(tmp_path: Path) -> None:
    """Its answer comes late: nothing is taken for gone, removed or counted."""
    root = tmp_path / "spool"
    spool = Spool(root, SMALL, [A])
    content = fill(spool, 40)
    backlog = spool.backlogs(A)[1]
    batch = backlog.next_batch(5, 1 << 20)
    spool.close()
    backlog.settle(batch[-1], delivered=5)
    assert backlog.next_batch(5, 1 << 20) == []
    assert accounts(root) == {A: (40, 0, 0, 0, 40)}
    heir = Spool(root, SMALL, [A])
    heir.adopt()
    assert drain(heir.adopted_backlogs(A)[0]) == content


def test_an_answer_to_what_another_sender_has_settled(tmp_path: Path) -> None:
    """Two may be at the same spans where one destination takes the place of another: they count once."""
    spool = Spool(tmp_path / "spool", Limits(), [A])
    fill(spool, 20)
    backlog = spool.backlogs(A)[1]
    assert isinstance(backlog, DiskBacklog)
    mine, theirs = backlog.next_batch(10, 1 << 20), backlog.next_batch(10, 1 << 20)
    backlog.settle(mine[-1], delivered=10)
    backlog.settle(theirs[-1], delivered=10)
    assert accounts(tmp_path / "spool") == {A: (20, 10, 0, 0, 10)}


def test_a_destination_that_is_removed_while_something_waits_for_it(tmp_path: Path) -> None:
    """What ends later is not for it; and what waits for others is sent as before."""
    root = tmp_path / "spool"
    spool = Spool(root, Limits(), [A, B])
    before = fill(spool, 5, "before")
    spool.remove_destination(A)
    after = fill(spool, 3, "after")
    assert [span for backlog in spool.backlogs(B) for span in drain(backlog)] == before + after
    spool.close()
    assert accounts(root) == {A: (5, 0, 0, 0, 5), B: (8, 8, 0, 0, 0)}


def test_what_went_at_the_limit_does_not_wait(tmp_path: Path) -> None:
    """It is expired for whoever asks, before any sender has come by."""
    spool = Spool(tmp_path / "spool", Limits(max_bytes=5000, segment_bytes=1000), [A])
    fill(spool, 200)
    (account,) = read_accounts(tmp_path / "spool")
    backlog = spool.backlogs(A)[1]
    assert (backlog.pending, spool.expired) == (account.pending, account.expired)
    assert account.expired > 100
    assert len(drain(backlog)) == account.pending


def test_a_fork_that_tells_nobody(spool_dir: Path) -> None:
    """As of an embedding server: the child stores in a directory of its own."""
    run_python(
        """
        import ctypes, os
        from opentelemetry.sdk.trace import TracerProvider
        from callspan_exporters import DurableSpanProcessor, OTLPDestination
        provider = TracerProvider()
        destination = OTLPDestination("http://127.0.0.1:9/v1/traces")
        provider.add_span_processor(DurableSpanProcessor(destination, exit_budget=0))
        tracer = provider.get_tracer("app")
        for _ in range(3):
            tracer.start_span("parent").end()
        if (child := ctypes.PyDLL(None).fork()) == 0:
            for _ in range(4):
                tracer.start_span("child").end()
            os._exit(0)
        os.waitpid(child, 0)
        for _ in range(2):
            tracer.start_span("parent").end()
        """
    )
    (account,) = read_accounts(spool_dir)
    assert (account.offered, account.pending, account.orphaned_segments) == (9, 9, 2)
