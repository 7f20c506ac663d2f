"""Metrics of the GenAI conventions: what calls took and used, tied to their spans, and nothing where nobody reads."""

from collections.abc import Iterator
from typing import Any

import litellm
import pytest
from opentelemetry.sdk.metrics import AlwaysOnExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import callspan
from callspan._metrics import Metrics
from instrumentation import calls
from instrumentation.conftest import Spans
from loopback.openai_api import Answer, Fail, OpenAIUpstream

DURATION = "gen_ai.client.operation.duration"
TOKENS = "gen_ai.client.token.usage"
FIRST = "gen_ai.client.operation.time_to_first_chunk"
CHUNK = "gen_ai.client.operation.time_per_output_chunk"


class Read:
    """What a reader of metrics finds."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self.provider = MeterProvider([self._reader], exemplar_filter=AlwaysOnExemplarFilter(), shutdown_on_exit=False)

    def __call__(self) -> dict[str, list[Any]]:
        data = self._reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
        return {metric.name: list(metric.data.data_points) for scope in scopes for metric in scope.metrics}


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    monkeypatch.setenv("CALLSPAN_DESTINATIONS", "none")
    reading = Read()
    spans = Spans()
    reading.spans = spans
    callspan.instrument(tracer_provider=spans.provider, meter_provider=reading.provider)
    yield reading
    callspan.uninstrument()
    reading.provider.shutdown()


def test_a_call_has_its_duration_and_tokens(read: Read) -> None:
    litellm.completion(**calls.CHAT)
    seen = read()
    (duration,) = seen[DURATION]
    assert duration.count == 1
    assert 0 < duration.sum < 60
    assert duration.explicit_bounds[:3] == (0.01, 0.02, 0.04)
    assert dict(duration.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.response.model": "gpt-4o-mini",
        "server.address": "127.0.0.1",
        "server.port": duration.attributes["server.port"],
    }
    assert {point.attributes["gen_ai.token.type"]: point.sum for point in seen[TOKENS]} == {"input": 11, "output": 7}
    assert not {FIRST, CHUNK} & set(seen)
    span = read.spans.only()
    assert [exemplar.span_id for exemplar in duration.exemplars] == [span.context.span_id]


def test_a_stream_has_the_times_of_its_chunks(read: Read, upstream: OpenAIUpstream) -> None:
    upstream.default = Answer(chunks=10)
    chunks = list(litellm.completion(**calls.CHAT, stream=True))
    seen = read()
    assert seen[FIRST][0].count == 1
    assert seen[CHUNK][0].count == len(chunks) - 1
    assert seen[CHUNK][0].sum + seen[FIRST][0].sum <= seen[DURATION][0].sum


def test_a_failure_is_told_by_its_type(read: Read, upstream: OpenAIUpstream) -> None:
    upstream.default = Fail(400)
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**calls.CHAT)
    (duration,) = read()[DURATION]
    assert duration.attributes["error.type"] == "litellm.exceptions.BadRequestError"


def test_a_routers_call_counts_once(read: Read) -> None:
    calls.router().completion(model="small", messages=calls.MESSAGES)
    litellm.completion(**calls.CHAT, num_retries=2)
    assert sum(point.count for point in read()[DURATION]) == 2
    assert sum(point.sum for point in read()[TOKENS]) == 36


def test_series_are_bounded(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lets users choose models has no series for each name that they come up with."""
    monkeypatch.setattr("callspan._metrics._MOST", 20)
    for number in range(50):
        litellm.completion(f"openai/made-up-{number}", calls.MESSAGES, mock_response="hi")
    points = read()[DURATION]
    assert len(points) == 21
    assert sum(point.count for point in points) == 50
    assert "_OTHER" in {point.attributes["gen_ai.request.model"] for point in points}


def test_unsampled_calls_are_measured_too(read: Read) -> None:
    read.spans.provider.sampler = ALWAYS_OFF
    litellm.completion(**calls.CHAT)
    assert read()[DURATION][0].count == 1
    assert sum(point.sum for point in read()[TOKENS]) == 18


def test_nothing_is_made_where_nobody_reads(spans: Spans) -> None:
    """The API's own provider gives metrics to nobody; no instrument is made of it, no chunk timed."""
    assert not Metrics().wanted
    assert Metrics().chunk_timer(None, {}) is None
