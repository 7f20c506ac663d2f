"""A LiteLLM response in the conventions' attributes, and LiteLLM's own knowledge of it in ``litellm.*``."""

from collections.abc import Iterable
from typing import Final

from opentelemetry.util.types import AttributeValue

from callspan import semconv
from callspan._litellm.request import provider_attributes
from callspan._litellm.untyped import as_items, read

Attributes = dict[str, AttributeValue]

_COST_CURRENCY: Final = "USD"  # LiteLLM's price list knows no other

_INCOMPLETE_REASONS: Final = {"max_output_tokens": "length"}


def response_attributes(response: object) -> Attributes:
    """Attributes of a whole response: chat, text completion, embedding or Responses API."""
    attributes: Attributes = {}
    _add_texts(
        attributes,
        response,
        id=semconv.GEN_AI_RESPONSE_ID,
        model=semconv.GEN_AI_RESPONSE_MODEL,
        service_tier=semconv.OPENAI_RESPONSE_SERVICE_TIER,
        system_fingerprint=semconv.OPENAI_RESPONSE_SYSTEM_FINGERPRINT,
    )
    reasons = finish_reasons(response)
    if reasons:
        attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = reasons
    attributes.update(usage_attributes(read(response, "usage")))
    attributes.update(_hidden_attributes(read(response, "_hidden_params")))
    return attributes


def outline_attributes(response: object) -> Attributes:
    """What a Router call's span says of the response: the rest stands on its attempts, so that nothing counts twice."""
    attributes: Attributes = {}
    reasons = finish_reasons(response)
    if reasons:
        attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = reasons
    hidden = read(response, "_hidden_params")
    if hidden is not None and read(hidden, "cache_hit") is True:
        attributes[semconv.LITELLM_CACHE_HIT] = True
    return attributes


def finish_reasons(response: object) -> tuple[str, ...]:
    """Why generation stopped, one reason a choice. A choice without one says ``error``, as the conventions ask."""
    choices = as_items(read(response, "choices"))
    if choices:
        return tuple(str(read(choice, "finish_reason") or "error") for choice in choices)
    status = read(response, "status")
    if status == "completed":
        return ("stop",)
    if status == "incomplete":
        reason = read(read(response, "incomplete_details"), "reason")
        return (_INCOMPLETE_REASONS.get(reason, str(reason or "error")),)
    return ()


def usage_attributes(usage: object) -> Attributes:
    """Token counts, from the chat shape (``prompt_tokens``) or the Responses shape (``input_tokens``)."""
    attributes: Attributes = {}
    if usage is None:
        return attributes
    input_details = read(usage, "prompt_tokens_details") or read(usage, "input_tokens_details")
    output_details = read(usage, "completion_tokens_details") or read(usage, "output_tokens_details")
    counts = (
        (semconv.GEN_AI_USAGE_INPUT_TOKENS, (read(usage, "prompt_tokens"), read(usage, "input_tokens"))),
        (semconv.GEN_AI_USAGE_OUTPUT_TOKENS, (read(usage, "completion_tokens"), read(usage, "output_tokens"))),
        (
            semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
            (read(input_details, "cached_tokens"), read(usage, "cache_read_input_tokens")),
        ),
        (
            semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS,
            (read(usage, "cache_creation_input_tokens"), read(input_details, "cache_creation_tokens")),
        ),
        (semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, (read(output_details, "reasoning_tokens"),)),
    )
    for key, candidates in counts:
        count = _first_count(candidates)
        if count is not None:
            attributes[key] = count
    return attributes


def cost_attributes(cost: object) -> Attributes:
    """The price of a call in US dollars, as LiteLLM reckons it."""
    if not isinstance(cost, (int, float)) or isinstance(cost, bool):
        return {}
    return {semconv.CALLSPAN_COST_AMOUNT: float(cost), semconv.CALLSPAN_COST_CURRENCY: _COST_CURRENCY}


def _hidden_attributes(hidden: object) -> Attributes:
    if hidden is None:
        return {}
    attributes = cost_attributes(read(hidden, "response_cost"))
    _add_texts(attributes, hidden, litellm_call_id=semconv.LITELLM_CALL_ID, model_id=semconv.LITELLM_DEPLOYMENT_ID)
    if read(hidden, "cache_hit") is True:
        attributes[semconv.LITELLM_CACHE_HIT] = True
    overhead = read(hidden, "litellm_overhead_time_ms")
    if isinstance(overhead, (int, float)):
        attributes[semconv.LITELLM_OVERHEAD] = overhead / 1000
    provider = read(hidden, "custom_llm_provider")
    if isinstance(provider, str) and provider != "cached_response":
        attributes.update(provider_attributes(provider))
    request_id = read(read(hidden, "additional_headers"), "llm_provider-x-request-id")
    if isinstance(request_id, str):
        attributes[semconv.LITELLM_PROVIDER_REQUEST_ID] = request_id
    return attributes


def _add_texts(attributes: Attributes, source: object, **keys: str) -> None:
    for field, key in keys.items():
        value = read(source, field)
        if isinstance(value, str) and value:
            attributes[key] = value


def _first_count(candidates: Iterable[object]) -> int | None:
    for value in candidates:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None
