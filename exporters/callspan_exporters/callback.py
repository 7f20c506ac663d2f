"""A function as a destination: it is handed every stored span, one at a time, until it has dealt with it."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace import ReadableSpan

from callspan_exporters._address import without_secrets
from callspan_exporters._decoding import decode_span
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._outcome import OF_CALLBACK, Outcome, Transport, Verdict

ATTEMPTS: Final = 10
"""How often a span is handed over in one process before it counts as rejected, with the waits of the sender between."""
_TIMEOUT_S: Final = 3600.0  # a function cannot be interrupted; who registers it sees to its time
_MAX_REASON: Final = 200  # characters


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
        return f"{OF_CALLBACK}{self._name}"

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
        self._handle = destination.handle
        # Of the first span in each place where spans wait: they take turns.
        self._failures: Counter[bytes] = Counter()

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:  # noqa: ARG002  see the destination
        for encoded in spans:
            try:
                span = decode_span(encoded)
            except Exception as error:  # noqa: BLE001  whatever is wrong with it is so for good
                return Outcome(Verdict.REJECTED, f"a span that cannot be read: {type(error).__name__}")
            outcome = self._call(span, encoded.span)
            if outcome.verdict is not Verdict.DELIVERED:
                return outcome
        return Outcome(Verdict.DELIVERED)

    def close(self) -> None:
        """Nothing is open."""

    def _call(self, span: ReadableSpan, key: bytes) -> Outcome:
        handle = self._destination.handle
        if handle is not self._handle:  # what another one has failed at is not held against it
            self._handle = handle
            self._failures.clear()
        # What a function of the application's does is traced as ever, and has no part in the sending.
        token = attach(Context())
        try:
            handle(span)
        except BaseException as error:  # noqa: BLE001  theirs, and the thread must outlive it
            return self._failed(key, error)
        finally:
            detach(token)
        self._failures.pop(key, None)
        return Outcome(Verdict.DELIVERED)

    def _failed(self, key: bytes, error: BaseException) -> Outcome:
        self._failures[key] += 1
        if self._failures[key] < self._destination.attempts:
            return Outcome(Verdict.RETRY, _reason(error))
        del self._failures[key]
        return Outcome(Verdict.REJECTED, _reason(error))


def _reason(error: BaseException) -> str:
    """Return what a function raised, in one line, without the keys that URLs in it may hold."""
    name = type(error).__qualname__
    try:
        message = str(error).strip().partition("\n")[0]
    except Exception:  # noqa: BLE001  theirs, too
        return name
    return f"{name}: {without_secrets(message)[:_MAX_REASON]}" if message else name
