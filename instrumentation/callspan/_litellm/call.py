"""One LiteLLM call from its arguments to the end of its span."""

import contextvars
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry._logs import LogRecord, get_logger
from opentelemetry.trace import set_span_in_context

from callspan import semconv
from callspan._callbacks.callback import HOOK_FIRST_CHUNK, HOOK_START
from callspan._callbacks.dispatch import Told
from callspan._callbacks.moment import Live, Moment
from callspan._callbacks.registry import registry
from callspan._completion_hook import CompletionHook
from callspan._content import ContentCapture
from callspan._events import emit
from callspan._failure import Failure, describe_exception, qualified_name
from callspan._guard import guarded, report
from callspan._invocation import Attributes, Invocation, outcome_of
from callspan._litellm.credentials import carried
from callspan._litellm.event_streams import Reader, reader_of
from callspan._litellm.messages import Content, as_json, input_content, output_content
from callspan._litellm.operations import Operation
from callspan._litellm.request import credentials, prompt_texts
from callspan._litellm.response import outline_attributes, response_attributes
from callspan._litellm.stream_results import StreamResult, reckoned_cost, stream_attributes, stream_result
from callspan._litellm.untyped import as_mapping, read
from callspan._metrics import Metrics
from callspan._stream import is_stream, observe_stream
from callspan._tracer import TracerSource


@dataclass(frozen=True, slots=True)
class Recording:
    """Where what is known of calls goes.

    Attributes:
        tracers: where spans are started.
        capture: what is recorded of content.
        metrics: what is measured.
        hook: takes content elsewhere; ``None`` where nobody asked for it.
    """

    tracers: TracerSource
    capture: ContentCapture
    metrics: Metrics
    hook: CompletionHook | None = None


class Call:
    """Ends the invocation of one call or attempt with what became of it.

    Attributes:
        invocation: the invocation, started.
        asynchronous: whether the caller awaits it.
        pauses: whether callbacks are to be waited for before the caller goes on: by ``pause``, ``pause_async`` or,
            where nobody can wait, ``leave``. Until then the span has not ended.
        reads: takes each chunk of the stream, where callspan itself puts the response together.
    """

    __slots__ = (
        "__weakref__",
        "_arguments",
        "_capture",
        "_context",
        "_hook",
        "_input",
        "_metadata",
        "_metrics",
        "_operation",
        "_reader",
        "_stream",
        "_told",
        "_tracers",
        "asynchronous",
        "invocation",
        "pauses",
        "reads",
    )

    def __init__(
        self,
        invocation: Invocation,
        operation: Operation,
        arguments: Mapping[str, Any],
        recording: Recording,
    ) -> None:
        self.invocation = invocation
        self.asynchronous = False
        self.pauses = False
        self._tracers = recording.tracers
        self._metrics = recording.metrics
        self._hook = recording.hook
        self._capture = recording.capture
        self._told: Told | None = None
        self._context: contextvars.Context | None = None
        self._operation = operation
        # LiteLLM takes arguments out of the mapping that it was called with, and puts its own into the metadata.
        self._arguments = dict(arguments)
        self._metadata = dict(metadata_of(arguments))
        self._stream: Any = None
        self._reader: Reader | None = None
        self.reads: Callable[[Any], None] | None = None
        # Now and not at the end: by then the caller may have appended the answer to the same list.
        self._input = self._input_content() if self._keeps_content else None

    @property
    def _keeps_content(self) -> bool:
        return (self._capture.wanted or self._hook is not None) and not self._operation.is_outline

    @property
    def _says_no_cost(self) -> bool:
        """Whether LiteLLM leaves the cost out of its response: before ``@client`` is done, and in others' shapes."""
        return self._operation.bare or self._operation.kind.api in {"anthropic", "google"}

    @guarded
    def _input_content(self) -> Content:
        return self._capture.clean(input_content(self._operation, self._arguments))

    def returned(self, result: Any) -> Any:
        """Take note of what the call returned; returns what to hand to the caller."""
        if is_stream(result):
            self._stream = result
            self._reader = self._make_reader()
            self.reads = self._readers()
            self._context = contextvars.copy_context()
            return observe_stream(
                result, self, carries_context=self._operation.takes_attempts or self._operation.takes_calls
            )
        self._end(semconv.OUTCOME_SUCCESS, response=result)
        return result

    def raised(self, error: BaseException) -> None:
        """Take note of what the call, or the reading of its stream, raised."""
        if self.invocation.open:
            self._end(outcome_of(error), self._describe(error), self._stream_result(), error)

    def end_of_stream(self, outcome: str, error: BaseException | None = None) -> None:
        """Take note of how the stream ended; see :class:`callspan._stream.StreamedCall`."""
        if error is not None:
            self.raised(error)
        elif self.invocation.open:
            self._end(outcome, response=self._stream_result())

    def abandon(self) -> None:
        """Take note that the stream was dropped. Finalizers come here, in any thread and context."""
        self.end_of_stream(semconv.OUTCOME_ABANDONED)
        if self.pauses:
            self.leave()

    @property
    def tells_of_start(self) -> bool:
        """Whether somebody is told that the call starts."""
        return bool(registry.told_of(HOOK_START))

    @guarded
    def start(self) -> None:
        """Tell callbacks that the call starts."""
        self._tell(HOOK_START)

    @guarded
    def first_chunk(self) -> None:
        """Take note that the first chunk of the stream has arrived."""
        self.invocation.first_chunk()
        self._tell(HOOK_FIRST_CHUNK)

    def pause(self) -> None:
        """Run the callbacks that block."""
        try:
            while self.invocation.awaited:
                self.invocation.awaited.popleft().wait(None)
            if self._told is not None:
                self._told.wait()
        finally:
            self._go_on()

    async def pause_async(self) -> None:
        """Run the callbacks that block, without blocking the loop. Who is cancelled meanwhile leaves them running."""
        try:
            while self.invocation.awaited:
                await self.invocation.awaited.popleft().joined()
            if self._told is not None:
                await self._told.wait_async()
        finally:
            self._go_on()

    def leave(self) -> None:
        """Have them run without waiting, where nobody can wait."""
        if self._told is not None:
            (self._context or contextvars.copy_context()).copy().run(self._told.leave)
        self._go_on()

    def _end(
        self,
        outcome: str,
        failure: Failure | None = None,
        response: object = None,
        error: BaseException | None = None,
    ) -> None:
        if failure is None and self.invocation.failure is not None:
            outcome, failure = semconv.OUTCOME_FAILURE, self.invocation.failure
        attributes = self._attributes(response)
        if self.invocation.close(outcome, attributes, failure):
            if not self.invocation.is_outline:
                self._metrics.record(self.invocation.span, self.invocation.attributes, self.invocation.seconds)
            message = None if failure is None else failure.message
            self._tell(outcome, response.response if isinstance(response, StreamResult) else response, error, message)

    def _tell(
        self, hook: str, response: object = None, error: BaseException | None = None, message: str | None = None
    ) -> None:
        told = self._make_told(hook, response, error, message) if registry.told_of(hook) else None
        self._told = told
        # Who has the call in hand waits, or it goes on at once.
        self.pauses = bool(self.invocation.awaited) or (told is not None and bool(told.blocking))
        if not self.pauses:
            self._go_on()

    @guarded
    def _make_told(self, hook: str, response: object, error: BaseException | None, message: str | None) -> Told:
        invocation = self.invocation
        ended = invocation.ended_ns is not None
        moment = Moment(
            hook,
            invocation.span,
            invocation.attributes if ended else invocation.attributes | invocation.late_attributes,
            (invocation.started_ns, invocation.ended_ns),
            Live(self._arguments, self._metadata, response, error),
            outcome=hook if ended else None,
            error_message=message,
        )
        outline = self._operation.is_outline
        return Told(moment, self._tracers.tracer(), router_call=outline, asynchronous=self.asynchronous)

    # A span processor of the application's may raise when a span ends: that too stops at our boundary.
    @guarded
    def _go_on(self) -> None:
        """Go on after a moment: with the span's end, and with those who are told and not waited for."""
        told, self._told = self._told, None
        self.pauses = False
        if told is not None:
            told.leave()  # what was to be waited for, had the wait not been interrupted
        if self.invocation.ended_ns is not None:
            self.invocation.finish()
        if told is not None:
            told.start_background()

    @guarded
    def _attributes(self, response: object) -> Attributes:
        attributes: Attributes = {}
        span = self.invocation.span
        if not span.is_recording() and not registry.all and not self._metrics.wanted:
            return attributes
        if response is not None:
            if self._operation.is_outline or self.invocation.calls:
                return outline_attributes(response.response if isinstance(response, StreamResult) else response)
            if isinstance(response, StreamResult):
                attributes = stream_attributes(response, self._stream, self.invocation.subject)
                response = response.response
            else:
                attributes = response_attributes(response, self._operation.kind.api)
                if self._says_no_cost and self.invocation.subject is not None:
                    attributes = (reckoned_cost(self.invocation.subject, response) or {}) | attributes
            if attributes.get(semconv.LITELLM_CACHE_HIT) or _from_cache(self._stream):
                attributes[semconv.LITELLM_CACHE_HIT] = True
                if semconv.CALLSPAN_COST_AMOUNT in attributes:  # some LiteLLMs say again what it cost to make
                    attributes[semconv.CALLSPAN_COST_AMOUNT] = 0.0
                emit(span, semconv.EVENT_CACHE_HIT)
        if self._input is not None:
            self._add_content(attributes, self._input, response)
        return attributes

    def _add_content(self, attributes: Attributes, content: Content, response: object) -> None:
        capture = self._capture
        if response is not None:
            content |= capture.clean(output_content(response, self._operation.kind.api))
        texts = as_json(content)
        record: LogRecord | None = None
        if capture.on_span:
            attributes.update(texts)
        if capture.on_event:
            record = LogRecord(
                event_name=semconv.EVENT_OPERATION_DETAILS,
                context=set_span_in_context(self.invocation.span),
                attributes={semconv.GEN_AI_OPERATION_NAME: self._operation.kind.name, **attributes, **texts},
            )
        if self._hook is not None:
            self._hook.complete(content, self.invocation.span, record)
        if record is not None:
            get_logger(semconv.SCOPE_NAME).emit(record)

    @guarded
    def _readers(self) -> Callable[[Any], None] | None:
        invocation = self.invocation
        timer = None if invocation.is_outline else self._metrics.chunk_timer(invocation.span, invocation.attributes)
        readers = [reader.feed for reader in (self._reader, timer) if reader is not None]
        if len(readers) < 2:  # noqa: PLR2004
            return readers[0] if readers else None

        def both(chunk: Any) -> None:
            for read_chunk in readers:
                read_chunk(chunk)

        return both

    def _make_reader(self) -> Reader | None:
        if self._operation.is_outline:
            return None
        return reader_of(self._operation.kind.api, with_content=self._keeps_content)

    @guarded
    def _stream_result(self) -> StreamResult | None:
        if self._reader is not None:
            response = self._reader.response()
            return None if response is None else StreamResult(response)
        return None if self._stream is None else stream_result(self._stream, self.invocation.subject)

    def _describe(self, error: BaseException) -> Failure:
        # LiteLLM hides a provider's error in mid-stream behind one of its own, for its Router to act on.
        original = getattr(error, "original_exception", None)
        if type(error).__name__ == "MidStreamFallbackError" and isinstance(original, BaseException):
            error = original
        try:
            self.invocation.private |= credentials(self._arguments)
            for values in carried(self._arguments).values():
                self.invocation.private.update(values.values())
            prompt: set[str] = set() if self._capture.wanted else prompt_texts(self._arguments)
            failure = describe_exception(error, self.invocation.private | prompt)
            clean = self._capture.clean_message
            stacktrace = failure.stacktrace
            return replace(
                failure,
                message=clean(failure.message),
                stacktrace=None if stacktrace is None else clean(stacktrace),
            )
        except Exception:  # noqa: BLE001  # whatever an exception's own code does, the span must end as it did
            report("Call._describe")
            return Failure(qualified_name(type(error)), "")


def metadata_of(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The metadata that a call was given, by whichever of LiteLLM's two names."""
    return as_mapping(arguments.get("metadata")) or as_mapping(arguments.get("litellm_metadata")) or {}


def _from_cache(stream: object) -> bool:
    return stream is not None and read(stream, "custom_llm_provider") == "cached_response"
