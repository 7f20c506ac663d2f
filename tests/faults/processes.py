"""Every way a program has more than one process: forks, multiprocessing, pools, and threads that are busy meanwhile."""

from typing import Final

from faults.scenario import STARTED, Scenario

IN_MAIN: Final = """
import multiprocessing
def work(number):
    spans(100, f"{number}-")
"""
WORKERS: Final = """
if __name__ == "__main__":
    spans(500, "parent")
    context = multiprocessing.get_context("{method}")
    workers = [context.Process(target=work, args=(number,)) for number in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    leaving()
"""
FORK: Final = """
spans(500, "parent")
if (child := os.fork()) == 0:
    spans(500, "child")
    {leave}
os.waitpid(child, 0)
leaving()
"""
STORM: Final = """
def work(thread):
    number = 0
    while not done:
        end(f"{thread}-{number}")
        number += 1
        time.sleep(0.001)
def send():
    while not done:
        flush()
done = False
threads = [threading.Thread(target=work, args=(thread,)) for thread in range(3)] + [threading.Thread(target=send)]
for thread in threads:
    thread.start()
children = []
for child in range(20):
    time.sleep(0.02)
    if (pid := os.fork()) == 0:
        spans(50, f"child{child}-")
        sys.exit(0) if child % 2 else os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
done = True
for thread in threads:
    thread.join()
leaving()
"""
WARM: Final = """
spans(100, "first")
flush()
def work(process):
    for number in range(50):
        end(f"{process}-{number}")
        if number % 10 == 0:
            flush()
children = []
for child in range(4):
    if (pid := os.fork()) == 0:
        work(f"child{child}")
        sys.exit(0)
    children.append(pid)
work("parent")
for pid in children:
    os.waitpid(pid, 0)
leaving()
"""


def _in_processes(name: str, holds: str, program: str, **more) -> Scenario:
    return Scenario(name=name, holds=holds, program=STARTED + program, **more)


def _multiprocessing(method: str) -> Scenario:
    return _in_processes(
        f"multiprocessing, {method}",
        "A worker's spans outlive it, though it leaves without the interpreter's exit.",
        IN_MAIN + WORKERS.format(method=method),
    )


SCENARIOS: Final = (
    _in_processes(
        "fork, child leaves by sys.exit",
        "A child has its spans sent as its parent has, and none of its parent's.",
        FORK.format(leave="sys.exit(0)"),
    ),
    _in_processes(
        "fork, child leaves by os._exit",
        "What a child leaves is sent by its parent.",
        FORK.format(leave="os._exit(0)"),
        crashes=1,
    ),
    *(_multiprocessing(method) for method in ("fork", "spawn", "forkserver")),
    _in_processes(
        "multiprocessing.Pool in a with block",
        "Workers that are terminated lose nothing that had ended.",
        IN_MAIN
        + """
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(work, range(10))
    leaving()
""",
        crashes=2,
    ),
    _in_processes(
        "ProcessPoolExecutor",
        "Workers of an executor lose nothing that had ended.",
        IN_MAIN
        + """
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        list(pool.map(work, range(10)))
    leaving()
""",
        crashes=2,
    ),
    _in_processes(
        "fork with a warm connection",
        "Parent and children never speak on one connection.",
        WARM,
    ),
    _in_processes(
        "fork storm, busy threads",
        "A fork at any moment takes no lock along that the child then waits for.",
        STORM,
        crashes=10,
    ),
    _in_processes(
        "child is killed",
        "A child that is killed leaves its spans to its parent, which goes on.",
        """
spans(500, "parent")
if (child := os.fork()) == 0:
    spans(500, "child")
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(child, 0)
spans(500, "more")
leaving()
""",
        crashes=1,
    ),
)
