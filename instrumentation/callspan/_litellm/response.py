"""A LiteLLM response in the conventions' attributes, and LiteLLM's own knowledge of it in ``litellm.*``."""

from typing import Final

from callspan import semconv
from callspan._invocation import Attributes
from callspan._litellm.untyped import as_items, fields_of, read
from callspan._litellm.usage import usage_attributes, usage_of

_COST_CURRENCY: Final = "USD"  # LiteLLM's price list knows no other

_RESPONSE_TEXTS: Final = (
    ("id", semconv.GEN_AI_RESPONSE_ID),
    ("model", semconv.GEN_AI_RESPONSE_MODEL),
    ("responseId", semconv.GEN_AI_RESPONSE_ID),
    ("modelVersion", semconv.GEN_AI_RESPONSE_MODEL),
    ("service_tier", semconv.OPENAI_RESPONSE_SERVICE_TIER),
    ("system_fingerprint", semconv.OPENAI_RESPONSE_SYSTEM_FINGERPRINT),
)
_HIDDEN_TEXTS: Final = (("litellm_call_id", semconv.LITELLM_CALL_ID), ("model_id", semconv.LITELLM_DEPLOYMENT_ID))

_REASONS: Final = {
    "max_output_tokens": "length",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "STOP": "stop",
    "SAFETY": "content_filter",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}
"""Why generation stopped, in Anthropic's, Google's and the Responses API's words -> in those of the chat API."""


def response_attributes(response: object, api: str = "chat") -> Attributes:
    """Attributes of a whole response.

    Args:
        response: of whatever LiteLLM's function returns.
        api: which shape it has; see :class:`callspan._litellm.operations.Kind`.
    """
    fields = fields_of(response)
    attributes: Attributes = {}
    for name, key in _RESPONSE_TEXTS:
        value = fields.get(name)
        if value and isinstance(value, str):
            attributes[key] = value
    reasons = finish_reasons(response)
    if reasons:
        attributes[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = reasons
    hidden = hidden_attributes(read(response, "_hidden_params"))
    if api == "fetched":  # what it used was counted when it was made
        return {key: value for key, value in (attributes | hidden).items() if key not in _COUNTED}
    usage = usage_of(fields)
    if usage is not None:
        attributes.update(usage_attributes(usage))
    attributes.update(hidden)
    return attributes


_COUNTED: Final = frozenset({semconv.CALLSPAN_COST_AMOUNT, semconv.CALLSPAN_COST_CURRENCY})


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
    candidates = as_items(fields.get("candidates"))
    if candidates:
        return tuple([_reason(read(one, "finishReason") or read(one, "finish_reason")) for one in candidates])
    if fields.get("stop_reason"):
        return (_reason(fields["stop_reason"]),)
    status = fields.get("status")
    if status == "completed" and "output" in fields:
        return ("stop",)
    if status == "incomplete":
        return (_reason(read(fields.get("incomplete_details"), "reason")),)
    return ()


def _reason(reason: object) -> str:
    text = str(getattr(reason, "value", reason) or "error")
    return _REASONS.get(text, text)


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
