"""Token counts, in whichever of the providers' shapes LiteLLM hands them on."""

from collections.abc import Mapping
from typing import Any, Final

from callspan import semconv
from callspan._invocation import Attributes
from callspan._litellm.untyped import fields_of, read

_INPUT: Final = ("prompt_tokens", "input_tokens", "promptTokenCount", "prompt_token_count")
_OUTPUT: Final = ("completion_tokens", "output_tokens", "candidatesTokenCount", "candidates_token_count")
_INPUT_DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS: Final = ("completion_tokens_details", "output_tokens_details", "output_token_details")

# Attribute -> where it may stand, by part of the usage object and name. The first count is it, unless it is 0 and
# another is not: LiteLLM puts both of OpenAI's shapes on an image's usage, one of them empty.
_COUNTS: Final = (
    (
        semconv.GEN_AI_USAGE_INPUT_TOKENS,
        tuple(("usage", name) for name in _INPUT),
    ),
    (
        semconv.GEN_AI_USAGE_OUTPUT_TOKENS,
        tuple(("usage", name) for name in _OUTPUT),
    ),
    (
        semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
        (("input", "cached_tokens"), ("usage", "cache_read_input_tokens"), ("usage", "cachedContentTokenCount")),
    ),
    (
        semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
        (("usage", "cache_creation_input_tokens"), ("input", "cache_creation_tokens")),
    ),
    (
        semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS,
        (("output", "reasoning_tokens"), ("usage", "thoughtsTokenCount"), ("usage", "thoughts_token_count")),
    ),
    (semconv.GEN_AI_USAGE_AUDIO_INPUT_TOKENS, (("input", "audio_tokens"),)),
    (semconv.GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS, (("output", "audio_tokens"),)),
    (semconv.GEN_AI_USAGE_IMAGE_INPUT_TOKENS, (("input", "image_tokens"),)),
    (semconv.GEN_AI_USAGE_IMAGE_OUTPUT_TOKENS, (("output", "image_tokens"),)),
)


def usage_attributes(usage: object) -> Attributes:
    """Token counts from OpenAI's shapes (``prompt_tokens``, ``input_tokens``), Anthropic's or Google's."""
    fields = fields_of(usage)
    parts = {"usage": fields, "input": _part(fields, _INPUT_DETAILS), "output": _part(fields, _OUTPUT_DETAILS)}
    attributes: Attributes = {}
    for key, candidates in _COUNTS:
        for part, name in candidates:
            count = parts[part].get(name)
            if type(count) is int and count >= 0:
                attributes[key] = count
                if count:
                    break
    _make_total(attributes, fields)
    return attributes


def _part(fields: Mapping[str, Any], names: tuple[str, ...]) -> Mapping[str, Any]:
    for name in names:
        if fields.get(name):
            return fields_of(fields[name])
    return {}


def _make_total(attributes: Attributes, fields: Mapping[str, Any]) -> None:
    """See that what the conventions call input and output has all tokens in it: Anthropic counts cached ones apart.

    Google counts those of reasoning apart.
    """
    if "prompt_tokens" not in fields and (
        "cache_read_input_tokens" in fields or "cache_creation_input_tokens" in fields
    ):
        cached = (
            attributes.get(semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, 0),
            attributes.get(semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, 0),
        )
        _add(attributes, semconv.GEN_AI_USAGE_INPUT_TOKENS, *cached)
    if "thoughtsTokenCount" in fields or "thoughts_token_count" in fields:
        reasoning = attributes.get(semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, 0)
        _add(attributes, semconv.GEN_AI_USAGE_OUTPUT_TOKENS, reasoning)


def _add(attributes: Attributes, key: str, *counts: Any) -> None:
    total: Any = attributes.get(key, 0)
    attributes[key] = total + sum(counts)


def usage_of(response: Mapping[str, Any]) -> object:
    """The part of a response's fields that holds its usage; ``None`` where there is none."""
    return (
        response.get("usage")
        or response.get("usageMetadata")
        or response.get("usage_metadata")
        or read(response.get("meta"), "tokens")  # rerank
    )
