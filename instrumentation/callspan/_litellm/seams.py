"""Where LiteLLM is patched: one table, from which everything is undone as well.

Each row names a module, waits for the application to import it, and leaves LiteLLM unimported until then; one for a
module that this LiteLLM does not have waits for ever. A function that only some versions have is marked ``optional``,
or its row says which modules have it otherwise; any other that is missing is said once, and the rest works.
"""

import importlib.util
import inspect
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any, Final

import wrapt

from callspan._guard import report
from callspan._litellm import lifecycle, stream_results
from callspan._litellm.call import CallFactory
from callspan._litellm.in_place import wrap_in_place
from callspan._litellm.operations import APIS, describe_operation
from callspan._litellm.wrappers import (
    Wrapper,
    wrap_awaited_entry_point,
    wrap_dispatch,
    wrap_entry_point,
    wrap_generic,
    wrap_planned,
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
        moved_to: modules that have it instead, where LiteLLM has them; they have rows of their own.
    """

    module: str
    path: str
    wrapper: Callable[[Callable[..., Any]], Wrapper]
    in_place: bool = False
    optional: bool = False
    moved_to: tuple[str, ...] = ()


_NAMES: Final = tuple(prefix + name for name in APIS for prefix in ("", "a"))

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


def litellm_seams(factory: CallFactory) -> tuple[Seam, ...]:
    """The table."""
    return (*_call_seams(factory), *_router_seams(factory), *_lifecycle_seams())


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
    logging_class, utils = "litellm.litellm_core_utils.litellm_logging", "litellm.utils"
    callbacks, async_callbacks = _fixed(lifecycle.wrap_callbacks), _fixed(lifecycle.wrap_async_callbacks)
    carry = _fixed(lifecycle.wrap_run_async_function)
    return (
        Seam("litellm.litellm_core_utils.asyncify", "run_async_function", carry, in_place=True),
        Seam("litellm", "stream_chunk_builder", _fixed(stream_results.wrap_stream_chunk_builder)),
        Seam(logging_class, "Logging.pre_call", _fixed(lifecycle.wrap_pre_call)),
        Seam(logging_class, "Logging.post_call", _fixed(lifecycle.wrap_post_call)),
        Seam(logging_class, "Logging.success_handler", callbacks),
        Seam(logging_class, "Logging.failure_handler", callbacks),
        Seam(logging_class, "Logging.async_success_handler", async_callbacks),
        Seam(logging_class, "Logging.async_failure_handler", async_callbacks),
        Seam(utils, "async_pre_call_deployment_hook", async_callbacks),
        Seam(utils, "async_post_call_success_deployment_hook", async_callbacks),
        Seam(utils, "async_post_call_failure_deployment_hook", async_callbacks, optional=True),
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
            level = logging.DEBUG if seam.optional or any(map(_is_there, seam.moved_to)) else logging.WARNING
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
    # A class is asked for what it has itself: Router's metaclass also answers for the core that it hands calls to, and
    # imports it for that; and what is set on Router for such a name is kept in a record, which would not be undone.
    return owner, name, inspect.getattr_static(owner, name) if inspect.isclass(owner) else getattr(owner, name)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of the package that it would be in
        return False


def _members(owner: object) -> dict[str, Any]:
    return vars(owner)


def _wrap(owner: Any, name: str, function: Any, seam: Seam) -> Callable[[], None]:
    wrapper = seam.wrapper(function)
    if seam.in_place and isinstance(function, FunctionType):
        return wrap_in_place(function, wrapper)
    wrapped = wrapt.FunctionWrapper(function, wrapper)
    own = name in _members(owner)
    setattr(owner, name, wrapped)

    def restore() -> None:
        # Somebody may have wrapped ours since; taking theirs away would be worse than leaving ours, which passes on.
        if _members(owner).get(name) is not wrapped:
            return
        if own:
            setattr(owner, name, function)
        else:  # it was inherited, or served by the module on demand
            delattr(owner, name)

    return restore
