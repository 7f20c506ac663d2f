"""OpenInference's instrumentation of the OpenAI SDK below a call of ours.

It heeds the general sign alone, ``suppress_instrumentation``, which HTTP instrumentations heed too. Its wrapper sits
between two of the SDK's methods, so the sign is up from the one to the other: theirs are wrapped in place, which is
below any wrapper of an attribute, whoever came first.
"""

import contextlib
import importlib.util
from collections.abc import Awaitable, Callable, Generator, Mapping
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import suppress_instrumentation

from callspan._invocation import current_invocation
from callspan._patches import Seam

_OUTSIDE: Final = otel_context.create_key("callspan-outside-of-window")

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


def seams() -> tuple[Seam, ...]:
    """Rows of the table; none where OpenInference is not installed."""
    try:
        if importlib.util.find_spec("openinference.instrumentation.openai") is None:
            return ()
    except ModuleNotFoundError:
        return ()
    rows: list[Seam] = []
    for client, before, after in (
        ("SyncAPIClient", _wrap_before, _wrap_after),
        ("AsyncAPIClient", _wrap_before_async, _wrap_after_async),
    ):
        rows += (
            Seam("openai._base_client", f"{client}.{method}", _fixed(before), in_place=True)
            for method in ("get", "post", "patch", "put", "delete")
        )
        rows.append(Seam("openai._base_client", f"{client}.request", _fixed(after), in_place=True))
    return tuple(rows)


def _fixed(wrapper: Any) -> Callable[[Callable[..., Any]], Any]:
    return lambda _function: wrapper


@contextlib.contextmanager
def _window() -> Generator[None]:
    """The sign is up, inside a call of ours; the context without it goes along."""
    if current_invocation() is None:
        yield
        return
    here = otel_context.get_current()
    with suppress_instrumentation():
        token = otel_context.attach(otel_context.set_value(_OUTSIDE, here))
        try:
            yield
        finally:
            otel_context.detach(token)


@contextlib.contextmanager
def _outside() -> Generator[None]:
    """The context as it was before the window."""
    outside = otel_context.get_value(_OUTSIDE)
    if not isinstance(outside, Context):
        yield
        return
    token = otel_context.attach(outside)
    try:
        yield
    finally:
        otel_context.detach(token)


def _wrap_before(wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> Any:
    with _window():
        return wrapped(*args, **kwargs)


async def _wrap_before_async(
    wrapped: Callable[..., Awaitable[Any]], _instance: object, args: Args, kwargs: Kwargs
) -> Any:
    with _window():
        return await wrapped(*args, **kwargs)


def _wrap_after(wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> Any:
    with _outside():
        return wrapped(*args, **kwargs)


async def _wrap_after_async(
    wrapped: Callable[..., Awaitable[Any]], _instance: object, args: Args, kwargs: Kwargs
) -> Any:
    with _outside():
        return await wrapped(*args, **kwargs)
