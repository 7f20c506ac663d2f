"""LiteLLM's loggers that hold back what they were told, to send it in batches: they let go when a loop or process ends.

LiteLLM leaves that to tasks that end with their loop.
"""

import asyncio
import inspect
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

from callspan._callbacks import draining
from callspan._guard import guarded
from callspan._litellm.loggers import callbacks_of
from callspan._litellm.observed import name_of
from callspan._litellm.untyped import as_items

_letting_go: Final[set[int]] = set()
"""Loggers that are at it, on a loop of another thread, say: what they send is not to be sent twice."""


def flushes() -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
    """Each logger that holds something back, with what has it let go."""
    for logger in _loggers():
        if id(logger) not in _letting_go and _holds_back(logger):
            yield name_of(type(logger)), _flush_of(logger)


@guarded
def _leave_to_parent() -> None:
    """Forget in a forked child what the parent holds: it lets go of that itself."""
    if flushes in draining.flushers:
        for logger in _loggers():
            if _holds_back(logger):
                logger.log_queue.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


def _loggers() -> Iterator[Any]:
    if "litellm" not in sys.modules:  # and we never import it first
        return
    module = sys.modules.get("litellm.litellm_core_utils.litellm_logging")
    seen: set[int] = set()
    for logger in (*callbacks_of(None), *as_items(getattr(module, "_in_memory_loggers", None))):
        if id(logger) not in seen:
            seen.add(id(logger))
            yield logger


def _holds_back(logger: Any) -> bool:
    return _held(logger) > 0 and inspect.iscoroutinefunction(getattr(logger, "flush_queue", None))


def _held(logger: Any) -> int:
    held = getattr(logger, "log_queue", None)
    return held.qsize() if isinstance(held, asyncio.Queue) else len(as_items(held))


def _flush_of(logger: Any) -> Callable[[], Awaitable[object]]:
    async def flush() -> None:
        _letting_go.add(id(logger))
        try:
            before = _held(logger) + 1
            while 0 < _held(logger) < before:  # some send one batch at a time
                before = _held(logger)
                await logger.flush_queue()
            # LiteLLM's does nothing without the lock that a logger is to bring.
            if getattr(logger, "flush_lock", None) is None and as_items(logger.log_queue):
                await logger.async_send_batch()
                logger.log_queue.clear()
        finally:
            _letting_go.discard(id(logger))

    return flush
