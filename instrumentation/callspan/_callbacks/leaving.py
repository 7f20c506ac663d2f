"""The moments at which runs would be cut off: the end of a loop, of the process, and of both by a signal."""

import asyncio
import atexit
import concurrent.futures.thread  # the interpreter ends its threads after what is registered later
import contextlib
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping
from types import FrameType
from typing import Any, Final, Protocol

from callspan._callbacks import draining, lanes, running
from callspan._callbacks.job import pending
from callspan._delivery import call_delivery
from callspan._guard import guarded
from callspan._patches import Seam
from callspan.environment_variables import CALLSPAN_EXIT_BUDGET

_DEFAULT_BUDGET_S: Final = 5.0
_SHARE: Final = 0.8
"""Of the exit budget; the rest is for sending the spans."""
_ONE_BREATH_S: Final = 1.0

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


class Outlet(Protocol):
    """Something that takes what calls leave behind, and may be at it when the process ends."""

    @property
    def busy(self) -> bool:
        """Whether there may be something to wait for."""
        ...

    def shut_down(self, timeout: float) -> object:
        """Wait for it, for so many seconds at most."""
        ...


outlets: Final[list[Outlet]] = []
"""Waited for when the process ends, after the callbacks."""


class _Budget:
    """How long the main thread may be held up. A program ends with a loop and then with the process: that is one end.

    Loops of other threads hold up nobody else, and have all of it each.
    """

    def __init__(self) -> None:
        self._spent_s = 0.0
        self._spent_at = float("-inf")

    @contextlib.contextmanager
    def spending(self) -> Generator[float]:
        """Give what is left, in seconds, and count what is taken of it."""
        budget_s = _exit_budget_s() * _SHARE
        if threading.current_thread() is not threading.main_thread():
            yield budget_s
            return
        began = time.monotonic()
        if began - self._spent_at > _ONE_BREATH_S:
            self._spent_s = 0.0
        try:
            yield max(0.0, budget_s - self._spent_s)
        finally:
            self._spent_at = time.monotonic()
            self._spent_s += self._spent_at - began


def _exit_budget_s() -> float:
    # What it is set to is checked, and complained of, where spans are sent.
    try:
        return max(0.0, float(os.environ.get(CALLSPAN_EXIT_BUDGET, "") or _DEFAULT_BUDGET_S))
    except ValueError:
        return _DEFAULT_BUDGET_S


_budget = _Budget()


def wrap_cancel_all_tasks(wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> Any:
    """Wrapper of ``asyncio.runners._cancel_all_tasks``, by which ``asyncio.run`` and ``asyncio.Runner`` end a loop."""
    loop: asyncio.AbstractEventLoop = args[0] if args else kwargs["loop"]
    if running.is_own_loop(loop) or not lanes.was_used(loop):
        return wrapped(*args, **kwargs)
    with _budget.spending() as timeout, draining.ending(loop, timeout):
        return wrapped(*args, **kwargs)


def wrap_close(wrapped: Callable[..., Any], instance: Any, args: Args, kwargs: Kwargs) -> Any:
    """Wrapper of a loop's ``close``, for those who end one by hand."""
    ends = not (instance.is_closed() or instance.is_running()) and running.running_loop() is None
    if not ends or not lanes.was_used(instance):
        return wrapped(*args, **kwargs)
    with _budget.spending() as timeout, draining.ending(instance, timeout):
        return wrapped(*args, **kwargs)


def wrap_do_exit(wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> Any:
    """Wrapper of how billiard's workers end, which are Celery's: by ``os._exit``, a second after their last task."""
    _leave(last=True)
    return wrapped(*args, **kwargs)


def loop_seams() -> tuple[Seam, ...]:
    """Where loops end, and processes that end in ways of their own, by the table that everything is undone from."""
    return (
        Seam("billiard.pool", "Worker._do_exit", lambda _: wrap_do_exit, optional=True),
        Seam("asyncio.runners", "_cancel_all_tasks", lambda _: wrap_cancel_all_tasks),
        Seam("asyncio.unix_events", "_UnixSelectorEventLoop.close", lambda _: wrap_close),
        Seam("uvloop", "Loop.close", lambda _: wrap_close, optional=True),
    )


@guarded
def be_ready() -> None:
    """See to it that what is due when the process ends is waited for. Cheap when repeated.

    As early as can be: a server that handles SIGTERM itself, and then dies of it after all, puts back what it found.
    """
    if not _ready.process:
        _ready.process = True
        # Private, and older than the executors' own use of it: these functions run before the interpreter joins
        # threads, while new ones can be started and names looked up. `atexit` is for what comes up after that.
        register = getattr(threading, "_register_atexit", None)
        if register is not None and concurrent.futures.thread:
            with contextlib.suppress(RuntimeError):  # already on the way out
                register(functools.partial(_leave, last=False))
        atexit.register(_leave, last=True)
    if not _ready.signal and threading.current_thread() is threading.main_thread():
        _ready.signal = True
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _terminated)


def stand_back() -> None:
    """Handle SIGTERM no more, unless somebody else has come to handle it."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is _terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _ready.signal = False


class _Ready:
    """Which ends are seen to, and whether one has come by a signal."""

    process = False
    signal = False
    terminated = False


_ready = _Ready()


@guarded
def _leave(*, last: bool) -> None:
    began = time.monotonic()
    with _budget.spending() as timeout:
        draining.drain_process(timeout, last=last)
        for outlet in outlets if last else ():
            outlet.shut_down(max(0.0, timeout - (time.monotonic() - began)))
    call_delivery("spend_exit_budget", time.monotonic() - began)
    if last and _ready.terminated:  # whichever comes first, the main thread at its end or the one that waits here
        os.kill(os.getpid(), signal.SIGTERM)


def _terminated(signum: int, _frame: FrameType | None) -> None:
    """Die of the signal as by default, once what is due is done. A second one is not waited with."""
    signal.signal(signum, signal.SIG_DFL)
    _ready.terminated = True
    if pending or draining.holds_back() or any(outlet.busy for outlet in outlets):
        # Not here: the loop that this thread runs could not go on.
        with contextlib.suppress(RuntimeError):  # the interpreter is about to end
            threading.Thread(target=_leave, kwargs={"last": True}, name="callspan leaving", daemon=True).start()
            return
    os.kill(os.getpid(), signum)
