"""The OTLP receiver on loopback, by gRPC.

A gRPC server does not survive a fork: a test that forks does so in a child process of its own.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from loopback.otlp_behaviours import Accept, Delay, GrpcBehaviour, GrpcStatus, Hang, PartialSuccess, RefuseSpans
from loopback.otlp_inbox import Inbox, ReceivedRequest, spans_in

__all__ = ["Accept", "Delay", "GrpcStatus", "Hang", "OtlpGrpcReceiver", "PartialSuccess", "RefuseSpans"]

SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


class OtlpGrpcReceiver(Inbox[GrpcBehaviour]):
    """A receiver of spans by OTLP/gRPC."""

    def __init__(
        self,
        default: GrpcBehaviour = Accept(),  # noqa: B008 - frozen
        tls: grpc.ServerCredentials | None = None,
    ) -> None:
        super().__init__(default)
        self.port = 0
        self._tls = tls
        self._stopping = threading.Event()

    @property
    def endpoint(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        export = grpc.unary_unary_rpc_method_handler(
            self._export, ExportTraceServiceRequest.FromString, ExportTraceServiceResponse.SerializeToString
        )
        self._server = grpc.server(ThreadPoolExecutor(8, "loopback"), options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Export": export})])
        address = f"127.0.0.1:{self.port}"
        if self._tls is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, self._tls)
        self._server.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._stopping.set()
        self._server.stop(grace=None).wait()

    def _export(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
        spans = spans_in(request)
        metadata = {key: str(value) for key, value in context.invocation_metadata()}
        received = ReceivedRequest(f"/{SERVICE}/Export", metadata, request.ByteSize(), len(spans), None)
        response = ExportTraceServiceResponse()
        refused: GrpcStatus | None = None
        match self.next_behaviour():
            case GrpcStatus() as refused:
                pass
            case RefuseSpans(predicate) if any(map(predicate, spans)):
                refused = GrpcStatus(grpc.StatusCode.INVALID_ARGUMENT)
            case PartialSuccess(rejected, message):
                del spans[:rejected]
                response.partial_success.MergeFrom(
                    ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
                )
            case Delay(seconds):
                self._stopping.wait(seconds)
            case Hang(seconds):
                self._stopping.wait(seconds)
                refused = GrpcStatus(grpc.StatusCode.UNAVAILABLE)
        if refused:
            _refuse(context, refused)
        if not context.is_active():
            self.record(received)
        else:
            status = refused.code if refused else grpc.StatusCode.OK
            self.record(replace(received, status=status.value[0]), () if refused else spans)
        return response


def _refuse(context: grpc.ServicerContext, status: GrpcStatus) -> None:
    context.set_code(status.code)
    context.set_details(status.details)
    if status.retry_after is not None:
        retry = RetryInfo(
            retry_delay=Duration(nanos=int(status.retry_after % 1 * 1e9), seconds=int(status.retry_after))
        )
        details = AnyMessage()
        details.Pack(retry)
        whole = RpcStatus(code=status.code.value[0], message=status.details, details=[details])
        context.set_trailing_metadata(
            [
                ("grpc-status-details-bin", whole.SerializeToString()),  # where the specification has it
                ("google.rpc.retryinfo-bin", retry.SerializeToString()),  # where the Python exporter looks for it
            ]
        )
