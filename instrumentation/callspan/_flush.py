"""Waiting for what is pending: callbacks first, as they end spans too, then spans."""

import asyncio
import threading
import time

from callspan._callbacks import draining
from callspan._instrumentor import CallspanInstrumentor


def force_flush(timeout: float = 30.0) -> bool:
    """Wait for the callbacks that are due, then send the spans that are pending.

    In a coroutine use :func:`aflush`: while this blocks the loop, callbacks on it cannot go on, and are not waited for.

    Args:
        timeout: seconds to wait at most.

    Returns:
        Whether every callback that was due has run and every span that was pending has been delivered.
    """
    until = time.monotonic() + timeout
    ran = draining.flush(timeout)
    return _send(max(0.0, until - time.monotonic())) and ran


async def aflush(timeout: float = 30.0) -> bool:  # noqa: ASYNC109  # as in force_flush
    """Wait for the callbacks that are due, then for the spans that are pending, while the loop runs on.

    Args:
        timeout: seconds to wait at most.

    Returns:
        Whether every callback that was due has run and every span that was pending has been delivered.
    """
    until = time.monotonic() + timeout
    ran = await draining.aflush(timeout)
    loop = asyncio.get_running_loop()
    sent: asyncio.Future[bool] = loop.create_future()

    def send() -> None:
        answer = _send(max(0.0, until - time.monotonic()))
        loop.call_soon_threadsafe(lambda: sent.done() or sent.set_result(answer))

    # A thread of its own: those of the loop may all be taken, by what waits for this.
    threading.Thread(target=send, name="callspan flush", daemon=True).start()
    return await sent and ran


def _send(timeout: float) -> bool:
    flush = getattr(CallspanInstrumentor().tracer_provider, "force_flush", None)
    return bool(flush(int(timeout * 1000))) if callable(flush) else True
