"""LiteLLM's logging worker, threads and exit flush are taken out of use; code that calls them keeps working."""

import asyncio
import atexit
import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from callspan._callbacks import draining
from callspan._in_place import Wrapper
from callspan._litellm.placed import Placing
from callspan._patches import Change, Seam

_WORKER: Final = "litellm.litellm_core_utils.logging_worker"
_EXECUTOR: Final = "litellm.litellm_core_utils.thread_pool_executor"
_CLEAR_WITHIN_S: Final = 5.0
_FLUSH_WITHIN_S: Final = 3600.0
"""LiteLLM's own waits for ever; nothing that waits for ever can be told from what hangs."""

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


def seams(placing: Placing) -> tuple[Seam | Change, ...]:
    """Rows of the table.

    The worker's methods are wrapped on its class: several modules hold the one worker since their import.
    """

    def enqueue(_wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> None:
        placing.enqueue(args[0] if args else next(iter(kwargs.values())))

    def submit(_wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> Any:
        return placing.submit(args[0], args[1:], kwargs)

    return (
        # First: a bound method is compared by its function, so the original is what is found at exit.
        Change(_WORKER, lambda module: _take_out(module.GLOBAL_LOGGING_WORKER, placing)),
        *(
            Seam(_WORKER, f"LoggingWorker.{name}", _fixed(wrapper))
            for name, wrapper in {
                "ensure_initialized_and_enqueue": enqueue,
                "enqueue": enqueue,
                "start": _do_nothing,
                "stop": _flush,
                "flush": _flush,
                "clear_queue": _clear,
                "_flush_on_exit": _do_nothing,
            }.items()
        ),
        Seam(_EXECUTOR, "executor.submit", _fixed(submit)),
    )


def _fixed(wrapper: Wrapper) -> Callable[[Callable[..., Any]], Wrapper]:
    return lambda _function: wrapper


def _do_nothing(_wrapped: Callable[..., Any], _instance: object, _args: Args, _kwargs: Kwargs) -> None:
    """Stand in for what starts the worker, and for what flushes it at exit."""


async def _flush(_wrapped: Callable[..., Any], _instance: object, _args: Args, _kwargs: Kwargs) -> None:
    await draining.aflush(_FLUSH_WITHIN_S)


async def _clear(_wrapped: Callable[..., Any], _instance: object, _args: Args, _kwargs: Kwargs) -> None:
    await draining.aflush(_CLEAR_WITHIN_S)


def _take_out(worker: Any, placing: Placing) -> Callable[[], None]:
    """Take the worker's exit flush out of ``atexit``, and over what is in its queue."""
    flush_on_exit = worker._flush_on_exit  # noqa: SLF001
    atexit.unregister(flush_on_exit)
    queue = getattr(worker, "_queue", None)
    with contextlib.suppress(asyncio.QueueEmpty):
        while queue is not None:
            task: Mapping[str, Any] = queue.get_nowait()
            task["context"].copy().run(placing.enqueue, task["coroutine"])
    return lambda: atexit.register(flush_on_exit) and None
