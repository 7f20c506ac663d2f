"""Spans of real LiteLLM calls, read from the SDK's in-memory exporter."""

from collections.abc import Callable, Iterator

import litellm
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import callspan
from loopback.openai_api import OpenAIUpstream


class Spans:
    """The spans that have ended, in the order in which they did."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def __call__(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def take(self) -> tuple[ReadableSpan, ...]:
        """The spans so far, which are then forgotten."""
        ended = self()
        self._exporter.clear()
        return ended

    def only(self) -> ReadableSpan:
        """The one span there is."""
        (span,) = self()
        return span

    def roots(self) -> tuple[ReadableSpan, ...]:
        """The spans that are no part of another: one for each call."""
        return tuple(span for span in self() if span.parent is None)


def events(span: ReadableSpan) -> list[str]:
    """The names of a span's events in order."""
    return [event.name for event in span.events]


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Spans]]:
    """Switches callspan on, with the environment as the test has set it."""
    monkeypatch.setenv("CALLSPAN_DESTINATIONS", "none")
    recorded: list[Spans] = []

    def start() -> Spans:
        recorded.append(Spans())
        callspan.instrument(tracer_provider=recorded[-1].provider)
        return recorded[-1]

    try:
        yield start
    finally:
        callspan.uninstrument()
        for spans in recorded:
            spans.provider.shutdown()


@pytest.fixture
def spans(recording: Callable[[], Spans]) -> Spans:
    """The spans of the calls that the test makes."""
    return recording()


@pytest.fixture(autouse=True)
def _litellm_on_loopback(upstream: OpenAIUpstream, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test's LiteLLM talks to the test's own upstream, with nothing left over from another's."""
    monkeypatch.setenv("OPENAI_API_BASE", upstream.base_url)
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setattr(litellm, "suppress_debug_info", True)
    monkeypatch.setattr(litellm, "num_retries", None)
    litellm.in_memory_llm_clients_cache.flush_cache()
    yield
    litellm.in_memory_llm_clients_cache.flush_cache()
    litellm.logging_callback_manager._reset_all_callbacks()  # LiteLLM copies what is registered to further lists
