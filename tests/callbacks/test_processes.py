"""Threads with loops of their own, forked children, multiprocessing, and many calls at once."""

from pathlib import Path

import pytest

from callbacks.scenarios import PRELUDE, Scenario, both, check, check_control, run

THREADS = """
SLEEP = 0.02
async def main():
    for _ in range(5):
        await call()
for _ in range({rounds}):
    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
FORK = """
async def main():
    await call()
    await asyncio.sleep(0.01)

loop = asyncio.new_event_loop()
loop.run_until_complete(main())  # what is due on it is not the child's
pid = os.fork()
if pid == 0:
    asyncio.run(main())
    {leave}
os.waitpid(pid, 0)
"""
MULTIPROCESSING = """
import multiprocessing

async def main():
    await call()

def work():
    asyncio.run(main())
    litellm.completion(**CHAT, mock_response="Hello!")

if __name__ == "__main__":
    work()
    for method in ("fork", "spawn", "forkserver"):
        process = multiprocessing.get_context(method).Process(target=work)
        process.start()
        process.join()
        assert process.exitcode == 0
"""
SCENARIOS = {
    "eight threads with a loop each": Scenario(THREADS.format(rounds=1), both(40)),
    "a forked child that exits": Scenario(FORK.format(leave="sys.exit(0)"), both(2)),
    "a forked child that flushes and is gone": Scenario(
        FORK.format(leave="callspan.force_flush(5); os._exit(0)"), both(2), lost=False
    ),
    "500 calls at once": Scenario(
        """
SLEEP = 0.05
async def main():
    await asyncio.gather(*(call() for _ in range(500)))
    global left
    left = time.time()
atexit.register(lambda: print(time.time() - left))
asyncio.run(main())
""",
        both(500),
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_callback_runs_once(tmp_path: Path, name: str) -> None:
    """In the process that made the call, and in no other."""
    check(SCENARIOS[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if scenario.lost])
def test_litellm_alone_does_not(tmp_path: Path, name: str) -> None:
    """So the test above can fail."""
    check_control(SCENARIOS[name], tmp_path)


def test_multiprocessing_in_all_ways_to_start(tmp_path: Path) -> None:
    """A script on disk, as spawned children import it anew."""
    script = tmp_path / "program.py"
    script.write_text(PRELUDE + MULTIPROCESSING)
    starter = Scenario(f"import runpy\nrunpy.run_path({str(script)!r}, run_name='__main__')", {})
    ran = run(starter, tmp_path)
    assert dict(ran.runs) == {"LiteLLM": 4, "callspan": 8}, ran.err


def test_the_exit_after_many_calls_is_short(tmp_path: Path) -> None:
    """500 callbacks of 50 ms overlap: LiteLLM takes ten seconds to lose most of them."""
    ran = check(SCENARIOS["500 calls at once"], tmp_path)
    assert float(ran.out.split()[-1]) < 5  # on a machine that is busy with other things as well


@pytest.mark.slow
def test_fifty_rounds_of_threads(tmp_path: Path) -> None:
    """No crash, and every callback runs."""
    check(Scenario(THREADS.format(rounds=50), both(2000)), tmp_path, timeout=240)


@pytest.mark.slow
def test_ten_thousand_fast_callbacks(tmp_path: Path) -> None:
    """None is dropped, whatever piles up."""
    program = """
SLEEP = 0
async def main():
    for _ in range(20):
        await asyncio.gather(*(call() for _ in range(500)))
asyncio.run(main())
"""
    check(Scenario(program, both(10_000)), tmp_path, timeout=240)


FORK_BATCHES = """
from litellm.integrations.custom_batch_logger import CustomBatchLogger

class Batching(CustomBatchLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        self.log_queue.append(response_obj.id)
    async def async_send_batch(self):
        for _ in self.log_queue:
            line("LiteLLM sent")

litellm.callbacks = [Batching(flush_lock=asyncio.Lock())]
loop = asyncio.new_event_loop()
loop.run_until_complete(call())
if WITH:
    callspan.force_flush(5)
pid = os.fork()
if pid == 0:
    asyncio.run(call())
    sys.exit()
os.waitpid(pid, 0)
"""


def test_a_batch_is_sent_by_one_process(tmp_path: Path) -> None:
    """What the parent holds back when it forks is the parent's to send."""
    check(Scenario(FORK_BATCHES, {"LiteLLM sent": 2, "callspan": 2}), tmp_path)


THREAD_AFTER_MAIN = """
import concurrent.futures

def work():
    for _ in range(3):
        litellm.completion(**CHAT, mock_response="Hello!")
        time.sleep(0.2)

threading.Thread(target=work).start()
concurrent.futures.ThreadPoolExecutor().submit(work)
"""


def test_threads_that_outlive_the_main_one(tmp_path: Path) -> None:
    """Their calls' callbacks run too, and none is said to be cut off before the process ends."""
    ran = check(Scenario(THREAD_AFTER_MAIN, {"callspan": 6}), tmp_path)
    assert "cut off" not in ran.err
