"""OTLP over HTTP: stored bytes framed into one request."""

import ssl
from collections.abc import Mapping, Sequence

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1 import trace_pb2

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import frame_request
from callspan_exporters._http import OTLP_ADVICE, Advice, HttpClient
from callspan_exporters._outcome import Outcome, Verdict


class OtlpHttpTransport:
    """Posts batches to one URL."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        compression: str = "none",
        verify: ssl.SSLContext | bool = True,
        advice: Advice = OTLP_ADVICE,
    ) -> None:
        """Prepare the client; nothing is connected yet. The arguments are those of ``HttpClient``."""
        self._client = HttpClient(
            url,
            headers,
            content_type="application/x-protobuf",
            compression=compression,
            verify=verify,
            advice=advice,
            accepted=partial,
        )

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
        """Post one batch."""
        return unless_unreadable(self._client.post(frame_request(spans), timeout_s), spans)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def unless_unreadable(outcome: Outcome, spans: Sequence[EncodedSpan]) -> Outcome:
    """Return an outcome, or that a batch is rejected which is not taken and has a span that cannot be read.

    Not every server says that it is the request: many have an error of their own then, and would for ever.
    """
    if outcome.verdict not in (Verdict.HELD, Verdict.RETRY) or not outcome.reached or all(map(_is_readable, spans)):
        return outcome
    return Outcome(Verdict.REJECTED, f"a span that cannot be read: {outcome.reason}")


def _is_readable(encoded: EncodedSpan) -> bool:
    try:
        trace_pb2.ResourceSpans.FromString(encoded.resource)
        trace_pb2.ScopeSpans.FromString(encoded.scope)
        trace_pb2.Span.FromString(encoded.span)
    except DecodeError:
        return False
    return True


def partial(body: bytes) -> Outcome:
    """Return the outcome of a request that an ``ExportTraceServiceResponse`` answered."""
    if not body:
        return Outcome(Verdict.DELIVERED)
    try:
        success = ExportTraceServiceResponse.FromString(body).partial_success
    except Exception:  # noqa: BLE001  some answer with JSON or text; it arrived all the same
        return Outcome(Verdict.DELIVERED)
    return Outcome(Verdict.DELIVERED, success.error_message, refused=max(0, success.rejected_spans))
