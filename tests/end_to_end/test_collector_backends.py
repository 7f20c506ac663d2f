"""Where the Collector sends spans, and what becomes of them while a backend is down, slow or particular."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.collector.running import Collector
from end_to_end.collector.sending import post, send, span
from loopback.otlp_receiver import Accept, OtlpReceiver, Status

NUMBER = 250  # spans


@pytest.fixture
def backends() -> Iterator[list[OtlpReceiver]]:
    with OtlpReceiver() as first, OtlpReceiver() as second, OtlpReceiver() as third:
        yield [first, second, third]


@pytest.fixture
def collector(collector_program: Path, tmp_path: Path, backends: list[OtlpReceiver]) -> Iterator[Collector]:
    """A Collector that is told of three backends."""
    first, second, third = (backend.endpoint for backend in backends)
    with Collector(
        collector_program,
        tmp_path / "collector",
        COLLECTOR_BACKEND=first,
        COLLECTOR_BACKEND_2=second,
        COLLECTOR_BACKEND_2_HEADERS="{authorization: Bearer of the second, x-project: callspan}",
        COLLECTOR_BACKEND_3_TRACES=f"{third}/i/v0/ai/otel",
        COLLECTOR_BACKEND_3_HEADERS='{"x-api-key": "of the third"}',
    ) as running:
        yield running


def names(count: int) -> list[str]:
    return [f"span{number}" for number in range(count)]


def check_each_once(backend: OtlpReceiver, expected: list[str]) -> None:
    assert sorted(span.name for span in backend.wait_for(len(expected), 30)) == sorted(expected)


def test_every_backend_gets_every_span_with_its_own_headers(collector, backends):
    send(collector, *names(NUMBER))
    for backend in backends:
        check_each_once(backend, names(NUMBER))
    first, second, third = (backend.requests[0].headers for backend in backends)
    assert "authorization" not in first
    assert (second["authorization"], second["x-project"]) == ("Bearer of the second", "callspan")
    assert third["x-api-key"] == "of the third"
    assert [each.requests[0].path for each in backends] == ["/v1/traces", "/v1/traces", "/i/v0/ai/otel"]


def test_a_backend_gets_no_more_at_once_than_it_takes(collector, backends):
    send(collector, *(span(name, {"some text": "x" * 500_000}) for name in names(20)))
    assert len(backends[0].wait_for(20, 60)) == 20
    assert max(request.span_count for request in backends[0].requests) == 7

    collector.stop()
    collector.start(COLLECTOR_BACKEND_BATCH_SIZER="items", COLLECTOR_BACKEND_BATCH="100")  # as PostHog wants it
    send(collector, *names(NUMBER))
    assert len(backends[0].wait_for(20 + NUMBER, 60)) == 20 + NUMBER
    assert sorted(request.span_count for request in backends[0].requests)[-2:] == [100, 100]


def test_a_backend_that_is_down_holds_up_no_other_and_gets_its_spans_later(collector, backends):
    first, second, third = backends
    first.down()
    third.default = Status(503)
    for name in names(NUMBER):  # a request each
        send(collector, name)
    check_each_once(second, names(NUMBER))
    collector.stop()  # what waits for the others is on disk
    collector.start()
    first.up()
    third.default = Accept()
    check_each_once(first, names(NUMBER))
    check_each_once(third, names(NUMBER))
    check_each_once(second, names(NUMBER))


def test_a_backend_that_is_not_named_has_neither_spans_nor_requests(collector, backends):
    collector.stop()
    collector.start(COLLECTOR_BACKEND_2="", COLLECTOR_BACKEND_3_TRACES="")
    send(collector, *names(3))
    check_each_once(backends[0], names(3))

    assert collector.metric("otelcol_receiver_accepted_spans", receiver="otlp") == 3
    for unnamed in ("otlp_http/2", "otlp_http/3"):
        assert collector.metric("otelcol_exporter_queue_capacity", exporter=unnamed) > 0
        assert collector.metric("otelcol_exporter_queue_size", exporter=unnamed) == 0
        assert collector.metric("otelcol_exporter_sent_spans", exporter=unnamed) == 0
    assert backends[1].requests == backends[2].requests == []


def test_a_full_queue_refuses_so_that_the_sender_keeps_the_spans(collector, backends):
    backends[0].down()
    collector.stop()
    collector.start(COLLECTOR_QUEUE_BYTES="20000")
    answers = [post(collector, f"span{number}", "x" * 1000).status_code for number in range(40)]

    taken = answers.count(200)
    assert 10 < taken < 40
    assert set(answers[taken:]) == {503}  # which OTLP's senders take for "come again"
    backends[0].up()
    assert len(backends[0].wait_for(2 * taken)) == 2 * taken


def test_short_of_memory_it_refuses_so_that_the_sender_keeps_the_spans(collector, backends):
    collector.stop()
    collector.start(COLLECTOR_MEMORY_MIB="1")
    deadline = time.monotonic() + 20
    while (answer := post(collector, "span")).is_success and time.monotonic() < deadline:
        time.sleep(0.1)  # it looks at its memory once a second
    taken = len(backends[0].spans)

    assert answer.status_code == 503
    assert len(backends[0].spans) == taken
