"""A collector that answers, but not as one would like."""

from typing import Final

from faults.outages import after_requests
from faults.scenario import KNOWN_DOWN_S, STARTED, Scenario
from loopback.otlp_behaviours import Delay, HttpBehaviour, PartialSuccess, RefuseSpans, Status, TooLargeAbove

STATUSES: Final = {
    "429": Status(429),
    "429, Retry-After 1": Status(429, {"Retry-After": "1"}),
    "503": Status(503),
    "503, Retry-After 30": Status(503, {"Retry-After": "30"}),
    "500": Status(500),
    "401": Status(401),
    "404": Status(404),
}
TWO_THOUSAND: Final = STARTED + "spans(2000)\nhear('leave')\nleaving()\n"
POISONED: Final = "700"


def _at_first(name: str, status: Status) -> Scenario:
    return Scenario(
        name=f"{name} twice",
        holds="What is answered with an error is sent again until it is taken.",
        program=TWO_THOUSAND,
        first=(status, status),
        # Who is to wait half a minute does not ask a second time before.
        during=after_requests(1 if "30" in name else 2),
    )


def _for_good(name: str, status: Status) -> Scenario:
    return Scenario(
        name=f"{name} for good",
        holds="A collector that takes nothing does not hold exit up, and gets everything once it does.",
        program=TWO_THOUSAND,
        default=status,
        during=after_requests(1),
        exit_within=KNOWN_DOWN_S,
    )


def _oddly(
    name: str, holds: str, default: HttpBehaviour, program: str = "large_spans(2000)\nleaving()\n", **more
) -> Scenario:
    return Scenario(name=name, holds=holds, program=STARTED + program, default=default, **more)


SCENARIOS: Final = (
    *(_at_first(name, status) for name, status in STATUSES.items()),
    *(_for_good(name, STATUSES[name]) for name in ("503", "401")),
    _oddly("413 above 256 KB", "Requests are made as small as they have to be.", TooLargeAbove(256 << 10)),
    _oddly(
        "400 for one span",
        "A span that is refused is set aside and counted; the others of its batch arrive.",
        RefuseSpans(lambda span: span.name == POISONED),
        rejected=1,
    ),
    Scenario(
        name="partial success rejects 100",
        holds="What is taken in part is not sent again, and what was refused is counted as that.",
        program=TWO_THOUSAND,
        first=(PartialSuccess(100),),
        during=after_requests(1),
        rejected=100,
    ),
    _oddly(
        "1 s a request, exit at once",
        "A slow collector is given what the exit budget has room for, and the rest later.",
        Delay(1.0),
        "large_spans(6000)\nleaving()\n",
        env={"CALLSPAN_EXIT_BUDGET": "2"},
        exit_within=2.5,
        crashes=1,
    ),
    _oddly(
        "1 s a request, 1,000 spans/s",
        "A collector that is slower than the program gets everything in the end.",
        Delay(1.0),
        "large_spans(6000, every=0.001)\nleaving()\n",
        crashes=1,
        slow=True,
    ),
)
