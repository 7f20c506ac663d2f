"""What a destination's answer means, and how it is spoken to."""

import ssl
import time
from collections.abc import Callable, Mapping
from email.utils import formatdate

import grpc
import pytest

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._otlp_http import OtlpHttpTransport
from callspan_exporters._outcome import Outcome, Verdict
from callspan_exporters.otlp import GRPC, HTTP, OTLPDestination
from loopback.otlp_grpc_receiver import GrpcStatus, OtlpGrpcReceiver
from loopback.otlp_receiver import Hang, OtlpReceiver, PartialSuccess, Reset, Status

SPANS = [EncodedSpan(b"", b"", b"")] * 3


def send(receiver: OtlpReceiver, timeout_s: float = 5.0, headers: Mapping[str, str] | None = None) -> Outcome:
    transport = OtlpHttpTransport(f"{receiver.endpoint}/v1/traces", headers or {}, "none", verify=False)
    try:
        return transport.send(SPANS, timeout_s)
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.DELIVERED),
        (202, Verdict.DELIVERED),
        (307, Verdict.HELD),
        (400, Verdict.REJECTED),
        (401, Verdict.HELD),
        (403, Verdict.HELD),
        (404, Verdict.HELD),
        (408, Verdict.RETRY),
        (413, Verdict.TOO_LARGE),
        (429, Verdict.RETRY),
        (500, Verdict.HELD),
        (502, Verdict.RETRY),
        (503, Verdict.RETRY),
        (504, Verdict.RETRY),
    ],
)
def test_statuses(otlp_receiver: OtlpReceiver, status: int, verdict: Verdict) -> None:
    """Each status has one meaning, and its reason says the number."""
    otlp_receiver.behave(Status(status))
    outcome = send(otlp_receiver)
    assert outcome.verdict is verdict
    assert outcome.reached
    assert verdict is Verdict.DELIVERED or str(status) in outcome.reason


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("3", 3, 3),
        ("-3", 0, 0),
        ("1e9", 3600, 3600),
        ("nan", None, None),
        ("soon", None, None),
        (lambda: formatdate(time.time() + 60, usegmt=True), 50, 61),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
    ],
)
def test_retry_after(
    otlp_receiver: OtlpReceiver, value: str | Callable[[], str], least: float | None, most: float | None
) -> None:
    """Seconds or a date; nonsense is no answer."""
    otlp_receiver.behave(Status(503, {"Retry-After": value if isinstance(value, str) else value()}))
    seconds = send(otlp_receiver).retry_after_s
    if least is None or most is None:
        assert seconds is None
    else:
        assert seconds is not None
        assert least <= seconds <= most


def test_partial_success(otlp_receiver: OtlpReceiver) -> None:
    """The number of refused spans and the reason are read."""
    otlp_receiver.behave(PartialSuccess(2, "too old"))
    outcome = send(otlp_receiver)
    assert (outcome.verdict, outcome.refused, outcome.reason) == (Verdict.DELIVERED, 2, "too old")


@pytest.mark.parametrize("body", [b"ok", b"{}", b"\xff\xff\xff", b"\x0a\x02"])
def test_a_body_that_is_no_protobuf(otlp_receiver: OtlpReceiver, body: bytes) -> None:
    """Spans that were taken are taken, whatever else the answer says."""
    otlp_receiver.behave(Status(200, {}, body))
    assert send(otlp_receiver) == Outcome(Verdict.DELIVERED)


def test_no_answer(otlp_receiver: OtlpReceiver) -> None:
    """A refused, broken or silent connection is tried again, within the time for one request."""
    otlp_receiver.behave(Reset(), Hang())
    assert send(otlp_receiver).verdict is Verdict.RETRY
    started = time.monotonic()
    silent = send(otlp_receiver, timeout_s=0.3)
    assert (silent.verdict, silent.reached) == (Verdict.RETRY, False)
    assert time.monotonic() - started < 2
    otlp_receiver.down()
    refused = send(otlp_receiver)
    assert (refused.verdict, refused.reason, refused.reached) == (Verdict.RETRY, "connection refused", False)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in refused.fix


def test_a_header_that_http_does_not_allow(otlp_receiver: OtlpReceiver) -> None:
    """It is held, and not shown: it may be a key."""
    outcome = send(otlp_receiver, headers={"x-key": "s3cr3t\n"})
    assert outcome.verdict is Verdict.HELD
    assert "s3cr3t" not in outcome.reason


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://localhost/", "http://", "http://a b/"])
def test_an_url_that_is_none(url: str) -> None:
    """It is held, for somebody to mend."""
    destination = OTLPDestination(url)
    transport = destination.connect()
    outcome = transport.send(SPANS, 1.0)
    transport.close()
    assert outcome.verdict in (Verdict.HELD, Verdict.RETRY)
    assert not outcome.reached
    assert outcome.reason


@pytest.mark.parametrize(
    ("code", "details", "verdict"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "", Verdict.REJECTED),
        (grpc.StatusCode.UNAUTHENTICATED, "", Verdict.HELD),
        (grpc.StatusCode.UNIMPLEMENTED, "", Verdict.HELD),
        (grpc.StatusCode.UNAVAILABLE, "", Verdict.RETRY),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "quota", Verdict.RETRY),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "received message larger than max (5 vs. 4)", Verdict.TOO_LARGE),
    ],
)
def test_grpc_statuses(
    otlp_grpc_receiver: OtlpGrpcReceiver, code: grpc.StatusCode, details: str, verdict: Verdict
) -> None:
    """The codes of gRPC mean what the specification says, and the delay that comes with them is read."""
    otlp_grpc_receiver.behave(GrpcStatus(code, details, retry_after=2.5))
    transport = OTLPDestination(otlp_grpc_receiver.endpoint, protocol=GRPC).connect()
    outcome = transport.send(SPANS, 5.0)
    assert outcome.verdict is verdict
    assert verdict is not Verdict.RETRY or outcome.retry_after_s == 2.5
    assert transport.send(SPANS, 5.0) == Outcome(Verdict.DELIVERED)
    transport.close()


def test_grpc_down(otlp_grpc_receiver: OtlpGrpcReceiver) -> None:
    """What nobody listens to is not reached."""
    transport = OTLPDestination("http://127.0.0.1:9", protocol=GRPC).connect()
    outcome = transport.send(SPANS, 2.0)
    transport.close()
    assert (outcome.verdict, outcome.reached, outcome.reason) == (Verdict.RETRY, False, "connection refused")


ENVIRONMENTS: list[tuple[dict[str, str], str, str]] = [
    ({}, HTTP, "http://localhost:4318/v1/traces"),
    ({"ENDPOINT": "http://h:1/"}, HTTP, "http://h:1/v1/traces"),
    ({"ENDPOINT": "http://h:1/base"}, HTTP, "http://h:1/base/v1/traces"),
    ({"ENDPOINT": "http://h:1", "TRACES_ENDPOINT": "http://t:2/as/it/is"}, HTTP, "http://t:2/as/it/is"),
    ({"PROTOCOL": "grpc"}, GRPC, "http://localhost:4317"),
    ({"PROTOCOL": "grpc", "TRACES_PROTOCOL": "http/protobuf"}, HTTP, "http://localhost:4318/v1/traces"),
    ({"PROTOCOL": "grpc", "ENDPOINT": "h:1", "INSECURE": "true"}, GRPC, "http://h:1"),
    ({"PROTOCOL": "grpc", "ENDPOINT": "h:1"}, GRPC, "https://h:1"),
    ({"PROTOCOL": "http/json"}, HTTP, "http://localhost:4318/v1/traces"),
]


@pytest.mark.parametrize(("variables", "protocol", "endpoint"), ENVIRONMENTS)
def test_endpoints_by_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], protocol: str, endpoint: str
) -> None:
    """As the specification of the OTLP exporter says."""
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    destination = OTLPDestination.from_environment()
    assert (destination.protocol, destination.endpoint) == (protocol, endpoint)


def test_settings_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said for traces goes before what is said for all signals."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2,c=x%20y")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2500")
    destination = OTLPDestination.from_environment()
    assert destination.headers == {"b": "2", "c": "x y"}
    assert destination.compression == "gzip"
    assert destination.timeout_s == 2.5
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "7")
    assert OTLPDestination.from_environment().timeout_s == 7
    assert "2" not in repr(destination).partition("compression")[0]


def test_identities_hold_no_secret() -> None:
    """What names a destination on disk has neither password nor query, and tells protocols apart."""
    assert OTLPDestination("https://u:p@h:1/v1/traces?key=k").identity == "otlp https://h:1/v1/traces"
    of_one_key = OTLPDestination("https://h/v1/otlp/ZaVnC4dhaV2spqTz0").identity
    assert "ZaVnC4" not in of_one_key
    assert of_one_key != OTLPDestination("https://h/v1/otlp/ZaVnC4dhaV2spqTz1").identity
    assert OTLPDestination("http://h:1", protocol=GRPC).identity == "otlp grpc://h:1"
    assert OTLPDestination("https://h:1", protocol=GRPC).identity == "otlp grpcs://h:1"


@pytest.mark.parametrize("protocol", [HTTP, GRPC])
def test_a_certificate_that_does_not_exist(protocol: str) -> None:
    """It is an error of the configuration, not of a thread."""
    destination = OTLPDestination("https://127.0.0.1:9", protocol=protocol, certificate="/does/not/exist.pem")
    with pytest.raises((OSError, ssl.SSLError)):
        destination.connect()
