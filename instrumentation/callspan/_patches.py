"""Patching other people's modules as they are imported, and undoing exactly what was patched.

Each row of a table names a module, waits for the application to import it, and leaves it unimported until then; one
for a module that is not there waits for ever. A function that only some versions have is marked ``optional``, or its
row says which modules have it otherwise; any other that is missing is said once, and the rest works.
"""

import importlib.util
import inspect
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any

import wrapt

from callspan._guard import report
from callspan._in_place import Wrapper, wrap_in_place

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


@dataclass(frozen=True, slots=True)
class Change:
    """A row for what is no function.

    Attributes:
        module: the module whose import is waited for.
        make: changes something of the module, and returns what changes it back.
    """

    module: str
    make: Callable[[Any], Callable[[], None]]


class Patches:
    """Patches seams as their modules are imported, and undoes exactly what it patched."""

    def __init__(self, seams: tuple[Seam | Change, ...]) -> None:
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
                    self._change(module, seam) if isinstance(seam, Change) else self._patch(module, seam)

    def _change(self, module: ModuleType, change: Change) -> None:
        try:
            self._undo.append(change.make(module))
        except Exception:  # noqa: BLE001  # an import hook that raises would break the application's import
            report(f"changing {change.module}")

    def _patch(self, module: ModuleType, seam: Seam) -> None:
        try:
            owner, name, function = _resolve(module, seam.path)
        except AttributeError:
            level = logging.DEBUG if seam.optional or any(map(_is_there, seam.moved_to)) else logging.WARNING
            _logger.log(level, "There is no %s.%s; what it is for is not recorded", seam.module, seam.path)
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
