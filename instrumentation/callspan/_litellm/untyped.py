"""Reading values whose types only LiteLLM's providers know: objects, mappings, lists, or nothing at all."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

_NOTHING: Final[Mapping[str, Any]] = {}


def fields_of(value: Any) -> Mapping[str, Any]:
    """The fields of one of LiteLLM's objects by name, with what a provider sent beyond them; none of ``None``.

    Pydantic takes microseconds to say that a field is missing, and a response is asked for a dozen that most have not,
    so its fields are taken from where it keeps them. Properties are not among them.
    """
    if value is None:
        return _NOTHING
    kind = cast("type[Any]", type(value))
    if kind is dict or (not _is_model(kind) and isinstance(value, Mapping)):
        return cast("Mapping[str, Any]", value)
    fields: dict[str, Any] = getattr(value, "__dict__", None) or {}
    extra: dict[str, Any] | None = value.__pydantic_extra__ if _is_model(kind) else None
    return {**fields, **extra} if extra else fields


def read(value: Any, name: str) -> Any:
    """A field or property of one of LiteLLM's objects: objects, mappings and missing parts alike.

    A property that raises is missing: the rest of the response is still known.
    """
    if value is None:
        return None
    kind = cast("type[Any]", type(value))
    found = None if _is_model(kind) else as_mapping(value)
    try:
        return getattr(value, name, None) if found is None else found.get(name)
    except Exception:  # noqa: BLE001  # the object's own code
        return None


@functools.cache
def _is_model(kind: type) -> bool:
    return hasattr(kind, "__pydantic_validator__")


def as_mapping(value: object) -> Mapping[Any, Any] | None:
    """``value`` if it is a mapping."""
    # A plain one is most of what there is, and an abstract class takes its time to know it.
    return cast("Mapping[Any, Any]", value) if type(value) is dict or isinstance(value, Mapping) else None


def as_items(value: object) -> Sequence[Any]:
    """The items of ``value`` if it is a list or a tuple, else none."""
    return cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else ()
