"""Callbacks for the LLM calls that other instrumentations record: any span of the GenAI conventions, whoever made it.

What delivers spans shows each as it starts and as it has ended. A span says less than a call in hand: there is no
request and no response to give, a failed call is one whose span says so, and nobody can be awaited.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode

from callspan import semconv
from callspan._callbacks.dispatch import Told
from callspan._callbacks.moment import Live, Moment
from callspan._callbacks.registry import registry
from callspan._context import ambient_attributes
from callspan._guard import guarded
from callspan._invocation import current_invocation
from callspan._tracer import tracer_in_force

_CONTAINERS: Final = frozenset(
    {"invoke_agent", "create_agent", "invoke_workflow", "execute_tool", "plan", "search_memory", "update_memory"}
)
"""Operations that are no LLM call themselves: they contain some, or run tools. As a Router's call to callbacks."""

_MOST: Final = 10_000
"""Spans that are remembered until they end."""


class _Scope(Protocol):
    @property
    def name(self) -> str: ...


class SdkSpan(Protocol):
    """What is read of a span, started or ended, as the SDK has it."""

    @property
    def attributes(self) -> Mapping[str, Any] | None: ...

    @property
    def instrumentation_scope(self) -> _Scope | None: ...

    @property
    def start_time(self) -> int | None: ...

    @property
    def end_time(self) -> int | None: ...

    @property
    def status(self) -> Any: ...

    @property
    def parent(self) -> SpanContext | None: ...

    def get_span_context(self) -> SpanContext | None: ...

    def set_attributes(self, attributes: Mapping[str, Any]) -> None: ...


_open: set[int] = set()
"""Ids of LLM calls' spans that have started, and not ended."""


@guarded
def started(span: SdkSpan) -> None:
    """Take note of a span that starts: what is said of calls holds for it too, and it may be part of a call."""
    if _is_ours(span):
        return
    attributes = span.attributes or {}
    if semconv.GEN_AI_OPERATION_NAME not in attributes:
        return
    said: dict[str, Any] = {key: value for key, value in ambient_attributes().items() if key not in attributes}
    if _is_part(span):
        said[semconv.CALLSPAN_PART] = True
    if said:
        span.set_attributes(said)
    context = span.get_span_context()
    if context is not None and len(_open) < _MOST and not is_container(attributes):
        _open.add(context.span_id)


def _is_part(span: SdkSpan) -> bool:
    """Whether a span is of something inside an LLM call that has a span already.

    That is one of ours, or another's: some SDKs make spans of their own below their instrumentation's.
    """
    invocation = current_invocation()
    if invocation is not None and not invocation.is_outline:
        return True
    return span.parent is not None and span.parent.span_id in _open


@guarded
def ended(span: SdkSpan) -> None:
    """Tell callbacks of a span that has ended, if it is an LLM call's."""
    if _is_ours(span):
        return
    attributes = span.attributes or {}
    context = span.get_span_context()
    if semconv.GEN_AI_OPERATION_NAME not in attributes or context is None:
        return
    _open.discard(context.span_id)
    outcome = outcome_of_span(span, attributes)
    if registry.told_of(outcome) and not is_part(attributes):
        _tell(span, context, attributes, outcome)


def _tell(span: SdkSpan, context: SpanContext, attributes: Mapping[str, Any], outcome: str) -> None:
    scope = span.instrumentation_scope
    moment = Moment(
        outcome,
        NonRecordingSpan(context),  # what comes after is its child
        {semconv.CALLSPAN_ENTRY_POINT: "" if scope is None else scope.name, **attributes},
        (span.start_time or 0, span.end_time),
        Live({}, {}),
        outcome=outcome,
        error_message=span.status.description,
    )
    told = Told(moment, tracer_in_force(), router_call=is_container(attributes), asynchronous=True)
    told.run_what_does_not_await()
    told.leave()
    told.start_background()


def outcome_of_span(span: SdkSpan, attributes: Mapping[str, Any]) -> str:
    """How the call of a span ended, as far as the span says."""
    said = attributes.get(semconv.CALLSPAN_OUTCOME)
    if isinstance(said, str):
        return said
    if span.status.status_code is not StatusCode.ERROR:
        return semconv.OUTCOME_SUCCESS
    error = str(attributes.get(semconv.ERROR_TYPE, ""))
    if error.endswith("CancelledError") or error == "KeyboardInterrupt":
        return semconv.OUTCOME_CANCELLED
    return semconv.OUTCOME_ABANDONED if error == "GeneratorExit" else semconv.OUTCOME_FAILURE


def is_container(attributes: Mapping[str, Any]) -> bool:
    """Whether a span contains LLM calls instead of being one."""
    return attributes.get(semconv.GEN_AI_OPERATION_NAME) in _CONTAINERS


def is_part(attributes: Mapping[str, Any]) -> bool:
    """Whether a span was found to be part of a call that has a span of its own."""
    return semconv.CALLSPAN_PART in attributes


def _is_ours(span: SdkSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name == semconv.SCOPE_NAME
