"""OTLP over HTTP: stored bytes framed into one request."""

import ssl
from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

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
        return self._client.post(frame_request(spans), timeout_s)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def partial(body: bytes) -> Outcome:
    """Return the outcome of a request that an ``ExportTraceServiceResponse`` answered."""
    if not body:
        return Outcome(Verdict.DELIVERED)
    try:
        success = ExportTraceServiceResponse.FromString(body).partial_success
    except Exception:  # noqa: BLE001  some answer with JSON or text; it arrived all the same
        return Outcome(Verdict.DELIVERED)
    return Outcome(Verdict.DELIVERED, success.error_message, refused=max(0, success.rejected_spans))
