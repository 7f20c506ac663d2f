"""A moment of a call that callbacks may be told of."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from opentelemetry.trace import Span

from callspan._callbacks.callback import Callback
from callspan._callbacks.record import LiveCallRecord, fields_of_ids, fields_of_span, fields_of_time, metadata_of_span
from callspan._callbacks.registry import registry


class Moment:
    """What has happened to a call, and the record of it, which is made when the first callback asks for it.

    Attributes:
        hook: which moment it is, as hooks are named.
        span: the span of the call.
    """

    __slots__ = ("_attributes", "_error_message", "_live", "_outcome", "_record", "_times_ns", "hook", "span")

    def __init__(
        self,
        hook: str,
        span: Span,
        attributes: Mapping[str, Any],
        times_ns: tuple[int, int | None],
        live: "Live",
        *,
        outcome: str | None = None,
        error_message: str | None = None,
    ) -> None:
        self.hook = hook
        self.span = span
        self._live = live
        self._attributes = attributes
        self._times_ns = times_ns
        self._outcome = outcome
        self._error_message = error_message
        self._record: LiveCallRecord | None = None

    @property
    def record(self) -> LiveCallRecord:
        """What callbacks are handed."""
        if self._record is None:
            context, live = self.span.get_span_context(), self._live
            self._record = LiveCallRecord(
                hook=self.hook,
                outcome=self._outcome,
                error_message=self._error_message,
                request=MappingProxyType(live.request),
                response=live.response,
                exception=live.exception,
                metadata=MappingProxyType(metadata_of_span(self._attributes) | live.metadata),
                **fields_of_span(self._attributes),
                **fields_of_time(*self._times_ns),
                **fields_of_ids(context.trace_id, context.span_id),
            )
        return self._record

    def told(self, *, router_call: bool) -> tuple[list[Callback], list[Callback]]:
        """Who is to be told: those whose run is waited for, and the others."""
        blocking: list[Callback] = []
        background: list[Callback] = []
        for callback in registry.told_of(self.hook):
            if (callback.router_calls or not router_call) and (callback.filter is None or callback.wants(self.record)):
                (blocking if callback.delivery == "blocking" else background).append(callback)
        return blocking, background


class Live:
    """The call's own objects."""

    __slots__ = ("exception", "metadata", "request", "response")

    def __init__(
        self,
        request: dict[str, Any],
        metadata: dict[str, Any],
        response: object = None,
        exception: BaseException | None = None,
    ) -> None:
        self.request = request
        self.metadata = metadata
        self.response = response
        self.exception = exception
