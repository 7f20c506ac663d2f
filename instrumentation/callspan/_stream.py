"""Proxies for streams in the caller's hands: the invocation ends when the stream ends, fails, is closed or dropped.

They are object proxies and not generators, because callers (and LiteLLM itself) use attributes of LiteLLM's stream
objects and test them with ``isinstance``.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import wrapt

from callspan import semconv
from callspan._invocation import Activation, Invocation, deactivate, outcome_of
from callspan._unread import end_at_exit


class StreamedCall(Protocol):
    """The call that lasts as long as its stream. Nothing here raises an ``Exception``.

    Attributes:
        pauses: whether somebody is to be waited for before the caller goes on.
        reads: takes each chunk along with the caller; ``None`` where nobody needs to.
    """

    @property
    def invocation(self) -> Invocation: ...

    pauses: bool
    reads: Callable[[Any], None] | None

    def pause(self) -> None: ...

    async def pause_async(self) -> None: ...

    def first_chunk(self) -> None: ...

    def end_of_stream(self, outcome: str, error: BaseException | None = None) -> None:
        """Take note of how the stream ended; the first time counts."""
        ...

    def abandon(self) -> None:
        """Take note that the stream was dropped, where nobody can wait for anything."""
        ...


if TYPE_CHECKING:
    _ObjectProxy = wrapt.ObjectProxy[Any]
else:
    _ObjectProxy = wrapt.ObjectProxy  # not generic before wrapt 2


class _Stream(_ObjectProxy):
    """What both kinds share: which moments end the invocation.

    ``_self_inside`` is the invocation that the next read runs in. A stream may open its connection at the first read,
    so that one runs inside; where ``carries_context``, LiteLLM makes further calls while the stream is read (a Router
    falls back in mid-stream), so there all do.
    """

    def __init__(self, wrapped: object, call: StreamedCall, *, carries_context: bool = False) -> None:
        super().__init__(wrapped)
        self._self_call = call
        self._self_inside: Invocation | None = call.invocation
        self._self_carries_context = carries_context
        self._self_begun = False
        self._self_reads = call.reads
        end_at_exit(call)

    def _self_arrived(self, activation: Activation) -> None:
        deactivate(activation)
        if not self._self_carries_context:
            self._self_inside = None
        if not self._self_begun:
            self._self_begun = True
            self._self_call.first_chunk()

    def _self_stopped(self, error: BaseException, activation: Activation | None) -> None:
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self._self_call.end_of_stream(semconv.OUTCOME_SUCCESS)
        else:
            self._self_call.end_of_stream(outcome_of(error), error)
        if activation is not None:
            deactivate(activation)

    def _self_closed(self) -> None:
        call = self._self_call
        call.end_of_stream(semconv.OUTCOME_ABANDONED)
        if call.pauses:
            call.pause()

    async def _self_aclosed(self) -> None:
        call = self._self_call
        call.end_of_stream(semconv.OUTCOME_ABANDONED)
        if call.pauses:
            await call.pause_async()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.__wrapped__, name)
        # Only where LiteLLM's stream has them: a caller may ask with hasattr().
        if name == "close":
            return self._self_closing(value)
        if name == "aclose":
            return self._self_aclosing(value)
        return value

    def _self_closing(self, close: Callable[[], Any]) -> Callable[[], Any]:
        def closing() -> Any:
            try:
                return close()
            finally:
                self._self_closed()

        return closing

    def _self_aclosing(self, aclose: Callable[[], Any]) -> Callable[[], Any]:
        async def aclosing() -> Any:
            try:
                return await aclose()
            finally:
                await self._self_aclosed()

        return aclosing

    def __del__(self) -> None:
        self._self_call.abandon()


class _SyncReading(_Stream):
    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        inside = self._self_inside
        activation = None if inside is None else inside.activate()
        try:
            chunk = self.__wrapped__.__next__()
        except BaseException as error:
            self._self_stopped(error, activation)
            if self._self_call.pauses:
                self._self_call.pause()
            raise
        if activation is not None:
            self._self_arrived(activation)
            if self._self_call.pauses:
                self._self_call.pause()
        if self._self_reads is not None:
            self._self_reads(chunk)
        return chunk

    def __enter__(self) -> Self:
        self.__wrapped__.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        try:
            return self.__wrapped__.__exit__(kind, error, trace)
        finally:
            self._self_closed()


class _AsyncReading(_Stream):
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        inside = self._self_inside
        activation = None if inside is None else inside.activate()
        try:
            chunk = await self.__wrapped__.__anext__()
        except GeneratorExit:  # the coroutine is closed, and may not wait for anything
            self._self_call.abandon()
            raise
        except BaseException as error:
            self._self_stopped(error, activation)
            if self._self_call.pauses:
                await self._self_call.pause_async()
            raise
        if activation is not None:
            self._self_arrived(activation)
            if self._self_call.pauses:
                await self._self_call.pause_async()
        if self._self_reads is not None:
            self._self_reads(chunk)
        return chunk

    async def __aenter__(self) -> Self:
        await self.__wrapped__.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Any:
        try:
            return await self.__wrapped__.__aexit__(kind, error, trace)
        finally:
            await self._self_aclosed()


class _EitherReading(_AsyncReading, _SyncReading):
    """LiteLLM's own stream object can be read both ways."""


def is_stream(value: object) -> bool:
    """Whether ``value`` is read chunk by chunk."""
    return isinstance(value, (Iterator, AsyncIterator))


def observe_stream(stream: object, call: StreamedCall, *, carries_context: bool = False) -> object:
    """Return a proxy of ``stream`` that behaves as it does and tells ``call`` when it is over.

    Args:
        stream: an iterator, an asynchronous iterator, or both.
        call: the call that lasts as long as the stream.
        carries_context: whether calls made while the stream is read belong to the invocation.
    """
    readable = isinstance(stream, Iterator), isinstance(stream, AsyncIterator)
    kind = {(True, True): _EitherReading, (True, False): _SyncReading}.get(readable, _AsyncReading)
    return kind(stream, call, carries_context=carries_context)
