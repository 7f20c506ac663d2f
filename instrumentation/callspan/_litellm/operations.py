"""What LiteLLM's entry points do, in the conventions' words."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from callspan import semconv


@dataclass(frozen=True, slots=True)
class Operation:
    """One public entry point.

    Attributes:
        entry_point: what the user calls, such as ``litellm.acompletion``.
        name: value of ``gen_ai.operation.name``.
        parameters: its positional parameters in order, to give arguments passed by position their names; a method's
            begin with ``self``.
        api: which of LiteLLM's request shapes it takes: ``chat``, ``text``, ``embedding`` or ``responses``.
        takes_attempts: whether it makes LiteLLM calls of its own, each an attempt.
    """

    entry_point: str
    name: str
    parameters: tuple[str, ...]
    api: str
    takes_attempts: bool = False

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """All arguments of a call by name."""
        return {**dict(zip(self.parameters, args, strict=False)), **kwargs} if args else kwargs


APIS: Final[Mapping[str, tuple[str, str]]] = {
    "completion": (semconv.OPERATION_CHAT, "chat"),
    "embedding": (semconv.OPERATION_EMBEDDINGS, "embedding"),
    "text_completion": (semconv.OPERATION_TEXT_COMPLETION, "text"),
    "responses": (semconv.OPERATION_CHAT, "responses"),
}
"""LiteLLM's function, without the ``a`` of its asynchronous twin -> operation name, request shape."""

_ROUTER_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "chat": ("model", "messages"),
    "embedding": ("model", "input"),
    "text": ("model", "prompt"),
    "responses": ("input", "model"),
}
"""Request shape -> what a Router's methods take by position, whether or not their signature says so."""


def describe_operation(entry_point: str, function: Callable[..., Any], *, takes_attempts: bool = False) -> Operation:
    """Describe ``function``, known to users as ``entry_point``."""
    base = entry_point.rpartition(".")[2]
    name, api = APIS[base if base in APIS else base.removeprefix("a")]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = tuple(
        parameter.name for parameter in inspect.signature(function).parameters.values() if parameter.kind in positional
    )
    if parameters == ("self",):  # LiteLLM 1.110 takes `*args`
        parameters += _ROUTER_PARAMETERS[api]
    return Operation(entry_point, name, parameters, api, takes_attempts)
