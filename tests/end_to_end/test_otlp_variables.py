"""Every OTEL_EXPORTER_OTLP_* variable, as it shows on the wire (certificates: test_tls)."""

from loopback.otlp_grpc_receiver import OtlpGrpcReceiver
from loopback.otlp_receiver import Hang, OtlpReceiver
from loopback.processes import run_python

PROGRAM = """
import callspan, time
from opentelemetry import trace
callspan.instrument()
with trace.get_tracer("t").start_as_current_span("one", attributes={"long": "x" * 5000}):
    pass
began = time.monotonic()
callspan.force_flush(3.0)
print(time.monotonic() - began)
"""


def test_http(otlp_receiver: OtlpReceiver) -> None:
    """Those of traces go before those of all signals."""
    run_python(
        PROGRAM,
        env={
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{otlp_receiver.endpoint}/spans/go/here",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-one=all",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-one=traces,x-two=with%20a%20blank",
            "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
        },
    )
    (request,) = otlp_receiver.requests
    assert [span.name for span in otlp_receiver.spans] == ["one"]
    assert request.path == "/spans/go/here"
    assert (request.headers["x-one"], request.headers["x-two"]) == ("traces", "with a blank")
    assert request.headers["content-encoding"] == "gzip"
    assert request.size < 2000


def test_http_for_all_signals(otlp_receiver: OtlpReceiver) -> None:
    run_python(
        PROGRAM,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": f"{otlp_receiver.endpoint}/base", "OTEL_EXPORTER_OTLP_HEADERS": "k=v"},
    )
    (request,) = otlp_receiver.requests
    assert request.path == "/base/v1/traces"
    assert request.headers["k"] == "v"
    assert "content-encoding" not in request.headers


def test_grpc(otlp_grpc_receiver: OtlpGrpcReceiver) -> None:
    """An address without a scheme is spoken to without TLS where INSECURE says so."""
    run_python(
        PROGRAM,
        env={
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": otlp_grpc_receiver.endpoint.removeprefix("http://"),
            "OTEL_EXPORTER_OTLP_INSECURE": "false",
            "OTEL_EXPORTER_OTLP_TRACES_INSECURE": "true",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-key=secret",
            "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "gzip",
        },
    )
    (request,) = otlp_grpc_receiver.requests
    assert [span.name for span in otlp_grpc_receiver.spans] == ["one"]
    assert request.headers["x-key"] == "secret"


def test_timeout(otlp_receiver: OtlpReceiver) -> None:
    """One request takes no longer, and a flush that has the time tries again."""
    otlp_receiver.behave(Hang())
    done = run_python(
        PROGRAM,
        env={"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "0.5"},
    )
    assert float(done.stdout) >= 0.5
    assert otlp_receiver.wait_for(1)
