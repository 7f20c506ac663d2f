"""Which call of LiteLLM's functions is a call, an attempt of one, or a part of one that has its span already."""

from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.propagate import extract
from opentelemetry.trace import SpanKind, get_current_span

from callspan import semconv
from callspan._context import ambient_attributes, call_attributes
from callspan._events import emit
from callspan._guard import guarded
from callspan._invocation import Attributes, Invocation, current_invocation
from callspan._litellm.call import Call, Recording, metadata_of
from callspan._litellm.credentials import SOURCES, credential_attributes
from callspan._litellm.operations import Operation, part_of_another, retrying
from callspan._litellm.request import request_attributes, span_name
from callspan._litellm.untyped import as_mapping, read
from callspan._neighbours import rivals
from callspan._neighbours.suppression import inside_another


class CallFactory:
    """Starts a :class:`Call` for each call that has none yet.

    Attributes:
        tracers: where spans are started.
    """

    def __init__(self, recording: Recording) -> None:
        self.tracers = recording.tracers
        self._recording = recording
        self._has_looked = False

    @guarded
    def start(self, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | None:
        """Start a call, or an attempt of the call it is made in.

        Returns:
            ``None`` where the call is a part of one that has its span already, or where instrumentation is suppressed.
        """
        # First, since most of what is called inside a call is part of it.
        if is_part(operation) or not is_instrumentation_enabled():
            return None
        parent = current_invocation()
        arguments = operation.arguments(args, kwargs)
        if parent is not None and not _is_separate(parent, operation, arguments):
            return None
        if not self._has_looked:
            self._has_looked = True
            rivals.warn_of_rivals()
        operation = _in_context(operation, parent, arguments)
        carrier = None if parent is not None else _carrier(arguments)
        attributes = _attributes(operation, arguments, carrier)
        if parent is not None:
            parent.calls += 1
            if parent.takes_attempts and not operation.takes_attempts:
                _count_attempt(parent, attributes, arguments)
        invocation = Invocation(
            self.tracers.tracer(),
            span_name(operation, attributes),
            attributes,
            kind=SpanKind.INTERNAL if operation.is_outline else SpanKind.CLIENT,
            takes_attempts=operation.takes_attempts,
            takes_calls=operation.takes_calls,
            is_outline=operation.is_outline,
            parent=parent,
            carrier=carrier,
        )
        invocation.model = arguments.get("model")
        invocation.retries_itself = operation.retries_itself
        if operation.bare:
            invocation.subject = arguments.get("litellm_logging_obj")
        return Call(invocation, operation, arguments, self._recording)


def is_part(operation: Operation) -> bool:
    """Whether what is called now can only be part of a call that has its span already."""
    parent = current_invocation()
    if parent is None:
        return operation.bare
    return not parent.takes_attempts and not parent.takes_calls


def _in_context(operation: Operation, parent: Invocation | None, arguments: Mapping[str, Any]) -> Operation:
    """The operation as it is called: with retries of LiteLLM's, or as part of another library's LLM call."""
    if operation.may_retry and (parent is None or parent.takes_calls) and _is_to_retry(arguments):
        operation = retrying(operation)
    return part_of_another(operation) if parent is None and inside_another() else operation


def _carrier(arguments: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Headers of the request that LiteLLM's proxy makes a call for, where nothing else continues its caller's trace."""
    request = arguments.get("proxy_server_request")
    if request is None or get_current_span().get_span_context().is_valid:
        return None
    headers = as_mapping(read(request, "headers")) or {}
    return {name: value for name, value in headers.items() if isinstance(value, str)}


def _attributes(operation: Operation, arguments: Mapping[str, Any], carrier: Mapping[str, str] | None) -> Attributes:
    attributes = ambient_attributes(extract(carrier) if carrier else None)
    metadata = metadata_of(arguments)
    if metadata or not _SAID_BY.isdisjoint(arguments):
        attributes |= call_attributes(arguments, metadata)
    if not SOURCES.isdisjoint(arguments):
        attributes |= credential_attributes(arguments)
    return attributes | request_attributes(operation, arguments)


_SAID_BY: Final = frozenset({"user", "tags", "litellm_session_id"})
"""Arguments by which LiteLLM is told who makes a call."""


def _is_separate(parent: Invocation, operation: Operation, arguments: Mapping[str, Any]) -> bool:
    """Whether a call made inside another has a span of its own: an attempt of it, or a call for itself."""
    if parent.retries_itself:
        # With `fallbacks` it is the one that makes the attempts, by calling itself without.
        return operation.bare and not arguments.get("fallbacks")
    if operation.bare:
        return False
    if parent.takes_attempts:
        # A Router that calls itself for the model it was asked for is at the same call (one with a priority). For
        # another model it is a call of its own: a plugin's, or one by which LiteLLM chooses or tries a model.
        return not operation.takes_attempts or arguments.get("model") != parent.model
    # What we do not know is part of what called it: its asynchronous twin, say.
    return operation.kind.known


def _is_to_retry(arguments: Mapping[str, Any]) -> bool:
    """Whether LiteLLM itself is asked to try again, or to try another model."""
    import litellm  # noqa: PLC0415  # a call is under way, so it is imported; we never import it first

    return bool(
        arguments.get("num_retries")
        or arguments.get("fallbacks")
        or arguments.get("retry_policy")
        or arguments.get("context_window_fallback_dict")
        or litellm.num_retries
    )


def _count_attempt(call: Invocation, attributes: Attributes, arguments: Mapping[str, Any]) -> None:
    """Number an attempt, and say on the span of the call why there is another: a retry, or a fallback.

    A Router says of each attempt which group it is for. A call without one is made by the user's code that the Router
    asks for a deployment (its plugins): it is part of the trace, and none of the Router's tries.
    """
    # Where it is for LiteLLM to read; `metadata` may be the caller's own, meant for the provider.
    group = read(arguments.get("litellm_metadata"), "model_group") or read(arguments.get("metadata"), "model_group")
    if call.retries_itself:
        group = arguments.get("model")
    if not isinstance(group, str):
        return
    call.attempts += 1
    attributes[semconv.CALLSPAN_ATTEMPT_NUMBER] = call.attempts
    if not call.retries_itself:
        attributes[semconv.LITELLM_MODEL_GROUP] = group
    deployment = read(arguments.get("model_info"), "id")
    if isinstance(deployment, str):
        attributes[semconv.LITELLM_DEPLOYMENT_ID] = deployment
    if call.attempts > 1:
        event = semconv.EVENT_RETRY if group == call.group else semconv.EVENT_FALLBACK
        attempt = {semconv.CALLSPAN_ATTEMPT_NUMBER: call.attempts, semconv.LITELLM_MODEL_GROUP: group}
        emit(call.span, event, attempt)
    call.group = group
