"""Spans such as calls of language models make, as a destination is given them."""

from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode

from callspan import semconv
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import encode_resource, encode_scope, encode_span

UNREADABLE: Final = EncodedSpan(b"", b"", b"\xff\xff\xff\xff")
"""No OTLP: what a torn page of a disk may leave, in spite of the spool's checksums."""


def some_spans(count: int) -> list[EncodedSpan]:
    """Return so many chat calls that have ended, every third of them in an error, all in one trace."""
    resource = Resource({"service.name": "conformance"})
    tracer = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False).get_tracer("callspan")
    encoded: list[EncodedSpan] = []
    with tracer.start_as_current_span("the user's own"):
        for number in range(count):
            span = tracer.start_span("chat gpt-4o-mini", kind=SpanKind.CLIENT)
            span.set_attributes(
                {
                    semconv.GEN_AI_OPERATION_NAME: "chat",
                    semconv.GEN_AI_PROVIDER_NAME: "openai",
                    semconv.GEN_AI_REQUEST_MODEL: "gpt-4o-mini",
                    semconv.GEN_AI_RESPONSE_MODEL: "gpt-4o-mini-2024-07-18",
                    semconv.GEN_AI_USAGE_INPUT_TOKENS: 12 + number,
                    semconv.GEN_AI_USAGE_OUTPUT_TOKENS: 34,
                }
            )
            if number % 3 == 2:  # noqa: PLR2004
                span.set_status(Status(StatusCode.ERROR, "HTTP 429"))
            span.end()
            assert isinstance(span, ReadableSpan)  # noqa: S101  for the type checker
            resource_bytes, scope = encode_resource(span.resource), encode_scope(span.instrumentation_scope)
            encoded.append(EncodedSpan(resource_bytes, scope, encode_span(span)))
    return encoded
