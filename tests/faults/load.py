"""More spans than any queue in memory holds, and several processes that make them."""

import signal
from typing import Final

from faults.running import recover
from faults.scenario import KNOWN_DOWN_S, STARTED, Run, Scenario

PEAK_MB: Final = 60.0

BURST: Final = """
def work(thread):
    large_spans({each}, f"{{thread}}-")
threads = [threading.Thread(target=work, args=(thread,)) for thread in range({threads})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
leaving()
"""
FOUR: Final = """
children = []
for child in range(4):
    if (pid := os.fork()) == 0:
        start()
        large_spans(2000, f"{child}-")
        sys.exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
leaving()
"""


def kill_in_the_middle(spans: int):
    """Kills the program once half of its spans have ended."""

    def during(run: Run) -> None:
        ended = run.scene.work / "ended"
        # Every line is eight characters long or so.
        assert run.program.wait_for(lambda: ended.exists() and ended.stat().st_size > spans * 4), run.program.output
        run.program.signal(signal.SIGKILL)

    return during


def _burst(total: int, threads: int, kind: str, **more) -> Scenario:
    by = "one thread" if threads == 1 else f"{threads} threads"
    return Scenario(
        name=f"{total:,} spans at once, {by}, {kind}",
        holds="A burst of any size is stored as it comes, and arrives.",
        program=STARTED + BURST.format(each=total // threads, threads=threads),
        timeout=120,
        slow=total > 20_000,
        recover=lambda scene: recover(scene, CALLSPAN_EXIT_BUDGET="30"),
        **more,
    )


def _bursts(total: int, threads: int, **more) -> tuple[Scenario, ...]:
    return (
        _burst(total, threads, "collector up", crashes=1, **more),
        _burst(total, threads, "collector down", collector_up=False, exit_within=KNOWN_DOWN_S, **more),
        _burst(total, threads, "SIGKILL", during=kill_in_the_middle(total), crashes=1, in_mid_span=threads),
    )


SCENARIOS: Final = (
    *_bursts(20_000, 1),
    _burst(20_000, 8, "SIGKILL", during=kill_in_the_middle(20_000), crashes=1, in_mid_span=8),
    *_bursts(100_000, 1, peak_mb=PEAK_MB),
    *_bursts(100_000, 8, peak_mb=PEAK_MB),
    Scenario(
        name="2,000 spans/s for 60 s",
        holds="A load that lasts is sent as it comes.",
        program=STARTED + "large_spans(120000, every=0.0005)\nleaving()\n",
        timeout=150,
        slow=True,
    ),
    Scenario(
        name="four processes, one spool",
        holds="Processes that share a spool directory do not get into each other's way.",
        program=STARTED.replace("start()\n", "") + FOUR,
    ),
)
