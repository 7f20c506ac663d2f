"""An OTLP/HTTP receiver of our own on loopback, which misbehaves as it is told to."""

import contextlib
import gzip
import ssl
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from loopback.otlp_behaviours import (
    Accept,
    Delay,
    Hang,
    HttpBehaviour,
    LoseAck,
    PartialSuccess,
    RefuseKeys,
    RefuseSpans,
    Reset,
    Status,
    TooLargeAbove,
)
from loopback.otlp_inbox import Inbox, ReceivedRequest, ReceivedSpan, spans_in
from loopback.server import Handler, LoopbackServer

__all__ = [
    "Accept",
    "Delay",
    "Hang",
    "LoseAck",
    "OtlpReceiver",
    "PartialSuccess",
    "ReceivedRequest",
    "ReceivedSpan",
    "RefuseKeys",
    "RefuseSpans",
    "Reset",
    "Status",
    "TooLargeAbove",
]

_OTHER_SIGNALS: Final = ("/v1/metrics", "/v1/logs")


class _Handler(Handler):
    def do_POST(self) -> None:  # noqa: N802 - the name http.server calls
        receiver: OtlpReceiver = self.server.owner  # type: ignore[assignment]
        wire = self.read_body()
        if self.path.endswith(_OTHER_SIGNALS):  # an SDK set up whole sends them as well, to the same endpoint
            self.reply(200, b"", {"Content-Type": "application/x-protobuf"})
            return
        body = gzip.decompress(wire) if self.headers.get("Content-Encoding") == "gzip" else wire
        spans = spans_in(ExportTraceServiceRequest.FromString(body))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._request = ReceivedRequest(self.path, headers, len(wire), len(spans), None)
        self._receiver = receiver
        with contextlib.suppress(ConnectionError):
            self._obey(receiver.next_behaviour(), spans, len(body))

    def _obey(self, behaviour: HttpBehaviour, spans: list[ReceivedSpan], size: int) -> None:
        match behaviour:
            case Status(code, headers, body):
                self._answer(code, body, headers)
            case TooLargeAbove(limit) if size > limit:
                self._answer(413)
            case RefuseSpans(refused) if any(map(refused, spans)):
                self._answer(400)
            case RefuseKeys(keys) if self.headers.get("Authorization") in keys:
                self._answer(401)
            case PartialSuccess(rejected, message):
                partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
                response = ExportTraceServiceResponse(partial_success=partial)
                self._answer(200, response.SerializeToString(), taken=spans[rejected:])
            case Hang() | Reset() | LoseAck():
                self._break(behaviour, spans)
            case Delay(seconds):
                self._answer_late(seconds, spans)
            case _:
                self._answer(200, taken=spans)

    def _answer(self, status: int, body: bytes = b"", headers: Any = (), *, taken: Sequence[ReceivedSpan] = ()) -> None:
        self._receiver.record(replace(self._request, status=status), taken)
        self.reply(status, body, {"Content-Type": "application/x-protobuf", **dict(headers)})

    def _answer_late(self, seconds: float, spans: list[ReceivedSpan]) -> None:
        try:
            self.pause(seconds)
        except ConnectionError:
            self.close_connection = True
            self._receiver.record(self._request)
        else:
            self._answer(200, taken=spans)

    def _break(self, behaviour: Hang | Reset | LoseAck, spans: list[ReceivedSpan]) -> None:
        self.close_connection = True
        self._receiver.record(self._request, spans if isinstance(behaviour, LoseAck) else ())
        self.pause(behaviour.seconds)
        self.drop(reset=isinstance(behaviour, Reset))


class OtlpReceiver(Inbox[HttpBehaviour], LoopbackServer):
    """A receiver of spans by OTLP/HTTP, protobuf, with or without gzip; `down()` and `up()` keep its port."""

    handler = _Handler

    def __init__(self, default: HttpBehaviour = Accept(), tls: ssl.SSLContext | None = None) -> None:  # noqa: B008 - frozen
        Inbox.__init__(self, default)
        LoopbackServer.__init__(self, tls)

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"
