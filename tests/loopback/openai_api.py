"""An upstream of our own that speaks the OpenAI HTTP API on loopback, and fails as it is told to."""

import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loopback import openai_answers, openai_others, openai_responses
from loopback.openai_answers import Event
from loopback.openai_behaviours import Answer, Behaviour, CutStream, Fail, Hang, StreamError, ToolCall
from loopback.server import Handler, LoopbackServer

__all__ = ["Answer", "CutStream", "Fail", "Hang", "OpenAIUpstream", "Request", "StreamError", "ToolCall"]

WHOLE: dict[str, Callable[[int, dict[str, Any], Answer], dict[str, Any]]] = {
    "/v1/chat/completions": openai_answers.chat,
    "/v1/completions": openai_answers.text,
    "/v1/embeddings": lambda _number, body, answer: openai_answers.embeddings(body, answer),
    "/v1/responses": openai_responses.response,
}
STREAMED: dict[str, Callable[[int, dict[str, Any], Answer], list[Event]]] = {
    "/v1/chat/completions": openai_answers.chat_stream,
    "/v1/completions": openai_answers.text_stream,
    "/v1/responses": openai_responses.response_stream,
    "/v1/messages": openai_others.message_stream,
    "/v1/audio/transcriptions": openai_others.transcript_stream,
}
SPEECH = "/v1/audio/speech"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came: `number` counts from 1, the names of the headers are in lower case."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


class _Handler(Handler):
    def do_GET(self) -> None:  # noqa: N802 - the name http.server calls
        make = openai_others.answer_of(self.path.partition("?")[0])
        if make is not None or re.fullmatch("/v1/responses/.*", self.path):
            self._serve({})
        elif self.path.partition("?")[0] == "/v1/models":
            self._reply(200, openai_answers.models(["gpt-4o-mini", "text-embedding-3-small"]), {})
        else:
            self._fail(Fail(404, f"Invalid URL (GET {self.path})", "invalid_request_error"))

    def do_DELETE(self) -> None:  # noqa: N802 - the name http.server calls
        self._serve({})

    def do_POST(self) -> None:  # noqa: N802 - the name http.server calls
        body = self.read_body()
        is_form = self.headers.get("Content-Type", "").startswith("multipart/")
        self._serve(openai_others.fields_of_form(body) if is_form else json.loads(body or b"{}"))

    def _serve(self, body: dict[str, Any]) -> None:
        upstream: OpenAIUpstream = self.server.owner  # type: ignore[assignment]
        headers = {name.lower(): value for name, value in self.headers.items()}
        request, behaviour = upstream.take(self.path.partition("?")[0], headers, body)
        try:
            self._obey(behaviour, request)
        except ConnectionError:
            self.close_connection = True
            if not self.server.stopping:
                upstream.gone(request)

    def _obey(self, behaviour: Behaviour, request: Request) -> None:
        if isinstance(behaviour, Answer) and self._answer_otherwise(request, behaviour):
            return
        streamed = bool(request.body.get("stream")) and request.path in STREAMED
        match behaviour:
            case Answer() if streamed:
                self._stream(request, behaviour)
            case Answer():
                self.pause(behaviour.delay)
                self._reply(200, WHOLE[request.path](request.number, request.body, behaviour), behaviour.headers)
            case Fail():
                self._fail(behaviour)
            case Hang():
                self.pause(behaviour.seconds)
                self.drop()
            case CutStream() if streamed:
                self._stream(request, behaviour.answer, only=behaviour.after_chunks)
                self.drop()
            case CutStream():
                self._cut(request, behaviour.answer)
            case StreamError() if streamed:
                self._stream(request, behaviour.answer, only=behaviour.after_chunks)
                responses = request.path == "/v1/responses"
                error = openai_responses.response_error if responses else openai_answers.error_event
                self.write_chunk(error(behaviour.error).data)
                self.write_chunk(b"")
            case StreamError():
                self._fail(behaviour.error)

    def _cut(self, request: Request, answer: Answer) -> None:
        """Breaks off in the middle of the body."""
        if request.path == SPEECH:
            body, kind = openai_others.AUDIO, "audio/mpeg"
        else:
            body = json.dumps(WHOLE[request.path](request.number, request.body, answer)).encode()
            kind = "application/json"
        self.reply(200, body, {"Content-Type": kind}, cut_at=len(body) // 2)

    def _answer_otherwise(self, request: Request, answer: Answer) -> bool:
        """Answers at the other endpoints; says whether it did."""
        make = openai_others.answer_of(request.path)
        if request.path == SPEECH:
            self.reply(200, openai_others.AUDIO, {"Content-Type": "audio/mpeg", **self._ids()})
        elif make is not None and not request.body.get("stream"):
            self._reply(200, make(request.path, request.body, answer), answer.headers)
        elif request.path.endswith(":streamGenerateContent"):
            self.start_chunked({"Content-Type": "text/event-stream"})
            for event in openai_others.content_stream(answer):
                self.write_chunk(event)
            self.write_chunk(b"")
        elif request.path.startswith("/v1/responses/"):
            self._reply(200, openai_responses.response(request.number, {"model": "gpt-4o-mini"}, Answer()), {})
        elif request.path not in WHOLE and request.path not in STREAMED:
            self._fail(Fail(404, f"Invalid URL (POST {request.path})", "invalid_request_error"))
        else:
            return False
        return True

    def _stream(self, request: Request, answer: Answer, only: int | None = None) -> None:
        """Streams the answer; with `only`, stops after so many of its pieces and leaves the body open."""
        self.pause(answer.delay)
        self.start_chunked({"Content-Type": "text/event-stream; charset=utf-8", **self._ids(), **answer.headers})
        sent = 0
        for event in STREAMED[request.path](request.number, request.body, answer):
            if event.piece:
                if only is not None and sent == only:
                    return
                self.pause(answer.chunk_delay if sent else 0.0)
                sent += 1
            self.write_chunk(event.data)
        if only is None:
            self.write_chunk(b"")

    def _fail(self, fail: Fail) -> None:
        self.pause(fail.delay)
        self._reply(fail.status, openai_answers.error(fail), fail.headers)

    def _reply(self, status: int, payload: dict[str, Any], headers: Any) -> None:
        body = json.dumps(payload).encode()
        self.reply(status, body, {"Content-Type": "application/json", **self._ids(), **headers})

    def _ids(self) -> dict[str, str]:
        return {"x-request-id": "req_loopback", "openai-processing-ms": "1", "openai-version": "2020-10-01"}


class OpenAIUpstream(LoopbackServer):
    """OpenAI on loopback.

    Attributes:
        default: what it does with a request that nothing else was said about.
        models: what it does with the requests for a model, whenever they come.
        requests: what was asked of it, in order.
        disconnects: the requests whose client went away before it had its answer.
    """

    handler = _Handler

    def __init__(self, default: Behaviour = Answer()) -> None:  # noqa: B008 - frozen
        super().__init__()
        self.default = default
        self.models: dict[str, Behaviour] = {}
        self.requests: list[Request] = []
        self.disconnects: list[Request] = []
        self._queued: deque[Behaviour] = deque()

    @property
    def base_url(self) -> str:
        """What the OpenAI SDK calls `base_url` and LiteLLM `api_base`."""
        return f"http://127.0.0.1:{self.port}/v1"

    def behave(self, *behaviours: Behaviour) -> None:
        """Queues what to do with the next requests, one each; after them it is the default again."""
        self._queued.extend(behaviours)

    def wait_for_disconnects(self, count: int = 1, timeout: float = 5.0) -> bool:
        """Waits until so many clients went away early."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.disconnects) >= count, timeout)

    def take(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> tuple[Request, Behaviour]:
        """Records a request and says what to do with it."""
        with self.changed:
            request = Request(len(self.requests) + 1, path, headers, body)
            self.requests.append(request)
            self.changed.notify_all()
            if body.get("model") in self.models:
                return request, self.models[body["model"]]
            return request, self._queued.popleft() if self._queued else self.default

    def gone(self, request: Request) -> None:
        """Records that a client went away early."""
        with self.changed:
            self.disconnects.append(request)
            self.changed.notify_all()
