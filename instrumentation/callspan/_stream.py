"""Proxies for streams in the caller's hands: the invocation ends when the stream ends, fails, is closed or dropped.

They are object proxies and not generators, because callers (and LiteLLM itself) use attributes of LiteLLM's stream
objects and test them with ``isinstance``.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import wrapt

from callspan import semconv
from callspan._invocation import Activation, Invocation, deactivate, end_at_exit, outcome_of


class EndOfStream(Protocol):
    """Called once with how the stream ended; must not raise."""

    def __call__(self, outcome: str, error: BaseException | None = None) -> None: ...


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

    def __init__(
        self, wrapped: object, invocation: Invocation, end_of_stream: EndOfStream, *, carries_context: bool = False
    ) -> None:
        super().__init__(wrapped)
        self._self_invocation = invocation
        self._self_end = end_of_stream
        self._self_inside: Invocation | None = invocation
        self._self_carries_context = carries_context
        self._self_begun = False
        end_at_exit(invocation)

    def _self_arrived(self, activation: Activation) -> None:
        deactivate(activation)
        if not self._self_carries_context:
            self._self_inside = None
        if not self._self_begun:
            self._self_begun = True
            self._self_invocation.first_chunk()

    def _self_stopped(self, error: BaseException, activation: Activation | None) -> None:
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self._self_end(semconv.OUTCOME_SUCCESS)
        else:
            self._self_end(outcome_of(error), error)
        if activation is not None:
            deactivate(activation)

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
                self._self_end(semconv.OUTCOME_ABANDONED)

        return closing

    def _self_aclosing(self, aclose: Callable[[], Any]) -> Callable[[], Any]:
        async def aclosing() -> Any:
            try:
                return await aclose()
            finally:
                self._self_end(semconv.OUTCOME_ABANDONED)

        return aclosing

    def __del__(self) -> None:
        self._self_end(semconv.OUTCOME_ABANDONED)


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
            raise
        if activation is not None:
            self._self_arrived(activation)
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
            self._self_end(semconv.OUTCOME_ABANDONED)


class _AsyncReading(_Stream):
    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        inside = self._self_inside
        activation = None if inside is None else inside.activate()
        try:
            chunk = await self.__wrapped__.__anext__()
        except BaseException as error:
            self._self_stopped(error, activation)
            raise
        if activation is not None:
            self._self_arrived(activation)
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
            self._self_end(semconv.OUTCOME_ABANDONED)


class _EitherReading(_AsyncReading, _SyncReading):
    """LiteLLM's own stream object can be read both ways."""


def is_stream(value: object) -> bool:
    """Whether ``value`` is read chunk by chunk."""
    return isinstance(value, (Iterator, AsyncIterator))


def observe_stream(
    stream: object, invocation: Invocation, end_of_stream: EndOfStream, *, carries_context: bool = False
) -> object:
    """Return a proxy of ``stream`` that behaves as it does and calls ``end_of_stream`` when it is over.

    Args:
        stream: an iterator, an asynchronous iterator, or both.
        invocation: the invocation that lasts as long as the stream.
        end_of_stream: ends the invocation; called at least once, of which the first call counts.
        carries_context: whether calls made while the stream is read belong to the invocation.
    """
    readable = isinstance(stream, Iterator), isinstance(stream, AsyncIterator)
    kind = {(True, True): _EitherReading, (True, False): _SyncReading}.get(readable, _AsyncReading)
    return kind(stream, invocation, end_of_stream, carries_context=carries_context)
