"""Each of LiteLLM's callbacks on record in the trace, by proxies in the list of callbacks that LiteLLM works through.

Proxies, since LiteLLM asks loggers for their class and functions for their kind, and compares both.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import wrapt
from opentelemetry.trace import Span

from callspan import semconv
from callspan._callbacks.execution import Execution
from callspan._callbacks.job import current
from callspan._invocation import Activation, deactivate, outside_with
from callspan._tracer import TracerSource

_HOOKS: Final[Mapping[str, str]] = {
    "log_success_event": semconv.OUTCOME_SUCCESS,
    "log_failure_event": semconv.OUTCOME_FAILURE,
    "async_log_success_event": semconv.OUTCOME_SUCCESS,
    "async_log_failure_event": semconv.OUTCOME_FAILURE,
}
"""Method of a LiteLLM logger -> the hook it is told of. Those that are called for each chunk are left out."""

if TYPE_CHECKING:
    _ObjectProxy = wrapt.ObjectProxy[Any]
    _FunctionWrapper = wrapt.FunctionWrapper[Any, Any]
else:
    _ObjectProxy = wrapt.ObjectProxy  # not generic before wrapt 2
    _FunctionWrapper = wrapt.FunctionWrapper


class Observer:
    """Puts what it is given on record as runs of callbacks of one call."""

    def __init__(self, tracers: TracerSource, span: Span) -> None:
        self._tracers = tracers
        self._span = span

    def callbacks(self, callbacks: list[Any]) -> list[Any]:
        """Return the same callbacks, observed.

        LiteLLM's own bookkeeping is left out, and so are names, which LiteLLM looks up itself.
        """
        return [self._observed(callback) for callback in callbacks]

    def _observed(self, callback: Any) -> Any:
        if isinstance(callback, str) or issubclass(type(callback), (_Logger, _Function)):
            return callback
        if inspect.isfunction(callback) or inspect.ismethod(callback):
            return callback if _is_bookkeeping(callback) else _Function(callback, self._wrap)
        if hasattr(callback, "async_log_success_event"):
            return (
                callback
                if _is_bookkeeping(type(callback))
                else _proxy_of(cast("type[Any]", type(callback)))(callback, self)
            )
        return callback

    def _wrap(self, wrapped: Callable[..., Any], _instance: object, args: Any, kwargs: Any) -> Any:
        return self.call(wrapped, name_of(wrapped), _hook_told_to(args))(*args, **kwargs)

    def call(self, function: Callable[..., Any], name: str, hook: str) -> Callable[..., Any]:
        """Return ``function``, a coroutine function or not, with its run on record."""

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            execution, inside = self._begin(name, hook)
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                execution.note(error)
                raise
            finally:
                execution.end()
                deactivate(inside)

        @functools.wraps(function)
        async def run_async(*args: Any, **kwargs: Any) -> Any:
            execution, inside = self._begin(name, hook)
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                execution.note(error)
                raise
            finally:
                execution.end()
                deactivate(inside)

        return run_async if inspect.iscoroutinefunction(function) else run

    def _begin(self, name: str, hook: str) -> tuple[Execution, Activation]:
        job = current.get()
        if job is not None:
            job.name = name  # for the line that says what was cut off
        # What runs while the call's span lasts is waited for.
        mode = "blocking" if self._span.is_recording() else "background"
        execution = Execution(name, hook, mode, self._span)
        return execution, outside_with(execution.begin(self._tracers.tracer()))


class _Logger(_ObjectProxy):
    """A ``CustomLogger`` whose hooks are on record, as far as its class has some of its own.

    LiteLLM also asks the class which hooks it has of its own, and compares: there is a class for each logger's.
    """

    def __init__(self, wrapped: object, observer: Observer) -> None:
        super().__init__(wrapped)
        self._self_observer = observer


@functools.cache
def _proxy_of(kind: type[Any]) -> type[_Logger]:
    members: dict[str, Any] = {}
    for name, hook in _HOOKS.items():
        own = getattr(kind, name, None)
        if own is not None:
            members[name] = own if _is_inherited(own) else _recording(name, name_of(kind), hook)
    return type(_Logger.__name__, (_Logger,), members)


def _recording(method: str, name: str, hook: str) -> Callable[..., Any]:
    def record(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self._self_observer.call(getattr(self.__wrapped__, method), name, hook)(*args, **kwargs)

    return record


class _Function(_FunctionWrapper):
    """A plain function whose run is on record."""


def _hook_told_to(args: tuple[Any, ...]) -> str:
    # A function is called with the call's details first, whatever became of it; only a failed call's have an exception.
    details: Any = args[0] if args else None
    failed = isinstance(details, dict) and details.get("exception") is not None  # pyright: ignore[reportUnknownMemberType]
    return semconv.OUTCOME_FAILURE if failed else semconv.OUTCOME_SUCCESS


def _is_inherited(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")) == "litellm.integrations.custom_logger"


def _is_bookkeeping(callback: Any) -> bool:
    module = str(getattr(callback, "__module__", ""))
    return module.startswith("litellm.") and not module.startswith("litellm.integrations.")


def name_of(callback: Any) -> str:
    """What a callback is called in the trace: its class's or function's name with its module."""
    return f"{callback.__module__}.{callback.__qualname__}"
