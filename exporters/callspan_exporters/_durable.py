"""The span processor to add to a tracer provider, in the place of OpenTelemetry's batch span processor."""

import atexit
import weakref
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.metrics import MeterProvider
from opentelemetry.sdk.trace.export import SpanExporter

from callspan_exporters._delivery import Delivery
from callspan_exporters._outcome import Destination
from callspan_exporters._processor import StoringSpanProcessor
from callspan_exporters._settings import BatchSettings, exit_budget_s, limits, spool_root
from callspan_exporters.span_exporter import as_destination


class DurableSpanProcessor(StoringSpanProcessor):
    """Stores every sampled span on disk as it ends, and has it exported from there.

    Once ``on_end`` has returned, the span survives the death of the process. It is exported at least once: by this
    process, or by a later one with the same destination. As the specification asks of a batch span processor
    (https://opentelemetry.io/docs/specs/otel/trace/sdk/#batching-processor), and with its parameters::

        provider.add_span_processor(DurableSpanProcessor(OTLPSpanExporter()))

    A stock OTLP exporter is asked for its settings, and what is stored is sent as it is, which takes a fraction of the
    time; any other exporter is given spans that are decoded without loss.
    """

    def __init__(
        self,
        span_exporter: SpanExporter | Destination | Sequence[SpanExporter | Destination],
        max_queue_size: int | None = None,
        schedule_delay_millis: float | None = None,
        max_export_batch_size: int | None = None,
        export_timeout_millis: float | None = None,
        *,
        meter_provider: MeterProvider | None = None,
        spool: str | Path | bool | None = None,
        spool_max_bytes: int | None = None,
        spool_max_age: float | None = None,
        fsync: bool | None = None,
        exit_budget: float | None = None,
    ) -> None:
        """Prepare all; neither disk nor network is touched before the first span.

        Args:
            span_exporter: where spans go, one or several, which do not wait for one another.
            max_queue_size: how many spans may wait in memory where there is no disk. On disk the bound is
                ``spool_max_bytes``. By default ``OTEL_BSP_MAX_QUEUE_SIZE`` where that is set, else 32 MiB of them.
            schedule_delay_millis: how long a span waits for others; by default ``OTEL_BSP_SCHEDULE_DELAY``.
            max_export_batch_size: of spans in one export; by default ``OTEL_BSP_MAX_EXPORT_BATCH_SIZE``.
            export_timeout_millis: of one request; by default ``OTEL_BSP_EXPORT_TIMEOUT``. An exporter that is none of
                OpenTelemetry's own for OTLP cannot be told, and is not interrupted.
            meter_provider: of the metrics about it; by default the global one.
            spool: the spool's directory, or False to keep spans in memory; by default ``CALLSPAN_SPOOL_DIR``.
            spool_max_bytes: how large the spool may grow; by default ``CALLSPAN_SPOOL_MAX_BYTES``.
            spool_max_age: how long a span is kept, in seconds; by default ``CALLSPAN_SPOOL_MAX_AGE``.
            fsync: whether a span survives the loss of power as well; by default ``CALLSPAN_SPOOL_FSYNC``.
            exit_budget: how long exit may be held up, in seconds; by default ``CALLSPAN_EXIT_BUDGET``.

        Raises:
            TypeError: a span exporter is none.
            ValueError: a number is not positive, a batch larger than the queue, or two exporters cannot be told apart.
        """
        settings = BatchSettings.from_environment().with_arguments(
            max_queue_size, schedule_delay_millis, max_export_batch_size, export_timeout_millis
        )
        several = span_exporter if isinstance(span_exporter, Sequence) else [span_exporter]
        self.destinations = _told_apart([as_destination(one) for one in several])
        delivery = Delivery(
            self.destinations,
            root=spool_root(spool),
            limits=limits(settings, spool_max_bytes, spool_max_age, fsync),
            settings=settings,
            exit_budget_s=exit_budget_s(exit_budget),
            meter_provider=meter_provider,
            component_type=f"{__package__}.{type(self).__name__}",
        )
        super().__init__(delivery)
        # A provider may have been told not to, or may be forgotten. Twice does no harm.
        atexit.register(_shut_down, weakref.ref(delivery))
        delivery.start_for_what_is_left()

    def shutdown(self, timeout_millis: float | None = None) -> bool:
        """Export what is pending, and nothing after that.

        What is left, and a span that ends later, is exported by the next process with the same destination.

        Args:
            timeout_millis: how long to take at most, in milliseconds; the exit budget by default.

        Returns:
            Whether every destination has acknowledged or refused all that was stored.
        """
        return self._delivery.shutdown(None if timeout_millis is None else timeout_millis / 1000)


def _told_apart(destinations: list[Destination]) -> list[Destination]:
    if not destinations:
        raise ValueError("span_exporter is an empty list: name at least one")
    identities = [destination.identity for destination in destinations]
    for identity in identities:
        if identities.count(identity) > 1:
            raise ValueError(
                f"two span exporters are {identity!r}: give them names by SpanExporterDestination(exporter, name=...)"
            )
    return destinations


def _shut_down(delivery: "weakref.ref[Delivery]") -> None:
    alive = delivery()
    if alive is not None:
        alive.shutdown()
