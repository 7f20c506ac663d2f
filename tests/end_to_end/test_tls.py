"""TLS by the OTEL variables: whom a destination trusts, and how it shows who it is, by HTTP and by gRPC."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme

from callspan_exporters._spool import read_accounts
from end_to_end.test_delivery import names, received, source
from loopback.otlp_grpc_receiver import OtlpGrpcReceiver
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import run_python

Receiver = OtlpReceiver | OtlpGrpcReceiver


@dataclass(frozen=True)
class Files:
    """Certificates on disk, by the variables that name them."""

    certificate: Path
    client_certificate: Path
    client_key: Path

    def env(self, receiver: Receiver, *names: str) -> dict[str, str]:
        variables = {f"OTEL_EXPORTER_OTLP_{name.upper()}": str(getattr(self, name)) for name in names}
        protocol = "grpc" if isinstance(receiver, OtlpGrpcReceiver) else "http/protobuf"
        return {
            **variables,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        }


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> Files:
    client = authority.issue_cert("callspan@example.org")
    found = Files(tmp_path / "ca.pem", tmp_path / "client.pem", tmp_path / "client.key")
    authority.cert_pem.write_to_path(found.certificate)
    client.cert_chain_pems[0].write_to_path(found.client_certificate)
    client.private_key_pem.write_to_path(found.client_key)
    return found


@pytest.fixture(params=["http", "grpc"])
def secure(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[Receiver]:
    """A receiver with a certificate, which asks for ours where the test says so."""
    mutual = "mutual" in request.node.name
    certificate = authority.issue_cert("127.0.0.1")
    if request.param == "grpc":
        pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
        trusted = authority.cert_pem.bytes() if mutual else None
        with OtlpGrpcReceiver(tls=grpc.ssl_server_credentials([pair], trusted, mutual)) as server:
            yield server
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if mutual:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    with OtlpReceiver(tls=context) as server:
        yield server


def test_a_certificate_that_is_trusted(secure: Receiver, files: Files) -> None:
    """OTEL_EXPORTER_OTLP_CERTIFICATE names what is trusted."""
    run_python(source("spans(3)"), env=files.env(secure, "certificate"))
    assert received(secure) == names(3)


def test_a_certificate_that_is_not_trusted(secure: Receiver, files: Files, spool_dir: Path) -> None:
    """Nothing is sent to whoever that is; the spans are kept, and sent once the certificate is trusted."""
    done = run_python(source("spans(3); print(provider.force_flush(3000))"), env=files.env(secure))
    assert done.stdout == "False\n"
    assert received(secure) == {}
    assert "3 spans" in done.stderr
    (account,) = read_accounts(spool_dir)
    assert account.pending == 3
    if isinstance(secure, OtlpReceiver):
        assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in done.stderr
    run_python(source(""), env=files.env(secure, "certificate"))
    assert received(secure) == names(3)


def test_mutual_tls(secure: Receiver, files: Files) -> None:
    """OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and _CLIENT_KEY are shown to who asks; without them nobody is let in."""
    program = source("spans(2, 'nobody'); os._exit(not provider.force_flush(2000))")
    nobody = run_python(program, check=False, env=files.env(secure, "certificate"))
    assert (nobody.returncode, received(secure)) == (1, {})
    ours = files.env(secure, "certificate", "client_certificate", "client_key")
    run_python(source("spans(3)"), env=ours)
    assert received(secure) == names(3) + names(2, "nobody")


def test_a_certificate_that_is_missing(secure: Receiver, files: Files) -> None:
    """One warning names the file; the spans are kept."""
    files.certificate.unlink()
    done = run_python(source("spans(3); provider.force_flush(1000)"), env=files.env(secure, "certificate"))
    warning = done.stderr.splitlines()[0]
    assert str(files.certificate) in warning
    assert "3 spans" in done.stderr
