"""Reading values whose types only LiteLLM's providers know: objects, mappings, lists, or nothing at all."""

from collections.abc import Mapping, Sequence
from typing import Any, cast


def read(value: Any, name: str) -> Any:
    """A field of one of LiteLLM's objects or of their parts: objects, mappings and missing parts alike."""
    found = as_mapping(value)
    return getattr(value, name, None) if found is None else found.get(name)


def as_mapping(value: object) -> Mapping[Any, Any] | None:
    """``value`` if it is a mapping."""
    return cast("Mapping[Any, Any]", value) if isinstance(value, Mapping) else None


def as_items(value: object) -> Sequence[Any]:
    """The items of ``value`` if it is a list or a tuple, else none."""
    return cast("Sequence[Any]", value) if isinstance(value, (list, tuple)) else ()
