"""A function as a destination: each span is handed to it until it has dealt with it."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from callspan_exporters import CallbackDestination, DurableSpanProcessor
from callspan_exporters._delivery import Delivery
from callspan_exporters._processor import StoringSpanProcessor
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import Account, Limits, read_accounts
from callspan_exporters.cli import main


def provider_for(*destinations: Any, **options: Any) -> TracerProvider:
    """A provider whose spans go there."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(DurableSpanProcessor(list(destinations), schedule_delay_millis=50, **options))
    return provider


def delivery_for(*destinations: Any, root: Path | None) -> tuple[Delivery, TracerProvider]:
    """A delivery that destinations can be added to and removed from, and a provider whose spans it takes."""
    delivery = Delivery(
        list(destinations), root=root, limits=Limits(), settings=BatchSettings(schedule_delay_s=0.05), exit_budget_s=5.0
    )
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(StoringSpanProcessor(delivery))
    return delivery, provider


def end_spans(provider: TracerProvider, count: int, prefix: str = "span ") -> list[str]:
    """End spans, and return their names."""
    names = [f"{prefix}{number}" for number in range(count)]
    for name in names:
        provider.get_tracer("app").start_span(name).end()
    return names


def account_of(spool: Path, identity: str = "callback:ledger") -> Account:
    """What became of the spans for a destination; it adds up."""
    account = next(account for account in read_accounts(spool) if account.destination == identity)
    assert account.accepted == account.delivered + account.rejected + account.expired + account.pending
    return account


def keeping(into: list[str]) -> Callable[[ReadableSpan], None]:
    """A function that keeps the names of what it is handed."""
    return lambda span: into.append(span.name)


def failing(_span: ReadableSpan) -> None:
    """A function that never deals with anything."""
    raise RuntimeError("down")


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
    assert account_of(spool_dir).delivered == 300


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


def test_what_it_never_deals_with_is_rejected_and_kept(
    spool_dir: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the reason, said once; the next ones are handed over, and other destinations have all of them."""
    seen: list[str] = []
    others = InMemorySpanExporter()

    def handle(span: ReadableSpan) -> None:
        seen.append(span.name)
        if span.name == "span 1":
            raise ValueError("no number at https://user:sk-secret@host.example/path?key=sk-secret\nand more")

    provider = provider_for(CallbackDestination("ledger", handle, attempts=2), others)
    ended = end_spans(provider, 3)
    with caplog.at_level(logging.WARNING):
        assert provider.force_flush(10_000)
    assert seen == ["span 0", "span 1", "span 1", "span 2"]
    assert [span.name for span in others.get_finished_spans()] == ended
    (said,) = [message for message in caplog.messages if "callback:ledger" in message]
    assert said.startswith("callback:ledger refused 1 spans for good (ValueError: no number at https://host.example")
    provider.shutdown()
    account = account_of(spool_dir)
    assert (account.delivered, account.rejected, account.pending) == (2, 1, 0)

    assert main(["show"]) == 0
    shown = capsys.readouterr().out
    assert "span 1" in shown
    assert "span 0" not in shown
    assert main(["status", "--json"]) == 0
    (status,) = [
        destination
        for destination in json.loads(capsys.readouterr().out)["destinations"]
        if destination["destination"] == "callback:ledger"
    ]
    ((reason, count),) = status["rejected_reasons"].items()
    assert (reason.split(":")[0], count) == ("ValueError", 1)
    assert "sk-secret" not in shown + reason + caplog.text


def test_an_error_that_cannot_be_written_is_named(spool_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What an exception of theirs does when it is asked for its text hurts nobody."""

    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def handle(_span: ReadableSpan) -> None:
        raise SilentError

    provider = provider_for(CallbackDestination("ledger", handle, attempts=1))
    end_spans(provider, 1)
    assert provider.force_flush(5_000)
    assert "SilentError)" in caplog.text
    provider.shutdown()
    assert account_of(spool_dir).rejected == 1


def test_a_function_that_takes_the_place_of_another_has_all_attempts(spool_dir: Path) -> None:
    """What the old one failed at is not held against it, and what was acknowledged does not come again."""
    seen: list[str] = []

    def old(span: ReadableSpan) -> None:
        if span.name != "span 0":
            raise RuntimeError("down")

    def new(span: ReadableSpan) -> None:
        seen.append(span.name)
        if len(seen) == 1:
            raise RuntimeError("not yet")

    destination = CallbackDestination("ledger", old, attempts=2)
    provider = provider_for(destination)
    end_spans(provider, 2)
    assert not provider.force_flush(300)
    destination.handle = new
    assert provider.force_flush(10_000)
    assert seen == ["span 1", "span 1"]
    provider.shutdown()
    assert account_of(spool_dir).delivered == 2


def test_a_removed_one_that_comes_back_has_what_was_left(spool_dir: Path) -> None:
    """In order, and nothing of what was acknowledged or ended in between."""
    seen: list[str] = []
    delivery, provider = delivery_for(CallbackDestination("elsewhere", lambda _span: None), root=spool_dir)
    first = CallbackDestination("ledger", failing)
    delivery.add(first)
    end_spans(provider, 3, "kept ")
    provider.force_flush(200)
    delivery.remove(first)
    end_spans(provider, 3, "unheard ")
    assert account_of(spool_dir).pending == 3
    delivery.add(CallbackDestination("ledger", keeping(seen)))
    end_spans(provider, 3, "later ")
    assert delivery.flush_everything(threading.Event(), time.monotonic() + 10)
    assert sorted(seen) == sorted(f"{prefix} {number}" for prefix in ("kept", "later") for number in range(3))
    assert [name for name in seen if name.startswith("kept")] == ["kept 0", "kept 1", "kept 2"]
    assert delivery.shutdown()
    account = account_of(spool_dir)
    assert (account.delivered, account.pending) == (6, 0)


def test_a_removed_one_that_comes_back_waits_for_the_run_that_goes_on(spool_dir: Path) -> None:
    """Two functions are never handed the same span at once, nor the second one what the first has dealt with."""
    began, go_on = threading.Event(), threading.Event()
    seen: list[str] = []

    def slow(_span: ReadableSpan) -> None:
        began.set()
        go_on.wait(10)

    delivery, provider = delivery_for(root=spool_dir)
    first = CallbackDestination("ledger", slow)
    delivery.add(first)
    end_spans(provider, 3)
    assert began.wait(5)
    delivery.remove(first)
    delivery.add(CallbackDestination("ledger", keeping(seen)))
    end_spans(provider, 1, "later ")
    assert not delivery.flush_everything(threading.Event(), time.monotonic() + 0.5)
    assert seen == []
    go_on.set()
    assert delivery.flush_everything(threading.Event(), time.monotonic() + 10)
    assert sorted(seen) == ["later 0", "span 1", "span 2"]
    assert delivery.shutdown()


def test_one_that_flushes_is_not_waited_for(spool_dir: Path) -> None:
    """It is itself what it would wait for."""
    flushed: list[tuple[bool, float]] = []

    def handle(_span: ReadableSpan) -> None:
        began = time.monotonic()
        flushed.append((provider.force_flush(20_000), time.monotonic() - began))

    provider = provider_for(CallbackDestination("ledger", handle))
    end_spans(provider, 1)
    assert provider.force_flush(10_000)
    ((delivered, took_s),) = flushed
    assert not delivered
    assert took_s < 1
    provider.shutdown()
    assert account_of(spool_dir).delivered == 1


def test_in_memory(caplog: pytest.LogCaptureFixture) -> None:
    """Within the process it works without a disk; what a removal leaves there is said to be lost."""
    seen: list[str] = []
    delivery, provider = delivery_for(root=None)
    other = CallbackDestination("other", failing)
    delivery.add(CallbackDestination("ledger", keeping(seen)))
    delivery.add(other)
    ended = end_spans(provider, 3)
    delivery.force_flush(0.5)
    assert seen == ended
    delivery.remove(other)
    assert "3 spans for callback:other (RuntimeError: down) were in memory only and are lost" in caplog.text
    assert delivery.shutdown()


@pytest.mark.parametrize("failed_before", [True, False], ids=["known to fail", "never called before"])
def test_a_function_that_fails_does_not_hold_up_the_exit(
    spool_dir: Path, capsys: pytest.CaptureFixture[str], failed_before: bool
) -> None:
    """What it has not dealt with stays for a later process, and the last line says so."""
    failed = threading.Event()

    def handle(_span: ReadableSpan) -> None:
        failed.set()
        raise RuntimeError("down")

    provider = provider_for(CallbackDestination("ledger", handle))
    end_spans(provider, 3)
    if failed_before:
        assert failed.wait(5)
    began = time.monotonic()
    provider.shutdown()
    assert time.monotonic() - began < 1.5
    assert "callspan: kept 3 spans for callback:ledger (RuntimeError: down) in" in capsys.readouterr().err
    later: list[str] = []
    following = provider_for(CallbackDestination("ledger", keeping(later)))
    following.get_tracer("app").start_span("later").end()
    following.shutdown()
    assert sorted(later) == ["later", "span 0", "span 1", "span 2"]
    assert account_of(spool_dir).pending == 0


def test_a_slow_function_has_the_exit_budget(spool_dir: Path) -> None:
    """And no more than that: what it has not come to stays."""
    seen: list[str] = []

    def handle(span: ReadableSpan) -> None:
        time.sleep(0.2)
        seen.append(span.name)

    provider = provider_for(CallbackDestination("ledger", handle), exit_budget=1.0)
    ended = end_spans(provider, 20)
    began = time.monotonic()
    provider.shutdown()
    assert 0.9 < time.monotonic() - began < 1.6
    assert seen == ended[: len(seen)]
    assert 3 <= len(seen) <= 6
    account = account_of(spool_dir)
    assert account.delivered in (len(seen), len(seen) - 1)
    assert account.pending == 20 - account.delivered


def test_a_forked_child_goes_on_with_its_own(tmp_path: Path, spool_dir: Path) -> None:
    """With the function of its parent, and not with the parent's spans."""
    written = tmp_path / "written"

    def handle(span: ReadableSpan) -> None:
        with written.open("a") as file:
            file.write(f"{os.getpid()} {span.name}\n")

    provider = provider_for(CallbackDestination("ledger", handle))
    end_spans(provider, 2, "parent ")
    assert provider.force_flush(5_000)
    pid = os.fork()
    if pid == 0:
        try:
            end_spans(provider, 2, "child ")
            provider.shutdown()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    provider.shutdown()
    lines = written.read_text().splitlines()
    assert lines == [f"{os.getpid()} parent {n}" for n in range(2)] + [f"{pid} child {n}" for n in range(2)]
    assert account_of(spool_dir).delivered == 4


def test_what_is_left_outlasts_the_other_destinations(spool_dir: Path) -> None:
    """Who sends all that a dead process left for one destination leaves it to those who have the other."""
    dying = provider_for(InMemorySpanExporter(), CallbackDestination("ledger", failing))
    end_spans(dying, 3)
    dying.shutdown()
    for _ in range(3):  # adopts and lets go of it
        without = provider_for(InMemorySpanExporter())
        end_spans(without, 1, "between ")
        without.shutdown()
    assert [account.pending for account in read_accounts(spool_dir)] == [3, 0]
    seen: list[str] = []
    following = provider_for(InMemorySpanExporter(), CallbackDestination("ledger", keeping(seen)))
    end_spans(following, 1, "later ")
    following.shutdown()
    assert sorted(seen) == ["later 0", "span 0", "span 1", "span 2"]
    assert [path for path in spool_dir.iterdir() if path.is_dir()] == []
