"""An invocation owns the span of one call, or of one attempt inside it, from its start to its one end."""

import os
import time
from collections import deque
from collections.abc import Awaitable, Mapping
from typing import Any, Final, Protocol

from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.propagate import extract
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from callspan import semconv
from callspan._events import emit
from callspan._failure import Failure
from callspan._guard import guarded
from callspan._neighbours.suppression import allowing, suppressing

Attributes = dict[str, AttributeValue]

Activation = tuple[Context, Context]
"""The context before, and the one put in force."""


class Awaited(Protocol):
    """What a call waits for before its caller goes on; see :class:`callspan._callbacks.job.Job`."""

    def wait(self, timeout: float | None) -> bool: ...

    async def joined(self) -> None: ...


_CONTEXT_KEY: Final = otel_context.create_key("callspan-invocation")

_OUTCOME_EVENT: Final = {
    semconv.OUTCOME_SUCCESS: semconv.EVENT_SUCCESS,
    semconv.OUTCOME_FAILURE: semconv.EVENT_FAILURE,
    semconv.OUTCOME_CANCELLED: semconv.EVENT_CANCELLED,
    semconv.OUTCOME_ABANDONED: semconv.EVENT_ABANDONED,
}


class Invocation:
    """One call or attempt while it runs.

    It travels in the OpenTelemetry context beside its span, so whatever carries the one carries the other. A copied
    context may outlive the call (LiteLLM's worker, a user's task); :attr:`open` then says that the invocation is over
    and a call found there is a call of its own. A plain flag in a ``ContextVar`` could not tell.

    Attributes:
        span: the span.
        takes_attempts: whether LiteLLM calls below it are attempts with spans of their own (Router calls).
        takes_calls: whether they are calls for themselves (batches, and what we do not know).
        retries_itself: whether its attempts are made by LiteLLM's function behind the entry point.
        is_outline: whether others carry what the conventions ask for: its attempts, say.
        attempts: how many attempts have started.
        calls: how many calls with spans of their own have started below it.
        attributes: every attribute so far, whether or not the span is recorded.
        awaited: runs of the library's own callbacks that the call is to wait for.
        ended_ns: when the call ended, in nanoseconds since the epoch; the span may end later, and says so too.
        provider_requests: how many requests to a provider were announced by LiteLLM.
        model: the model, or group of models, that was asked for.
        finished: whether the span has been ended.
        group: the model group that the newest attempt was for.
        late_attributes: attributes learnt while the call runs, written with the others when it ends.
        parent: the invocation that it is an attempt of, or a call inside.
        failure: how the call is known to have failed, where LiteLLM does not raise.
        private: credentials the call and its attempts were made with, to be kept out of error messages.
        started: ``time.perf_counter()`` at the start, in seconds.
        started_ns: the start in nanoseconds since the epoch.
        subject: the instrumented library's own object for the call, once it is known.
    """

    __slots__ = (
        "__weakref__",
        "_carrier",
        "_pending_end",
        "_process",
        "attempts",
        "attributes",
        "awaited",
        "calls",
        "ended_ns",
        "failure",
        "finished",
        "group",
        "is_outline",
        "late_attributes",
        "model",
        "parent",
        "private",
        "provider_requests",
        "retries_itself",
        "span",
        "started",
        "started_ns",
        "subject",
        "takes_attempts",
        "takes_calls",
    )

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        attributes: Attributes,
        *,
        kind: SpanKind = SpanKind.CLIENT,
        takes_attempts: bool = False,
        takes_calls: bool = False,
        is_outline: bool = False,
        parent: "Invocation | None" = None,
        carrier: Mapping[str, str] | None = None,
    ) -> None:
        """Start the span.

        Args:
            tracer: starts it.
            name: its name.
            attributes: what is known at the start.
            kind: its kind.
            takes_attempts: see the attribute, as for the next two.
            takes_calls: see above.
            is_outline: see above.
            parent: see above.
            carrier: headers of a request being served, by which the caller's trace goes on in the span.
        """
        self._carrier = carrier
        self.parent = parent
        self.failure: Failure | None = None
        self.is_outline = is_outline
        self.takes_attempts = takes_attempts
        self.takes_calls = takes_calls
        self.retries_itself = False
        self.attempts = 0
        self.calls = 0
        self.provider_requests = 0
        self.model: object = None
        self.group: object = None
        self.late_attributes: Attributes = {}
        # What an attempt fails with, the call it is made for fails with.
        self.private: set[str] = set() if parent is None else parent.private
        self.subject: object = None
        self.attributes = attributes
        self.awaited: deque[Awaited] = deque()
        self.ended_ns: int | None = None
        self.finished = False
        self.started = time.perf_counter()
        self.started_ns = time.time_ns()
        context = extract(carrier) if carrier else None
        self.span: Span = tracer.start_span(name, context, kind=kind, attributes=attributes, start_time=self.started_ns)
        self._process = _process
        # list.pop() is atomic: of all threads that try to end the invocation exactly one succeeds, without a lock,
        # which a finalizer run by the garbage collector could find held by its own thread.
        self._pending_end = [True]

    @property
    def open(self) -> bool:
        """Whether the invocation has not ended, and is this process's own."""
        return bool(self._pending_end) and self._process is _process

    @property
    def seconds(self) -> float:
        """How long the invocation has lasted so far, by a clock that does not step."""
        return time.perf_counter() - self.started

    def activate(self) -> Activation:
        """Make the span current; what is returned is for :func:`deactivate`."""
        previous = otel_context.get_current()
        # Made anew each time: kept here it would refer back to the invocation, and every call leave garbage behind
        # that only the cycle collector finds.
        base = extract(self._carrier, previous) if self._carrier else previous  # its baggage
        inside = otel_context.set_value(_CONTEXT_KEY, self, set_span_in_context(self.span, base))
        if not self.is_outline:
            inside = suppressing(inside)
        otel_context.attach(inside)
        return previous, inside

    def first_chunk(self) -> None:
        """Record that the first chunk of the stream has arrived."""
        self.late_attributes[semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = time.perf_counter() - self.started
        emit(self.span, semconv.EVENT_FIRST_CHUNK)

    def close(self, outcome: str, attributes: Attributes | None = None, failure: Failure | None = None) -> bool:
        """Write the true outcome on the span, which :meth:`finish` ends.

        Only the first call does anything, and none in a forked child.

        Args:
            outcome: one of the ``OUTCOME_*`` values.
            attributes: what is known now that was not at the start.
            failure: what went wrong, if something did.

        Returns:
            Whether this call was the one that closed it.
        """
        if self._process is not _process:
            return False  # the parent's call: it ends there, and two ends would be two spans
        try:
            self._pending_end.pop()
        except IndexError:
            return False
        self._describe_end(outcome, self.late_attributes | (attributes or {}), failure)
        # From the start, by a clock that does not step; otherwise a span could end before it began.
        self.ended_ns = self.started_ns + round(self.seconds * 1e9)
        return True

    def finish(self) -> None:
        """End the span, at the time at which it was closed."""
        self.finished = True
        self.span.end(self.ended_ns)

    @guarded
    def _describe_end(self, outcome: str, known: Attributes, failure: Failure | None) -> None:
        span = self.span
        known[semconv.CALLSPAN_OUTCOME] = outcome
        event_attributes: Attributes | None = None
        if failure is not None:
            known.update(failure.span_attributes)
            event_attributes = {semconv.ERROR_TYPE: failure.error_type}
        self.attributes = {**self.attributes, **known}
        if not span.is_recording():
            return
        if failure is not None:
            emit(span, semconv.EVENT_EXCEPTION, failure.exception_attributes)
            span.set_status(Status(StatusCode.ERROR, failure.message))
        span.set_attributes(known)
        emit(span, _OUTCOME_EVENT[outcome], event_attributes)


def current_invocation() -> Invocation | None:
    """The invocation that the running code is part of, unless it has ended."""
    found = otel_context.get_current().get(_CONTEXT_KEY)
    return found if isinstance(found, Invocation) and found.open else None


def outcome_of(error: BaseException) -> str:
    """How a call that raised ``error`` ended: interrupted (task cancelled, client gone, Ctrl-C), or failed."""
    return semconv.OUTCOME_FAILURE if isinstance(error, Exception) else semconv.OUTCOME_CANCELLED


def step_outside() -> Activation:
    """Leave the invocation for a while: its span stays current, but a call made meanwhile is a call of its own.

    Returns:
        What :func:`deactivate` takes to step in again.
    """
    here = otel_context.get_current()
    outside = allowing(otel_context.set_value(_CONTEXT_KEY, None, here))
    otel_context.attach(outside)
    return here, outside


async def await_outside(awaitable: Awaitable[Any]) -> Any:
    """Await something that is no part of a call, whatever call it is awaited in."""
    activation = step_outside()
    try:
        return await awaitable
    finally:
        deactivate(activation)


def outside_with(span: Span) -> Activation:
    """Make ``span`` current, outside of any invocation, for code that is no part of a call; as :func:`step_outside`."""
    here = otel_context.get_current()
    outside = allowing(otel_context.set_value(_CONTEXT_KEY, None, set_span_in_context(span, here)))
    otel_context.attach(outside)
    return here, outside


def deactivate(activation: Activation) -> None:
    """Return to the context before ``activation``, if the one it put in force still is.

    The former context is set anew instead of detaching a token: a coroutine may be closed by another task or by the
    garbage collector, where a token is refused and there is nothing of ours to take down.
    """
    previous, inside = activation
    if otel_context.get_current() is inside:
        otel_context.attach(previous)


_process = object()
"""This process, as opposed to the one it was forked from."""


def _begin_anew_in_child() -> None:
    global _process  # noqa: PLW0603  # cheaper to compare at each end than a process id
    _process = object()


os.register_at_fork(after_in_child=_begin_anew_in_child)
