"""How users register callbacks."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from callspan._callbacks import durable, leaving
from callspan._callbacks.callback import HOOK_END, Delivery, Hook, new_callback
from callspan._callbacks.registry import registry

F = TypeVar("F", bound=Callable[..., Any])

_BACKGROUND: Delivery = "background"


@overload
def callback(function: F, /) -> F: ...


@overload
def callback(
    *,
    delivery: Delivery = ...,
    hooks: Hook | Iterable[Hook] = ...,
    filter: Callable[[Any], object] | None = ...,
    name: str | None = ...,
    timeout: float | None = ...,
    router_calls: bool = ...,
) -> Callable[[F], F]: ...


def callback(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Decorate a function to be called back; bare, or with the options of :func:`add_callback`.

    Returns:
        The function itself.

    Raises:
        TypeError: see :func:`add_callback`.
        ValueError: see :func:`add_callback`.
    """
    if function is not None:
        return add_callback(function)

    def decorate(decorated: F) -> F:
        return add_callback(decorated, **options)

    return decorate


def add_callback(
    function: F,
    *,
    delivery: Delivery = _BACKGROUND,
    hooks: Hook | Iterable[Hook] = HOOK_END,
    filter: Callable[[Any], object] | None = None,  # noqa: A002  # what it is, as in the built-in function
    name: str | None = None,
    timeout: float | None = None,
    router_calls: bool = False,
) -> F:
    """Have a function called with the record of each call from now on.

    It may be a function, a coroutine function, a bound method or a callable object, and is called with one argument: a
    :class:`callspan.LiveCallRecord`, or a :class:`callspan.CallRecord` where it is ``durable``. What it raises is
    logged, and hurts neither the call nor other callbacks. A function that is there already is registered anew.

    Args:
        function: what to call.
        delivery: ``background``: after the call, out of the caller's way, done before the loop or the process ends.
            ``blocking``: done before the caller has the result. ``durable``: from the spool, at least once, also by a
            later process after SIGKILL.
        hooks: the moments to be told of; ``end``, the default, is every outcome.
        filter: given the record, says whether to call the function. Runs in the call, so it should be quick; of a
            durable callback where the function runs.
        name: what spans, messages and the spool call it; by default the function's module and qualified name.
        timeout: seconds that a run may take. An asynchronous function is cancelled then; of a synchronous one, which
            cannot be, it is no longer waited for.
        router_calls: whether to be told of a Router's call as a whole too, and not only of its attempts.

    Returns:
        The function itself.

    Raises:
        TypeError: something cannot be called with one argument, or is of the wrong type.
        ValueError: an option has no such value, a durable callback no name that a later process would give it too, or
            another function has the name.
    """
    added = new_callback(
        function, delivery=delivery, hooks=hooks, filter=filter, name=name, timeout=timeout, router_calls=router_calls
    )
    for replaced in registry.add(added):
        if replaced.delivery == "durable" and (added.delivery != "durable" or replaced.name != added.name):
            durable.remove(replaced)
    if added.delivery == "durable":
        durable.add(added)
    else:
        leaving.be_ready()
    return function


def remove_callback(function_or_name: Callable[..., Any] | str) -> None:
    """Stop calling a callback. Runs that are due still take place; what waits in the spool waits for a later process.

    Args:
        function_or_name: what was registered, or its name.

    Raises:
        ValueError: there is no such callback.
    """
    removed = registry.remove(function_or_name)
    if removed is None:
        raise ValueError(f"there is no callback {function_or_name!r} to remove")
    if removed.delivery == "durable":
        durable.remove(removed)
