"""Processes that are killed at random moments, many after each other, over one spool."""

from typing import Final

from faults.scenario import START, Scenario

THREADS: Final = 4
ROUNDS: Final = """
import random
def work(round, thread):
    number = 0
    while True:
        end(f"{round}-{thread}-{number}")
        number += 1
        time.sleep(random.uniform(0, 0.002))
def live(round):
    start()
    for thread in range(%(threads)d):
        threading.Thread(target=work, args=(round, thread)).start()
    signal.pause()
for round in range(%(rounds)d):
    if (child := os.fork()) == 0:
        live(round)
    time.sleep(random.uniform(0, 0.3))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
leaving()
"""


def _kills(rounds: int, *, slow: bool) -> Scenario:
    return Scenario(
        name=f"killed at a random moment, {rounds} times",
        holds="Whenever a process dies, what had ended arrives, at most one batch a death of it twice.",
        program=START + ROUNDS % {"threads": THREADS, "rounds": rounds},
        crashes=rounds,
        in_mid_span=rounds * THREADS,
        timeout=240,
        slow=slow,
    )


SCENARIOS: Final = (_kills(15, slow=False), _kills(200, slow=True))
