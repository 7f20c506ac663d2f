"""LiteLLM's own lifecycle: its moments become span events, and what it calls back is not part of the call.

LiteLLM tells its callbacks about a call from methods of its ``Logging`` class. Wrapping those, instead of registering
a callback, keeps the events whole when an application assigns ``litellm.callbacks`` anew, and gives one place to step
out of the invocation: an LLM call made inside a user's callback is a call of its own.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from opentelemetry import context as otel_context

from callspan import semconv
from callspan._events import emit
from callspan._guard import guarded
from callspan._invocation import Attributes, Invocation, await_outside, current_invocation, deactivate, step_outside
from callspan._litellm import placed
from callspan._litellm.request import provider_attributes, server_attributes
from callspan._litellm.stream_results import reckoned_cost
from callspan._litellm.untyped import read

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


def wrap_pre_call(wrapped: Callable[..., Any], instance: object, args: Args, kwargs: Kwargs) -> Any:
    """Wrapper of ``Logging.pre_call``, which runs when a request is about to go to a provider."""
    invocation = current_invocation()
    if invocation is None:
        return wrapped(*args, **kwargs)
    _note_pre_call(invocation, instance, args, kwargs)
    return _call_outside(wrapped, args, kwargs) if _calls_back(instance) else wrapped(*args, **kwargs)


def wrap_post_call(wrapped: Callable[..., Any], instance: object, args: Args, kwargs: Kwargs) -> Any:
    """Wrapper of ``Logging.post_call``, which runs when the provider has answered."""
    invocation = current_invocation()
    if invocation is None:
        return wrapped(*args, **kwargs)
    # LiteLLM's asynchronous calls also come by here with the coroutine that has yet to ask the provider.
    if not inspect.isawaitable(args[0] if args else kwargs.get("original_response")):
        emit(invocation.span, semconv.EVENT_POST_API_CALL)
    return _call_outside(wrapped, args, kwargs) if _calls_back(instance) else wrapped(*args, **kwargs)


def wrap_combining(wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> Any:
    """Wrapper of what puts embeddings that LiteLLM's cache had together with those that the provider was asked for.

    What it returns says nothing of the cost of the latter.
    """
    invocation = current_invocation()
    asked_for = kwargs.get("embedding_response")
    if invocation is not None and invocation.subject is not None and asked_for is not None:
        invocation.late_attributes.update(reckoned_cost(invocation.subject, asked_for) or {})
    return wrapped(*args, **kwargs)


def wrap_callbacks(wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> Any:
    """Wrapper of a function of LiteLLM's that runs users' callbacks."""
    return wrapped(*args, **kwargs) if current_invocation() is None else _call_outside(wrapped, args, kwargs)


def wrap_async_callbacks(
    wrapped: Callable[..., Awaitable[Any]], _instance: object, args: Args, kwargs: Kwargs
) -> Awaitable[Any]:
    """Wrapper of a coroutine function of LiteLLM's that runs users' callbacks."""
    result = wrapped(*args, **kwargs)
    return result if current_invocation() is None or not _calls_back() else await_outside(result)


def _calls_back(logging_obj: object = None) -> bool:
    """Whether the application has given LiteLLM anything to call back on the way of a call."""
    import litellm  # noqa: PLC0415  # a call is under way, so it is imported; we never import it first

    return bool(
        litellm.callbacks
        or litellm.input_callback
        or getattr(logging_obj, "dynamic_input_callbacks", None)
        or getattr(logging_obj, "logger_fn", None)
    )


def _call_outside(wrapped: Callable[..., Any], args: Args, kwargs: Kwargs) -> Any:
    activation = step_outside()
    try:
        return wrapped(*args, **kwargs)
    finally:
        deactivate(activation)


def wrap_run_async_function(wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> Any:
    """Wrapper of the function by which LiteLLM's synchronous calls run asynchronous ones.

    Inside a running loop it hops to another thread and drops the context there, so that a Router's attempts, an SDK
    call's fallbacks and the like would be traces of their own.
    """
    named = dict(kwargs)
    function = args[0] if args else named.pop("async_function", None)
    if function is None:
        return wrapped(*args, **kwargs)
    here = otel_context.get_current()

    async def in_context(*inner: Any, **others: Any) -> Any:
        otel_context.attach(here)  # in the context of a task made for this one call: there is nothing to restore
        return await function(*inner, **others)

    return wrapped(in_context, *args[1:], **named)


@guarded
def _note_pre_call(invocation: Invocation, logging_obj: object, args: Args, kwargs: Kwargs) -> None:
    span = invocation.span
    invocation.provider_requests += 1
    invocation.subject = logging_obj
    placed.remember(logging_obj, invocation)
    api_key = args[1] if len(args) > 1 else kwargs.get("api_key")
    if isinstance(api_key, str):
        invocation.private.add(api_key)
    if not invocation.takes_attempts:
        model = getattr(logging_obj, "model", None)
        if invocation.provider_requests > 1:
            emit(span, semconv.EVENT_RETRY if model == invocation.group else semconv.EVENT_FALLBACK)
        invocation.group = model
        additional = args[3] if len(args) > 3 else kwargs.get("additional_args")  # noqa: PLR2004  # its position
        _describe_provider(invocation.late_attributes, logging_obj, additional)
    emit(span, semconv.EVENT_PRE_API_CALL)


def _describe_provider(attributes: Attributes, logging_obj: Any, additional: object) -> None:
    # Known only now where the caller left it to LiteLLM's configuration.
    base = read(additional, "api_base")
    if base:
        attributes.update(server_attributes(str(base)))
    provider = read(getattr(logging_obj, "model_call_details", None), "custom_llm_provider")
    if isinstance(provider, str):
        attributes.update(provider_attributes(provider))
    call_id = getattr(logging_obj, "litellm_call_id", None)
    if isinstance(call_id, str):
        attributes[semconv.LITELLM_CALL_ID] = call_id
