"""What a destination said to a batch of spans, in the terms that decide what is done next."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

from callspan_exporters._encoded import EncodedSpan

OF_CALLBACK: Final = "callback:"
"""What the identity of a function begins with that spans are handed to."""


OF_CALL: Final = " call~"
"""What the identity of an account of calls with a credential of their own has between the destination's and the
credential's digest."""


class Verdict(Enum):
    """What is to be done with the batch."""

    DELIVERED = auto()
    """Nothing more: it arrived, less what the destination says it refused of it."""
    RETRY = auto()
    """Send it again later: the destination cannot take it now."""
    HELD = auto()
    """Send it again much later: somebody has to mend the configuration of one side first."""
    TOO_LARGE = auto()
    """Send it in smaller parts."""
    REJECTED = auto()
    """At least one span in it will never be taken: find out which."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A destination's answer.

    Attributes:
        verdict: what is to be done.
        reason: for people: ``HTTP 503 Service Unavailable``, ``connection refused``.
        reached: whether there was an answer at all.
        retry_after_s: how long the destination asks to be left alone, in seconds, if it does.
        refused: how many spans of a delivered batch the destination did not take.
        fix: for people: what may mend it, naming the setting.
    """

    verdict: Verdict
    reason: str = ""
    reached: bool = True
    retry_after_s: float | None = None
    refused: int = 0
    fix: str = ""


class Transport(Protocol):
    """A way to a destination. Used by one thread at a time."""

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
        """Send one request and wait for the answer, ``timeout_s`` seconds at most. Never raises."""
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class Destination(Protocol):
    """Where spans go.

    Attributes:
        identity: what names it on disk and to people; holds no secret.
        timeout_s: how long one request may take, in seconds.
    """

    @property
    def identity(self) -> str: ...

    @property
    def timeout_s(self) -> float: ...

    @property
    def component_type(self) -> str:
        """What kind of exporter it is, as ``otel.component.type`` has it."""
        ...

    def connect(self) -> Transport:
        """Return a way to it. Called in the thread that will use it; imports nothing.

        Raises:
            Exception: what is configured cannot work, such as a certificate that does not exist.
        """
        ...

    def force_flush(self, timeout_s: float) -> bool:
        """Pass on at once what was sent and is held back on this side, ``timeout_s`` seconds at most. Never raises."""
        ...

    def shutdown(self) -> None:
        """Let go of what was not made by `connect`. Nothing is sent any more. Never raises."""
        ...


class Sink(Protocol):
    """Where a sender reports spans that a destination refused for good."""

    def refused(self, destination: str, span: EncodedSpan, reason: str) -> None:
        """Keep a refused span, with who refused it and why."""
        ...

    def refused_some(self, destination: str, count: int, reason: str) -> None:
        """Keep why so many spans were refused, where the destination does not say which."""
        ...
