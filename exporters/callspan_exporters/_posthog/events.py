"""Which events a span is, and what tells them apart from all others: twice the same span is twice the same event."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid5

from opentelemetry.proto.trace.v1 import trace_pb2

from callspan import semconv
from callspan_exporters._posthog.properties import (
    STATIC,
    custom_properties,
    error_properties,
    request_properties,
    state_properties,
    usage_properties,
)
from callspan_exporters._rewriting import SpanView

Event = dict[str, Any]

GENERATION: Final = "$ai_generation"
EMBEDDING: Final = "$ai_embedding"
SPAN: Final = "$ai_span"
TRACE: Final = "$ai_trace"

# Operations that are one request to a model each. LiteLLM counts all of its own as generations, so that the images,
# sounds and rankings, for which PostHog has no event, keep their price.
_KINDS: Final[Mapping[str, str]] = {
    semconv.OPERATION_EMBEDDINGS: EMBEDDING,
    **dict.fromkeys(
        (
            *(semconv.OPERATION_CHAT, semconv.OPERATION_TEXT_COMPLETION, semconv.OPERATION_GENERATE_CONTENT),
            *("image_generation", "image_edit", "image_variation", "speech", "transcription"),
            *("rerank", "moderation", "ocr", "passthrough", semconv.OPERATION_REALTIME),
        ),
        GENERATION,
    ),
}

_NAMESPACE: Final = UUID("6f0b8a3e-6f6c-5d0e-9d3b-0c7b1f1c9a52")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_ID: Final = 200
_TRACE_ID: Final = re.compile(r"[\w\-~.@()!':|]{1,200}", re.ASCII)

_PERSON: Final = (
    "posthog.distinct_id",
    f"{semconv.CALLSPAN_METADATA_PREFIX}distinct_id",
    f"{semconv.CALLSPAN_METADATA_PREFIX}user_id",  # which goes before `user` in LiteLLM
    semconv.USER_ID,
)
_TRACES: Final = (f"{semconv.CALLSPAN_METADATA_PREFIX}trace_id",)
_PARENTS: Final = tuple(f"{semconv.CALLSPAN_METADATA_PREFIX}{name}" for name in ("parent_run_id", "parent_id"))
_SESSIONS: Final = (semconv.SESSION_ID, semconv.GEN_AI_CONVERSATION_ID)


def events_of(view: SpanView) -> list[Event]:
    """Return the events that a span is: one, and a second one that names the trace where the span stands at its top.

    PostHog leaves ``$ai_trace`` out of the tree that it shows of a trace. A span that were only that would hide all
    that is below it, so it is a ``$ai_span`` as well, which alone has the time it took.
    """
    attributes, span = view.attributes, view.span
    kind = _KINDS.get(str(attributes.get(semconv.GEN_AI_OPERATION_NAME)), SPAN)
    properties = {**STATIC, **_place(view), **error_properties(view)}
    if kind == SPAN:
        properties |= state_properties(attributes)
    else:
        properties |= request_properties(attributes, embedding=kind == EMBEDDING)
        properties |= usage_properties(attributes)
    # What the application says itself under PostHog's own names prevails.
    properties |= custom_properties(view, request=kind != SPAN)
    latency_s = max(0, span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
    events = [_event(kind, view, {"$ai_latency": latency_s, **properties})]
    if kind == SPAN and "$ai_parent_id" not in properties:
        del properties["$ai_span_id"]
        events.append(_event(TRACE, view, properties))
    return events


def _place(view: SpanView) -> dict[str, Any]:
    """Return where a span stands: in which trace, below what, in whose session."""
    attributes, span = view.attributes, view.span
    own_trace = span.trace_id.hex()
    trace_id = _first(attributes, _TRACES)
    if trace_id is None or not _TRACE_ID.fullmatch(trace_id):
        trace_id = own_trace
    place: dict[str, Any] = {
        "$ai_trace_id": trace_id,
        "$ai_span_id": span.span_id.hex(),
        "$ai_span_name": span.name,
    }
    parent = _parent(view, moved=trace_id != own_trace)
    if parent is not None:
        place["$ai_parent_id"] = parent
    session = _first(attributes, _SESSIONS)
    if session is not None:
        place["$ai_session_id"] = session
    return place


def _parent(view: SpanView, *, moved: bool) -> str | None:
    """Return what stands above a span, None where it stands at the top of its trace.

    What PostHog does not have, or has in another trace, hides what is said to be below it. So spans of callers
    elsewhere do not count, which may well be a proxy's, nor those of the trace that a call was moved out of.
    """
    span = view.span
    is_attempt = semconv.CALLSPAN_ATTEMPT_NUMBER in view.attributes
    told = None if is_attempt else _first(view.attributes, _PARENTS)
    if told is not None:
        return told
    if (
        not span.parent_span_id
        or span.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
        or (moved and not is_attempt)
    ):
        return None
    return span.parent_span_id.hex()


def _event(name: str, view: SpanView, properties: dict[str, Any]) -> Event:
    span = view.span
    person = _first(view.attributes, _PERSON)
    if person is None:  # as PostHog's own SDKs do it: nobody is made a person of
        properties["$process_person_profile"] = False
        person = str(properties["$ai_trace_id"])
    return {
        "event": name,
        "uuid": str(uuid5(_NAMESPACE, f"{span.trace_id.hex()}-{span.span_id.hex()}-{name}")),
        # The end: PostHog reckons the start from it, by the latency.
        "timestamp": (_EPOCH + timedelta(microseconds=span.end_time_unix_nano // 1000)).isoformat(),
        "distinct_id": person[:_LONGEST_ID],
        "properties": properties,
    }


def _first(attributes: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = attributes.get(key)
        if value is not None and value != "" and isinstance(value, (str, int)):
            return str(value)
    return None
