"""A collector that is away for a time, or does not answer."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from faults.scenario import KNOWN_DOWN_S, STARTED, Run, Scenario
from loopback.otlp_behaviours import Hang, LoseAck, Reset

_CONNECTIONS: Final = 16


def down_for(seconds: float) -> Callable[[Run], None]:
    """Brings the collector up so long after the program began to end spans."""

    def during(run: Run) -> None:
        run.program.hear("^began$")
        time.sleep(seconds)
        run.collector.up()
        run.program.say("leave")

    return during


def goes_away_after(spans: int, *, returns_after: float | None = None) -> Callable[[Run], None]:
    """Takes the collector down once it has so many spans, and brings it back, or does not."""

    def during(run: Run) -> None:
        assert run.collector.wait_for_names(spans), run.program.output
        run.collector.down()
        run.program.say("away")
        if returns_after is not None:
            time.sleep(returns_after)
            run.collector.up()
            run.program.say("back")

    return during


def after_requests(count: int) -> Callable[[Run], None]:
    """Lets the program leave once the collector has seen so many requests."""

    def during(run: Run) -> None:
        assert run.collector.wait_for_requests(count, 30), run.program.output
        run.program.say("leave")

    return during


@contextmanager
def half_open(port: int) -> Iterator[None]:
    """Takes connections on a port, and never reads from them."""
    with socket.create_server(("127.0.0.1", port), backlog=_CONNECTIONS):
        yield


def behind_half_open(run: Run) -> None:
    """Puts a listener that never reads in the collector's place until the program has gone."""
    run.collector.down()
    with half_open(run.collector.port):
        run.program.say("go")
        run.program.finish(40)


def _outage(seconds: float, *, slow: bool = True, count: int = 2000) -> Scenario:
    return Scenario(
        name=f"down for {seconds:g} s",
        holds="What ends during an outage arrives after it.",
        program=STARTED + f"say('began')\nspans({count}, every={seconds / count})\nhear('leave')\nleaving()\n",
        collector_up=False,
        during=down_for(seconds),
        slow=slow,
    )


def _answers(name: str, holds: str, during: Callable[[Run], None], **more) -> Scenario:
    return Scenario(
        name=name, holds=holds, program=STARTED + "spans(2000)\nhear('leave')\nleaving()\n", during=during, **more
    )


def _silent(name: str, **more) -> Scenario:
    return Scenario(
        name=name,
        holds="A collector that says nothing holds exit up for the budget and no longer.",
        program=STARTED + "hear('go')\nspans(2000)\nleaving()\n",
        env={"CALLSPAN_EXIT_BUDGET": "1"},
        exit_within=1.5,
        **more,
    )


def _go(run: Run) -> None:
    run.program.say("go")


SCENARIOS: Final = (
    Scenario(
        name="down for good",
        holds="A collector that is down does not hold exit up, and gets everything once it is back.",
        program=STARTED + "spans(2000)\nleaving()\n",
        collector_up=False,
        exit_within=KNOWN_DOWN_S,
        slow=False,
    ),
    _outage(4, slow=False),
    _outage(20, count=6000),
    _outage(30, count=10000),
    Scenario(
        name="restarts, away for 4 s",
        holds="What ends while the collector restarts arrives.",
        program=STARTED
        + "spans(1000)\nflush()\nhear('away')\nspans(1000, 'more', every=0.004)\nhear('back')\nleaving()\n",
        during=goes_away_after(1000, returns_after=4),
    ),
    Scenario(
        name="gone before exit, back later",
        holds="What the collector was not there for is sent once it is.",
        program=STARTED + "spans(1000)\nflush()\nhear('away')\nspans(1000, 'more')\nleaving()\n",
        during=goes_away_after(1000),
        exit_within=KNOWN_DOWN_S,
    ),
    _answers(
        "3 connection resets",
        "A connection that breaks is made anew.",
        after_requests(3),
        first=(Reset(), Reset(), Reset()),
    ),
    _answers(
        "one acknowledgement lost",
        "What may not have arrived is sent again, once.",
        after_requests(2),
        first=(LoseAck(),),
        crashes=1,
    ),
    _answers(
        "one request hangs",
        "A request without an answer is given up and made again.",
        after_requests(2),
        first=(Hang(),),
        env={"OTEL_EXPORTER_OTLP_TIMEOUT": "2"},
    ),
    _silent("hung throughout", default=Hang(), during=_go),
    _silent("half-open throughout", during=behind_half_open),
    Scenario(
        name="known to hang",
        holds="A collector that is known to hang does not hold exit up.",
        program=STARTED + "spans(2000)\nflush(3)\nleaving()\n",
        default=Hang(),
        env={"OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"},
        exit_within=KNOWN_DOWN_S,
        compared=False,
    ),
)
