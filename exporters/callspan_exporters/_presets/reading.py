"""What a stored span says, in the terms that vendors ask for."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from opentelemetry.proto.trace.v1 import trace_pb2

from callspan import semconv
from callspan_exporters._rewriting import SpanView

CHAIN: Final = "chain"
EMBEDDING: Final = "embedding"
GUARDRAIL: Final = "guardrail"
LLM: Final = "llm"
RERANK: Final = "rerank"
TOOL: Final = "tool"
AGENT: Final = "agent"

# Operation -> what kind of step it is. The agents' and tools' are those of other GenAI instrumentations.
_KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (semconv.OPERATION_CHAT, semconv.OPERATION_TEXT_COMPLETION, semconv.OPERATION_GENERATE_CONTENT), LLM
    ),
    **dict.fromkeys(("image_generation", "image_edit", "image_variation", "transcription", "speech", "ocr"), LLM),
    semconv.OPERATION_REALTIME: LLM,
    semconv.OPERATION_EMBEDDINGS: EMBEDDING,
    "rerank": RERANK,
    "moderation": GUARDRAIL,
    "execute_tool": TOOL,
    **dict.fromkeys(("create_agent", "invoke_agent"), AGENT),
}
_REMOTE_PARENT: Final = trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK | trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
_DOLLARS: Final = "USD"


@dataclass(frozen=True, slots=True)
class Tokens:
    """How many tokens a call took; None is what nobody said.

    Attributes:
        input: all of the input, with those of the cache.
        output: all of the output, with those of reasoning.
    """

    input: int | None
    output: int | None
    cache_read: int
    cache_write: int
    reasoning: int
    input_audio: int
    output_audio: int
    input_image: int
    output_image: int

    @property
    def total(self) -> int:
        """Both."""
        return (self.input or 0) + (self.output or 0)

    def __bool__(self) -> bool:
        return self.input is not None or self.output is not None


def kind_of(view: SpanView) -> str:
    """Return what kind of step a span is, nothing for one that is not of an LLM application."""
    operation = text(view, semconv.GEN_AI_OPERATION_NAME)
    if operation in _KINDS:
        return _KINDS[operation]
    return CHAIN if operation or semconv.CALLSPAN_ENTRY_POINT in view.attributes else ""


def text(view: SpanView, key: str) -> str:
    """Return a text among the attributes, empty where there is none."""
    value = view.attributes.get(key)
    return value if isinstance(value, str) else ""


def number(view: SpanView, key: str) -> float | None:
    """Return a number among the attributes."""
    value = view.attributes.get(key)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def tokens(view: SpanView) -> Tokens:
    """Return what was counted."""

    def count(key: str) -> int | None:
        value = view.attributes.get(key)
        return value if type(value) is int else None

    return Tokens(
        count(semconv.GEN_AI_USAGE_INPUT_TOKENS),
        count(semconv.GEN_AI_USAGE_OUTPUT_TOKENS),
        count(semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS) or 0,
        count(semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS) or 0,
        count(semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS) or 0,
        count(semconv.GEN_AI_USAGE_AUDIO_INPUT_TOKENS) or 0,
        count(semconv.GEN_AI_USAGE_AUDIO_OUTPUT_TOKENS) or 0,
        count(semconv.GEN_AI_USAGE_IMAGE_INPUT_TOKENS) or 0,
        count(semconv.GEN_AI_USAGE_IMAGE_OUTPUT_TOKENS) or 0,
    )


def dollars(view: SpanView) -> float | None:
    """Return what the call cost, where that is known in dollars."""
    if view.attributes.get(semconv.CALLSPAN_COST_CURRENCY, _DOLLARS) != _DOLLARS:
        return None
    amount = number(view, semconv.CALLSPAN_COST_AMOUNT)
    return None if amount is None else float(amount)


def session(view: SpanView) -> str:
    """Return the session, empty where there is none."""
    return text(view, semconv.SESSION_ID) or text(view, semconv.GEN_AI_CONVERSATION_ID)


def tags(view: SpanView) -> tuple[str, ...]:
    """Return the tags."""
    found = view.attributes.get(semconv.CALLSPAN_TAGS)
    given = cast("tuple[Any, ...]", found) if isinstance(found, tuple) else ()
    return tuple(tag for tag in given if isinstance(tag, str))


def metadata(view: SpanView) -> Iterator[tuple[str, Any]]:
    """Return what else is known of who makes the call, by name."""
    prefix = semconv.CALLSPAN_METADATA_PREFIX
    return ((key.removeprefix(prefix), value) for key, value in view.attributes.items() if key.startswith(prefix))


def of_metadata(view: SpanView, name: str) -> Any:
    """Return one entry of it."""
    return view.attributes.get(semconv.CALLSPAN_METADATA_PREFIX + name)


def first_chunk_at(view: SpanView) -> str | None:
    """Return when a stream's first chunk came, as ISO 8601 has it."""
    delay_s = number(view, semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK)
    if delay_s is None:
        return None
    moment = datetime.fromtimestamp(view.span.start_time_unix_nano / 1e9 + delay_s, UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def error_message(view: SpanView) -> str:
    """Return what an error said, empty where there was none."""
    if view.span.status.code != trace_pb2.Status.STATUS_CODE_ERROR:
        return ""
    for event in view.span.events:
        for attribute in event.attributes:
            if event.name == semconv.EVENT_EXCEPTION and attribute.key == semconv.EXCEPTION_MESSAGE:
                return attribute.value.string_value
    return view.span.status.message or text(view, semconv.ERROR_TYPE)


def broken_off(view: SpanView) -> str:
    """Return how a call ended that neither succeeded nor failed, empty for the others."""
    outcome = text(view, semconv.CALLSPAN_OUTCOME)
    return outcome if outcome in (semconv.OUTCOME_CANCELLED, semconv.OUTCOME_ABANDONED) else ""


def is_attempt(view: SpanView) -> bool:
    """Tell whether a span is one of the requests of a call that has a span of its own."""
    return semconv.CALLSPAN_ATTEMPT_NUMBER in view.attributes


def has_remote_parent(view: SpanView) -> bool:
    """Tell whether the parent is of another process, which may send it elsewhere, or nowhere."""
    return bool(view.span.parent_span_id) and view.span.flags & _REMOTE_PARENT == _REMOTE_PARENT


def parsed(view: SpanView, key: str) -> list[Any]:
    """Return the list that an attribute holds as JSON; an empty one where it holds none."""
    try:
        found = json.loads(text(view, key) or "[]")
    except ValueError:
        return []
    return cast("list[Any]", found) if isinstance(found, list) else []


def as_json(value: object) -> str:
    """Return JSON as attributes hold it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
