"""Attributes of a span as properties of an event, by the names that PostHog documents.

https://posthog.com/docs/llm-analytics/manual-capture lists them. What PostHog has no name for goes along under its own.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from opentelemetry.proto.trace.v1 import trace_pb2

from callspan import semconv
from callspan_exporters._posthog import messages
from callspan_exporters._rewriting import SpanView

Properties = dict[str, Any]

_MODEL_PARAMETERS: Final = {
    semconv.GEN_AI_EMBEDDINGS_DIMENSION_COUNT: "dimensions",
    semconv.GEN_AI_REQUEST_CHOICE_COUNT: "n",
    semconv.GEN_AI_REQUEST_ENCODING_FORMATS: "encoding_format",
    semconv.GEN_AI_REQUEST_FREQUENCY_PENALTY: "frequency_penalty",
    semconv.GEN_AI_REQUEST_MAX_TOKENS: "max_tokens",
    semconv.GEN_AI_REQUEST_PRESENCE_PENALTY: "presence_penalty",
    semconv.GEN_AI_REQUEST_REASONING_LEVEL: "reasoning_effort",
    semconv.GEN_AI_REQUEST_SEED: "seed",
    semconv.GEN_AI_REQUEST_STOP_SEQUENCES: "stop",
    semconv.GEN_AI_REQUEST_STREAM: "stream",
    semconv.GEN_AI_REQUEST_TEMPERATURE: "temperature",
    semconv.GEN_AI_REQUEST_TOP_K: "top_k",
    semconv.GEN_AI_REQUEST_TOP_P: "top_p",
    semconv.OPENAI_REQUEST_SERVICE_TIER: "service_tier",
}
_DIRECT: Final = {
    semconv.GEN_AI_REQUEST_TEMPERATURE: "$ai_temperature",
    semconv.GEN_AI_REQUEST_MAX_TOKENS: "$ai_max_tokens",
    semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: "$ai_time_to_first_token",
}
_USAGE: Final = {
    semconv.GEN_AI_USAGE_INPUT_TOKENS: "$ai_input_tokens",
    semconv.GEN_AI_USAGE_OUTPUT_TOKENS: "$ai_output_tokens",
    semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: "$ai_cache_read_input_tokens",
    semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS: "$ai_cache_creation_input_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "$ai_cache_creation_input_tokens",  # of other instrumentations
    semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: "$ai_reasoning_tokens",
    semconv.GEN_AI_USAGE_AUDIO_INPUT_TOKENS: "$ai_audio_input_tokens",
    semconv.GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS: "$ai_audio_output_tokens",
    semconv.GEN_AI_USAGE_IMAGE_INPUT_TOKENS: "$ai_image_input_tokens",
    semconv.GEN_AI_USAGE_IMAGE_OUTPUT_TOKENS: "$ai_image_output_tokens",
}

# What somebody's span has as its input and output, other than messages.
_INPUT_STATES: Final = ("gen_ai.tool.call.arguments", "input.value")
_OUTPUT_STATES: Final = ("gen_ai.tool.call.result", "output.value")

_RESOURCE: Final = ("service.name", "service.version", "deployment.environment.name")

# Those that are in a property of PostHog's: of every event, and of a request to a model.
_TOLD: Final = frozenset(
    {
        *_INPUT_STATES,
        *_OUTPUT_STATES,
        *(semconv.GEN_AI_INPUT_MESSAGES, semconv.GEN_AI_OUTPUT_MESSAGES, semconv.GEN_AI_SYSTEM_INSTRUCTIONS),
        *(semconv.USER_ID, semconv.SESSION_ID, "posthog.distinct_id"),
        *(f"{semconv.CALLSPAN_METADATA_PREFIX}{name}" for name in ("user_id", "distinct_id")),
        *(f"{semconv.CALLSPAN_METADATA_PREFIX}{name}" for name in ("parent_run_id", "parent_id")),
        *(semconv.ERROR_TYPE, semconv.CALLSPAN_TAGS),
    }
)
_TOLD_OF_REQUESTS: Final = _TOLD | {
    *_MODEL_PARAMETERS,
    *_DIRECT,
    *_USAGE,
    *(semconv.GEN_AI_PROVIDER_NAME, semconv.LITELLM_PROVIDER, semconv.GEN_AI_REQUEST_MODEL),
    *(semconv.GEN_AI_RESPONSE_FINISH_REASONS, semconv.GEN_AI_TOOL_DEFINITIONS),
    *(semconv.SERVER_ADDRESS, semconv.SERVER_PORT, semconv.HTTP_RESPONSE_STATUS_CODE),
    *(semconv.CALLSPAN_COST_AMOUNT, semconv.CALLSPAN_COST_CURRENCY),
}


def _version() -> str:
    try:
        return version("callspan")
    except PackageNotFoundError:
        return "unknown"


# Read here: where spans are sent nothing is imported, and that may be what it takes.
_VERSION: Final = _version()

STATIC: Final[Mapping[str, Any]] = {
    "$lib": "callspan",
    "$lib_version": _VERSION,
    "$ai_lib": "callspan",
    "$ai_lib_version": _VERSION,
    "$is_server": True,
    "$geoip_disable": True,
}
"""What is the same for all: who sends, and that where this server stands is not where a user is."""

_OK: Final = 200
_SCHEMES: Final = {80: "http", 443: "https"}


def request_properties(attributes: Mapping[str, Any], *, embedding: bool) -> Properties:
    """Return what was asked of which model, and what it answered.

    Args:
        attributes: of the span.
        embedding: whether texts were embedded; otherwise something was generated.
    """
    properties: Properties = {
        "$ai_model": attributes.get(semconv.GEN_AI_REQUEST_MODEL) or attributes.get(semconv.GEN_AI_RESPONSE_MODEL),
        # LiteLLM's name of it, which PostHog's price list is nearer to than the conventions' are.
        "$ai_provider": attributes.get(semconv.LITELLM_PROVIDER)
        or attributes.get(semconv.GEN_AI_PROVIDER_NAME)
        or attributes.get("gen_ai.system"),
        "$ai_base_url": _base_url(attributes),
        "$ai_http_status": _http_status(attributes),
        "$ai_tools": messages.tools(attributes),
    }
    parameters = {name: attributes[key] for key, name in _MODEL_PARAMETERS.items() if key in attributes}
    if parameters:
        properties["$ai_model_parameters"] = parameters
    properties |= {name: attributes[key] for key, name in _DIRECT.items() if key in attributes}
    if embedding:
        properties["$ai_input"] = messages.texts(attributes)
    else:
        properties["$ai_stream"] = bool(attributes.get(semconv.GEN_AI_REQUEST_STREAM))
        properties["$ai_input"] = messages.inputs(attributes)
        properties["$ai_output_choices"] = messages.outputs(attributes)
        properties["$ai_stop_reason"] = _stop_reason(attributes)
    return {name: value for name, value in properties.items() if value is not None}


def usage_properties(attributes: Mapping[str, Any]) -> Properties:
    """Return the tokens and the price."""
    properties: Properties = {name: attributes[key] for key, name in _USAGE.items() if key in attributes}
    if properties:
        # By the conventions, input has all tokens in it; PostHog would take Anthropic's own way of counting for it.
        properties["$ai_cache_reporting_exclusive"] = False
    cost = attributes.get(semconv.CALLSPAN_COST_AMOUNT)
    if cost is not None and attributes.get(semconv.CALLSPAN_COST_CURRENCY) == "USD":
        properties["$ai_total_cost_usd"] = cost
    if attributes.get(semconv.LITELLM_CACHE_HIT) is True:
        # Nobody was paid: PostHog would estimate what the tokens cost, and have it beside the total.
        properties.setdefault("$ai_total_cost_usd", 0.0)
        properties["$ai_cost_passthrough"] = True
    return properties


def state_properties(attributes: Mapping[str, Any]) -> Properties:
    """Return what went into a step that is no request to a model, and what came out of it."""
    states = {
        "$ai_input_state": messages.inputs(attributes) or _first_of(attributes, _INPUT_STATES),
        "$ai_output_state": messages.outputs(attributes) or _first_of(attributes, _OUTPUT_STATES),
    }
    return {name: value for name, value in states.items() if value is not None}


def error_properties(view: SpanView) -> Properties:
    """Return whether it failed, and with what."""
    span = view.span
    if span.status.code != trace_pb2.Status.STATUS_CODE_ERROR:
        return {"$ai_is_error": False}
    error_type = view.attributes.get(semconv.ERROR_TYPE)
    properties: Properties = {
        "$ai_is_error": True,
        "$ai_error": span.status.message or _exception_message(span) or error_type or "error",
    }
    if error_type is not None:
        properties["$ai_error_type"] = error_type
    return properties


def custom_properties(view: SpanView, *, request: bool) -> Properties:
    """Return all else that is known: of the call by LiteLLM's names, of the span and the service by their own.

    Args:
        view: the span.
        request: whether it is a request to a model.
    """
    properties: Properties = {name: view.resource[name] for name in _RESOURCE if name in view.resource}
    tags = view.attributes.get(semconv.CALLSPAN_TAGS)
    if tags is not None:
        properties["tags"] = tags
    told = _TOLD_OF_REQUESTS if request else _TOLD
    for key, value in view.attributes.items():
        if key not in told and not key.startswith(semconv.CALLSPAN_CREDENTIAL_PREFIX):
            properties[key.removeprefix(semconv.CALLSPAN_METADATA_PREFIX)] = value
    return properties


def _base_url(attributes: Mapping[str, Any]) -> str | None:
    """Return the provider's address, as far as the span has it: of the URL, host and port."""
    host, port = attributes.get(semconv.SERVER_ADDRESS), attributes.get(semconv.SERVER_PORT)
    if host is None or port is None:
        return host
    scheme = _SCHEMES.get(port)
    return f"{host}:{port}" if scheme is None else f"{scheme}://{host}"


def _http_status(attributes: Mapping[str, Any]) -> int | None:
    status = attributes.get(semconv.HTTP_RESPONSE_STATUS_CODE)
    if status is not None:
        return status
    succeeded = attributes.get(semconv.CALLSPAN_OUTCOME) == semconv.OUTCOME_SUCCESS
    return _OK if succeeded and not attributes.get(semconv.LITELLM_CACHE_HIT) else None


def _stop_reason(attributes: Mapping[str, Any]) -> str | None:
    reasons = attributes.get(semconv.GEN_AI_RESPONSE_FINISH_REASONS)
    if not reasons:
        return None
    return reasons if isinstance(reasons, str) else ", ".join(dict.fromkeys(map(str, reasons)))


def _exception_message(span: trace_pb2.Span) -> str:
    for event in reversed(span.events):
        if event.name == semconv.EVENT_EXCEPTION:
            for attribute in event.attributes:
                if attribute.key == semconv.EXCEPTION_MESSAGE:
                    return attribute.value.string_value
    return ""


def _first_of(attributes: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    return next((messages.from_json(attributes[key]) for key in keys if key in attributes), None)
