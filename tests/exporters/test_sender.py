"""One destination's sender: batches, splits, back-off and the truth about a flush, without network or disk."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._metrics import ExporterMetrics
from callspan_exporters._outcome import Outcome, Transport, Verdict
from callspan_exporters._sender import Sender
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import Limits, Spool, read_accounts
from callspan_exporters._spool._directory import process_directories
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import run_python

Answer = Callable[[Sequence[bytes]], Outcome]
DELIVERED = Outcome(Verdict.DELIVERED)
DOWN = Outcome(Verdict.RETRY, "down", reached=False)


@dataclass
class Backend:
    """A destination and the way to it. Keeps what it took, and refused for good."""

    answer: Answer = lambda _: DELIVERED
    identity: str = "backend"
    timeout_s: float = 1.0
    component_type: str = "backend"
    requests: list[list[bytes]] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    dead: list[tuple[bytes, str]] = field(default_factory=list)

    def connect(self) -> Transport:
        return self

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
        batch = [span.span for span in spans]
        self.requests.append(batch)
        outcome = self.answer(batch)
        if outcome.verdict is Verdict.DELIVERED:
            self.taken += batch
        return outcome

    def close(self) -> None:
        pass

    def force_flush(self, timeout_s: float) -> bool:
        return True

    def shutdown(self) -> None:
        pass

    def refused(self, destination: str, span: EncodedSpan, reason: str) -> None:
        self.dead.append((span.span, reason))

    def refused_some(self, destination: str, count: int, reason: str) -> None:
        self.dead += [(b"", reason)] * count


class Held:
    """An answer that comes when it is let go of."""

    def __init__(self) -> None:
        self.asked, self.answer = threading.Event(), threading.Event()

    def __call__(self, _: Sequence[bytes]) -> Outcome:
        self.asked.set()
        self.answer.wait(10)
        return DELIVERED


class Rig:
    """A sender with its backend and a spool in memory."""

    def __init__(self, backend: Backend, limits: Limits, settings: BatchSettings) -> None:
        self.spool = Spool(None, limits, [backend.identity])
        self.sender = Sender(backend, self.spool, settings, backend, ExporterMetrics({}))

    def store(self, count: int) -> list[bytes]:
        spans = [f"{number}".encode() for number in range(count)]
        for span in spans:
            self.spool.append(b"r", b"s", span)
        return spans

    def flush(self, timeout_s: float = 5.0, *, everything: bool = False) -> bool:
        deadline = time.monotonic() + timeout_s
        return self.sender.flush(everything=everything, timeout_s=timeout_s).wait(deadline)


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def make(
        backend: Backend, *, limits: Limits | None = None, delay_s: float = 60.0, batch: int = 10, start: bool = True
    ) -> Rig:
        rigs.append(Rig(backend, limits or Limits(), BatchSettings(delay_s, batch)))
        if start:
            rigs[-1].sender.start()
        return rigs[-1]

    yield make
    for one in rigs:
        assert one.sender.stop(5.0)


@pytest.mark.parametrize("start", [True, False], ids=["by its thread", "by who flushes"])
def test_batches(rig: Callable[..., Rig], start: bool) -> None:
    """Spans go in order, in batches of the set size, also where there is no thread to send them."""
    backend = Backend()
    one = rig(backend, start=start)
    spans = one.store(25)
    assert one.flush()
    assert backend.taken == spans
    assert [len(request) for request in backend.requests] == [10, 10, 5]


def test_the_schedule(rig: Callable[..., Rig]) -> None:
    """Nobody needs to flush."""
    backend = Backend()
    one = rig(backend, delay_s=0.05)
    spans = one.store(3)
    deadline = time.monotonic() + 5
    while backend.taken != spans and time.monotonic() < deadline:
        time.sleep(0.01)
    assert backend.taken == spans


def test_bisection(rig: Callable[..., Rig]) -> None:
    """Only the spans that are refused are set aside, and all others arrive once."""
    poisoned = {b"3", b"4", b"17"}

    def answer(batch: Sequence[bytes]) -> Outcome:
        return Outcome(Verdict.REJECTED, "HTTP 400") if poisoned.intersection(batch) else DELIVERED

    backend = Backend(answer)
    one = rig(backend)
    spans = one.store(25)
    assert one.flush()
    assert backend.taken == [span for span in spans if span not in poisoned]
    assert backend.dead == [(span, "HTTP 400") for span in spans if span in poisoned]
    (backlog,) = one.spool.backlogs(backend.identity)
    assert backlog.pending == 0


def test_an_outage_in_the_middle_of_a_bisection(rig: Callable[..., Rig]) -> None:
    """What was settled before it stays settled."""
    answers = iter([Outcome(Verdict.TOO_LARGE), DELIVERED, DOWN])
    backend = Backend(lambda _: next(answers, DELIVERED))
    one = rig(backend)
    spans = one.store(10)
    assert not one.flush()
    assert backend.taken == spans[:5]
    assert one.flush()
    assert backend.taken == spans


def test_a_span_that_is_too_large_alone(rig: Callable[..., Rig]) -> None:
    """It is set aside."""
    backend = Backend(lambda batch: Outcome(Verdict.TOO_LARGE, "413") if b"2" in batch else DELIVERED)
    one = rig(backend)
    one.store(5)
    assert one.flush()
    assert backend.dead == [(b"2", "413")]


def test_old_spans_expire(rig: Callable[..., Rig]) -> None:
    """What is older than the limit is not sent."""
    backend = Backend()
    one = rig(backend, limits=Limits(max_age_s=0.05))
    one.store(15)
    time.sleep(0.1)
    assert one.flush()
    assert backend.requests == []


def test_back_off(rig: Callable[..., Rig]) -> None:
    """A destination that is down is left alone for a while, except by who flushes; a wake-up changes nothing."""
    backend = Backend(lambda _: DOWN)
    one = rig(backend, delay_s=0.01)
    one.store(3)
    time.sleep(0.2)
    attempts = len(backend.requests)
    assert attempts == 1
    for _ in range(10):
        one.sender.wake()
    time.sleep(0.1)
    assert len(backend.requests) == attempts
    assert not one.flush()
    assert len(backend.requests) == attempts + 1
    backend.answer = lambda _: DELIVERED
    assert one.flush()


def test_a_flush_goes_on_trying_while_that_may_help(rig: Callable[..., Rig]) -> None:
    """A destination that answers is asked again within the time there is, as soon as it allows."""
    answers = iter([Outcome(Verdict.RETRY, "503", retry_after_s=0.1)] * 3)
    backend = Backend(lambda _: next(answers, DELIVERED))
    one = rig(backend)
    one.store(3)
    assert one.flush()
    assert len(backend.requests) == 4


def test_a_flush_at_exit_does_not(rig: Callable[..., Rig]) -> None:
    """At exit two failures are enough, since what is kept is sent later."""
    backend = Backend(lambda _: Outcome(Verdict.RETRY, "503", retry_after_s=0.01))
    one = rig(backend)
    one.store(3)
    assert not one.flush(everything=True)
    assert len(backend.requests) == 2


def test_a_hanging_request_does_not_hold_a_flush_up(rig: Callable[..., Rig]) -> None:
    """The timeout is kept whatever the sender is at."""
    released = threading.Event()
    backend = Backend(lambda _: DELIVERED if released.wait(10) else DOWN)
    one = rig(backend)
    one.store(3)
    started = time.monotonic()
    assert not one.flush(0.2)
    assert time.monotonic() - started < 1
    released.set()
    assert one.flush()


def test_nothing_is_sent_once_it_has_stopped(rig: Callable[..., Rig]) -> None:
    """Not even what is left of a batch that is being bisected, nor when it was stopped while it waited."""
    answering = threading.Event()

    def slow(batch: Sequence[bytes]) -> Outcome:
        answering.set()
        time.sleep(0.3)
        return DELIVERED if len(batch) < 4 else Outcome(Verdict.TOO_LARGE)

    backend = Backend(slow)
    one = rig(backend)
    spans = one.store(25)
    one.sender.wake()
    assert answering.wait(5)
    assert one.sender.stop(5.0)
    assert backend.requests == [spans[:10]]
    idle = rig(Backend())
    idle.store(5)
    assert idle.sender.stop(5.0)
    assert idle.spool.memory.backlogs["backend"].pending == 5


def test_who_waits_for_a_flush_is_told_that_it_has_stopped(rig: Callable[..., Rig]) -> None:
    """Nobody waits out their time for an answer that will not come."""
    held = Held()
    one = rig(Backend(held))
    one.store(5)
    one.sender.wake()
    assert held.asked.wait(5)
    flushes = [one.sender.flush(everything=False, timeout_s=30.0) for _ in range(3)]
    assert not one.sender.stop(0.05)
    flushes.append(one.sender.flush(everything=False, timeout_s=30.0))
    held.answer.set()
    started = time.monotonic()
    assert not any(flush.wait(started + 30) for flush in flushes)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("start", [True, False], ids=["by its thread", "by who flushes"])
def test_a_flush_ends_in_the_middle_of_a_backlog(rig: Callable[..., Rig], start: bool) -> None:
    """When its time is over, however many batches wait and however fast they go."""

    def slow(_: Sequence[bytes]) -> Outcome:
        time.sleep(0.05)
        return DELIVERED

    one = rig(Backend(slow), start=start)
    one.store(1000)
    started = time.monotonic()
    flush = one.sender.flush(everything=True, timeout_s=0.3)
    assert not flush.wait(started + 5)
    assert time.monotonic() - started < 2


def test_one_that_follows_another_waits_for_its_answer(rig: Callable[..., Rig]) -> None:
    """Which may be to the same spans: they would be sent twice."""
    held = Held()
    first = rig(Backend(held))
    spans = first.store(5)
    first.sender.wake()
    assert held.asked.wait(5)
    assert not first.sender.stop(0.05)
    backend = Backend()
    second = Sender(backend, first.spool, BatchSettings(), backend, ExporterMetrics({}))
    second.follow(first.sender)
    second.start()
    flush = second.flush(everything=False, timeout_s=5.0)
    assert not flush.wait(time.monotonic() + 0.2)
    held.answer.set()
    assert flush.wait(time.monotonic() + 5)
    assert second.stop(5.0)
    assert (first.sender.delivered, backend.requests) == (len(spans), [])


def test_what_goes_wrong_in_the_thread_does_not_end_it(rig: Callable[..., Rig]) -> None:
    """Not even what nobody has thought of."""

    def answer(_: Sequence[bytes]) -> Outcome:
        raise ZeroDivisionError

    backend = Backend(answer)
    one = rig(backend)
    one.store(3)
    assert not one.flush()
    backend.answer = lambda _: DELIVERED
    assert one.flush()


def test_warnings(rig: Callable[..., Rig], caplog: pytest.LogCaptureFixture) -> None:
    """A destination that has to be mended is warned of once, and once when it is well; one that restarts is not."""
    backend = Backend(lambda _: Outcome(Verdict.HELD, "HTTP 401"))
    one = rig(backend)
    with caplog.at_level(logging.WARNING):
        one.store(3)
        for _ in range(3):
            assert not one.flush()
        backend.answer = lambda _: DELIVERED
        assert one.flush()
        one.store(3)
        backend.answer = lambda _: DOWN
        assert not one.flush()
        backend.answer = lambda _: DELIVERED
        assert one.flush()
    first, second = caplog.messages
    assert "HTTP 401" in first
    assert "again" in second


def test_what_many_dead_processes_left(tmp_path: Path) -> None:
    """All of it is sent in one go, without holding all of it open at once."""
    backend = Backend()
    for _ in range(40):
        dead = Spool(tmp_path / "spool", Limits(), [backend.identity])
        dead.append(b"r", b"s", b"span")
        dead.after_fork_in_child()  # lets go of the locks without a farewell
    spool = Spool(tmp_path / "spool", Limits(), [backend.identity])
    sender = Sender(backend, spool, BatchSettings(60.0, 10), backend, ExporterMetrics({}))
    assert sender.flush(everything=True, timeout_s=5.0).wait(time.monotonic())
    assert backend.taken == [b"span"] * 40
    assert process_directories(tmp_path / "spool") == []
    (account,) = read_accounts(tmp_path / "spool")
    assert (account.offered, account.delivered) == (40, 40)


def test_no_thread_is_left_behind(rig: Callable[..., Rig]) -> None:
    """Stopping ends the thread."""
    one = rig(Backend())
    one.store(1)
    one.flush()
    assert any(thread.name == "callspan backend" for thread in threading.enumerate())
    assert one.sender.stop(5.0)
    assert not any(thread.name == "callspan backend" for thread in threading.enumerate())


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_sender_imports_nothing(otlp_receiver: OtlpReceiver, protocol: str) -> None:
    """An import in its thread would wait forever for a lock that another thread held when the process was forked."""
    program = """
import sys
from callspan_exporters import ensure_delivery
assert ensure_delivery()
from opentelemetry import trace
before = set(sys.modules)
provider = trace.get_tracer_provider()
trace.get_tracer("app").start_span("1").end()
provider.force_flush(5000)
print(sorted(set(sys.modules) - before))
"""
    # By name, for that takes a codec.
    endpoint = otlp_receiver.endpoint.replace("127.0.0.1", "localhost")
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    assert run_python(program, env=env).stdout == "[]\n", sys.version
