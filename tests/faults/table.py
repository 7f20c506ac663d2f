"""The fault matrix: every scenario, once."""

from typing import Final

from faults import answers, disks, exits, kills, leftovers, load, outages, processes, servers
from faults.scenario import Scenario

SCENARIOS: Final[tuple[Scenario, ...]] = (
    *exits.SCENARIOS,
    *processes.SCENARIOS,
    *servers.SCENARIOS,
    *outages.SCENARIOS,
    *answers.SCENARIOS,
    *load.SCENARIOS,
    *disks.SCENARIOS,
    *leftovers.SCENARIOS,
    *kills.SCENARIOS,
)
