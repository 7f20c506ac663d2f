"""A program: at the n-th thing that a process does to files, for every n, it is killed, or others get in between.

Its arguments are an empty directory, and what a process is doing when it is killed, or what others do while one reads
the account or begins to store spans. It prints a line of JSON for each n.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from callspan_exporters._spool import Backlog, Limits, Spool, read_accounts
from callspan_exporters._spool._directory import process_directories

A, B, C = "otlp http://a/v1/traces", "otlp http://b/v1/traces", "callback c"
LIMITS = Limits(segment_bytes=500)
STEPS = 45  # more than reading an account takes


def retire(spool: Spool) -> None:
    """All is settled: the account is entered, and the directory removed."""
    spool.close()


def remove(spool: Spool) -> None:
    """A destination's account is entered, and its file removed, in a directory that stays."""
    spool.remove_destination(A)


def replace(spool: Spool) -> None:
    """Another destination takes over an account."""
    spool.replace_destination(A, C)


def add(spool: Spool) -> None:
    """A destination comes."""
    spool.add_destination(C)


def inherit(spool: Spool) -> None:
    """A dead process's directory is taken over, and removed."""
    spool.after_fork_in_child()
    heir = Spool(spool.root, LIMITS, [A, B])
    heir.adopt()
    heir.close()


def end(spool: Spool) -> None:
    """What waits is sent, and the process ends."""
    for destination in (A, B):
        for backlog in [*spool.backlogs(destination), *spool.adopted_backlogs(destination)]:
            send(backlog, 12)
    spool.close()


def inherit_and_end(spool: Spool) -> None:
    """A process dies, and another one sends what waits."""
    spool.after_fork_in_child()
    heir = Spool(spool.root, LIMITS, [A, B])
    heir.adopt()
    end(heir)


def send(backlog: Backlog, at_most: int, rejected: int = 0, expired: int = 0) -> None:
    """Settle spans, in batches of one segment."""
    while at_most > 0 and (batch := backlog.next_batch(min(at_most, 4), 10_000)):
        delivered = len(batch) - rejected - expired
        backlog.settle(batch[-1], delivered=delivered, rejected=rejected, expired=expired)
        at_most -= len(batch)


def stored(root: Path, sent: int = 12) -> Spool:
    """A spool with 12 spans, of which so many are settled: A has had those, B a part."""
    spool = Spool(root, LIMITS, [A, B])
    for number in range(12):
        spool.append(b"resource", b"scope", b"%02d" % number * 20)
    send(spool.backlogs(A)[1], sent)
    send(spool.backlogs(B)[1], sent, rejected=1, expired=0 if sent < 12 else 1)
    return spool


def at_step(step: int, act: Callable[[], None]) -> None:
    """Have something happen just before the n-th thing that this process does to files."""
    steps = 0

    def note(event: str, _: Any) -> None:
        nonlocal steps
        if event in ("open", "fcntl.flock") or event.startswith(("os.", "shutil.")):
            steps += 1
            if steps == step:  # once: what happens then does something to files as well
                act()

    sys.addaudithook(note)


def accounts(root: Path) -> dict[str, list[int]]:
    """Return the numbers of every destination."""
    return {
        account.destination: [account.offered, account.delivered, account.rejected, account.expired, account.pending]
        for account in read_accounts(root)
    }


def killed(root: Path, doing: str) -> None:
    """Let one process after the other be killed a step later, until one lives."""
    alive = False
    step = 1
    while not alive:
        if not (child := os.fork()):
            spool = stored(root)
            at_step(step, lambda: os.kill(os.getpid(), signal.SIGKILL))
            globals()[doing](spool)
            os._exit(0)
        alive = os.waitpid(child, 0)[1] == 0
        before = accounts(root)
        heir = Spool(root, LIMITS, [A, B, C])
        heir.adopt()
        heir.close()
        left = [path.name for path in process_directories(root)]
        sys.stdout.write(json.dumps({"before": before, "after": accounts(root), "left": left}) + "\n")
        shutil.rmtree(root)
        step += 1


def read_while(root: Path, doing: str, step: int) -> dict[str, list[int]]:
    """Read the account, with others doing something at one of the steps of that."""
    spool = stored(root, sent=5)
    at_step(step, lambda: globals()[doing](spool))
    return accounts(root)


def begin_while(root: Path, doing: str, step: int) -> dict[str, list[int]]:
    """Store the first span of a process, with others doing something at one of the steps of that."""
    other = Spool(root, LIMITS, [A])
    at_step(step, lambda: globals()[doing](other))
    Spool(root, LIMITS, [A]).append(b"resource", b"scope", b"span")
    return accounts(root)


def adopt(spool: Spool) -> None:
    """Others clear up what dead processes left."""
    spool.adopt()


def main(work: Path, doing: str) -> None:
    """Do it for every step."""
    interrupted = {"end": read_while, "inherit_and_end": read_while, "adopt": begin_while}.get(doing)
    if interrupted is None:
        killed(work / "spool", doing)
        return
    # At once, for who cannot enter its account while another one reads waits for a while.
    for step in range(1, STEPS):
        if not os.fork():
            sys.stdout.write(json.dumps(interrupted(work / f"spool{step}", doing, step)) + "\n")
            sys.stdout.flush()
            os._exit(0)
    for _ in range(1, STEPS):
        assert os.wait()[1] == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
