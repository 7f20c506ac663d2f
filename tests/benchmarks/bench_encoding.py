"""How long one span takes to encode, here and with the official encoder: ``python tests/benchmarks/bench_encoding.py``.

Both run in turns in one process; the ratio is the figure to go by.
"""
# ruff: noqa: T201  what a benchmark prints is what it is for

from measuring import compare, llm_span
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan

from callspan_exporters._encoding import encode_span


def official(span: ReadableSpan) -> bytes:
    """Return the span as the official exporter sends it, in a request of its own."""
    return encode_spans([span]).SerializeToString()


if __name__ == "__main__":
    llm = llm_span()
    print(f"a span of {len(encode_span(llm))} bytes")
    compare({"callspan": encode_span, "official, request of one": official}, llm)
