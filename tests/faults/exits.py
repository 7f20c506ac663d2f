"""Every way a process ends."""

import signal
from typing import Final

from faults.scenario import START, STARTED, Run, Scenario

SPANS: Final = "spans(1000)\n"
LEAVING: Final = SPANS + "leaving()\n"
READY: Final = SPANS + "say('ready')\ntime.sleep(60)\n"
HANDLED: Final = (
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n    signal.signal(number, lambda *_: sys.exit(0))\n"
)
IN_ASYNCIO: Final = "async def main():\n    spans(1000)\n"


def told(number: signal.Signals):
    """Sends the program this signal once it has ended its spans."""

    def during(run: Run) -> None:
        run.program.hear("^ready$")
        run.program.signal(number)

    return during


def _leaves(name: str, holds: str, program: str, **more) -> Scenario:
    return Scenario(name=name, holds=holds, program=STARTED + program, **more)


def _by_signal(number: signal.Signals, *, handled: bool) -> Scenario:
    if handled:
        return Scenario(
            name=f"{number.name}, application's handler",
            holds="A signal that the application turns into sys.exit is an exit like any other.",
            program=STARTED + HANDLED + READY,
            during=told(number),
        )
    return Scenario(
        name=number.name,
        holds="A signal that ends the process at once leaves its spans to the next one.",
        program=STARTED + READY,
        during=told(number),
        # Python turns SIGINT into an exception, and with it into an exit.
        crashes=int(number != signal.SIGINT),
    )


SCENARIOS: Final = (
    _leaves("end of main", "What ended before the end has gone by then.", LEAVING),
    _leaves(
        "asyncio.run ends",
        "The end of an event loop takes no span with it.",
        IN_ASYNCIO + "    leaving()\nasyncio.run(main())\n",
    ),
    _leaves("sys.exit", "An exit by exception is an exit like any other.", LEAVING + "sys.exit(3)\n"),
    _leaves("unhandled exception", "An error of the application takes no span with it.", LEAVING + "1 / 0\n"),
    *(_by_signal(number, handled=False) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)),
    *(_by_signal(number, handled=True) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
    _leaves(
        "SIGTERM in asyncio.run",
        "A signal that ends an event loop's process leaves its spans to the next one.",
        IN_ASYNCIO + "    say('ready')\n    await asyncio.sleep(60)\nasyncio.run(main())\n",
        during=told(signal.SIGTERM),
        crashes=1,
    ),
    _leaves(
        "SIGTERM 1 s after the last span",
        "Spans that wait for a batch to fill up outlive the process.",
        SPANS + "time.sleep(1)\nsay('ready')\ntime.sleep(60)\n",
        during=told(signal.SIGTERM),
        crashes=1,
    ),
    _leaves(
        "SIGKILL, collector down",
        "Spans that could not be sent outlive the process.",
        READY,
        collector_up=False,
        during=told(signal.SIGKILL),
        crashes=1,
    ),
    _leaves(
        "segmentation fault",
        "A crash of the interpreter takes no span with it.",
        LEAVING + "import faulthandler\nfaulthandler._sigsegv()\n",
        crashes=1,
    ),
    _leaves("os._exit", "An exit without any hook takes no span with it.", LEAVING + "os._exit(0)\n", crashes=1),
    _leaves(
        "execv",
        "A program that makes way for another leaves it its spans.",
        """
if len(sys.argv) == 1:
    spans(1000, "before")
    os.execv(sys.executable, [sys.executable, __file__, "after"])
spans(1000, "after")
leaving()
""",
        crashes=1,
    ),
    Scenario(
        name="spans in a late atexit hook",
        holds="Spans that end after the provider's shutdown are kept.",
        program=START + "import atexit\natexit.register(spans, 100, 'late')\nstart()\n" + LEAVING,
    ),
    _leaves(
        "daemon threads during exit",
        "Spans that threads end while the process leaves arrive, or had not ended.",
        """
def work(thread):
    for number in range(1000000):
        end(f"{thread}-{number}")
        time.sleep(0.0001)
threads = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in range(4)]
for thread in threads:
    thread.start()
time.sleep(1)
leaving()
""",
        crashes=1,
        in_mid_span=4,
    ),
)
