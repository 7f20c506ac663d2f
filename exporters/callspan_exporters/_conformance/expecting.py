"""How a promise is checked: in bounded time, and saying what was expected where it does not hold."""

import threading
import tracemalloc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import pytest

from callspan_exporters._outcome import Outcome, Verdict

_Result = TypeVar("_Result")

PATIENCE_S: Final = 30.0
"""How long anything may take on a busy machine that is to be done within a second."""

KEEPING: Final = frozenset({Verdict.RETRY, Verdict.HELD})
"""The verdicts under which all spans are sent again."""

NOT_LOSING: Final = KEEPING | {Verdict.DELIVERED}
"""Those that fit an answer to a request that succeeded, whatever is wrong with the answer."""


def expect(holds: object, promise: str) -> None:
    """Fail the test, saying what was promised, where that does not hold."""
    __tracebackhide__ = True
    if not holds:
        pytest.fail(promise)


def in_time(what: str, work: Callable[[], _Result], patience_s: float = PATIENCE_S) -> _Result:
    """Return what a function does in a thread, as senders do; fail where it raises, or does not come back.

    Args:
        what: it is, for people.
        work: to be done.
        patience_s: how long that may take, in seconds.
    """
    __tracebackhide__ = True
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  whatever it is, it was promised not to be
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(patience_s)
    if errors:
        raise AssertionError(f"{what} raised {type(errors[0]).__name__}, and must not raise") from errors[0]
    expect(results, f"{what} has not returned after {patience_s:g} s")
    return results[0]


def expect_outcome(what: str, outcome: Any, allowed: frozenset[Verdict]) -> Outcome:
    """Return an outcome whose verdict is one of those that lose nothing; fail with any other."""
    __tracebackhide__ = True
    expect(isinstance(outcome, Outcome), f"{what}: send() returned {outcome!r}, which is no Outcome")
    names = " or ".join(sorted(verdict.name for verdict in allowed))
    expect(outcome.verdict in allowed, f"{what}: the verdict is {outcome.verdict.name}, and must be {names}")
    if outcome.verdict is not Verdict.DELIVERED:
        expect(outcome.reason, f"{what}: the outcome gives people no reason")
    return outcome


@contextmanager
def bounded_memory(what: str, most: int) -> Generator[None, None, None]:
    """Fail where more memory than this is used at a time, in bytes."""
    __tracebackhide__ = True
    began_here = not tracemalloc.is_tracing()
    if began_here:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        if began_here:
            tracemalloc.stop()
    used = (peak - before) >> 20
    expect(peak - before <= most, f"{what}: {used} MB were used at a time, of {most >> 20} at most")
