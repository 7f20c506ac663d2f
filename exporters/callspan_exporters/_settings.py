"""How spans are batched, stored and sent at exit: what the program says, else the environment, else the defaults."""

import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from callspan_exporters._spool import Limits, spool_directory
from callspan_exporters.environment_variables import (
    CALLSPAN_EXIT_BUDGET,
    CALLSPAN_SPOOL,
    CALLSPAN_SPOOL_DIR,
    CALLSPAN_SPOOL_FSYNC,
)

_logger = logging.getLogger(__name__)

_ON: Final = frozenset({"on", "true", "1", "yes"})
_OFF: Final = frozenset({"off", "false", "0", "no"})


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """What a batch span processor has as well, by the same names.

    Attributes:
        schedule_delay_s: how long a span waits for others before a batch is sent, in seconds.
        max_export_batch_size: how many spans go in one request.
        export_timeout_s: how long one request may take at most, in seconds; a destination's own limit may be shorter.
        max_queue_size: how many spans may wait in memory where there is no disk; None for no bound but that of bytes.
    """

    schedule_delay_s: float = 5.0
    max_export_batch_size: int = 512
    export_timeout_s: float = 30.0
    max_queue_size: int | None = None

    @classmethod
    def from_environment(cls) -> "BatchSettings":
        """Return what ``OTEL_BSP_*`` asks for. What it says wrongly is warned of and defaulted."""
        queue = int(_number("OTEL_BSP_MAX_QUEUE_SIZE", 0.0, "spans"))
        batch = max(1, int(_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512.0, "spans")))
        if queue and batch > queue:
            _logger.warning(
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=%d is more than OTEL_BSP_MAX_QUEUE_SIZE=%d, which is used for both",
                batch,
                queue,
            )
            batch = queue
        return cls(
            schedule_delay_s=_number("OTEL_BSP_SCHEDULE_DELAY", 5000.0, "milliseconds") / 1000,
            max_export_batch_size=batch,
            # A request that may not take any time would be none.
            export_timeout_s=_number("OTEL_BSP_EXPORT_TIMEOUT", 30000.0, "milliseconds") / 1000,
            max_queue_size=queue or None,
        )

    def with_arguments(
        self,
        max_queue_size: int | None,
        schedule_delay_millis: float | None,
        max_export_batch_size: int | None,
        export_timeout_millis: float | None,
    ) -> "BatchSettings":
        """Return these with what a program says instead.

        Raises:
            ValueError: one is not positive, or a batch is larger than the queue.
        """
        queue = self.max_queue_size if max_queue_size is None else int(_positive("max_queue_size", max_queue_size))
        batch = self.max_export_batch_size
        if max_export_batch_size is not None:
            batch = int(_positive("max_export_batch_size", max_export_batch_size))
            if queue is not None and batch > queue:
                raise ValueError(f"max_export_batch_size={batch} must be at most max_queue_size={queue}")
        elif queue is not None:
            batch = min(batch, queue)
        delay_s, timeout_s = self.schedule_delay_s, self.export_timeout_s
        if schedule_delay_millis is not None:
            delay_s = _positive("schedule_delay_millis", schedule_delay_millis) / 1000
        if export_timeout_millis is not None:
            timeout_s = _positive("export_timeout_millis", export_timeout_millis) / 1000
        return BatchSettings(delay_s, batch, timeout_s, queue)


def limits(
    settings: BatchSettings, max_bytes: int | None = None, max_age_s: float | None = None, fsync: bool | None = None
) -> Limits:
    """Return the spool's bounds.

    Args:
        settings: for the bound of what is kept in memory.
        max_bytes: of the spool; by default the environment's.
        max_age_s: of a span, in seconds; by default the environment's.
        fsync: whether a span survives the loss of power; by default the environment's.

    Raises:
        ValueError: one is not positive.
    """
    chosen = Limits.from_environment()
    if max_bytes is not None:
        chosen = Limits.of_size(int(_positive("spool_max_bytes", max_bytes)), chosen.max_age_s)
    if max_age_s is not None:
        chosen = replace(chosen, max_age_s=_positive("spool_max_age", max_age_s))
    if fsync is None:
        fsync = _switch(CALLSPAN_SPOOL_FSYNC, default=False)
    return replace(chosen, memory_spans=settings.max_queue_size, fsync=fsync)


def spool_root(chosen: str | Path | bool | None = None) -> Path | None:
    """Return the spool's directory, None where spans are kept in memory.

    Args:
        chosen: what the program says: a directory, True for the usual one, False for none, None for the environment.
    """
    if chosen is None:
        chosen = _switch(CALLSPAN_SPOOL, default=True)
    if chosen is False:
        return None
    if chosen is not True:
        return Path(chosen).expanduser().absolute()
    try:
        return spool_directory()
    except RuntimeError:
        _logger.warning(
            "Spans are kept in memory only, because this user has no home directory: set %s", CALLSPAN_SPOOL_DIR
        )
        return None


def exit_budget_s(chosen: float | None = None) -> float:
    """Return how long exit may take to send what is pending, in seconds.

    Raises:
        ValueError: what the program has chosen is negative.
    """
    if chosen is None:
        return _number(CALLSPAN_EXIT_BUDGET, 5.0, "seconds", zero=True)
    return 0.0 if chosen == 0 else _positive("exit_budget", chosen)


def _positive(name: str, value: float) -> float:
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}={value!r} must be positive")
    return value


def _switch(variable: str, *, default: bool) -> bool:
    text = os.environ.get(variable, "").strip().lower()
    if text in _ON | _OFF:
        return text in _ON
    if text:
        _logger.warning("%s=%r is not understood and is ignored: it is on or off", variable, text)
    return default


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
