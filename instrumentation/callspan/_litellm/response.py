"""A LiteLLM response in the conventions' attributes, and LiteLLM's own knowledge of it in ``litellm.*``."""

from typing import Final

from callspan import semconv
from callspan._invocation import Attributes
from callspan._litellm.untyped import as_items, fields_of, read

_COST_CURRENCY: Final = "USD"  # LiteLLM's price list knows no other

_RESPONSE_TEXTS: Final = (
    ("id", semconv.GEN_AI_RESPONSE_ID),
    ("model", semconv.GEN_AI_RESPONSE_MODEL),
    ("service_tier", semconv.OPENAI_RESPONSE_SERVICE_TIER),
    ("system_fingerprint", semconv.OPENAI_RESPONSE_SYSTEM_FINGERPRINT),
)
_HIDDEN_TEXTS: Final = (("litellm_call_id", semconv.LITELLM_CALL_ID), ("model_id", semconv.LITELLM_DEPLOYMENT_ID))

# Attribute -> where it may stand, by part of the usage object and name; the first that is a number is it.
_COUNTS: Final = (
    (semconv.GEN_AI_USAGE_INPUT_TOKENS, (("usage", "prompt_tokens"), ("usage", "input_tokens"))),
    (semconv.GEN_AI_USAGE_OUTPUT_TOKENS, (("usage", "completion_tokens"), ("usage", "output_tokens"))),
    (
        semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
        (("input", "cached_tokens"), ("usage", "cache_read_input_tokens")),
    ),
    (
        semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
        (("usage", "cache_creation_input_tokens"), ("input", "cache_creation_tokens")),
    ),
    (semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, (("output", "reasoning_tokens"),)),
)

_INCOMPLETE_REASONS: Final = {"max_output_tokens": "length"}


def response_attributes(response: object) -> Attributes:
    """Attributes of a whole response: chat, text completion, embedding or Responses API."""
    fields = fields_of(response)
    attributes: Attributes = {}
    for name, key in _RESPONSE_TEXTS:
        value = fields.get(name)
        if value and isinstance(value, str):
            attributes[key] = value
    reasons = finish_reasons(response)
    if reasons:
        attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = reasons
    usage = fields.get("usage")
    if usage is not None:
        attributes.update(usage_attributes(usage))
    attributes.update(hidden_attributes(read(response, "_hidden_params")))
    return attributes


def outline_attributes(response: object) -> Attributes:
    """What a Router call's span says of the response: the rest stands on its attempts, so that nothing counts twice."""
    attributes: Attributes = {}
    reasons = finish_reasons(response)
    if reasons:
        attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = reasons
    if fields_of(read(response, "_hidden_params")).get("cache_hit") is True:
        attributes[semconv.LITELLM_CACHE_HIT] = True
    return attributes


def finish_reasons(response: object) -> tuple[str, ...]:
    """Why generation stopped, one reason a choice. A choice without one says ``error``, as the conventions ask."""
    fields = fields_of(response)
    choices = as_items(fields.get("choices"))
    if choices:
        return tuple([str(read(choice, "finish_reason") or "error") for choice in choices])
    status = fields.get("status")
    if status == "completed":
        return ("stop",)
    if status == "incomplete":
        reason = read(fields.get("incomplete_details"), "reason")
        return (_INCOMPLETE_REASONS.get(reason, str(reason or "error")),)
    return ()


def usage_attributes(usage: object) -> Attributes:
    """Token counts, from the chat shape (``prompt_tokens``) or the Responses shape (``input_tokens``)."""
    fields = fields_of(usage)
    parts = {
        "usage": fields,
        "input": fields_of(fields.get("prompt_tokens_details") or fields.get("input_tokens_details")),
        "output": fields_of(fields.get("completion_tokens_details") or fields.get("output_tokens_details")),
    }
    attributes: Attributes = {}
    for key, candidates in _COUNTS:
        for part, name in candidates:
            count = parts[part].get(name)
            if isinstance(count, int) and count is not True:
                attributes[key] = count
                break
    return attributes


def cost_attributes(cost: object) -> Attributes:
    """The price of a call in US dollars, as LiteLLM reckons it."""
    if not isinstance(cost, (int, float)) or isinstance(cost, bool):
        return {}
    return {semconv.CALLSPAN_COST_AMOUNT: float(cost), semconv.CALLSPAN_COST_CURRENCY: _COST_CURRENCY}


def hidden_attributes(hidden: object) -> Attributes:
    """What LiteLLM tells of a call in a response's ``_hidden_params``."""
    fields = fields_of(hidden)
    attributes = cost_attributes(fields.get("response_cost"))
    for name, key in _HIDDEN_TEXTS:
        value = fields.get(name)
        if value and isinstance(value, str):
            attributes[key] = value
    if fields.get("cache_hit") is True:
        attributes[semconv.LITELLM_CACHE_HIT] = True
    overhead = fields.get("litellm_overhead_time_ms")
    if isinstance(overhead, (int, float)):
        attributes[semconv.LITELLM_OVERHEAD] = overhead / 1000
    request_id = read(fields.get("additional_headers"), "llm_provider-x-request-id")
    if isinstance(request_id, str):
        attributes[semconv.LITELLM_PROVIDER_REQUEST_ID] = request_id
    return attributes
