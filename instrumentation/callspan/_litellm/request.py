"""A LiteLLM request in the conventions' attributes. Parameters are let in by name: anything not listed stays out."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

from opentelemetry.util.types import AttributeValue

from callspan import semconv
from callspan._invocation import Attributes
from callspan._litellm.operations import Operation
from callspan._litellm.untyped import as_items, as_mapping

PROVIDER_NAMES: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "azure_text": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "xai": "x_ai",
    "watsonx": "ibm.watsonx.ai",
    "watsonx_text": "ibm.watsonx.ai",
    "text-completion-openai": "openai",
    "cohere_chat": "cohere",
}
"""LiteLLM's provider -> ``gen_ai.provider.name``; those not listed are the same."""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: Any) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return (value,)
    items = as_items(value)
    return tuple(items) if items and all(isinstance(item, str) for item in items) else None


def _several(value: Any) -> int | None:
    return _whole(value) if value != 1 else None


def _only_true(value: Any) -> bool | None:
    return True if value is True else None


def _level(value: Any) -> str | None:
    mapping = as_mapping(value)
    return _text(value if mapping is None else mapping.get("effort"))


def _output_type(value: Any) -> str | None:
    # A pydantic class or a mapping whose type says json_object or json_schema; the Responses API nests it in `format`.
    if isinstance(value, type):
        return "json"
    mapping = as_mapping(value)
    if mapping is not None:
        kind = mapping.get("type") or _output_type(mapping.get("format"))
        return "json" if str(kind).startswith("json") else _text(kind)
    return None


_PARAMETERS: Final[Mapping[str, tuple[str, Callable[[Any], AttributeValue | None]]]] = {
    "dimensions": (semconv.GEN_AI_EMBEDDINGS_DIMENSION_COUNT, _whole),
    "encoding_format": (semconv.GEN_AI_REQUEST_ENCODING_FORMATS, _texts),
    "frequency_penalty": (semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY, _number),
    "max_completion_tokens": (semconv.GEN_AI_REQUEST_MAX_TOKENS, _whole),
    "max_output_tokens": (semconv.GEN_AI_REQUEST_MAX_TOKENS, _whole),
    "max_tokens": (semconv.GEN_AI_REQUEST_MAX_TOKENS, _whole),
    "n": (semconv.GEN_AI_REQUEST_CHOICE_COUNT, _several),
    "presence_penalty": (semconv.GEN_AI_REQUEST_PRESENCE_PENALTY, _number),
    "previous_response_id": (semconv.GEN_AI_REQUEST_PREVIOUS_RESPONSE_ID, _text),
    "reasoning": (semconv.GEN_AI_REQUEST_REASONING_LEVEL, _level),
    "reasoning_effort": (semconv.GEN_AI_REQUEST_REASONING_LEVEL, _level),
    "response_format": (semconv.GEN_AI_OUTPUT_TYPE, _output_type),
    "seed": (semconv.GEN_AI_REQUEST_SEED, _whole),
    "service_tier": (semconv.OPENAI_REQUEST_SERVICE_TIER, _text),
    "stop": (semconv.GEN_AI_REQUEST_STOP_SEQUENCES, _texts),
    "stream": (semconv.GEN_AI_REQUEST_STREAM, _only_true),
    "temperature": (semconv.GEN_AI_REQUEST_TEMPERATURE, _number),
    "text": (semconv.GEN_AI_OUTPUT_TYPE, _output_type),
    "top_k": (semconv.GEN_AI_REQUEST_TOP_K, _whole),
    "top_p": (semconv.GEN_AI_REQUEST_TOP_P, _number),
}


def request_attributes(operation: Operation, arguments: Mapping[str, Any]) -> Attributes:
    """Attributes known when the call starts, for samplers to see.

    Args:
        operation: the entry point that was called.
        arguments: its arguments by name.
    """
    attributes: Attributes = {semconv.CALLSPAN_ENTRY_POINT: operation.entry_point}
    model = arguments.get("model")
    if operation.is_outline:
        # The attempts carry the conventions' attributes: a backend that counts or bills LLM spans must find each
        # provider request once, not once more in the span around them.
        if isinstance(model, str):
            attributes[semconv.LITELLM_MODEL_GROUP] = model
        return attributes
    attributes[semconv.GEN_AI_OPERATION_NAME] = operation.kind.name
    if operation.kind.output_type is not None:
        attributes[semconv.GEN_AI_OUTPUT_TYPE] = operation.kind.output_type
    provider = arguments.get("custom_llm_provider")
    if isinstance(model, str):
        _add_model(attributes, model, arguments)
    elif isinstance(provider, str):
        attributes.update(provider_attributes(provider))
    for name, value in arguments.items():
        if value is not None and name in _PARAMETERS:
            key, convert = _PARAMETERS[name]
            converted = convert(value)
            if converted is not None:
                attributes[key] = converted
    base = arguments.get("api_base") or arguments.get("base_url")
    if isinstance(base, str):
        attributes.update(server_attributes(base))
    return attributes


def span_name(operation: Operation, attributes: Attributes) -> str:
    """``{operation} {model}`` as the conventions ask; of a call that others are made in, what was called for what."""
    if operation.is_outline:
        return f"{operation.entry_point} {attributes.get(semconv.LITELLM_MODEL_GROUP, '')}".rstrip()
    return f"{operation.kind.name} {attributes.get(semconv.GEN_AI_REQUEST_MODEL, '')}".rstrip()


def _add_model(attributes: Attributes, model: str, arguments: Mapping[str, Any]) -> None:
    provider = arguments.get("custom_llm_provider")
    try:
        bare, provider = _resolve(model, provider if isinstance(provider, str) else None)
    except LookupError:  # not kept: the application may yet register the provider
        bare, provider = model, None
    attributes[semconv.GEN_AI_REQUEST_MODEL] = bare
    if provider is not None:
        attributes.update(provider_attributes(provider))


@functools.lru_cache(maxsize=1024)
def _resolve(model: str, provider: str | None) -> tuple[str, str]:
    """The model's own name, and the provider that LiteLLM will take it to, as far as its name says.

    LiteLLM's own ``get_llm_provider`` is not asked, as it prints advice to the screen about names it does not know.
    What it makes of addresses and settings is learnt when the request goes out.

    Raises:
        LookupError: the name says nothing.
    """
    import litellm  # noqa: PLC0415  # a call is under way, so it is imported; we never import it first

    if provider is not None:
        return model.removeprefix(f"{provider}/"), provider
    prefix, slash, bare = model.partition("/")
    if slash and prefix in litellm.provider_list:
        return bare, prefix
    prices = cast("Mapping[str, Mapping[str, str]]", litellm.model_cost)  # pyright: ignore[reportUnknownMemberType]
    listed = prices[model]["litellm_provider"]
    return model, "vertex_ai" if listed.startswith("vertex_ai-") else listed


@functools.lru_cache(maxsize=256)
def provider_attributes(provider: str) -> Mapping[str, str]:
    """The provider in the conventions' name, and in LiteLLM's own where that differs."""
    name = PROVIDER_NAMES.get(provider, provider)
    attributes = {semconv.GEN_AI_PROVIDER_NAME: name}
    if name != provider:
        attributes[semconv.LITELLM_PROVIDER] = provider
    return attributes


@functools.lru_cache(maxsize=256)
def server_attributes(base: str) -> Mapping[str, str | int]:
    """``server.address`` and ``server.port`` of an API base URL; nothing else of it, as some carry credentials."""
    try:
        parts = urlsplit(base if "//" in base else f"//{base}")
        host, port = parts.hostname, parts.port
    except ValueError:
        return {}
    if not host:
        return {}
    return {
        semconv.SERVER_ADDRESS: host,
        semconv.SERVER_PORT: port or (80 if parts.scheme == "http" else 443),
    }


def credentials(arguments: Mapping[str, Any]) -> set[str]:
    """Values of a request that are keys or may hold some: they must not show up in an error message."""
    values: set[str] = set()
    for name, value in arguments.items():
        if isinstance(value, str) and ("key" in name or "token" in name or "secret" in name or "password" in name):
            values.add(value)
        elif name in {"headers", "extra_headers", "default_headers"}:
            values.update(text for text in (as_mapping(value) or {}).values() if isinstance(text, str))
    return values


def prompt_texts(arguments: Mapping[str, Any]) -> set[str]:
    """Every text of a request's content, which must not show up in an error message where none is to be recorded."""
    values: set[str] = set()
    for name in ("messages", "input", "prompt", "instructions"):
        _collect_texts(arguments.get(name), values)
    return values


def _collect_texts(value: Any, into: set[str]) -> None:
    if isinstance(value, str):
        into.add(value)
        return
    for key, item in (as_mapping(value) or {}).items():
        if key not in {"role", "type"}:
            _collect_texts(item, into)
    for item in as_items(value):
        _collect_texts(item, into)
