"""Our own destinations keep the promises that those of others are tested for."""

import gc
import warnings
from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from callspan_exporters import OTLPDestination, SpanExporterDestination
from callspan_exporters.conformance import (
    Backend,
    ConnectionConformance,
    DestinationConformance,
    Reply,
    Request,
    Server,
)
from callspan_exporters.destination import Destination
from callspan_exporters.otlp import GRPC
from loopback.otlp_grpc_receiver import OtlpGrpcReceiver
from loopback.otlp_inbox import spans_in

OTLP_SUCCESS = Reply(200, {"content-type": "application/x-protobuf"})


def otlp_ids(request: Request) -> list[str]:
    # A span that could not be read is one without an id, if protobuf reads it at all.
    return [span.span_id for span in spans_in(ExportTraceServiceRequest.FromString(request.body)) if span.span_id]


class TestOtlpHttp(DestinationConformance):
    secrets = ("s3cr3t",)
    success = OTLP_SUCCESS

    def destination(self, url: str) -> Destination:
        return OTLPDestination(f"{url}/v1/traces", headers={"authorization": "Bearer s3cr3t"}, compression="gzip")

    def ids(self, request: Request) -> list[str]:
        return otlp_ids(request)


class GrpcBackend:
    def __init__(self, receiver: OtlpGrpcReceiver) -> None:
        self.url = receiver.endpoint
        self._receiver = receiver

    def ids(self) -> list[str]:
        return [span.span_id for span in self._receiver.spans]


class TestOtlpGrpc(ConnectionConformance):
    secrets = ("s3cr3t",)

    def destination(self, url: str) -> Destination:
        return OTLPDestination(url, protocol=GRPC, headers={"authorization": "Bearer s3cr3t"})

    @contextmanager
    def backend(self) -> Generator[Backend, None, None]:
        with OtlpGrpcReceiver() as receiver:
            yield GrpcBackend(receiver)


class HttpBackend:
    def __init__(self, server: Server) -> None:
        self.url = server.url
        self._server = server

    def ids(self) -> list[str]:
        return [one for request in self._server.taken() for one in otlp_ids(request)]


class TestSpanExporter(ConnectionConformance):
    """The stock exporter, called as any other: it says of a batch only whether it failed."""

    secrets = ("s3cr3t",)

    def destination(self, url: str) -> Destination:
        headers = {"authorization": "Bearer s3cr3t"}
        return SpanExporterDestination(OTLPSpanExporter(f"{url}/v1/traces", headers=headers, timeout=1))

    @contextmanager
    def backend(self) -> Generator[Backend, None, None]:
        with Server(OTLP_SUCCESS) as server:
            yield HttpBackend(server)

    def test_no_tls(self) -> None:
        with warnings.catch_warnings():  # urllib3 leaves sockets open whose handshake failed
            warnings.simplefilter("ignore", ResourceWarning)
            super().test_no_tls()
            gc.collect()
