"""A provider's WebSocket on loopback: OpenAI's Realtime API, and its Responses API in WebSocket mode."""

import json
import ssl
import threading
from http import HTTPStatus
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

REALTIME_USAGE = {
    "total_tokens": 18,
    "input_tokens": 11,
    "output_tokens": 7,
    "input_token_details": {"text_tokens": 6, "audio_tokens": 5, "cached_tokens": 4},
    "output_token_details": {"text_tokens": 3, "audio_tokens": 4},
}
RESPONSES_USAGE = {
    "total_tokens": 18,
    "input_tokens": 11,
    "output_tokens": 7,
    "input_tokens_details": {"cached_tokens": 4},
    "output_tokens_details": {"reasoning_tokens": 2},
}


class RealtimeUpstream:
    """Answers each `response.create` with a whole turn.

    Attributes:
        refuse: the HTTP status to refuse connections with.
        fail: error code that the next turns fail with.
        close: WebSocket code and reason to close with instead of a turn.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        self.refuse: HTTPStatus | None = None
        self.fail: str | None = None
        self.close: tuple[int, str] | None = None
        self._server: Server = serve(self._converse, "127.0.0.1", 0, ssl=tls, process_request=self._admit)
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)

    @property
    def base_url(self) -> str:
        """For ``api_base``."""
        return f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()

    def _admit(self, connection: ServerConnection, _request: Request) -> Response | None:
        return None if self.refuse is None else connection.respond(self.refuse, "no loopback for you")

    def _converse(self, connection: ServerConnection) -> None:
        realtime = connection.request is not None and "/realtime" in connection.request.path
        try:
            if realtime:
                session = {"id": "sess_loopback", "object": "realtime.session", "model": "gpt-realtime-loopback"}
                _send(connection, "session.created", session=session)
            turn = 0
            for message in connection:
                if json.loads(message)["type"] != "response.create":
                    continue
                if self.close is not None:
                    connection.close(*self.close)
                    return
                turn += 1
                self._answer_realtime(connection, turn) if realtime else self._answer_responses(connection, turn)
        except ConnectionClosed:
            pass

    def _answer_realtime(self, connection: ServerConnection, turn: int) -> None:
        response: dict[str, Any] = {"id": f"resp_{turn}", "object": "realtime.response", "status": "in_progress"}
        response |= {"status_details": None, "output": [], "usage": None}
        _send(connection, "response.created", response=response)
        _send(connection, "response.output_text.delta", response_id=response["id"], delta="hello")
        response["status"] = "completed"
        response["usage"] = REALTIME_USAGE
        if self.fail is not None:
            response["status"] = "failed"
            response["status_details"] = {"type": "failed", "error": {"type": "server_error", "code": self.fail}}
        _send(connection, "response.done", response=response)

    def _answer_responses(self, connection: ServerConnection, turn: int) -> None:
        response: dict[str, Any] = {"id": f"resp_{turn}", "object": "response", "created_at": 1, "output": []}
        response |= {"status": "in_progress", "model": "gpt-4o-mini-loopback", "usage": None}
        response |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "error": None}
        _send(connection, "response.created", response=response)
        if self.fail is not None:
            response |= {"status": "failed", "error": {"code": self.fail, "message": "no loopback for you"}}
            _send(connection, "response.failed", response=response)
            return
        response |= {"status": "completed", "usage": RESPONSES_USAGE}
        _send(connection, "response.completed", response=response)


def _send(connection: ServerConnection, kind: str, **fields: Any) -> None:
    connection.send(json.dumps({"type": kind, "event_id": f"event_{kind}", **fields}))
