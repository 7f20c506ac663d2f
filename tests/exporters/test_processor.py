"""The span processor: what it stores, what it leaves alone, and that nothing it meets reaches the application."""

import time
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

import callspan_exporters
from callspan_exporters import OTLPDestination
from callspan_exporters._delivery import Delivery
from callspan_exporters._processor import StoringSpanProcessor
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import Limits, read_accounts, read_spans
from loopback.otlp_receiver import OtlpReceiver


@pytest.fixture
def delivery(spool_dir: Path, otlp_receiver: OtlpReceiver) -> Iterator[Delivery]:
    delivery = Delivery(
        [OTLPDestination(f"{otlp_receiver.endpoint}/v1/traces")],
        root=spool_dir,
        limits=Limits(),
        settings=BatchSettings(60.0, 512),
        exit_budget_s=5.0,
    )
    yield delivery
    delivery.shutdown()


def provider_of(delivery: Delivery, *, sampled: bool = True, service: str = "service") -> TracerProvider:
    provider = TracerProvider(
        sampler=ALWAYS_ON if sampled else ALWAYS_OFF,
        resource=Resource({"service.name": service}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(StoringSpanProcessor(delivery))
    return provider


def test_a_span_is_on_disk_when_it_has_ended(delivery: Delivery, spool_dir: Path) -> None:
    """With all that it holds, and where it came from."""
    provider = provider_of(delivery)
    with provider.get_tracer("scope", "1.2").start_as_current_span("name", attributes={"key": "value"}):
        assert list(read_spans(spool_dir)) == []
    (stored,) = read_spans(spool_dir)
    span = Span.FromString(stored.span)
    assert span.name == "name"
    assert [(pair.key, pair.value.string_value) for pair in span.attributes] == [("key", "value")]
    assert ScopeSpans.FromString(stored.scope).scope.version == "1.2"
    (attribute,) = ResourceSpans.FromString(stored.resource).resource.attributes
    assert attribute.value.string_value == "service"


def test_scopes_and_resources_are_kept_apart(delivery: Delivery, otlp_receiver: OtlpReceiver) -> None:
    """One delivery serves providers of several resources."""
    first, second = provider_of(delivery, service="first"), provider_of(delivery, service="second")
    for provider, scope in ((first, "a"), (second, "a"), (first, "b"), (first, "a")):
        provider.get_tracer(scope).start_span(scope).end()
    assert first.force_flush(5000)
    received = [
        (span.resource.attributes[0].value.string_value, span.scope.name, span.name) for span in otlp_receiver.spans
    ]
    assert sorted(received) == [
        ("first", "a", "a"),
        ("first", "a", "a"),
        ("first", "b", "b"),
        ("second", "a", "a"),
    ]


def test_only_sampled_spans(delivery: Delivery, spool_dir: Path) -> None:
    """What is not sampled is not stored, and leaves no trace on disk."""
    provider_of(delivery, sampled=False).get_tracer("scope").start_span("name").end()
    assert not spool_dir.exists()


def test_nothing_reaches_the_application(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever fails inside is logged once and goes no further."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(delivery, "append", broken)
    tracer = provider_of(delivery).get_tracer("scope")
    for _ in range(3):
        tracer.start_span("name").end()
    assert len(caplog.records) == 1


def test_force_flush_tells_the_truth(delivery: Delivery, otlp_receiver: OtlpReceiver) -> None:
    """True once all has been acknowledged, False in time where it cannot be."""
    provider = provider_of(delivery)
    tracer = provider.get_tracer("scope")
    assert provider.force_flush(1000)
    tracer.start_span("1").end()
    assert provider.force_flush(5000)
    assert [span.name for span in otlp_receiver.spans] == ["1"]
    otlp_receiver.down()
    tracer.start_span("2").end()
    started = time.monotonic()
    assert not provider.force_flush(2000)
    assert time.monotonic() - started < 2.5
    otlp_receiver.up()
    assert provider.force_flush(5000)


def test_shutdown(delivery: Delivery, otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """It sends what is pending; a span that ends later is stored all the same."""
    provider = provider_of(delivery)
    tracer = provider.get_tracer("scope")
    tracer.start_span("1").end()
    provider.shutdown()
    assert [span.name for span in otlp_receiver.spans] == ["1"]
    otlp_receiver.down()
    tracer.start_span("2").end()
    delivery.shutdown()
    (account,) = read_accounts(spool_dir)
    assert account.pending == 1
    otlp_receiver.up()


def test_our_own_requests_make_no_spans(delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instrumentation of HTTP clients is suppressed where we send."""
    seen: list[bool] = []
    send = httpx.Client.send

    def watched(client: httpx.Client, *args: Any, **kwargs: Any) -> httpx.Response:
        seen.append(is_http_instrumentation_enabled())
        return send(client, *args, **kwargs)

    monkeypatch.setattr(httpx.Client, "send", watched)
    provider = provider_of(delivery)
    provider.get_tracer("scope").start_span("1").end()
    assert provider.force_flush(5000)
    assert seen == [False]
    assert is_http_instrumentation_enabled()


def test_public_names() -> None:
    """What the package offers is this, and each entry point leads to one of them."""
    assert callspan_exporters.__all__ == [
        "CallbackDestination",
        "DurableSpanProcessor",
        "OTLPDestination",
        "SpanExporterDestination",
        "add_callback",
        "ensure_delivery",
        "pre_instrument",
        "remember_credential",
        "remove_callback",
        "spend_exit_budget",
        "stop_watching",
        "watch",
    ]
    for name in callspan_exporters.__all__:
        assert getattr(callspan_exporters, name).__doc__
    for group, name, function in (
        ("opentelemetry_pre_instrument", "callspan", callspan_exporters.pre_instrument),
        ("callspan_delivery", "connect", callspan_exporters.ensure_delivery),
        ("callspan_delivery", "add_callback", callspan_exporters.add_callback),
        ("callspan_delivery", "remove_callback", callspan_exporters.remove_callback),
        ("callspan_delivery", "spend_exit_budget", callspan_exporters.spend_exit_budget),
        ("callspan_delivery", "disconnect", callspan_exporters.stop_watching),
    ):
        (entry_point,) = entry_points(group=group, name=name)
        assert entry_point.load() is function
