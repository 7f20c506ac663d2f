"""Whom the Collector lets in: browsers of origins that were named, and over TLS those who have a certificate."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from end_to_end.collector.running import Collector
from end_to_end.collector.sending import PROTOBUF, body_of


@pytest.fixture
def allowing(collector_program: Path, tmp_path: Path) -> Iterator[Collector]:
    """A Collector that takes spans from the pages of two origins."""
    origins = "[https://app.example.com, https://*.example.org]"
    with Collector(collector_program, tmp_path / "collector", COLLECTOR_CORS_ORIGINS=origins) as running:
        yield running


def preflight(collector: Collector, origin: str) -> httpx.Headers:
    """What a browser asks before its page may post spans, and the answer."""
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    return httpx.options(f"{collector.http_endpoint}/v1/traces", headers=asked).headers


@pytest.mark.parametrize("origin", ["https://app.example.com", "https://any.example.org"])
def test_pages_of_named_origins_may_send_spans(allowing, origin):
    answer = preflight(allowing, origin)
    assert answer["access-control-allow-origin"] == origin
    assert answer["access-control-allow-headers"] == "content-type"

    sent = httpx.post(f"{allowing.http_endpoint}/v1/traces", json={"resourceSpans": []}, headers={"Origin": origin})
    assert sent.status_code == 200
    assert sent.headers["access-control-allow-origin"] == origin


def test_pages_of_other_origins_may_not(allowing, shared_collector):
    for collector, origin in ((allowing, "https://example.com"), (shared_collector, "https://app.example.com")):
        assert "access-control-allow-origin" not in preflight(collector, origin)


def test_over_tls_it_takes_spans_of_those_who_have_a_certificate(collector_program, tmp_path):
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "tls.pem")
    own.private_key_pem.write_to_path(tmp_path / "tls.key")
    files = {
        "COLLECTOR_TLS": "true",
        "COLLECTOR_TLS_CERT_FILE": str(tmp_path / "tls.pem"),
        "COLLECTOR_TLS_KEY_FILE": str(tmp_path / "tls.key"),
        "COLLECTOR_TLS_CLIENT_CA_FILE": str(tmp_path / "ca.pem"),
    }
    known, unknown = ssl.create_default_context(), ssl.create_default_context()
    for context in (known, unknown):
        authority.configure_trust(context)
    authority.issue_cert("callspan@example.org").configure_cert(known)

    with Collector(collector_program, tmp_path / "collector", **files) as collector:
        url = collector.http_endpoint.replace("http:", "https:") + "/v1/traces"
        httpx.post(url, content=body_of("span"), headers=PROTOBUF, verify=known).raise_for_status()
        with pytest.raises(httpx.TransportError):
            httpx.post(url, content=body_of("another"), headers=PROTOBUF, verify=unknown)
        assert [span.name for span in collector.wait_for(1)] == ["span"]
