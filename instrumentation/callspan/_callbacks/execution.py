"""One run of a callback: within its timeout, its exceptions kept from everybody else, and on record in the trace."""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context

from callspan import semconv
from callspan._events import emit
from callspan._failure import describe_exception, qualified_name
from callspan._guard import guarded

_logger = logging.getLogger("callspan")
_reported: set[str] = set()

NO_SPAN: Final = trace.INVALID_SPAN


class Execution:
    """A run while it goes on.

    Attributes:
        name: the callback's name.
        outcome: one of the ``CALLBACK_*`` values once it is over.
    """

    __slots__ = ("_began", "_call_span", "_error", "_hook", "_mode", "_own_span", "name", "outcome")

    def __init__(self, name: str, hook: str, mode: str, call_span: Span) -> None:
        self.name = name
        self.outcome = semconv.CALLBACK_SUCCESS
        self._hook = hook
        self._mode = mode
        self._call_span = call_span
        self._own_span = NO_SPAN
        self._error: BaseException | None = None
        self._began = time.perf_counter()

    def begin(self, tracer: Tracer) -> Span:
        """Begin, on a span of its own where that of the call has ended; returns the span to make current."""
        if not self._call_span.is_recording() and self._call_span.get_span_context().trace_flags.sampled:
            parent = set_span_in_context(self._call_span, Context())
            self._own_span = tracer.start_span(f"callback {self.name}", parent, SpanKind.INTERNAL)
            return self._own_span
        return self._call_span

    def note(self, error: BaseException) -> None:
        """Take note of what it raised, which somebody else reports."""
        self._error = error
        ended = isinstance(error, (asyncio.CancelledError, GeneratorExit))
        self.outcome = semconv.CALLBACK_CANCELLED if ended else semconv.CALLBACK_FAILURE

    def failed(self, outcome: str, error: BaseException | None = None) -> None:
        """Take note that it did not succeed, and report it."""
        self.outcome = outcome
        self._error = error
        self._log()

    @guarded
    def end(self, duration: float | None = None) -> None:
        """Put it on record, with its duration in seconds, which is reckoned from its beginning if not given."""
        attributes: dict[str, Any] = {
            semconv.CALLSPAN_CALLBACK_NAME: self.name,
            semconv.CALLSPAN_CALLBACK_HOOK: self._hook,
            semconv.CALLSPAN_CALLBACK_DELIVERY: self._mode,
            semconv.CALLSPAN_CALLBACK_OUTCOME: self.outcome,
            semconv.CALLSPAN_CALLBACK_DURATION: time.perf_counter() - self._began if duration is None else duration,
        }
        if self._error is not None:
            attributes[semconv.ERROR_TYPE] = qualified_name(type(self._error))
        own = self._own_span
        if own is NO_SPAN:
            emit(self._call_span, semconv.EVENT_CALLBACK, attributes)
            return
        own.set_attributes(attributes)
        if self.outcome != semconv.CALLBACK_SUCCESS:
            message = "" if self._error is None else describe_exception(self._error).message
            own.set_status(Status(StatusCode.ERROR, message or self.outcome))
        own.end()

    def _log(self) -> None:
        # With the traceback the first time: a callback that fails at every call is not to fill the log.
        first = self.name not in _reported
        _reported.add(self.name)
        what = {semconv.CALLBACK_TIMEOUT: "overran its timeout", semconv.CALLBACK_CANCELLED: "was cancelled"}
        _logger.warning(
            "Callback %s %s (%s, %s): the call itself is untouched",
            self.name,
            what.get(self.outcome, f"failed: {self._error!r}"),
            self._mode,
            self._hook,
            exc_info=self._error if first else None,
        )


def run(execution: Execution, function: Callable[[Any], Any], record: object) -> Any:
    """Call a synchronous callback; passes on a Ctrl-C alone. Returns an awaitable where the callback returned one."""
    try:
        result = function(record)
    except (Exception, SystemExit) as error:  # noqa: BLE001  # theirs
        execution.failed(semconv.CALLBACK_FAILURE, error)
        return None
    return result if inspect.isawaitable(result) else None


async def run_async(
    execution: Execution, function: Callable[[Any], Any], record: object, limit_s: float | None
) -> None:
    """Call an asynchronous callback and await it, ``limit_s`` seconds at most."""
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            await function(record)
    except TimeoutError as error:
        overran = limit.expired()
        execution.failed(semconv.CALLBACK_TIMEOUT if overran else semconv.CALLBACK_FAILURE, error)
    except asyncio.CancelledError:
        execution.failed(semconv.CALLBACK_CANCELLED)
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001  # theirs; a task that exits would end the loop
        execution.failed(semconv.CALLBACK_FAILURE, error)
