"""The account as OpenTelemetry metrics, by the conventions for an SDK's own components.

Most are read when metrics are collected, from numbers that are kept anyway: without a MeterProvider they cost nothing.

Names and meaning: https://opentelemetry.io/docs/specs/semconv/otel/sdk-metrics/.
"""

import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider

from callspan import semconv

_INSTRUMENTED: Final = "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED"
_SPANS: Final = "{span}"

Attributes = Mapping[str, str]
_component_numbers: Counter[str] = Counter()


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of the spans that were given to a span processor, in this process.

    Attributes:
        stored: spans that were accepted.
        waiting: spans of those that wait for at least one destination.
        expired: spans of those that went at the limit of size before they had arrived everywhere.
        drops: spans that were not accepted, by reason.
    """

    stored: int
    waiting: int
    expired: int
    drops: Mapping[str, int]


class HasFigures(Protocol):
    """Whatever knows them."""

    @property
    def figures(self) -> Figures: ...


@dataclass(slots=True)
class ExporterMetrics:
    """What one sender has done in this process, kept by it and read when metrics are collected.

    Attributes:
        attributes: which component it is.
        delivered: spans that its destination acknowledged.
        failed: spans that it did not get delivered for good, by ``error.type``.
        in_flight: spans in the request that is on its way.
    """

    attributes: Attributes
    delivered: int = 0
    failed: Counter[str] = field(default_factory=Counter[str])
    in_flight: int = 0
    _record_duration: Callable[[float, Attributes], None] | None = None

    def concluded(self, duration_s: float, error_type: str = "") -> None:
        """Record how long it took from the first attempt to send spans to what became of them, in seconds."""
        if self._record_duration is not None:
            error = {semconv.ERROR_TYPE: error_type} if error_type else {}
            self._record_duration(duration_s, {**self.attributes, **error})

    def reset(self) -> None:
        """Begin anew, in a child."""
        self.delivered = self.in_flight = 0
        self.failed.clear()


class DeliveryMetrics:
    """The instruments of one span processor and its exporters."""

    def __init__(self, meter_provider: MeterProvider | None, component_type: str) -> None:
        """Begin with none; ``OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED=false`` leaves it at that."""
        self._enabled = os.environ.get(_INSTRUMENTED, "").strip().lower() != "false"
        self._provider = meter_provider
        self._attributes = _component(component_type)
        self._exporters: list[ExporterMetrics] = []
        self._record_duration: Callable[[float, Attributes], None] | None = None
        if self._enabled:
            meter = (meter_provider or get_meter_provider()).get_meter("callspan")
            self._record_duration = meter.create_histogram(
                semconv.OTEL_SDK_EXPORTER_OPERATION_DURATION, "s", "How long an export of a batch of spans took."
            ).record

    def of_exporter(self, component_type: str) -> ExporterMetrics:
        """Return the metrics of a further exporter."""
        metrics = ExporterMetrics(_component(component_type), _record_duration=self._record_duration)
        self._exporters.append(metrics)
        return metrics

    def observe(self, source: HasFigures) -> None:
        """Have the figures read whenever metrics are collected, for as long as their source is there."""
        if not self._enabled:
            return
        meter = (self._provider or get_meter_provider()).get_meter("callspan")
        reading = _Reading(weakref.ref(source), self._attributes, self._exporters)
        meter.create_observable_counter(
            semconv.OTEL_SDK_PROCESSOR_SPAN_PROCESSED,
            [reading.processed],
            _SPANS,
            "Spans that need nothing more from the span processor, for better or worse.",
        )
        meter.create_observable_up_down_counter(
            semconv.OTEL_SDK_PROCESSOR_SPAN_QUEUE_SIZE, [reading.queued], _SPANS, "Spans that wait to be exported."
        )
        meter.create_observable_counter(
            semconv.OTEL_SDK_EXPORTER_SPAN_EXPORTED,
            [reading.exported],
            _SPANS,
            "Spans whose export has finished, for better or worse.",
        )
        meter.create_observable_up_down_counter(
            semconv.OTEL_SDK_EXPORTER_SPAN_INFLIGHT, [reading.in_flight], _SPANS, "Spans that are being exported."
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is read when metrics are collected. Holds no delivery alive."""

    source: "weakref.ref[HasFigures]"
    attributes: Attributes
    exporters: list[ExporterMetrics]

    def processed(self, _: CallbackOptions) -> Iterable[Observation]:
        source = self.source()
        if source is None:
            return
        figures = source.figures
        yield Observation(figures.stored - figures.waiting - figures.expired, self.attributes)
        if figures.expired:
            full = {**self.attributes, semconv.ERROR_TYPE: semconv.ERROR_TYPE_QUEUE_FULL}
            yield Observation(figures.expired, full)
        for reason, count in figures.drops.items():
            if count:
                yield Observation(count, {**self.attributes, semconv.ERROR_TYPE: reason.replace(" ", "_")})

    def queued(self, _: CallbackOptions) -> Iterable[Observation]:
        source = self.source()
        if source is not None:
            yield Observation(source.figures.waiting, self.attributes)

    def exported(self, _: CallbackOptions) -> Iterable[Observation]:
        for exporter in list(self.exporters):
            yield Observation(exporter.delivered, exporter.attributes)
            for error_type, count in list(exporter.failed.items()):
                yield Observation(count, {**exporter.attributes, semconv.ERROR_TYPE: error_type})

    def in_flight(self, _: CallbackOptions) -> Iterable[Observation]:
        for exporter in list(self.exporters):
            yield Observation(exporter.in_flight, exporter.attributes)


def _component(component_type: str) -> Attributes:
    number = _component_numbers[component_type]
    _component_numbers[component_type] += 1
    return {semconv.OTEL_COMPONENT_TYPE: component_type, semconv.OTEL_COMPONENT_NAME: f"{component_type}/{number}"}
