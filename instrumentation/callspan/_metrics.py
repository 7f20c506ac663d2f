"""Metrics of the GenAI conventions, where the application has a meter provider; next to nothing is done where not.

The names are those that the conventions' Python packages have released (opentelemetry-util-genai 1.3b0); the
conventions' main branch means to rename some of them.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import metrics
from opentelemetry.metrics import Histogram, MeterProvider
from opentelemetry.trace import Span, set_span_in_context

from callspan import semconv
from callspan._guard import guarded
from callspan._version import __version__

_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
_TOKENS: Final = tuple(4**power for power in range(14))
"""Bounds of buckets, as the conventions advise."""

_KEYS: Final = (
    semconv.GEN_AI_OPERATION_NAME,
    semconv.GEN_AI_PROVIDER_NAME,
    semconv.GEN_AI_REQUEST_MODEL,
    semconv.GEN_AI_RESPONSE_MODEL,
    semconv.SERVER_ADDRESS,
    semconv.SERVER_PORT,
    semconv.ERROR_TYPE,
)
_UNBOUNDED: Final = (semconv.GEN_AI_REQUEST_MODEL, semconv.GEN_AI_RESPONSE_MODEL, semconv.SERVER_ADDRESS)
_OTHER: Final = "_OTHER"
_MOST: Final = 500
"""Sets of attributes that a process has: whoever lets users choose models would else have a series for each name."""

_TOKEN_TYPES: Final = ((semconv.GEN_AI_USAGE_INPUT_TOKENS, "input"), (semconv.GEN_AI_USAGE_OUTPUT_TOKENS, "output"))


class _Instruments:
    """The histograms of one meter provider."""

    def __init__(self, provider: MeterProvider) -> None:
        self._meter = provider.get_meter(semconv.SCOPE_NAME, __version__)
        self.duration = self._seconds(semconv.METRIC_OPERATION_DURATION, "Duration of a GenAI operation")
        self.first_chunk = self._seconds(semconv.METRIC_TIME_TO_FIRST_CHUNK, "Time until a stream's first chunk")
        self.chunk = self._seconds(semconv.METRIC_TIME_PER_OUTPUT_CHUNK, "Time between two chunks of a stream")
        self.tokens = self._meter.create_histogram(
            semconv.METRIC_TOKEN_USAGE,
            unit="{token}",
            description="Tokens used",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    def _seconds(self, name: str, description: str) -> Histogram:
        return self._meter.create_histogram(
            name, unit="s", description=description, explicit_bucket_boundaries_advisory=_SECONDS
        )


class Metrics:
    """Records what calls took and used, with the meter provider in force when they end."""

    def __init__(self, provider: MeterProvider | None = None) -> None:
        self._fixed = provider
        self._provider: MeterProvider | None = None
        self._instruments: _Instruments | None = None
        self._known: set[tuple[Any, ...]] = set()

    @property
    def wanted(self) -> bool:
        """Whether anybody reads metrics: the API's own providers give them to nobody."""
        return self._now() is not None

    @guarded
    def record(self, span: Span, attributes: Mapping[str, Any], seconds: float) -> None:
        """Record a call that has ended.

        Args:
            span: its span, for exemplars.
            attributes: all attributes of the call, whether its span was sampled or not.
            seconds: how long it took.
        """
        instruments = self._now()
        if instruments is None:
            return
        context, bounded = set_span_in_context(span), self._bounded(attributes)
        instruments.duration.record(seconds, bounded, context)
        first_chunk = attributes.get(semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK)
        if first_chunk is not None:
            instruments.first_chunk.record(first_chunk, bounded, context)
        for key, token_type in _TOKEN_TYPES:
            count = attributes.get(key)
            if count is not None:
                instruments.tokens.record(count, {**bounded, semconv.GEN_AI_TOKEN_TYPE: token_type}, context)

    def chunk_timer(self, span: Span, attributes: Mapping[str, Any]) -> "ChunkTimer | None":
        """What times the chunks of a stream; ``None`` where nobody reads metrics."""
        instruments = self._now()
        if instruments is None:
            return None
        return ChunkTimer(instruments.chunk, span, self._bounded(attributes))

    def _now(self) -> _Instruments | None:
        provider = self._fixed or metrics.get_meter_provider()
        if provider is not self._provider:
            self._provider = provider
            of_api = type(provider).__module__.startswith("opentelemetry.metrics")
            self._instruments = None if of_api else _Instruments(provider)
        return self._instruments

    def _bounded(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        values = tuple(attributes.get(key) for key in _KEYS)
        bounded = {key: value for key, value in zip(_KEYS, values, strict=True) if value is not None}
        if values not in self._known:
            if len(self._known) >= _MOST:
                bounded.update({key: _OTHER for key in _UNBOUNDED if key in bounded})
                bounded.pop(semconv.SERVER_PORT, None)
            else:
                self._known.add(values)
        return bounded


class ChunkTimer:
    """Times the chunks of one stream, from the second on."""

    def __init__(self, histogram: Histogram, span: Span, attributes: dict[str, Any]) -> None:
        self._histogram = histogram
        self._context = set_span_in_context(span)
        self._attributes = attributes
        self._last: float | None = None

    @guarded
    def feed(self, _chunk: object) -> None:
        """Take note that a chunk has arrived."""
        now = time.perf_counter()
        if self._last is not None:
            self._histogram.record(now - self._last, self._attributes, self._context)
        self._last = now
