"""Where LiteLLM is patched: one table, from which everything is undone as well.

Each row names a module, waits for the application to import it, and leaves LiteLLM unimported until then. Rows that
only some versions of LiteLLM have are marked ``optional``; a missing row that is not is said once, and the rest works.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import wrapt

from callspan._guard import report
from callspan._litellm import lifecycle, stream_results
from callspan._litellm.call import CallFactory
from callspan._litellm.in_place import wrap_in_place
from callspan._litellm.operations import APIS, describe_operation
from callspan._litellm.wrappers import (
    Wrapper,
    wrap_async_entry_point,
    wrap_awaited_entry_point,
    wrap_dispatch,
    wrap_entry_point,
)

_logger = logging.getLogger("callspan")


@dataclass(frozen=True, slots=True)
class Seam:
    """One row of the table.

    Attributes:
        module: the module whose import is waited for.
        path: the attribute in it, with dots.
        wrapper: made when the seam is patched, from the function found there.
        in_place: whether the function's code is swapped, because callers hold the function itself.
        optional: whether it is missing from some supported version of LiteLLM.
    """

    module: str
    path: str
    wrapper: Callable[[Callable[..., Any]], Wrapper]
    in_place: bool = False
    optional: bool = False


def _entry(
    factory: CallFactory, public: str, *, in_place: bool = False, takes_attempts: bool = False
) -> Callable[[Callable[..., Any]], Wrapper]:
    asynchronous = public.rpartition(".")[2].startswith("a")
    # Code swapped in place is a coroutine function itself, which awaits what the wrapper returns.
    wrap_async = wrap_awaited_entry_point if in_place else wrap_async_entry_point
    wrap = wrap_async if asynchronous else wrap_entry_point

    def make(function: Callable[..., Any]) -> Wrapper:
        return wrap(factory, describe_operation(public, function, takes_attempts=takes_attempts))

    return make


def _fixed(wrapper: Wrapper) -> Callable[[Callable[..., Any]], Wrapper]:
    return lambda _function: wrapper


def litellm_seams(factory: CallFactory) -> tuple[Seam, ...]:
    """The table.

    ``PublicDispatch`` is what LiteLLM's public functions call from 1.104 on, whichever name they were called by; its
    routes may go past Python. The functions behind it are decorated with ``@client``, held by LiteLLM's own modules
    and by whoever imported them early, so they are wrapped in place. ``Router`` methods are found by name at each call.
    """
    logging_class, router = "litellm.litellm_core_utils.litellm_logging", "litellm.router"
    callbacks, async_callbacks = _fixed(lifecycle.wrap_callbacks), _fixed(lifecycle.wrap_async_callbacks)
    carry = _fixed(lifecycle.wrap_run_async_function)
    names = [prefix + name for name in APIS for prefix in ("", "a")]
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
                _entry(factory, f"litellm.{name}", in_place=True),
                in_place=True,
            )
            for name in names
        ),
        *(
            Seam(router, f"Router.{name}", _entry(factory, f"Router.{name}", takes_attempts=True))
            for name in names
            if not name.endswith("responses")
        ),
        Seam(router, "run_async_function", carry, optional=True),
        Seam("litellm.router_python_core", "run_async_function", carry, optional=True),
        Seam("litellm", "stream_chunk_builder", _fixed(stream_results.wrap_stream_chunk_builder)),
        Seam(logging_class, "Logging.pre_call", _fixed(lifecycle.wrap_pre_call)),
        Seam(logging_class, "Logging.post_call", _fixed(lifecycle.wrap_post_call)),
        Seam(logging_class, "Logging.success_handler", callbacks),
        Seam(logging_class, "Logging.failure_handler", callbacks),
        Seam(logging_class, "Logging.async_success_handler", async_callbacks),
        Seam(logging_class, "Logging.async_failure_handler", async_callbacks),
        Seam("litellm.utils", "async_pre_call_deployment_hook", async_callbacks),
        Seam("litellm.utils", "async_post_call_success_deployment_hook", async_callbacks),
        Seam("litellm.utils", "async_post_call_failure_deployment_hook", async_callbacks, optional=True),
    )


class Patches:
    """Patches seams as their modules are imported, and undoes exactly what it patched."""

    def __init__(self, seams: tuple[Seam, ...]) -> None:
        self._seams = seams
        self._lock = threading.Lock()
        self._active = True
        self._undo: list[Callable[[], None]] = []

    def apply(self) -> None:
        """Patch what is imported; the rest when it is."""
        for module in dict.fromkeys(seam.module for seam in self._seams):
            wrapt.register_post_import_hook(self._imported, module)

    def undo(self) -> None:
        """Restore every patched object to identity; modules imported from now on stay as they are."""
        with self._lock:
            self._active = False
            while self._undo:
                self._undo.pop()()

    def _imported(self, module: ModuleType) -> None:
        with self._lock:
            if not self._active:
                return
            for seam in self._seams:
                if seam.module == module.__name__:
                    self._patch(module, seam)

    def _patch(self, module: ModuleType, seam: Seam) -> None:
        try:
            owner, name, function = _resolve(module, seam.path)
        except AttributeError:
            level = logging.DEBUG if seam.optional else logging.WARNING
            _logger.log(level, "LiteLLM has no %s.%s; what it is for is not recorded", seam.module, seam.path)
            return
        try:
            self._undo.append(_wrap(owner, name, function, seam))
        except Exception:  # noqa: BLE001  # an import hook that raises would break the application's import
            report(f"patching {seam.module}.{seam.path}")


def _resolve(module: ModuleType, path: str) -> tuple[Any, str, Any]:
    *parents, name = path.split(".")
    owner: Any = module
    for parent in parents:
        owner = getattr(owner, parent)
    # From LiteLLM 1.109 Router is a facade that hands class-level patches to its core class, and keeps a record of
    # them; patching the core itself leaves nothing behind.
    owner = _members(owner).get("_core_class", owner)
    return owner, name, _members(owner).get(name) or getattr(owner, name)


def _members(owner: object) -> dict[str, Any]:
    return vars(owner)


def _wrap(owner: Any, name: str, function: Any, seam: Seam) -> Callable[[], None]:
    wrapper = seam.wrapper(function)
    if seam.in_place and isinstance(function, FunctionType):
        return wrap_in_place(function, wrapper)
    wrapped = wrapt.FunctionWrapper(function, wrapper)
    setattr(owner, name, wrapped)

    def restore() -> None:
        # Somebody may have wrapped ours since; taking theirs away would be worse than leaving ours, which passes on.
        if _members(owner).get(name) is wrapped:
            setattr(owner, name, function)

    return restore
