"""A function as a destination: it is handed every stored span, one at a time, until it has dealt with it."""

from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace import ReadableSpan

from callspan_exporters._decoding import decode_span
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._outcome import Outcome, Transport, Verdict
from callspan_exporters._transport import described

ATTEMPTS: Final = 10
"""How often a span is handed over in one process before it counts as rejected, with the waits of the sender between."""
_TIMEOUT_S: Final = 3600.0  # a function cannot be interrupted; who registers it sees to its time


class CallbackDestination:
    """Hands every span to a function, in the order of each process's spool, at least once.

    A crash repeats one span at most, since each is acknowledged by itself. What the function raises has the span
    handed over again later; after so many attempts it is rejected, and kept for ``callspan show``.
    """

    max_batch_size: Final = 1

    def __init__(self, name: str, handle: Callable[[ReadableSpan], object], attempts: int = ATTEMPTS) -> None:
        """Call nothing yet.

        Args:
            name: what names it on disk and to people: a later process has what is left under the same name.
            handle: called with a span; returns once that is dealt with, and raises where it could not be.
            attempts: how often a span is handed over in one process before it counts as rejected.
        """
        self.handle = handle
        self.attempts = attempts
        self._name = name

    @property
    def identity(self) -> str:
        """What names it on disk and to people."""
        return f"callback:{self._name}"

    @property
    def timeout_s(self) -> float:
        """How long one span may take, in seconds; it is not held to it."""
        return _TIMEOUT_S

    @property
    def component_type(self) -> str:
        """What the metrics call it."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    def connect(self) -> Transport:
        """Return a way to the function, whichever it is by then."""
        return _Calls(self)

    def force_flush(self, timeout_s: float) -> bool:  # noqa: ARG002  nothing is held back
        """Nothing is held back."""
        return True

    def shutdown(self) -> None:
        """Nothing is to be shut down."""


class _Calls:
    """Calls the function, and counts how often in vain."""

    def __init__(self, destination: CallbackDestination) -> None:
        self._destination = destination
        self._failing: int | None = None
        self._failures = 0

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:  # noqa: ARG002  see the destination
        for encoded in spans:
            try:
                span = decode_span(encoded)
            except Exception as error:  # noqa: BLE001  whatever is wrong with it is so for good
                return Outcome(Verdict.REJECTED, f"a span that cannot be read: {type(error).__name__}")
            # What a function of the application's does is traced as ever, and has no part in the sending.
            token = attach(Context())
            try:
                self._destination.handle(span)
            except BaseException as error:  # noqa: BLE001  theirs, and the thread must outlive it
                return self._failed(span, error)
            finally:
                detach(token)
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Nothing is open."""

    def _failed(self, span: ReadableSpan, error: BaseException) -> Outcome:
        span_id = span.context.span_id if span.context is not None else 0
        self._failures = self._failures + 1 if span_id == self._failing else 1
        self._failing = span_id
        verdict = Verdict.RETRY if self._failures < self._destination.attempts else Verdict.REJECTED
        return Outcome(verdict, described(error))
