"""Where LiteLLM is patched: one table, from which everything is undone as well."""

from collections.abc import Callable
from typing import Any, Final

from callspan._in_place import Wrapper
from callspan._litellm import lifecycle, stream_results, worker
from callspan._litellm.call_factory import CallFactory
from callspan._litellm.loggers import LoggerDelivery
from callspan._litellm.operations import APIS, describe_operation
from callspan._litellm.placed import Placing
from callspan._litellm.wrappers import (
    wrap_awaited_entry_point,
    wrap_dispatch,
    wrap_entry_point,
    wrap_generic,
    wrap_planned,
)
from callspan._patches import Change, Seam

_NAMES: Final = tuple(prefix + name for name in APIS for prefix in ("", "a"))

_LOGGING: Final = "litellm.litellm_core_utils.litellm_logging"

_ROUTER_CLASSES: Final = (
    ("litellm.router", "Router"),
    ("litellm.router_python_core", "PythonCore"),
    ("litellm.router_rust.core", "RustCore"),
)
"""Where a Router's methods are: in ``Router``, until LiteLLM 1.109 made it a facade of the others."""


def _entry(factory: CallFactory, public: str) -> Callable[[Callable[..., Any]], Wrapper]:
    owner, _, name = public.rpartition(".")
    wrap = wrap_awaited_entry_point if name.startswith("a") else wrap_entry_point

    def make(function: Callable[..., Any]) -> Wrapper:
        return wrap(factory, describe_operation(public, function, takes_attempts=owner == "Router"))

    return make


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
        *_callback_seams(placing),
        *worker.seams(placing),
    )


def _call_seams(factory: CallFactory) -> tuple[Seam, ...]:
    """What users call.

    ``PublicDispatch`` is what LiteLLM's public functions call from 1.104 on, whichever name they were called by; its
    routes may go past Python. The functions behind it are decorated with ``@client``, held by LiteLLM's own modules
    and by whoever imported them early, so they are wrapped in place.
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
        *(
            Seam(
                "litellm.responses.main" if name.endswith("responses") else "litellm.main",
                name,
                _entry(factory, f"litellm.{name}"),
                in_place=True,
            )
            for name in _NAMES
        ),
    )


def _router_seams(factory: CallFactory) -> tuple[Seam, ...]:
    """A Router's methods, in place for those who hold one that was bound before.

    Until LiteLLM 1.110 those of the Responses API are made anew for each Router; what they call is found by name.
    """
    seams: list[Seam] = []
    for position, (module, owner) in enumerate(_ROUTER_CLASSES):
        later = tuple(name for name, _ in _ROUTER_CLASSES[position + 1 :])
        in_rust = owner == "RustCore"
        methods = {name: name for name in _NAMES if name != "responses"}
        if not in_rust:
            methods["aresponses"] = "_aresponses_with_streaming_fallbacks"
        seams += (
            Seam(module, f"{owner}.{method}", _entry(factory, f"Router.{name}"), in_place=True, moved_to=later)
            for name, method in methods.items()
        )
        shared, wrap = ("_call_sync", wrap_planned) if in_rust else ("_generic_api_call_with_fallbacks", wrap_generic)
        seams.append(Seam(module, f"{owner}.{shared}", _fixed(wrap(factory)), moved_to=later))
    return tuple(seams)


def _lifecycle_seams() -> tuple[Seam, ...]:
    """What LiteLLM does on the way of a call."""
    utils = "litellm.utils"
    async_callbacks = _fixed(lifecycle.wrap_async_callbacks)
    carry = _fixed(lifecycle.wrap_run_async_function)
    return (
        Seam("litellm.litellm_core_utils.asyncify", "run_async_function", carry, in_place=True),
        Seam("litellm", "stream_chunk_builder", _fixed(stream_results.wrap_stream_chunk_builder)),
        Seam(_LOGGING, "Logging.pre_call", _fixed(lifecycle.wrap_pre_call)),
        Seam(_LOGGING, "Logging.post_call", _fixed(lifecycle.wrap_post_call)),
        Seam(utils, "async_pre_call_deployment_hook", async_callbacks),
        Seam(utils, "async_post_call_success_deployment_hook", async_callbacks),
        Seam(utils, "async_post_call_failure_deployment_hook", async_callbacks, optional=True),
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
        Seam("litellm.utils", "_client_async_logging_helper", placed),
    )
