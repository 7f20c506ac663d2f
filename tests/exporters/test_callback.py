"""A function as a destination: each span is handed to it until it has dealt with it."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from callspan_exporters import CallbackDestination, DurableSpanProcessor
from callspan_exporters._spool import Account, read_accounts


def provider_for(*destinations: Any) -> TracerProvider:
    """A provider whose spans go there."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(DurableSpanProcessor(list(destinations), schedule_delay_millis=50))
    return provider


def end_spans(provider: TracerProvider, count: int) -> list[str]:
    """End spans, and return their names."""
    names = [f"span {number}" for number in range(count)]
    for name in names:
        provider.get_tracer("app").start_span(name).end()
    return names


def account_of(spool: Path, identity: str) -> Account:
    """What became of the spans for a destination."""
    return next(account for account in read_accounts(spool) if account.destination == identity)


def keeping(into: list[str]) -> Callable[[ReadableSpan], None]:
    """A function that keeps the names of what it is handed."""
    return lambda span: into.append(span.name)


def test_each_span_is_handed_over_once_and_in_order(spool_dir: Path) -> None:
    """One at a time, each acknowledged by itself, and none of it in a suppressed context."""
    seen: list[str] = []
    enabled: list[bool] = []

    def handle(span: ReadableSpan) -> None:
        seen.append(span.name)
        enabled.append(is_instrumentation_enabled())

    provider = provider_for(CallbackDestination("ledger", handle))
    ended = end_spans(provider, 300)
    assert provider.force_flush(10_000)
    assert seen == ended
    assert all(enabled)
    provider.shutdown()
    assert account_of(spool_dir, "callback:ledger").delivered == 300


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt])
def test_what_a_function_raises_has_the_span_handed_over_again(error: type[BaseException]) -> None:
    """In its turn: what comes after it waits."""
    seen: list[str] = []

    def handle(span: ReadableSpan) -> None:
        seen.append(span.name)
        if seen.count("span 1") == 1 and span.name == "span 1":
            raise error("not yet")

    provider = provider_for(CallbackDestination("ledger", handle))
    end_spans(provider, 3)
    assert provider.force_flush(10_000)
    assert seen == ["span 0", "span 1", "span 1", "span 2"]
    provider.shutdown()


def test_what_it_never_deals_with_is_rejected_and_kept(spool_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the reason, said once; the next ones are handed over, and other destinations have all of them."""
    seen: list[str] = []
    others = InMemorySpanExporter()

    def handle(span: ReadableSpan) -> None:
        seen.append(span.name)
        if span.name == "span 1":
            raise ValueError("an amount that is no number")

    provider = provider_for(CallbackDestination("ledger", handle, attempts=2), others)
    ended = end_spans(provider, 3)
    with caplog.at_level(logging.WARNING):
        assert provider.force_flush(10_000)
    assert seen == ["span 0", "span 1", "span 1", "span 2"]
    assert [span.name for span in others.get_finished_spans()] == ended
    assert "callback:ledger refused 1 spans for good (an amount that is no number)" in caplog.text
    provider.shutdown()
    account = account_of(spool_dir, "callback:ledger")
    assert (account.delivered, account.rejected, account.pending) == (2, 1, 0)


def test_a_function_that_fails_does_not_hold_up_the_exit(spool_dir: Path) -> None:
    """What it has not dealt with stays for a later process."""
    failed = threading.Event()

    def handle(_span: ReadableSpan) -> None:
        failed.set()
        raise RuntimeError("down")

    provider = provider_for(CallbackDestination("ledger", handle))
    end_spans(provider, 3)
    assert failed.wait(5)
    provider.shutdown()
    later: list[str] = []
    following = provider_for(CallbackDestination("ledger", keeping(later)))
    following.get_tracer("app").start_span("later").end()
    following.shutdown()
    assert sorted(later) == ["later", "span 0", "span 1", "span 2"]
    assert account_of(spool_dir, "callback:ledger").pending == 0
