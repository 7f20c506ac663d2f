"""What a dead process left, in whatever state, and the later processes that find it."""

import os
import random
from collections.abc import Callable
from typing import Final

from faults.accounts import totals
from faults.running import recover, start_later
from faults.scenario import START, STARTED, Scenario, Scene
from faults.stored import MAGIC, Segment, processes, segments
from loopback.otlp_counting_receiver import CountingOtlpReceiver

COUNT: Final = 600
FUTURE: Final = MAGIC[:3] + b"9"
LEAVES: Final = f"large_spans({COUNT})\nleaving()\nos._exit(0)\n"
TWO_LEAVE: Final = f"""
if (child := os.fork()) == 0:
    large_spans({COUNT}, "child")
    os._exit(0)
os.waitpid(child, 0)
{LEAVES}"""


def damage(how: Callable[[Segment, random.Random], bytes], seed: int) -> Callable[[Scene], None]:
    """Damages the segment of a dead process."""

    def after(scene: Scene) -> None:
        (segment,) = segments(scene.spool)
        segment.path.write_bytes(how(segment, random.Random(seed)))

    return after


def flip_bytes(count: int) -> Callable[[Segment, random.Random], bytes]:
    """Changes one byte in each of so many spans, anywhere in their records."""

    def changed(segment: Segment, chance: random.Random) -> bytes:
        content = bytearray(segment.path.read_bytes())
        for start, end in chance.sample(segment.spans, count):
            content[chance.randrange(start, end)] ^= chance.randrange(1, 256)
        return bytes(content)

    return changed


def tear(segment: Segment, chance: random.Random) -> bytes:
    """Adds a part of a record, as a write does that death cuts short: its span's `end()` never returned."""
    content = segment.path.read_bytes()
    start, end = segment.spans[-1]
    return content + content[start : chance.randrange(start + 1, end)]


def cut_off(count: int) -> Callable[[Segment, random.Random], bytes]:
    """Takes the last spans away, the first of them not whole."""

    def cut(segment: Segment, chance: random.Random) -> bytes:
        return segment.path.read_bytes()[: chance.randrange(*segment.spans[-count])]

    return cut


def damage_cursor(scene: Scene) -> None:
    """Overwrites the numbers that say how far the destination has acknowledged, and leaves its name."""
    (cursor,) = scene.spool.glob("*/*.cursor")
    content = cursor.read_bytes()
    cursor.write_bytes(random.Random(6).randbytes(256) + content[256:])


def of_the_future(scene: Scene) -> None:
    """Makes one of two processes' segments one of a format to come."""
    path = segments(scene.spool)[0].path
    path.write_bytes(path.read_bytes().replace(MAGIC, FUTURE))


def is_left_alone(scene: Scene) -> None:
    """Sees that nobody has touched it."""
    (path,) = scene.spool.glob("*/*.segment")
    content = path.read_bytes()
    assert content.startswith(FUTURE)
    assert content.count(FUTURE) == COUNT + 3  # those of the spans, of the segment, of a resource and of a scope


def put_strangers(scene: Scene) -> None:
    """Puts what is not ours into the spool."""
    (process,) = processes(scene.spool)
    (scene.spool / "notes.txt").write_text("mine")
    (scene.spool / "backup").mkdir()
    (scene.spool / "backup" / "00000001.segment").write_bytes(b"mine")
    (scene.spool / process.name.replace("-", "_")).mkdir()
    (scene.spool / process.name.translate(str.maketrans("0123456789", "1234567890"))).symlink_to("backup")
    (process / "core").write_bytes(b"\0" * 5000)
    (process / "00000001.segment.orig").write_bytes(b"mine")
    (process / "another.cursor.orig").write_bytes(b"mine")


def strangers_stay(scene: Scene) -> None:
    """Sees that they are still there."""
    assert (scene.spool / "notes.txt").read_text() == "mine"
    assert (scene.spool / "backup" / "00000001.segment").read_bytes() == b"mine"


def give_our_pid(scene: Scene) -> None:
    """Has the dead process's directory name a process that lives."""
    (process,) = processes(scene.spool)
    born, _, random_part = process.name.split("-")
    process.rename(scene.spool / f"{born}-{os.getpid()}-{random_part}")


def recover_at_once(scene: Scene) -> str:
    """Starts two later processes at the same time."""
    both = [start_later(scene) for _ in range(2)]
    for later in both:
        later.finish(30)
    return recover(scene) + "".join(later.output for later in both)


def recover_elsewhere_first(scene: Scene) -> str:
    """Lets a process look that has another destination, then one which has the same."""
    with CountingOtlpReceiver() as other:
        said = start_and_finish(scene, OTEL_EXPORTER_OTLP_ENDPOINT=other.endpoint)
        assert not other.names
    assert totals(scene.spool).pending == COUNT
    return said + recover(scene)


def recover_once(scene: Scene) -> str:
    """Lets one later process look, whatever it leaves."""
    return start_and_finish(scene)


def recover_as_another_service(scene: Scene) -> str:
    """Lets a process look which is another service, with the same destination."""
    return recover(scene, START + "start('another')\n")


def services_are_their_own(scene: Scene) -> None:
    """Sees that the spans came as those of the service that made them."""
    assert dict(scene.collector.services) == {"faults": COUNT}


def start_and_finish(scene: Scene, **env: str) -> str:
    """Runs a later process to its end."""
    later = start_later(scene, STARTED, **env)
    later.finish(30)
    assert not later.hung, later.output
    return later.output


def _left(name: str, holds: str, after: Callable[[Scene], None] = lambda _: None, **more) -> Scenario:
    defaults = {"program": STARTED + LEAVES, "collector_up": False, "compared": False}
    return Scenario(name=name, holds=holds, after=after, **{**defaults, **more})


SCENARIOS: Final = (
    *(
        _left(
            f"20 spans damaged on disk, {seed}",
            "Of a damaged segment every intact span arrives, and the others are counted.",
            damage(flip_bytes(20), seed),
            destroyed=20,
        )
        for seed in (1, 2, 3)
    ),
    _left("torn record at the end", "A write that death cut short is no span.", damage(tear, 4)),
    _left(
        "segment cut off",
        "Of a segment that was cut off every intact span arrives.",
        damage(cut_off(20), 5),
        destroyed=20,
        # Nothing on disk says any more that they were there.
        accounted=False,
    ),
    _left(
        "cursor damaged",
        "Where nobody can tell any more how far a destination had got, it is sent everything.",
        damage_cursor,
    ),
    _left(
        "segment of a format to come",
        "What a later version wrote is left to it, and everything else sent.",
        of_the_future,
        program=STARTED + TWO_LEAVE,
        recover=recover_once,
        afterwards=is_left_alone,
        destroyed=COUNT,
        accounted=False,
    ),
    _left(
        "files that are not ours",
        "What others put into the spool is in nobody's way, and stays.",
        put_strangers,
        afterwards=strangers_stay,
    ),
    _left("pid in use again", "Whether a process lives is not told by its number.", give_our_pid),
    _left(
        "two later processes at once",
        "What two processes find at the same time is sent by one of them.",
        recover=recover_at_once,
    ),
    _left(
        "later process has another destination",
        "Spans go only where they were meant to go.",
        recover=recover_elsewhere_first,
    ),
    _left(
        "later process is another service",
        "Spans stay those of the service that made them.",
        recover=recover_as_another_service,
        afterwards=services_are_their_own,
    ),
)
