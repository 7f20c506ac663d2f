"""How long the end of a span holds its thread up: ``python tests/benchmarks/bench_on_end.py``.

callspan encodes the span and writes it to disk; the stock batch processor puts it in a queue, and encodes it later on
a thread that competes for the same interpreter, so the official encoder is measured beside it.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import compare, llm_span
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from callspan_exporters._delivery import Delivery
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import encode_span
from callspan_exporters._outcome import Outcome, Verdict
from callspan_exporters._processor import StoringSpanProcessor
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import Limits


class Nowhere:
    """A destination that takes everything at once, so that only what callspan itself does is measured."""

    identity = "nowhere"
    timeout_s = 1.0
    component_type = "nowhere"

    def connect(self) -> "Nowhere":
        return self

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        pass

    def shutdown(self) -> None:
        pass


class NowhereExporter(SpanExporter):
    """The same for the stock processor."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def main() -> None:
    """Measure on_end of both processors in turns and print a table."""
    with tempfile.TemporaryDirectory() as directory:
        delivery = Delivery(
            [Nowhere()],
            root=Path(directory, "spool"),
            limits=Limits.from_environment(),
            settings=BatchSettings.from_environment(),
            exit_budget_s=5.0,
        )
        durable = StoringSpanProcessor(delivery)
        # Large enough that no span is dropped, which would be cheap.
        stock = BatchSpanProcessor(NowhereExporter(), max_queue_size=100_000)
        span = llm_span()
        print(f"a span of {len(encode_span(span))} bytes")
        compare(
            {
                "callspan on_end": durable.on_end,
                "of which encoding": encode_span,
                "stock batch processor on_end": stock.on_end,
                "official encoding, later": lambda span: encode_spans([span]).SerializeToString(),
            },
            span,
        )
        print(f"all delivered: {durable.shutdown()}")
        stock.shutdown()


if __name__ == "__main__":
    main()
