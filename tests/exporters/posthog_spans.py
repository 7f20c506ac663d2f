"""Spans for PostHog, and what became of them."""

import json
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import NonRecordingSpan, Status, StatusCode, set_span_in_context

from callspan import semconv
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import encode_resource, encode_scope, encode_span
from callspan_exporters._outcome import Outcome, Verdict
from callspan_exporters.posthog import PostHogDestination
from loopback.posthog_api import CapturedEvent, PostHogApi

KEY: Final = "phc_s3cr3t"
CHAT: Final[Mapping[str, Any]] = {
    semconv.GEN_AI_OPERATION_NAME: "chat",
    semconv.GEN_AI_REQUEST_MODEL: "gpt-4o-mini",
    semconv.GEN_AI_PROVIDER_NAME: "openai",
}

tracer = TracerProvider(resource=Resource({"service.name": "app"}), shutdown_on_exit=False).get_tracer("test")


def ended(name: str = "step", parent: Any = None, **settings: Any) -> EncodedSpan:
    """A span that has ended; `attributes` are its own, `error` is what it says of its end."""
    context = set_span_in_context(parent if hasattr(parent, "get_span_context") else NonRecordingSpan(parent))
    span = tracer.start_span(name, context if parent is not None else None, attributes=settings.get("attributes"))
    if "error" in settings:
        span.set_status(Status(StatusCode.ERROR, settings["error"]))
    span.end()
    assert isinstance(span, ReadableSpan)
    return EncodedSpan(encode_resource(span.resource), encode_scope(span.instrumentation_scope), encode_span(span))


def sent(posthog: PostHogApi, *spans: EncodedSpan) -> Outcome:
    """What becomes of spans that are sent in one request."""
    transport = PostHogDestination(KEY, posthog.host).connect()
    try:
        return transport.send(spans, 10.0)
    finally:
        transport.close()


def events_of(posthog: PostHogApi, span: EncodedSpan) -> list[CapturedEvent]:
    """The events that PostHog has of a span."""
    before = len(posthog.events)
    assert sent(posthog, span) == Outcome(Verdict.DELIVERED)
    return posthog.events[before:]


def properties_of(posthog: PostHogApi, attributes: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """The properties of a span's first event."""
    return events_of(posthog, ended(attributes=attributes, **settings))[0].properties


def content(**messages: Any) -> dict[str, str]:
    """Content attributes, as callspan writes them."""
    keys = {
        "system": semconv.GEN_AI_SYSTEM_INSTRUCTIONS,
        "given": semconv.GEN_AI_INPUT_MESSAGES,
        "answered": semconv.GEN_AI_OUTPUT_MESSAGES,
        "tools": semconv.GEN_AI_TOOL_DEFINITIONS,
    }
    return {keys[name]: json.dumps(value) for name, value in messages.items()}
