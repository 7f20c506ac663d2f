"""The wrappers that wrapt puts around LiteLLM's entry points."""

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from callspan._in_place import Wrapper
from callspan._invocation import deactivate
from callspan._litellm.call import Call
from callspan._litellm.call_factory import CallFactory, is_part
from callspan._litellm.decorated import public_name
from callspan._litellm.operations import Operation, describe_operation, kind_of
from callspan._litellm.untyped import as_mapping

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


def wrap_entry_point(factory: CallFactory, operation: Operation) -> Wrapper:
    """Wrapper of a synchronous entry point that is called with the user's arguments."""

    def wrap(wrapped: Callable[..., Any], instance: object, args: Args, kwargs: Kwargs) -> Any:
        if is_part(operation):
            return wrapped(*args, **kwargs)
        return _make_call(factory.start(operation, _positional(instance, args), kwargs), wrapped, args, kwargs)

    return wrap


def wrap_awaited_entry_point(factory: CallFactory, operation: Operation) -> Wrapper:
    """Wrapper of a coroutine function whose caller awaits the result at once.

    It need not be a coroutine function itself, which spares calls that are part of another one a coroutine.
    """

    def wrap(wrapped: Callable[..., Any], instance: object, args: Args, kwargs: Kwargs) -> Awaitable[Any]:
        if is_part(operation):
            return wrapped(*args, **kwargs)
        return await_call(factory.start(operation, _positional(instance, args), kwargs), wrapped, args, kwargs)

    return wrap


def _positional(instance: object, args: Args) -> Args:
    # A method whose code is swapped is called with `self`, as its signature has it; one that somebody else had wrapped
    # before, and wrapt wraps on top, is called without.
    return args if instance is None else (instance, *args)


def wrap_dispatch(factory: CallFactory, *, asynchronous: bool) -> Wrapper:
    """Wrapper of ``PublicDispatch.run`` or ``arun``, which takes the user's arguments as its own first two.

    Which function the user called is told by its Python implementation, which LiteLLM passes along, or by the route
    where there is none.

    Args:
        factory: starts the calls.
        asynchronous: whether it is ``arun``.
    """
    of_function = functools.cache(_dispatched_operation)

    def start(instance: Any, args: Args, kwargs: Kwargs) -> Call | None:
        if len(args) < 2 or args[1].get("acompletion") is True:  # noqa: PLR2004  # args, kwargs
            return None
        python = kwargs.get("python")
        if not inspect.isfunction(python):
            python = f"{'a' if asynchronous else ''}{getattr(instance.route, 'value', instance.route)}"
        return factory.start(of_function(python), args[0], args[1])

    def wrap(wrapped: Callable[..., Any], instance: object, args: Args, kwargs: Kwargs) -> Any:
        return make_call(start(instance, args, kwargs), wrapped, args, kwargs)

    make_call = await_call if asynchronous else _make_call
    return wrap


def _dispatched_operation(python: Any) -> Operation:
    if isinstance(python, str):
        return Operation(f"litellm.{python}", kind_of(python))
    return describe_operation(f"litellm.{python.__name__}", python)


def wrap_generic(factory: CallFactory, *, asynchronous: bool) -> Wrapper:
    """Wrapper of a method by which a Router makes calls of many kinds, given LiteLLM's function for them."""
    of_function = functools.cache(_router_operation)

    def wrap(wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> Any:
        function = kwargs.get("original_function")
        call = None if function is None else factory.start(of_function(function), (), kwargs)
        return make_call(call, wrapped, args, kwargs)

    make_call = await_call if asynchronous else _make_call
    return wrap


def _router_operation(function: Any) -> Operation:
    public = public_name(function).removeprefix("litellm.")
    return Operation(f"Router.{public}", kind_of(public), takes_attempts=True)


def wrap_planned(factory: CallFactory, *, asynchronous: bool) -> Wrapper:
    """Wrapper of the same in LiteLLM's Rust core, which takes a plan and the user's arguments as its first two."""
    of_endpoint = functools.cache(_planned_operation)

    def wrap(wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> Any:
        plan, given, *_ = [*args, None, None]
        endpoint = getattr(plan, "endpoint", None)
        call = factory.start(of_endpoint(endpoint), (), as_mapping(given) or {}) if isinstance(endpoint, str) else None
        return make_call(call, wrapped, args, kwargs)

    make_call = await_call if asynchronous else _make_call
    return wrap


def _planned_operation(endpoint: str) -> Operation:
    return Operation(f"Router.{endpoint}", kind_of(endpoint), takes_attempts=True)


def _make_call(call: Call | None, wrapped: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    if call is None:
        return wrapped(*args, **kwargs)
    call.start()
    if call.pauses:
        call.pause()
    activation = call.invocation.activate()
    try:
        result = wrapped(*args, **kwargs)
    except BaseException as error:
        call.raised(error)
        if call.pauses:
            call.pause()
        raise
    finally:
        deactivate(activation)
    # `completion(acompletion=True)` is how LiteLLM asks itself for a coroutine; some users do it too.
    if inspect.iscoroutine(result):
        call.asynchronous = True
        return _finish_later(call, result)
    value = call.returned(result)
    if call.pauses:
        call.pause()
    return value


def await_call(
    call: Call | None,
    wrapped: Callable[..., Coroutine[Any, Any, Any]],
    args: Args,
    kwargs: Kwargs,
    take: Callable[[Call, Any], Any] = Call.returned,
) -> Awaitable[Any]:
    """Make an asynchronous call, if there is one to record, and take note of how it goes.

    Args:
        call: the call, or ``None``.
        wrapped: makes it.
        args: of the call.
        kwargs: of the call.
        take: takes note of what it returned, and returns what to hand to the caller.
    """
    try:
        result = wrapped(*args, **kwargs)
    except BaseException as error:  # arguments that do not fit are refused before there is a coroutine
        if call is not None:
            call.raised(error)
            if call.pauses:
                call.leave()
        raise
    if call is None:
        return result
    call.asynchronous = True
    return _begin_later(call, result, take) if call.tells_of_start else _finish_later(call, result, take)


async def _begin_later(call: Call, result: Coroutine[Any, Any, Any], take: Callable[[Call, Any], Any]) -> Any:
    call.start()
    if call.pauses:
        try:
            await call.pause_async()
        except BaseException as error:
            result.close()
            await _raised(call, error)
            raise
    return await _finish_later(call, result, take)


async def _finish_later(call: Call, result: Awaitable[Any], take: Callable[[Call, Any], Any] = Call.returned) -> Any:
    activation = call.invocation.activate()
    try:
        value = await result
    except BaseException as error:
        await _raised(call, error)
        raise
    finally:
        deactivate(activation)
    value = take(call, value)
    if call.pauses:
        await call.pause_async()
    return value


async def _raised(call: Call, error: BaseException) -> None:
    call.raised(error)
    if not call.pauses:
        return
    if isinstance(error, GeneratorExit):  # the coroutine is closed, and may not wait for anything
        call.leave()
    else:
        await call.pause_async()
