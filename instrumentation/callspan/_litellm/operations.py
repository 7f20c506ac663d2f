"""What LiteLLM's entry points do, in the conventions' words."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from callspan import semconv


@dataclass(frozen=True, slots=True)
class Kind:
    """What a function of LiteLLM's does, whether its synchronous or its asynchronous twin is called.

    Attributes:
        name: value of ``gen_ai.operation.name``; where the conventions know none, LiteLLM's own name.
        api: which request and response shapes it has; see :mod:`callspan._litellm.messages`.
        output_type: value of ``gen_ai.output.type`` where the operation itself decides it.
        known: whether it is in the table below; one that is not is a *generic* operation.
    """

    name: str
    api: str
    output_type: str | None = None
    known: bool = True


KINDS: Final[Mapping[str, Kind]] = {
    "completion": Kind(semconv.OPERATION_CHAT, "chat"),
    "embedding": Kind(semconv.OPERATION_EMBEDDINGS, "embedding"),
    "text_completion": Kind(semconv.OPERATION_TEXT_COMPLETION, "text"),
    "responses": Kind(semconv.OPERATION_CHAT, "responses"),
    "anthropic_messages": Kind(semconv.OPERATION_CHAT, "anthropic"),
    "anthropic_messages_handler": Kind(semconv.OPERATION_CHAT, "anthropic"),
    "generate_content": Kind(semconv.OPERATION_GENERATE_CONTENT, "google"),
    "generate_content_stream": Kind(semconv.OPERATION_GENERATE_CONTENT, "google"),
    "image_generation": Kind("image_generation", "image", "image"),
    "image_edit": Kind("image_edit", "image", "image"),
    "image_variation": Kind("image_variation", "image", "image"),
    "transcription": Kind("transcription", "transcription", "text"),
    "speech": Kind("speech", "speech", "speech"),
    "rerank": Kind("rerank", "rerank"),
    "moderation": Kind("moderation", "moderation"),
    "ocr": Kind("ocr", "generic", "text"),
    "_arealtime": Kind(semconv.OPERATION_REALTIME, "realtime"),
    "_aresponses_websocket": Kind(semconv.OPERATION_REALTIME, "realtime"),
    "get_responses": Kind(semconv.OPERATION_FETCH_RESPONSE, "fetched"),
    "llm_passthrough_route": Kind("passthrough", "passthrough"),
    "batch_completion": Kind(semconv.OPERATION_CHAT, "chat"),
    "batch_completion_models": Kind(semconv.OPERATION_CHAT, "chat"),
    "batch_completion_models_all_responses": Kind(semconv.OPERATION_CHAT, "chat"),
    "batch_completion_one_model_multiple_requests": Kind(semconv.OPERATION_CHAT, "chat"),
    "batch_completion_fastest_response": Kind(semconv.OPERATION_CHAT, "chat"),
    "adapter_completion": Kind(semconv.OPERATION_CHAT, "chat"),
    "schedule_acompletion": Kind(semconv.OPERATION_CHAT, "chat"),
}
"""LiteLLM's function, without the ``a`` of its asynchronous twin -> what it does."""

RETRYING: Final = frozenset({"completion", "responses"})
"""Functions that LiteLLM itself may call more than once for one call of the user's: retries and fallbacks."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One public entry point.

    Attributes:
        entry_point: what the user calls, such as ``litellm.acompletion``.
        kind: what it does.
        parameters: its positional parameters in order, to give arguments passed by position their names; a method's
            begin with ``self``.
        takes_attempts: whether it makes LiteLLM calls of its own, each an attempt.
        takes_calls: whether it makes LiteLLM calls of its own, each a call for itself: a batch.
        retries_itself: whether its attempts are made by the function behind LiteLLM's ``@client``, not by entry points.
        bare: whether it is that function.
        may_retry: whether it does, if its arguments ask for it.
        inside_another: whether it is part of an LLM call that another instrumentation has a span for.
    """

    entry_point: str
    kind: Kind
    parameters: tuple[str, ...] = ()
    takes_attempts: bool = False
    takes_calls: bool = False
    retries_itself: bool = False
    bare: bool = False
    may_retry: bool = False
    inside_another: bool = False

    @property
    def is_outline(self) -> bool:
        """Whether others carry what the conventions ask for: a backend that counts LLM spans must find each once."""
        is_batch = self.takes_calls and self.kind.known and self.kind.api not in {"realtime", "passthrough"}
        return self.takes_attempts or self.inside_another or is_batch

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        """All arguments of a call by name."""
        return {**dict(zip(self.parameters, args, strict=False)), **kwargs} if args else kwargs


@functools.cache
def retrying(operation: Operation) -> Operation:
    """The same entry point where LiteLLM is to retry or to fall back itself: its call takes attempts."""
    return replace(operation, takes_attempts=True, takes_calls=False, retries_itself=True)


@functools.cache
def part_of_another(operation: Operation) -> Operation:
    """The same entry point where another instrumentation has a span for the LLM call it is part of."""
    return replace(operation, inside_another=True)


_ROUTER_PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "chat": ("model", "messages"),
    "embedding": ("model", "input"),
    "text": ("model", "prompt"),
    "responses": ("input", "model"),
    "image": ("prompt", "model"),
    "speech": ("model", "input", "voice"),
    "transcription": ("file", "model"),
    "rerank": ("model",),
}
"""Request shape -> what a Router's methods take by position, whether or not their signature says so."""


def kind_of(name: str, *, has_twin: Callable[[str], bool] = lambda _name: False) -> Kind:
    """What the function called ``name`` does.

    Args:
        name: its name, which may begin with the ``a`` of the asynchronous twin.
        has_twin: whether there is a function of the name without the ``a``, for names that are not in the table.
    """
    known = KINDS.get(name) or KINDS.get(name.removeprefix("a"))
    if known is not None:
        return known
    twin = name.removeprefix("a").removeprefix("_")
    return Kind(twin if name.startswith("a") and has_twin(twin) else name, "generic", known=False)


_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _positional(function: Callable[..., Any]) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    return tuple(parameter.name for parameter in parameters if parameter.kind in _POSITIONAL)


def describe_operation(
    entry_point: str, function: Callable[..., Any], *, takes_attempts: bool = False, takes_calls: bool = False
) -> Operation:
    """Describe ``function``, known to users as ``entry_point``."""
    owner, _, name = entry_point.rpartition(".")
    inner = inspect.unwrap(function)
    beside: Mapping[str, Any] = getattr(inner, "__globals__", {})
    kind = kind_of(name, has_twin=beside.__contains__)
    if not kind.known and owner.count(".") > 0:  # a function of a module: `vector_stores.search`
        kind = replace(kind, name=f"{owner.partition('.')[2]}.{kind.name}")
    parameters = _positional(function)
    if parameters == ("self",):  # LiteLLM 1.110 takes `*args`
        parameters += _ROUTER_PARAMETERS.get(kind.api, ())
    elif not parameters and callable(twin := beside.get(name.removeprefix("a"))):  # so do some asynchronous functions
        parameters = _positional(twin)
    may_retry = owner == "litellm" and not takes_attempts and name.removeprefix("a") in RETRYING
    # In a session others may make calls of their own: guardrails, and LiteLLM where the provider has no sessions.
    takes_calls = takes_calls or not kind.known or kind.api == "realtime"
    return Operation(entry_point, kind, parameters, takes_attempts, takes_calls, may_retry=may_retry)
