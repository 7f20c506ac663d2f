"""What LiteLLM leaves to a task or to its worker is placed, when it is made, where it cannot be lost.

LiteLLM makes a coroutine of a call's callbacks and hands it to ``create_task`` or to its logging worker; a loop that
ends cancels either, often before the first step, and what has not begun then never will. So its run is due from the
moment at which the coroutine is made, and what LiteLLM is given in its stead only waits for it.
"""

import contextvars
import logging
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from concurrent.futures import Future
from typing import Any, Final

from opentelemetry.trace import Span

from callspan._callbacks import leaving, running
from callspan._callbacks.job import Job
from callspan._guard import guarded
from callspan._invocation import Invocation, await_outside, current_invocation, outside_with, step_outside
from callspan._litellm import loggers
from callspan._litellm.loggers import LoggerDelivery
from callspan._litellm.observed import Observer
from callspan._tracer import TracerSource

_logger = logging.getLogger("callspan")

_KEY: Final = "LiteLLM"
"""Its callbacks are one queue, as in LiteLLM."""

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


class Placed(Coroutine[Any, Any, Any]):
    """Stands for a coroutine whose run is due already: to await it is to wait for that run."""

    def __init__(self, job: Job, result: "Future[Any]") -> None:
        self._job = job
        self._result = result
        self._waiting: Coroutine[Any, Any, Any] | None = None

    async def _joined(self) -> Any:
        await self._job.joined()
        return self._result.result(0)

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._joined().__await__()

    def send(self, value: Any, /) -> Any:
        """Go on waiting, as a task does."""
        if self._waiting is None:
            self._waiting = self._joined()
        return self._waiting.send(value)

    def throw(self, *error: Any) -> Any:
        """Stop waiting; the run goes on."""
        if self._waiting is None:
            self._waiting = self._joined()
        return self._waiting.throw(*error)

    def close(self) -> None:
        """Stop waiting; the run goes on."""
        if self._waiting is not None:
            self._waiting.close()


class Over(Coroutine[Any, Any, Any]):
    """Stands for a coroutine that has run already. Python does not complain where it is awaited by nobody."""

    def __init__(self, value: Any, error: Exception | None = None) -> None:
        self._value = value
        self._error = error

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._error is not None:
            raise self._error
        return self._value
        yield

    def send(self, _value: Any, /) -> Any:
        """Give what it gave."""
        raise self._error or StopIteration(self._value)

    def throw(self, *error: Any) -> Any:
        """Raise the error: there is nothing left that could handle it."""
        kind, value, *_ = (*error, None)
        raise kind if value is None else value

    def close(self) -> None:
        """It is over."""


@types.coroutine
def _go_on(coroutine: Coroutine[Any, Any, Any], waits_for: Any) -> Generator[Any, Any, Any]:
    """What is left of a coroutine that has yielded once, to somebody who now waits in its stead."""
    try:
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001  # whatever it is, it is the coroutine's to handle
                waits_for = coroutine.throw(error)
            else:
                waits_for = coroutine.send(sent)
    except StopIteration as end:
        return end.value


_call_of_run: Final[contextvars.ContextVar[object]] = contextvars.ContextVar("callspan-litellm-call", default=None)
"""LiteLLM's logging object of the call whose callbacks the running code runs."""


class Placing:
    """Places runs, and has a call wait for those that block."""

    def __init__(self, delivery: LoggerDelivery, tracers: TracerSource) -> None:
        self._delivery: LoggerDelivery = delivery
        self._tracers = tracers

    def wrap_callback_list(
        self, wrapped: Callable[..., list[Any]], instance: object, args: Args, kwargs: Kwargs
    ) -> list[Any]:
        """Wrapper of the method that gives the callbacks of a call, which are put on record as they run."""
        callbacks = wrapped(*args, **kwargs)
        if not callbacks:
            return callbacks
        span = _span_of(instance)
        observed = None if span is None else self._observe(callbacks, span)
        return callbacks if observed is None else observed

    @guarded
    def _observe(self, callbacks: list[Any], span: Span) -> list[Any]:
        return Observer(self._tracers, span).callbacks(callbacks)

    def wrap_coroutine_function(
        self, wrapped: Callable[..., Coroutine[Any, Any, Any]], instance: object, args: Args, kwargs: Kwargs
    ) -> Any:
        """Wrapper of a coroutine function that runs callbacks, or is on the way to it."""
        coroutine = wrapped(*args, **kwargs)
        call: Any = instance or kwargs.get("logging_obj") or (args[0] if args else None)
        # Within a run for the same call it is awaited, or goes to the worker.
        if call is not None and _call_of_run.get() is call:
            return coroutine
        # Without a loop, somebody starts one.
        if call is None or running.running_loop() is None:
            return await_outside(coroutine)
        return self._place(f"LiteLLM {wrapped.__name__}", coroutine, call)

    def wrap_handing_over(
        self, wrapped: Callable[..., Coroutine[Any, Any, Any]], _instance: object, args: Args, kwargs: Kwargs
    ) -> Any:
        """Wrapper of a coroutine function that waits for nothing, and only hands what runs callbacks to the worker.

        It is run at once: a task of its own would be one more that a loop's end can take away, and costs time.
        """
        coroutine = wrapped(*args, **kwargs)
        call = kwargs.get("logging_obj") or (args[0] if args else None)
        if running.running_loop() is None or call is None:
            return await_outside(coroutine)
        context = contextvars.copy_context()
        context.run(_call_of_run.set, call)
        try:
            waits_for = context.run(coroutine.send, None)
        except StopIteration as end:
            return Over(end.value)
        except Exception as error:  # noqa: BLE001  # for whoever awaits it
            return Over(None, error)
        return self._place(f"LiteLLM {wrapped.__name__}", _go_on(coroutine, waits_for), call, context)

    def enqueue(self, coroutine: Any) -> None:
        """Take what was meant for LiteLLM's worker."""
        if not isinstance(coroutine, Placed):
            self._place("LiteLLM logging", coroutine, _call_of_run.get())

    def submit(self, function: Callable[..., Any], args: Args, kwargs: Kwargs) -> "Future[Any]":
        """Take what was meant for the threads of LiteLLM's that run synchronous callbacks."""
        result: Future[Any] = Future()

        def work() -> None:
            if result.set_running_or_notify_cancel():
                try:
                    result.set_result(function(*args, **kwargs))
                except BaseException as error:  # noqa: BLE001  # as any executor does
                    result.set_exception(error)

        leaving.be_ready()
        shown = args[0] if args and getattr(function, "__name__", "") == "run" else function
        job = Job(f"LiteLLM {getattr(shown, '__name__', 'logging')}", work, contextvars.copy_context())
        invocation = self._blocks(getattr(shown, "__self__", None))
        if invocation is not None:
            invocation.awaited.append(job)
        running.start(_KEY, job, None)
        return result

    def _place(
        self, name: str, coroutine: Awaitable[Any], call: object, context: contextvars.Context | None = None
    ) -> Placed:
        result: Future[Any] = Future()
        span = _span_of(call)

        async def work() -> None:
            _call_of_run.set(call)
            # In the context of this run alone: there is nothing to return to.
            step_outside() if span is None else outside_with(span)
            try:
                result.set_result(await coroutine)
            except Exception as error:  # for whoever awaits it
                _logger.debug("%s failed", name, exc_info=True)
                result.set_exception(error)
            finally:
                if not result.done():  # cancelled
                    result.set_result(None)

        leaving.be_ready()
        job = Job(name, work, context or contextvars.copy_context(), awaits=True)
        invocation = self._blocks(call)
        if invocation is not None:
            invocation.awaited.append(job)
        running.start(_KEY, job, running.running_loop())
        return Placed(job, result)

    def _blocks(self, call: object) -> Invocation | None:
        """The invocation that is to wait for what is placed, if one is."""
        if self._delivery == "background" and not loggers.any_chosen():
            return None
        invocation = current_invocation() or _invocation_of(call)
        if invocation is None or invocation.finished:
            return None
        return invocation if loggers.delivery_of(call, self._delivery) == "blocking" else None


_known: Final[weakref.WeakKeyDictionary[Any, tuple[weakref.ref[Invocation], Span]]] = weakref.WeakKeyDictionary()


def remember(call: object, invocation: Invocation) -> None:
    """Remember what LiteLLM's logging object of a call belongs to: a stream's end is in no context.

    The invocation, which refers to that object, is not kept alive by it.
    """
    _known[call] = weakref.ref(invocation), invocation.span


def _invocation_of(call: object) -> Invocation | None:
    known = _known_of(call)
    return None if known is None else known[0]()


def _span_of(call: object) -> Span | None:
    known = _known_of(call)
    return None if known is None else known[1]


def _known_of(call: object) -> tuple[weakref.ref[Invocation], Span] | None:
    try:
        return _known.get(call)
    except TypeError:  # nothing that can be referred to weakly
        return None
