"""How spans are batched and how long exit may take, by the environment."""

import logging
import os
from dataclasses import dataclass

from callspan_exporters.environment_variables import CALLSPAN_EXIT_BUDGET

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """What a batch span processor has as well, by the same names.

    Attributes:
        schedule_delay_s: how long a span waits for others before a batch is sent, in seconds.
        max_export_batch_size: how many spans go in one request.
    """

    schedule_delay_s: float = 5.0
    max_export_batch_size: int = 512

    @classmethod
    def from_environment(cls) -> "BatchSettings":
        """Return what ``OTEL_BSP_*`` asks for. What it says wrongly is warned of and defaulted."""
        return cls(
            schedule_delay_s=_number("OTEL_BSP_SCHEDULE_DELAY", 5000.0, "milliseconds") / 1000,
            max_export_batch_size=max(1, int(_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512.0, "spans"))),
        )


def exit_budget_s() -> float:
    """Return how long exit may take to send what is pending, in seconds."""
    return _number(CALLSPAN_EXIT_BUDGET, 5.0, "seconds", zero=True)


def _number(variable: str, default: float, unit: str, *, zero: bool = False) -> float:
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 < value < float("inf") or (zero and value == 0):
        return value
    _logger.warning("%s=%r is not understood and is ignored: set it to a number of %s", variable, text, unit)
    return default
