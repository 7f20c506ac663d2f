"""A disk that is full, closed to us, or goes away."""

import shutil
from typing import Final

from faults.mounts import ext4, small_tmpfs, turn_read_only
from faults.scenario import STARTED, Run, Scenario, Scene

FILE_SIZE_LIMIT: Final = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))\n"
TWICE: Final = "large_spans(300)\nsay('began')\nhear('go on')\nlarge_spans(300, 'more')\nleaving()\n"


def small_disk(scene: Scene) -> None:
    """Gives the spool a disk of one megabyte."""
    scene.cleanup.enter_context(small_tmpfs(scene.spool))


def own_disk(scene: Scene) -> None:
    """Gives the spool a disk of its own."""
    scene.cleanup.enter_context(ext4(scene.spool, scene.work / "disk.img"))


def goes_read_only(run: Run) -> None:
    """Makes the spool's disk read-only while the program runs, as an error on it does."""
    run.program.hear("^began$")
    turn_read_only(run.scene.spool)
    run.program.say("go on")


def removed(run: Run) -> None:
    """Removes the spool while the program runs."""
    run.program.hear("^began$")
    shutil.rmtree(run.scene.spool)
    run.program.say("go on")


def _disk(name: str, holds: str, program: str, **more) -> Scenario:
    return Scenario(name=f"disk {name}", holds=holds, program=STARTED + program, compared=False, **more)


FULL_UP: Final = "What the disk has no room for is kept in memory, and arrives."
FULL_DOWN: Final = "What neither the disk nor the collector took is lost, and counted."

SCENARIOS: Final = (
    _disk("full, collector up", FULL_UP, "large_spans(3000)\nleaving()\n", before=small_disk, needs_mount=True),
    _disk(
        "full, collector down",
        FULL_DOWN,
        "large_spans(3000)\nleaving()\n",
        before=small_disk,
        collector_up=False,
        destroyed=None,
        needs_mount=True,
    ),
    _disk("full (RLIMIT_FSIZE), collector up", FULL_UP, FILE_SIZE_LIMIT + "large_spans(600)\nleaving()\n"),
    _disk(
        "full (RLIMIT_FSIZE), collector down",
        FULL_DOWN,
        FILE_SIZE_LIMIT + "large_spans(600)\nleaving()\n",
        collector_up=False,
        destroyed=None,
    ),
    _disk(
        "unwritable from the start",
        "Without a disk, memory takes the spans.",
        "large_spans(600)\nleaving()\n",
        env={"CALLSPAN_SPOOL_DIR": "/proc/callspan/spool"},
        accounted=False,
    ),
    _disk(
        "turns read-only",
        "A disk that takes nothing more costs no span while there is a collector.",
        TWICE,
        before=own_disk,
        during=goes_read_only,
        # What was sent since cannot be noted there any more: nobody must send it again, which the disk forbids.
        recover=lambda _: "",
        accounted=False,
        needs_mount=True,
    ),
    _disk(
        "removed while running",
        "What was removed is counted, and what ends from then on is stored anew.",
        TWICE,
        during=removed,
        destroyed=None,
        watched=False,
    ),
)
