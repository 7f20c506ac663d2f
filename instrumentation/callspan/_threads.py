"""The OpenTelemetry context goes along to a pool's threads: ``run_in_executor``, and LiteLLM's batches.

``asyncio.to_thread`` takes it along and ``run_in_executor`` does not, nor does any pool by itself. It is taken along
for each task; a thread's own start is left alone, since a thread may outlive by far what it was started in.
"""

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from callspan._patches import Seam


def seams() -> tuple[Seam, ...]:
    """Rows of the table."""
    return (Seam("concurrent.futures.thread", "ThreadPoolExecutor.submit", lambda _: _wrap_submit),)


def _wrap_submit(
    wrapped: Callable[..., Any], _instance: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    here = otel_context.get_current()
    if not here or not args:
        return wrapped(*args, **kwargs)
    function, *rest = args
    return wrapped(_run_in, here, function, *rest, **kwargs)


def _run_in(context: Context, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    token = otel_context.attach(context)
    try:
        return function(*args, **kwargs)
    finally:
        otel_context.detach(token)
