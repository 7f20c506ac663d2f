"""Which call of LiteLLM's functions is a call, an attempt of one, or a part of one that has its span already."""

from collections.abc import Mapping
from typing import Any

from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import SpanKind

from callspan import semconv
from callspan._callbacks.durable import metadata_text
from callspan._callbacks.registry import registry
from callspan._content import ContentCapture
from callspan._events import emit
from callspan._guard import guarded
from callspan._invocation import Attributes, Invocation, current_invocation
from callspan._litellm.call import Call, metadata_of
from callspan._litellm.operations import Operation
from callspan._litellm.request import request_attributes, span_name
from callspan._litellm.untyped import read
from callspan._tracer import TracerSource


class CallFactory:
    """Starts a :class:`Call` for each call that has none yet.

    Attributes:
        tracers: where spans are started.
    """

    def __init__(self, tracers: TracerSource, capture: ContentCapture) -> None:
        self.tracers = tracers
        self._capture = capture

    @guarded
    def start(self, operation: Operation, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | None:
        """Start a call, or an attempt of the Router call it is made in.

        Returns:
            ``None`` where the call is a part of one that has its span already, or where instrumentation is suppressed.
        """
        parent = current_invocation()
        if (parent is not None and not parent.takes_attempts) or not is_instrumentation_enabled():
            return None
        arguments = operation.arguments(args, kwargs)
        model = arguments.get("model")
        # A Router that calls itself for the model it was asked for is at the same call (one with a priority). For
        # another model it is a call of its own: a plugin's, or one by which LiteLLM chooses or tries a model.
        if parent is not None and operation.takes_attempts and model == parent.model:
            return None
        attributes = request_attributes(operation, arguments)
        if parent is not None and not operation.takes_attempts:
            _count_attempt(parent, attributes, arguments)
        if registry.wants_metadata:
            metadata = metadata_text(metadata_of(arguments))
            if metadata is not None:
                attributes[semconv.CALLSPAN_METADATA] = metadata
        invocation = Invocation(
            self.tracers.tracer(),
            span_name(operation, attributes),
            attributes,
            kind=SpanKind.INTERNAL if operation.takes_attempts else SpanKind.CLIENT,
            takes_attempts=operation.takes_attempts,
        )
        invocation.model = model
        return Call(invocation, operation, arguments, self._capture, self.tracers)


def _count_attempt(router_call: Invocation, attributes: Attributes, arguments: Mapping[str, Any]) -> None:
    """Number an attempt, and say on the Router call's span why there is another: a retry, or a fallback.

    A Router says of each attempt which group it is for. A call without one is made by the user's code that the Router
    asks for a deployment (its plugins): it is part of the trace, and none of the Router's tries.
    """
    # Where it is for LiteLLM to read; `metadata` may be the caller's own, meant for the provider.
    group = read(arguments.get("litellm_metadata"), "model_group") or read(arguments.get("metadata"), "model_group")
    if not isinstance(group, str):
        return
    router_call.attempts += 1
    attributes[semconv.CALLSPAN_ATTEMPT_NUMBER] = router_call.attempts
    attributes[semconv.LITELLM_MODEL_GROUP] = group
    deployment = read(arguments.get("model_info"), "id")
    if isinstance(deployment, str):
        attributes[semconv.LITELLM_DEPLOYMENT_ID] = deployment
    if router_call.attempts > 1:
        event = semconv.EVENT_RETRY if group == router_call.group else semconv.EVENT_FALLBACK
        attempt = {semconv.CALLSPAN_ATTEMPT_NUMBER: router_call.attempts, semconv.LITELLM_MODEL_GROUP: group}
        emit(router_call.span, event, attempt)
    router_call.group = group
