"""What a loopback OTLP receiver can be told to do with an export request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import grpc

from loopback.otlp_inbox import ReceivedSpan


@dataclass(frozen=True, slots=True)
class Accept:
    """Takes the spans and says so."""


@dataclass(frozen=True, slots=True)
class Status:
    """Takes nothing and answers with this status."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class GrpcStatus:
    """Takes nothing and answers with this gRPC status; with `retry_after`, tells in seconds when to come again."""

    code: grpc.StatusCode
    details: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class PartialSuccess:
    """Takes the spans without the first `rejected` ones, and says so."""

    rejected: int = 1
    message: str = "rejected by loopback"


@dataclass(frozen=True, slots=True)
class TooLargeAbove:
    """Answers 413 to a request of more bytes than this, before compression; takes the others."""

    bytes: int


@dataclass(frozen=True, slots=True)
class RefuseSpans:
    """Answers 400 to a request in which there is such a span; takes the others."""

    refused: Callable[[ReceivedSpan], bool]


@dataclass(frozen=True, slots=True)
class RefuseKeys:
    """Answers 401 to a request whose `authorization` is one of these; takes the others."""

    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Delay:
    """Takes the spans and says so, but late; takes nothing when the client did not wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Says nothing for so long, then breaks the connection; takes nothing."""

    seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Reset:
    """Breaks the connection by a TCP RST, after so many seconds; takes nothing."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class LoseAck:
    """Takes the spans, then breaks the connection, after so many seconds, without a word."""

    seconds: float = 0.0


HttpBehaviour = (
    Accept | Status | PartialSuccess | TooLargeAbove | RefuseSpans | RefuseKeys | Delay | Hang | Reset | LoseAck
)
GrpcBehaviour = Accept | GrpcStatus | PartialSuccess | RefuseSpans | Delay | Hang
