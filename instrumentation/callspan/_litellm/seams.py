"""Where LiteLLM is patched: one table, from which everything is undone as well."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import FunctionType
from typing import Any, Final

from callspan._in_place import Wrapper
from callspan._litellm import decorated, lifecycle, realtime, stream_results, worker
from callspan._litellm.call_factory import CallFactory
from callspan._litellm.loggers import LoggerDelivery
from callspan._litellm.operations import Operation, describe_operation, kind_of, retrying
from callspan._litellm.passthrough import wrap_pass_through
from callspan._litellm.placed import Placing
from callspan._litellm.wrappers import (
    wrap_awaited_entry_point,
    wrap_dispatch,
    wrap_entry_point,
    wrap_generic,
    wrap_planned,
)
from callspan._patches import Change, Seam

_ROUTER_METHODS: Final = (
    *(
        prefix + name
        for name in ("completion", "text_completion", "embedding", "image_generation")
        for prefix in ("", "a")
    ),
    *("aresponses", "atranscription", "aspeech", "arerank"),
)
_WITH_RETRIES: Final = tuple(
    f"{prefix}{name}_with_retries" for name in ("completion", "responses") for prefix in ("", "a")
)
_OLD_ROUTER_METHODS: Final = (
    *("aadapter_completion", "acreate_file", "acreate_batch", "aretrieve_batch", "acancel_batch", "alist_batches"),
)
_QUEUEING: Final = "schedule_acompletion"  # it waits for the call's turn before it calls what makes the attempts
_ROUTER_BATCHES: Final = (
    *("abatch_completion", "abatch_completion_one_model_multiple_requests", "abatch_completion_fastest_response"),
)
_ASSISTANTS: Final = (
    *("create_assistants", "get_assistants", "delete_assistant", "create_thread", "get_thread", "get_messages"),
    *("add_message", "run_thread", "run_thread_stream"),
)

_PROXYS: Final = "litellm.proxy.pass_through_endpoints.pass_through_endpoints"
_LOGGING: Final = "litellm.litellm_core_utils.litellm_logging"

_ROUTER_CLASSES: Final = (
    ("litellm.router", "Router"),
    ("litellm.router_python_core", "PythonCore"),
    ("litellm.router_rust.core", "RustCore"),
)
"""Where a Router's methods are: in ``Router``, until LiteLLM 1.109 made it a facade of the others."""


def _entry(factory: CallFactory, public: str, **options: bool) -> Callable[[Callable[..., Any]], Wrapper]:
    def make(function: Callable[..., Any]) -> Wrapper:
        operation = describe_operation(public, function, takes_attempts=public.startswith("Router."), **options)
        return _wrapper(factory, operation, function)

    return make


def _wrapper(factory: CallFactory, operation: Operation, function: Callable[..., Any]) -> Wrapper:
    wrap = wrap_awaited_entry_point if inspect.iscoroutinefunction(function) else wrap_entry_point
    return wrap(factory, operation)


def _decorated(factory: CallFactory) -> decorated.Instrument:
    def instrument(public: str, function: FunctionType) -> Iterator[tuple[FunctionType, Wrapper]]:
        operation = describe_operation(public, function)
        yield function, _wrapper(factory, operation, function)
        inner: object = getattr(function, "__wrapped__", None)
        if operation.may_retry and isinstance(inner, FunctionType):
            yield inner, _wrapper(factory, replace(operation, bare=True), inner)

    return instrument


def _fixed(wrapper: Wrapper) -> Callable[[Callable[..., Any]], Wrapper]:
    return lambda _function: wrapper


def litellm_seams(factory: CallFactory, delivery: LoggerDelivery = "background") -> tuple[Seam | Change, ...]:
    """The table.

    Args:
        factory: starts calls.
        delivery: of callbacks that are registered with LiteLLM.
    """
    placing = Placing(delivery, factory.tracers)
    return (
        *_call_seams(factory),
        *_router_seams(factory),
        *_lifecycle_seams(),
        *_realtime_seams(),
        Seam(_PROXYS, "pass_through_request", _fixed(wrap_pass_through(factory)), in_place=True, optional=True),
        *_callback_seams(placing),
        *worker.seams(placing),
    )


def _call_seams(factory: CallFactory) -> tuple[Seam | Change, ...]:
    """What users call.

    ``PublicDispatch`` is what LiteLLM's public functions call from 1.104 on, whichever name they were called by; its
    routes may go past Python. The functions behind it are decorated with ``@client``, held by LiteLLM's own modules
    and by whoever imported them early, so they are wrapped in place, as are those that have no decorator.
    """
    return (
        *(
            Seam(
                "litellm.rust_bridge.dispatch",
                f"PublicDispatch.{method}",
                _fixed(wrap_dispatch(factory, asynchronous=asynchronous)),
                optional=True,
            )
            for method, asynchronous in (("run", False), ("arun", True))
        ),
        decorated.seam(_decorated(factory)),
        *_undecorated(factory, "litellm.main", "moderation", "adapter_completion", "aadapter_completion"),
        *_undecorated(factory, "litellm.ocr.main", "ocr", "aocr"),
        *_undecorated(factory, "litellm.batches.main", "cancel_batch", "acancel_batch"),
        *_undecorated(factory, "litellm.fine_tuning.main", "list_fine_tuning_jobs", "alist_fine_tuning_jobs"),
        *_undecorated(factory, "litellm.assistants.main", *_ASSISTANTS, *map(_asynchronous, _ASSISTANTS)),
        *_undecorated(
            factory,
            "litellm.batch_completion.main",
            *("batch_completion", "batch_completion_models", "batch_completion_models_all_responses"),
            takes_calls=True,
        ),
        *(
            Seam("litellm.main", name, _retries(factory, f"litellm.{name}"), in_place=True, optional=True)
            for name in _WITH_RETRIES
        ),
    )


def _undecorated(factory: CallFactory, module: str, *names: str, **options: bool) -> Iterator[Seam]:
    for name in names:
        yield Seam(module, name, _entry(factory, f"litellm.{name}", **options), in_place=True, optional=True)


def _asynchronous(name: str) -> str:
    return f"a_{name}" if name == "add_message" else f"a{name}"


def _retries(factory: CallFactory, public: str) -> Callable[[Callable[..., Any]], Wrapper]:
    def make(function: Callable[..., Any]) -> Wrapper:
        kind = kind_of(public.rpartition(".")[2].removesuffix("_with_retries"))
        return _wrapper(factory, retrying(Operation(public, kind, ("model", "messages"))), function)

    return make


def _router_seams(factory: CallFactory) -> tuple[Seam, ...]:
    """A Router's methods, in place for those who hold one that was bound before.

    Until LiteLLM 1.110 those of the Responses API are made anew for each Router, as are those of most other kinds;
    what they call is found by name.
    """
    seams: list[Seam] = []
    for position, (module, owner) in enumerate(_ROUTER_CLASSES):
        later = tuple(name for name, _ in _ROUTER_CLASSES[position + 1 :])
        in_rust = owner == "RustCore"
        methods = {name: name for name in _ROUTER_METHODS}
        if not in_rust:
            methods["aresponses"] = "_aresponses_with_streaming_fallbacks"
            methods |= {name: name for name in _OLD_ROUTER_METHODS}
        seams += (
            Seam(module, f"{owner}.{method}", _entry(factory, f"Router.{name}"), in_place=True, moved_to=later)
            for name, method in methods.items()
        )
        seams += (
            Seam(module, f"{owner}.{name}", _fixed(wrap(factory, asynchronous=asynchronous)), moved_to=later)
            for name, wrap, asynchronous in (_IN_RUST if in_rust else _IN_PYTHON)
        )
        seams += _router_endpoints(factory, *_RUST_ENDPOINTS if in_rust else (module, owner), later=later)
    return tuple(seams)


_IN_PYTHON: Final = (
    ("_generic_api_call_with_fallbacks", wrap_generic, False),
    ("_ageneric_api_call_with_fallbacks", wrap_generic, True),
    ("_pass_through_moderation_endpoint_factory", wrap_generic, True),
    ("_pass_through_assistants_endpoint_factory", wrap_generic, True),
)
_IN_RUST: Final = (("_call_sync", wrap_planned, False), ("_drive", wrap_planned, True))
"""Method by which a Router makes calls of many kinds, its wrapper, and whether it is asynchronous."""
_RUST_ENDPOINTS: Final = ("litellm.router_rust.invoke.endpoints", "RustEndpoints")


def _router_endpoints(factory: CallFactory, module: str, owner: str, *, later: tuple[str, ...]) -> Iterator[Seam]:
    for name in (*_ROUTER_BATCHES, _QUEUEING):
        batch = name != _QUEUEING

        def make(function: Callable[..., Any], public: str = f"Router.{name}", batch: bool = batch) -> Wrapper:
            operation = describe_operation(public, function, takes_attempts=not batch, takes_calls=batch)
            return _wrapper(factory, operation, function)

        yield Seam(module, f"{owner}.{name}", make, in_place=True, moved_to=later)


def _lifecycle_seams() -> tuple[Seam, ...]:
    """What LiteLLM does on the way of a call."""
    utils = "litellm.utils"
    async_callbacks = _fixed(lifecycle.wrap_async_callbacks)
    carry = _fixed(lifecycle.wrap_run_async_function)
    return (
        Seam("litellm.litellm_core_utils.asyncify", "run_async_function", carry, in_place=True),
        Seam("litellm", "stream_chunk_builder", _fixed(stream_results.wrap_stream_chunk_builder)),
        Seam(
            "litellm.caching.caching_handler",
            "LLMCachingHandler._combine_cached_embedding_response_with_api_result",
            _fixed(lifecycle.wrap_combining),
            in_place=True,
        ),
        Seam(_LOGGING, "Logging.pre_call", _fixed(lifecycle.wrap_pre_call)),
        Seam(_LOGGING, "Logging.post_call", _fixed(lifecycle.wrap_post_call)),
        Seam(utils, "async_pre_call_deployment_hook", async_callbacks),
        Seam(utils, "async_post_call_success_deployment_hook", async_callbacks),
        Seam(utils, "async_post_call_failure_deployment_hook", async_callbacks, optional=True),
    )


def _realtime_seams() -> tuple[Seam, ...]:
    """What LiteLLM's relays are told in a realtime session, by the provider and when it is over."""
    event = _fixed(realtime.wrap_backend_event)
    responses = "litellm.responses.streaming_iterator"
    return (
        Seam("litellm.litellm_core_utils.realtime_streaming", "RealTimeStreaming.store_message", event),
        Seam(responses, "ResponsesWebSocketStreaming._record_backend_event", event, optional=True),
        Seam(responses, "ResponsesWebSocketStreaming._store_event", event, optional=True),  # until LiteLLM 1.107
        Seam("starlette.websockets", "WebSocket.close", _fixed(realtime.wrap_close)),
    )


def _callback_seams(placing: Placing) -> tuple[Seam, ...]:
    """Where LiteLLM's callbacks are run: by threads, and by coroutines, which are placed where they cannot be lost."""
    callbacks, placed = _fixed(lifecycle.wrap_callbacks), _fixed(placing.wrap_coroutine_function)
    return (
        Seam(_LOGGING, "Logging.success_handler", callbacks),
        Seam(_LOGGING, "Logging.failure_handler", callbacks),
        Seam(_LOGGING, "Logging.async_success_handler", placed),
        Seam(_LOGGING, "Logging.async_failure_handler", placed),
        Seam(_LOGGING, "Logging.get_combined_callback_list", _fixed(placing.wrap_callback_list)),
        Seam(_LOGGING, "Logging.dispatch_success_handlers", placed, optional=True),
        Seam(_LOGGING, "Logging.dispatch_failure_handlers", placed, optional=True),
        Seam("litellm.utils", "_client_async_logging_helper", _fixed(placing.wrap_handing_over)),
    )
