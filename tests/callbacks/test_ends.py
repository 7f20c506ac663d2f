"""However a loop or a process ends, callbacks that are due have run; LiteLLM alone loses them."""

import signal
from pathlib import Path

import pytest

from callbacks.scenarios import Scenario, both, check, check_control

MAIN = "async def main():\n    await call()\n"
STARTED = MAIN + "    await asyncio.sleep(0.05)\n"

LOOPS = {
    "asyncio.run, many of them, after some steps each": Scenario(
        """
async def main(steps):
    await call()
    for _ in range(steps):
        await asyncio.sleep(0)
for steps in (0, 1, 2, 3, 10):
    asyncio.run(main(steps))
""",
        both(5),
    ),
    "asyncio.run, callback started": Scenario(STARTED + "asyncio.run(main())", both(1)),
    "asyncio.Runner": Scenario(
        STARTED + "with asyncio.Runner() as runner:\n    runner.run(main())\n    runner.run(main())",
        both(2),
        lost=False,
    ),
    "run_until_complete, loop closed": Scenario(
        STARTED + "loop = asyncio.new_event_loop()\nloop.run_until_complete(main())\nloop.close()", both(1)
    ),
    "run_until_complete, loop left open": Scenario(
        STARTED + "loop = asyncio.new_event_loop()\nloop.run_until_complete(main())", both(1)
    ),
    "cells of a notebook": Scenario(
        STARTED
        + """
loop = asyncio.new_event_loop()
for _ in range(3):
    loop.run_until_complete(main())
    time.sleep(0.01)
""",
        both(3),
    ),
    "a loop that runs for ever in a daemon thread": Scenario(
        MAIN
        + """
loop = asyncio.new_event_loop()
threading.Thread(target=loop.run_forever, daemon=True).start()
asyncio.run_coroutine_threadsafe(main(), loop).result()
time.sleep(0.05)
""",
        both(1),
    ),
    "anyio": Scenario(STARTED + "import anyio\nanyio.run(main)", both(1)),
    "uvloop": Scenario(
        STARTED
        + """
import uvloop
uvloop.run(main())
loop = uvloop.new_event_loop()
loop.run_until_complete(main())
loop.close()
""",
        both(2),
    ),
    "an eager task factory": Scenario(
        STARTED
        + """
async def eagerly():
    if hasattr(asyncio, "eager_task_factory"):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    await main()
asyncio.run(eagerly())
""",
        both(1),
    ),
    "all tasks cancelled by the application": Scenario(
        MAIN
        + """
async def cancelling():
    await main()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
asyncio.run(cancelling())
""",
        both(1),
        lost=False,
    ),
}
SIGNAL = MAIN + "    await asyncio.sleep(0.05)\n    os.kill(os.getpid(), signal.{})\n    await asyncio.sleep(10)\n"
PROCESSES = {
    "sys.exit in a coroutine": Scenario(MAIN + "    sys.exit(3)\nasyncio.run(main())", both(1), status=3),
    "an exception nobody handles": Scenario(STARTED + "    raise RuntimeError\nasyncio.run(main())", both(1), status=1),
    "Ctrl-C": Scenario(SIGNAL.format("SIGINT") + "asyncio.run(main())", both(1), status=-signal.SIGINT),
    "SIGTERM": Scenario(SIGNAL.format("SIGTERM") + "asyncio.run(main())", both(1), status=-signal.SIGTERM),
    "SIGTERM, a handler that exits": Scenario(
        SIGNAL.format("SIGTERM") + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))\nasyncio.run(main())",
        both(1),
        status=4,
    ),
    "SIGTERM, a handler of the loop": Scenario(
        """
async def main():
    done = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, done.set)
    await call()
    await asyncio.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)
    await done.wait()
asyncio.run(main())
""",
        both(1),
    ),
    "uvicorn, SIGTERM": Scenario(
        """
import urllib.request
import uvicorn

async def app(scope, receive, send):
    await call()
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))

def ask():
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    urllib.request.urlopen(f"http://127.0.0.1:{port}/").read()

threading.Thread(target=ask).start()
server.run()
""",
        both(1),
        status=-signal.SIGTERM,
    ),
    "SIGTERM in a synchronous program": Scenario(
        """
litellm.completion(**CHAT, mock_response="Hello!")
time.sleep(0.05)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(10)
""",
        {"callspan": 1},
        status=-signal.SIGTERM,
        lost=False,
    ),
    "the end of a synchronous program": Scenario(
        """
class Slow(CustomLogger):
    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        time.sleep(0.3)
        line("LiteLLM sync")
litellm.callbacks = [Slow()]
if WITH:
    callspan.add_callback(lambda call: (time.sleep(0.3), line("callspan sync")), name="sync")
for _ in range(3):
    litellm.completion(**CHAT, mock_response="Hello!")
""",
        {"LiteLLM sync": 3, "callspan sync": 3, "callspan": 3},
        lost=False,
    ),
}
ALL = LOOPS | PROCESSES


@pytest.mark.parametrize("name", ALL)
def test_callbacks_have_run(tmp_path: Path, name: str) -> None:
    """Each once, and nothing was cut off."""
    if name == "uvloop":
        pytest.importorskip("uvloop")
    ran = check(ALL[name], tmp_path)
    assert "cut off" not in ran.err
    assert ran.seconds < 40


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, scenario in ALL.items() if scenario.lost])
def test_litellm_alone_loses_them(tmp_path: Path, name: str) -> None:
    """So the test above can fail."""
    if name == "uvloop":
        pytest.importorskip("uvloop")
    check_control(ALL[name], tmp_path)


HANGING = Scenario(
    """
SLEEP = 60
async def main():
    await call()
asyncio.run(main())
""",
    {},
    env={"CALLSPAN_EXIT_BUDGET": "1.5"},
)


def test_what_hangs_is_cut_off_and_named(tmp_path: Path) -> None:
    """Within the budget, in one line."""
    ran = check(HANGING, tmp_path)
    (said,) = [line for line in ran.err.splitlines() if line.startswith("callspan: ")]
    assert "2 runs of callbacks were cut off" in said
    assert "__main__.Logger" in said
    assert "__main__.own" in said


HANGING_THREADS = Scenario(
    """
litellm.callbacks = []
callspan.remove_callback(own)
callspan.add_callback(lambda call: time.sleep(60), name="hanging")
for _ in range(3):
    litellm.completion(**CHAT, mock_response="Hello!")
left = time.time()
atexit.register(lambda: print(time.time() - left))
""",
    {},
    env={"CALLSPAN_EXIT_BUDGET": "1.5"},
)


def test_a_thread_that_hangs_holds_up_the_exit_no_longer(tmp_path: Path) -> None:
    """Threads of concurrent.futures would be joined without a limit."""
    ran = check(HANGING_THREADS, tmp_path)
    assert "3 runs of callbacks were cut off" in ran.err
    assert "hanging (3)" in ran.err
    assert ran.seconds < 40
