"""The record of a call that callbacks are handed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from callspan import semconv


@dataclass(frozen=True, kw_only=True)
class CallRecord:
    """What is known of a call at the moment that a callback is told of. Immutable, and independent of LiteLLM's types.

    A ``durable`` callback is handed one made from the stored span: nothing live is in it. Fields that are not known
    (yet) are ``None``: tokens of a failed call, the end at its start.

    Attributes:
        hook: the moment: ``start``, ``first_chunk``, ``success``, ``failure``, ``cancelled`` or ``abandoned``.
        operation: ``chat``, ``text_completion``, ``embeddings``; ``None`` for a Router's call, whose attempts have it.
        entry_point: what was called, such as ``litellm.acompletion``.
        provider: the provider in the conventions' name (``gen_ai.provider.name``), such as ``openai``.
        request_model: the model that was asked for; of a Router's call, the model group.
        response_model: the model that answered.
        response_id: the provider's id of the response.
        finish_reasons: why generation stopped, one reason a choice.
        input_tokens: tokens of the prompt, cached ones included.
        output_tokens: tokens generated, reasoning included.
        cache_read_input_tokens: of the prompt, tokens that the provider had in its cache.
        cache_write_input_tokens: of the prompt, tokens that it put there.
        reasoning_output_tokens: of those generated, tokens of reasoning.
        usage_estimated: whether the provider sent no token counts and LiteLLM has counted.
        cost: what the call cost, as LiteLLM reckons it.
        cost_currency: ISO 4217 code of the currency of ``cost``.
        cache_hit: whether LiteLLM's cache answered, and no provider.
        outcome: how the call ended: ``success``, ``failure``, ``cancelled`` or ``abandoned``.
        error_type: qualified name of the exception that the call ended with.
        error_message: its message, redacted as the span's is.
        start: when the call started, in UTC.
        end: when it ended, in UTC.
        duration: from start to end, in seconds.
        time_to_first_chunk: from the start of a stream's call to its first chunk, in seconds.
        trace_id: 32 lowercase hexadecimal digits.
        span_id: 16 lowercase hexadecimal digits: the same in every record of the call, also when handed over twice.
        attempt: of an attempt in a Router's call, its number, from 1.
        user_id: whom the call was made for, as :func:`callspan.context` or LiteLLM was told.
        session_id: in which session.
        tags: with which tags.
        attributes: all attributes of the span, whether it was sampled or not.
        metadata: the ``metadata`` that :func:`callspan.context` and the call were given; to a durable callback, as far
            as it is plain text and numbers and does not look like a credential.
    """

    hook: str
    operation: str | None
    entry_point: str | None
    provider: str | None
    request_model: str | None
    response_model: str | None
    response_id: str | None
    finish_reasons: tuple[str, ...]
    input_tokens: int | None
    output_tokens: int | None
    cache_read_input_tokens: int | None
    cache_write_input_tokens: int | None
    reasoning_output_tokens: int | None
    usage_estimated: bool
    cost: float | None
    cost_currency: str | None
    cache_hit: bool
    outcome: str | None
    error_type: str | None
    error_message: str | None
    start: datetime
    end: datetime | None
    duration: float | None
    time_to_first_chunk: float | None
    trace_id: str
    span_id: str
    attempt: int | None
    user_id: str | None
    session_id: str | None
    tags: tuple[str, ...]
    attributes: Mapping[str, Any] = field(repr=False)
    metadata: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class LiveCallRecord(CallRecord):
    """A record with the call's own objects, for ``blocking`` and ``background`` callbacks. They are not copies.

    Attributes:
        request: the arguments of the call by name.
        response: LiteLLM's response; of a stream, the whole response as LiteLLM puts it together, if it could.
        exception: what the call raised.
    """

    request: Mapping[str, Any] = field(repr=False)
    response: Any = field(repr=False)
    exception: BaseException | None


def fields_of_span(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a record that stand in the span's attributes, by name."""
    read = attributes.get
    return {
        "operation": read(semconv.GEN_AI_OPERATION_NAME),
        "entry_point": read(semconv.CALLSPAN_ENTRY_POINT),
        "provider": read(semconv.GEN_AI_PROVIDER_NAME),
        "request_model": read(semconv.GEN_AI_REQUEST_MODEL) or read(semconv.LITELLM_MODEL_GROUP),
        "response_model": read(semconv.GEN_AI_RESPONSE_MODEL),
        "response_id": read(semconv.GEN_AI_RESPONSE_ID),
        "finish_reasons": tuple(read(semconv.GEN_AI_RESPONSE_FINISH_REASONS) or ()),
        "input_tokens": read(semconv.GEN_AI_USAGE_INPUT_TOKENS),
        "output_tokens": read(semconv.GEN_AI_USAGE_OUTPUT_TOKENS),
        "cache_read_input_tokens": read(semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS),
        "cache_write_input_tokens": read(semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS),
        "reasoning_output_tokens": read(semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS),
        "usage_estimated": read(semconv.CALLSPAN_USAGE_ESTIMATED, False),
        "cost": read(semconv.CALLSPAN_COST_AMOUNT),
        "cost_currency": read(semconv.CALLSPAN_COST_CURRENCY),
        "cache_hit": read(semconv.LITELLM_CACHE_HIT, False),
        "error_type": read(semconv.ERROR_TYPE),
        "time_to_first_chunk": read(semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK),
        "attempt": read(semconv.CALLSPAN_ATTEMPT_NUMBER),
        "user_id": read(semconv.USER_ID),
        "session_id": read(semconv.SESSION_ID),
        "tags": tuple(read(semconv.CALLSPAN_TAGS) or ()),
        "attributes": MappingProxyType(dict(attributes)),
    }


def fields_of_time(start_ns: int, end_ns: int | None) -> dict[str, Any]:
    """When a call started and ended, from nanoseconds since the epoch."""
    return {
        "start": _moment(start_ns),
        "end": None if end_ns is None else _moment(end_ns),
        "duration": None if end_ns is None else (end_ns - start_ns) / 1e9,
    }


def fields_of_ids(trace_id: int, span_id: int) -> dict[str, Any]:
    """Ids as the W3C writes them."""
    return {"trace_id": f"{trace_id:032x}", "span_id": f"{span_id:016x}"}


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)


def metadata_of_span(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata that stands in a span's attributes."""
    prefix = semconv.CALLSPAN_METADATA_PREFIX
    return {key[len(prefix) :]: value for key, value in attributes.items() if key.startswith(prefix)}
