"""The ledger: every span is in the account exactly once, whoever dies, comes and goes, and whatever is in the file."""

import contextlib
import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callspan_exporters._spool import Limits, Spool, read_accounts
from callspan_exporters._spool._directory import process_directories
from callspan_exporters._spool._ledger import FILE, read_ledger
from loopback.processes import run_python, start_python

A, B = "otlp http://a/v1/traces", "otlp http://b/v1/traces"
STEPS = Path(__file__).with_name("spool_steps.py")

# Processes that store 15 spans each, send some of them and of what they adopt, and end well, or not.
COMING_AND_GOING = """
import os, signal, sys
from pathlib import Path
from callspan_exporters._spool import Limits, Spool

def work(number):
    spool = Spool(Path(sys.argv[1]), Limits(segment_bytes=1000), ["a", "b"])
    for _ in range(15):
        spool.append(b"resource", b"scope", b"." * 100)
    spool.adopt()
    for destination in ("a", "b")[: 1 + number % 2]:
        for backlog in [*spool.backlogs(destination), *spool.adopted_backlogs(destination)]:
            while batch := backlog.next_batch(4, 10_000):
                backlog.settle(batch[-1], delivered=len(batch))
    if number % 3 == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    spool.close()

for number in range(int(sys.argv[2])):
    if not (child := os.fork()):
        work(number)
        os._exit(0)
    assert os.waitpid(child, 0)[1] in (0, signal.SIGKILL)
"""

# Processes that have sent all, and end in the same moment.
ALL_AT_ONCE = """
import os, sys
from pathlib import Path
from callspan_exporters._spool import Limits, Spool

begin, signal = os.pipe()
children = []
for _ in range(int(sys.argv[2])):
    if not (child := os.fork()):
        os.close(signal)
        spool = Spool(Path(sys.argv[1]), Limits(), ["a"])
        for _ in range(10):
            spool.append(b"resource", b"scope", b"." * 100)
        backlog = spool.backlogs("a")[1]
        backlog.settle(backlog.next_batch(10, 10_000)[-1], delivered=10)
        os.read(begin, 1)
        spool.close()
        os._exit(0)
    children.append(child)
os.close(signal)
assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)
"""


def settled(root: Path, name: str = A, count: int = 10) -> Spool:
    """A process that has sent all that it stored."""
    spool = Spool(root, Limits(), [name])
    for number in range(count):
        spool.append(b"resource", b"scope", b"%d" % number)
    backlog = spool.backlogs(name)[1]
    backlog.settle(backlog.next_batch(count, 10_000)[-1], delivered=count)
    return spool


def delivered(root: Path) -> dict[str, int]:
    """What each destination has had."""
    return {account.destination: account.delivered for account in read_accounts(root)}


@pytest.mark.parametrize("doing", ["retire", "remove", "inherit"])
def test_whoever_dies_while_an_account_is_entered(tmp_path: Path, doing: str) -> None:
    """At whichever step the process is killed, every span is counted once, and the next process clears up."""
    deaths = run_python(STEPS, arguments=[str(tmp_path), doing]).stdout.splitlines()
    assert len(deaths) > 15
    expected = {A: [12, 12, 0, 0, 0], B: [12, 2, 5, 5, 0]}
    for death in map(json.loads, deaths):
        assert death == {"before": expected, "after": expected, "left": []}


def test_whoever_dies_while_a_destination_is_replaced(tmp_path: Path) -> None:
    """At whichever step the process is killed, its spans are in the account of the one or of the other."""
    deaths = run_python(STEPS, arguments=[str(tmp_path), "replace"]).stdout.splitlines()
    settled_ones = [12, 12, 0, 0, 0]
    for death in map(json.loads, deaths):
        numbers = [numbers for name, numbers in death["after"].items() if name != B]
        assert (numbers, death["left"]) == ([settled_ones], [])
    assert json.loads(deaths[-1])["after"]["callback c"] == settled_ones


@pytest.mark.parametrize("doing", ["end", "inherit_and_end"])
def test_whoever_gets_in_between_while_one_reads(tmp_path: Path, doing: str) -> None:
    """At whichever step of reading the rest is sent and the directory emptied, the account is of before or of after."""
    readings = run_python(STEPS, arguments=[str(tmp_path), doing]).stdout.splitlines()
    before = {A: [12, 5, 0, 0, 7], B: [12, 3, 2, 0, 7]}
    after = {A: [12, 12, 0, 0, 0], B: [12, 10, 2, 0, 0]}
    seen = [json.loads(reading) for reading in readings]
    assert before in seen
    assert after in seen
    for read in seen:
        assert all(read[name] in (before[name], after[name]) for name in (A, B)), read


def test_whoever_clears_up_while_one_begins(tmp_path: Path) -> None:
    """At whichever step of making its directory others look for what dead processes left, its span goes to disk."""
    beginnings = run_python(STEPS, arguments=[str(tmp_path), "adopt"])
    assert set(beginnings.stdout.splitlines()) == {json.dumps({A: [1, 0, 0, 0, 1]})}
    assert beginnings.stderr == ""


def test_who_reads_while_processes_come_and_go(spool_dir: Path) -> None:
    """No total ever falls and no equation is ever broken, while others store, send, adopt, end and are killed."""
    before: dict[str, tuple[int, int]] = {}
    with contextlib.ExitStack() as stack:
        arguments = [str(spool_dir), "10"]
        workers = [
            stack.enter_context(start_python(COMING_AND_GOING, arguments=arguments, env={"PYTHONWARNINGS": None}))
            for _ in range(3)
        ]
        while any(worker.poll() is None for worker in workers):
            for account in read_accounts(spool_dir):
                past = account.delivered + account.rejected + account.expired
                assert account.accepted == past + account.pending
                offered, gone = before.get(account.destination, (0, 0))
                assert (account.offered >= offered, past >= gone) == (True, True), account
                before[account.destination] = account.offered, past
        assert [worker.communicate()[1] for worker in workers] == [""] * 3
    numbers = [(account.offered, account.dropped, account.expired) for account in read_accounts(spool_dir)]
    assert numbers == [(3 * 10 * 15, 0, 0)] * 2


def test_many_that_end_at_once(spool_dir: Path) -> None:
    """Whether each finds the time to enter its account, or leaves it to others, none is lost."""
    run_python(ALL_AT_ONCE, arguments=[str(spool_dir), "30"])
    assert delivered(spool_dir) == {"a": 300}
    heir = Spool(spool_dir, Limits(), ["a"])
    heir.adopt()
    heir.close()
    assert process_directories(spool_dir) == []
    assert delivered(spool_dir) == {"a": 300}
    assert read_ledger(spool_dir).accounts["a"].delivered == 300


def test_a_process_that_is_stopped_while_it_enters_its_account(spool_dir: Path) -> None:
    """Others do not wait for it: they leave their directories, and are counted all the same."""
    settled(spool_dir).close()
    program = """
        import fcntl, sys, time
        with open(sys.argv[1] + "/ledger.lock") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            print("locked", flush=True)
            time.sleep(60)
    """
    with start_python(program, arguments=[str(spool_dir)]) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        settled(spool_dir, B).close()
        assert delivered(spool_dir) == {A: 10, B: 10}
        assert len(process_directories(spool_dir)) == 1
    Spool(spool_dir, Limits(), [B]).adopt()
    assert delivered(spool_dir) == {A: 10, B: 10}
    assert process_directories(spool_dir) == []


def test_a_file_that_cannot_be_read(spool_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is put aside with a warning, not overwritten, and a new account begins."""
    settled(spool_dir).close()
    (spool_dir / FILE).write_text('{"version": 1, "destinations"')
    assert read_accounts(spool_dir) == []
    assert caplog.messages == []
    settled(spool_dir, B).close()
    assert delivered(spool_dir) == {B: 10}
    assert (spool_dir / f"{FILE}.damaged").read_text() == '{"version": 1, "destinations"'
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{spool_dir / FILE} could not be read" in caplog.text


LATER = '{"version": 2, "destinations": [], "new": "things"}'


@pytest.mark.parametrize(
    "going",
    [
        lambda spool: spool.close(),
        lambda spool: spool.remove_destination(A),
        lambda spool: (spool.close(), Spool(spool.root, Limits(), [A]).adopt()),
    ],
    ids=["closed", "removed", "adopted"],
)
def test_a_file_of_a_later_version(
    spool_dir: Path, caplog: pytest.LogCaptureFixture, going: Callable[[Spool], None]
) -> None:
    """It is left alone, and so are the directories that it has no account of: their spans are counted as before."""
    spool = settled(spool_dir)
    (spool_dir / FILE).write_text(LATER)
    going(spool)
    assert (spool_dir / FILE).read_text() == LATER
    assert len(process_directories(spool_dir)) == 1
    assert [path.name for path in spool_dir.iterdir() if "ledger" in path.name and path.suffix != ".lock"] == [FILE]
    assert delivered(spool_dir) == {A: 10}
    assert caplog.messages == []
    spool.close()


ENTRY = {"accepted": 7, "delivered": 7, "rejected": 0, "expired": 0, "drops": {}}
GOOD = {"version": 1, "since_ns": 1, "destinations": {B: ENTRY}, "entered": []}
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda values: st.lists(values) | st.dictionaries(st.sampled_from([*GOOD, *ENTRY, A]), values),
    max_leaves=10,
)


@settings(max_examples=60, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda changes: json.dumps(GOOD | changes).encode(), st.dictionaries(st.sampled_from([*GOOD]), json_values)
        ),
        json_values.map(lambda value: json.dumps(value).encode()),
    )
)
@example(content=b'{"version": 1, "since_ns": Infinity}')
@example(content=b"[" * 100_000)
@example(content=json.dumps(GOOD | {"entered": [7, "x"]}).encode())
def test_any_bytes_are_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever is in the file, an account can be read, nobody's exit fails, and nothing in it is overwritten unread."""
    root = tmp_path_factory.mktemp("ledgers") / "spool"
    spool = settled(root)
    (root / FILE).write_bytes(content)
    known, before = read_ledger(root), delivered(root)
    expected = {name: account.delivered for name, account in known.accounts.items()}
    assert before == expected | {A: expected.get(A, 0) + 10}
    spool.close()
    assert delivered(root) == before
    kept = [path.read_bytes() for path in root.glob(f"{FILE}*")]
    assert known.since_ns or content in kept


def test_its_files_are_for_their_owner_only(spool_dir: Path) -> None:
    """Whatever the umask, nobody else reads who was sent how much."""
    program = """
        import os, sys
        from pathlib import Path
        from callspan_exporters._spool import Limits, Spool
        os.umask(0)
        spool = Spool(Path(sys.argv[1]), Limits(), ["a"])
        spool.append(b"resource", b"scope", b"span")
        backlog = spool.backlogs("a")[1]
        backlog.settle(backlog.next_batch(1, 100)[-1], delivered=1)
        spool.close()
    """
    run_python(program, arguments=[str(spool_dir)])
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in spool_dir.iterdir()}
    assert modes == {FILE: 0o600, "ledger.lock": 0o600}
