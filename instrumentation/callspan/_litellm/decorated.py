"""Every function that LiteLLM's ``@client`` decorates, those that we have never heard of included.

``@client`` is what LiteLLM puts around each function that calls a provider. The functions that it has made all share
one code object, by which those are found that exist already; later ones are met as they are made. So a function that a
later LiteLLM adds is traced too, as a generic operation.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, Final

from callspan._guard import guarded
from callspan._in_place import Wrapper, wrap_in_place
from callspan._patches import Change

_DECORATOR: Final = "client"
_MADE: Final = f"{_DECORATOR}.<locals>.wrapper"

Undo = Callable[[], None]
Instrument = Callable[[str, FunctionType], Iterator[tuple[FunctionType, Wrapper]]]
"""Given the public name and the function, the functions to wrap in place, with their wrappers."""


def seam(instrument: Instrument) -> Change:
    """Row of the table: instruments each decorated function, whenever it was or is made."""
    return Change("litellm.utils", lambda module: _Decorated(instrument).follow(module))


class _Decorated:
    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._undo: list[Undo] = []

    def follow(self, utils: ModuleType) -> Undo:
        """Instrument what has been decorated, and what will be; returns what undoes all of it."""
        decorator = getattr(utils, _DECORATOR)
        self._undo.append(wrap_in_place(decorator, self._decorate))
        for function in _decorated_so_far():
            self._add(function)
        return self._restore

    def _decorate(self, wrapped: Callable[..., Any], _instance: object, args: Any, kwargs: Mapping[str, Any]) -> Any:
        function = wrapped(*args, **kwargs)
        if isinstance(function, FunctionType):
            self._add(function)
        return function

    @guarded
    def _add(self, function: FunctionType) -> None:
        for target, wrapper in self._instrument(public_name(function), function):
            self._undo.append(wrap_in_place(target, wrapper))

    def _restore(self) -> None:
        while self._undo:
            self._undo.pop()()


def _decorated_so_far() -> Iterator[FunctionType]:
    seen: set[int] = set()
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "litellm"]
    for module in modules:
        for value in list(vars(module).values()):
            if type(value) is FunctionType and id(value) not in seen and value.__code__.co_qualname.startswith(_MADE):
                seen.add(id(value))
                yield value


def public_name(function: FunctionType) -> str:
    """The name by which users reach a function: ``litellm.aimage_edit``, ``litellm.vector_stores.asearch``."""
    module = inspect.unwrap(function).__module__.removesuffix(".main")
    name = function.__name__
    verb = name.removeprefix("a").partition("_")[0]
    ambiguous = module in _NAMESPACES or (verb in _VERBS and "_" not in name)
    return f"{module if ambiguous else 'litellm'}.{name}"


_NAMESPACES: Final = frozenset({"litellm.vector_stores", "litellm.vector_store_files"})
_VERBS: Final = frozenset({"create", "list", "get", "retrieve", "update", "delete", "cancel"})
"""Names that are used by several of LiteLLM's modules, each for a function of its own, which its module tells apart."""
