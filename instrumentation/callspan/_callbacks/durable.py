"""Callbacks that the spool feeds, at least once: here is what is done with one stored span."""

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import MappingProxyType
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext

from callspan import semconv
from callspan._callbacks import running
from callspan._callbacks.callback import Callback
from callspan._callbacks.execution import Execution
from callspan._callbacks.foreign import SdkSpan, is_container, is_part, outcome_of_span
from callspan._callbacks.job import Job
from callspan._callbacks.record import CallRecord, fields_of_ids, fields_of_span, fields_of_time, metadata_of_span
from callspan._delivery import call_delivery
from callspan._invocation import deactivate, outside_with
from callspan._tracer import tracer_in_force

_logger = logging.getLogger("callspan")


class StoredSpan(SdkSpan, Protocol):
    """What is read of a span that comes back from the spool, as the SDK's ``ReadableSpan`` has it."""

    @property
    def events(self) -> Any: ...


def add(callback: Callback) -> None:
    """Have the spool feed a callback; warns where nothing delivers."""
    delivered = call_delivery("add_callback", callback.name, handler(callback))
    if delivered is None:
        _logger.warning(
            "Callback %s is durable, but nothing that stores spans is installed: it is not called", callback.name
        )


def remove(callback: Callback) -> None:
    """Have it feed the callback no more."""
    call_delivery("remove_callback", callback.name)


def handler(callback: Callback) -> Callable[[StoredSpan], None]:
    """Return what deals with one stored span, and raises what the callback raises."""

    def handle(span: StoredSpan) -> None:
        attributes = span.attributes or {}
        if is_part(attributes):
            return
        is_call = semconv.GEN_AI_OPERATION_NAME in attributes and not is_container(attributes)
        if not is_call and not (callback.router_calls and _is_genai(attributes)):
            return
        outcome = outcome_of_span(span, attributes)
        if not callback.is_told_of(outcome):
            return
        record = record_of(span, attributes, outcome)
        if callback.wants(record):
            _run(callback, record, span.get_span_context())

    return handle


def _is_genai(attributes: Mapping[str, Any]) -> bool:
    return semconv.GEN_AI_OPERATION_NAME in attributes or semconv.CALLSPAN_OUTCOME in attributes


def record_of(span: StoredSpan, attributes: Mapping[str, Any], outcome: str) -> CallRecord:
    """Make the record of a call from its stored span."""
    context = span.get_span_context()
    exceptions: list[Any] = [event.attributes for event in span.events if event.name == semconv.EVENT_EXCEPTION]
    return CallRecord(
        hook=outcome,
        outcome=outcome,
        error_message=exceptions[-1].get(semconv.EXCEPTION_MESSAGE) if exceptions else span.status.description,
        metadata=MappingProxyType(metadata_of_span(attributes)),
        **fields_of_span(attributes),
        **fields_of_time(span.start_time or 0, span.end_time),
        **fields_of_ids(*((context.trace_id, context.span_id) if context else (0, 0))),
    )


def _run(callback: Callback, record: CallRecord, context: SpanContext | None) -> None:
    call_span = NonRecordingSpan(context) if context is not None else trace.INVALID_SPAN
    execution = Execution(callback.name, record.hook, callback.delivery, call_span)
    activation = outside_with(execution.begin(tracer_in_force()))
    try:
        if callback.awaits or callback.timeout is None:
            _call(callback, record)
        else:
            _call_within(callback, record, callback.timeout)
    except TimeoutError as error:
        execution.failed(semconv.CALLBACK_TIMEOUT, error)
        raise
    except (Exception, SystemExit) as error:
        execution.failed(semconv.CALLBACK_FAILURE, error)
        raise
    finally:
        execution.end()
        deactivate(activation)


def _call(callback: Callback, record: CallRecord) -> None:
    result = callback.function(record)
    if inspect.isawaitable(result):
        running.run_here(_within(result, callback.timeout))


def _call_within(callback: Callback, record: CallRecord, limit_s: float) -> None:
    """Call it on a thread, which cannot be stopped, and wait no longer than its timeout."""
    result: Future[None] = Future()

    def work() -> None:
        try:
            result.set_result(_call(callback, record))
        except BaseException as error:  # noqa: BLE001  # for the thread that waits
            result.set_exception(error)

    running.start(callback, Job(callback.name, work, contextvars.copy_context()), None)
    result.result(limit_s)


async def _within(awaitable: Any, limit_s: float | None) -> None:
    async with asyncio.timeout(limit_s):
        await awaitable
