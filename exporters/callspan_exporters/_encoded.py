"""What the spool keeps and the senders frame: OTLP bytes of one span, and of where it came from."""

from typing import NamedTuple


class EncodedSpan(NamedTuple):
    """One ended span as OTLP protobuf bytes, ready to be framed into a request without encoding anything again.

    Protobuf messages may be concatenated field by field, so ``resource`` and ``scope`` hold a message without its
    repeated children, and framing appends those
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins).

    Attributes:
        resource: fields of ``opentelemetry.proto.trace.v1.ResourceSpans`` but ``scope_spans``.
        scope: fields of ``opentelemetry.proto.trace.v1.ScopeSpans`` but ``spans``.
        span: a whole ``opentelemetry.proto.trace.v1.Span``.
    """

    resource: bytes
    scope: bytes
    span: bytes
