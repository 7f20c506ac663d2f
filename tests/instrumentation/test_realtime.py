"""A realtime session is one span; each of its turns is an event, and what they used adds up."""

import contextlib
import json
import ssl
import threading
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import fastapi
import litellm
import pytest
import trustme
import uvicorn
from litellm.llms.custom_httpx import http_handler
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from instrumentation.conftest import Spans, events
from loopback.openai_realtime import RealtimeUpstream

# uvicorn's and websockets' own ways with one another.
pytestmark = pytest.mark.filterwarnings("ignore:.*(websockets|remove second argument).*:DeprecationWarning")

SESSIONS = {"realtime": "_arealtime", "responses": "_aresponses_websocket"}
MODEL = {"realtime": "openai/gpt-realtime", "responses": "openai/gpt-4o-mini"}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> Iterator[RealtimeUpstream]:
    authority = trustme.CA()
    client, server = ssl.create_default_context(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.configure_trust(client)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    # What LiteLLM makes of SSL_CERT_FILE, once.
    monkeypatch.setattr(http_handler, "_shared_realtime_ssl_context", client)
    with RealtimeUpstream(server) as upstream:
        yield upstream


@contextlib.contextmanager
def session(
    kind: str, provider: RealtimeUpstream, *, router: bool = False, api_key: str = "sk-loopback"
) -> Iterator[ClientConnection]:
    """A caller's end of a session that a server of the application's relays by LiteLLM."""
    given: dict[str, Any] = {"api_base": provider.base_url, "api_key": api_key}
    if router:
        parameters = {"model": MODEL[kind], **given}
        owner: Any = litellm.Router([{"model_name": "group", "litellm_params": parameters}], num_retries=0)
        given = {}
    else:
        owner = litellm
    app = fastapi.FastAPI()

    @app.websocket("/")
    async def relay(websocket: fastapi.WebSocket) -> None:  # pyright: ignore[reportUnusedFunction]
        await websocket.accept()
        await getattr(owner, SESSIONS[kind])(model="group" if router else MODEL[kind], websocket=websocket, **given)

    with serving(app) as port, connect(f"ws://127.0.0.1:{port}/") as caller:
        yield caller


@contextlib.contextmanager
def serving(app: fastapi.FastAPI) -> Iterator[int]:
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", lifespan="off", loop="asyncio")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


def take_turn(caller: ClientConnection) -> None:
    """Ask, and read the whole answer."""
    caller.send(json.dumps({"type": "response.create", "model": "gpt-4o-mini", "input": "Say hello."}))
    for message in caller:
        if json.loads(message)["type"] in {"response.done", "response.completed", "response.failed"}:
            return


def turns(span: Any) -> list[dict[str, Any]]:
    return [dict(event.attributes) for event in span.events if event.name == "litellm.turn"]


@pytest.mark.parametrize("kind", SESSIONS)
def test_a_session_is_one_span_with_its_turns(kind: str, spans: Spans, provider: RealtimeUpstream) -> None:
    with session(kind, provider) as caller:
        take_turn(caller)
        take_turn(caller)
    span = spans.only()
    seen = span.attributes
    assert span.name == f"realtime {MODEL[kind].partition('/')[2]}"
    assert (seen["callspan.outcome"], seen["callspan.turns"]) == ("success", 2)
    assert (seen["gen_ai.usage.input_tokens"], seen["gen_ai.usage.output_tokens"]) == (22, 14)
    assert seen["gen_ai.usage.cache_read.input_tokens"] == 8
    assert seen["server.address"] == "127.0.0.1"
    first, second = turns(span)
    assert (first["callspan.turn.number"], second["callspan.turn.number"]) == (1, 2)
    assert first["gen_ai.response.id"] != second["gen_ai.response.id"]  # LiteLLM makes its own of some
    assert first["gen_ai.usage.input_tokens"] == second["gen_ai.usage.input_tokens"] == 11
    assert first["callspan.cost.amount"] > 0
    assert seen["callspan.cost.amount"] == pytest.approx(2 * first["callspan.cost.amount"])
    if kind == "realtime":
        assert seen["gen_ai.conversation.id"] == "sess_loopback"
        assert seen["gen_ai.response.model"] == "gpt-realtime-loopback"


@pytest.mark.parametrize("kind", SESSIONS)
def test_a_session_of_a_routers_is_its_attempt(kind: str, spans: Spans, provider: RealtimeUpstream) -> None:
    with session(kind, provider, router=True) as caller:
        take_turn(caller)
    attempt, call = spans()
    assert attempt.parent.span_id == call.context.span_id
    assert call.name == f"Router.{SESSIONS[kind]} group"
    assert len(turns(attempt)) == 1
    assert not turns(call)
    assert "gen_ai.usage.input_tokens" not in call.attributes


@pytest.mark.parametrize("kind", SESSIONS)
def test_a_turn_that_fails_says_why(kind: str, spans: Spans, provider: RealtimeUpstream) -> None:
    provider.fail = "loopback_is_full"
    with session(kind, provider) as caller:
        take_turn(caller)
    (turn,) = turns(spans.only())
    assert turn["error.type"] == "loopback_is_full"


@pytest.mark.parametrize("router", [False, True], ids=["SDK", "Router"])
def test_a_session_that_the_provider_refuses(router: bool, spans: Spans, provider: RealtimeUpstream) -> None:
    provider.refuse = HTTPStatus.TOO_MANY_REQUESTS
    with (
        contextlib.suppress(ConnectionClosed),
        session("realtime", provider, router=router, api_key="private-key") as caller,
    ):
        caller.recv()
    for span in spans():
        assert span.attributes["callspan.outcome"] == "failure"
        assert span.attributes["error.type"]
        assert not span.status.is_ok
        assert "private-key" not in (span.status.description or "")
    assert len(spans()) == 1 + router


def test_a_session_that_the_provider_breaks_off(spans: Spans, provider: RealtimeUpstream) -> None:
    with session("realtime", provider) as caller:
        take_turn(caller)
        provider.close = (1011, "the loopback is tired")
        with contextlib.suppress(ConnectionClosed):
            take_turn(caller)
    span = spans.only()
    assert (span.attributes["callspan.outcome"], span.attributes["error.type"]) == ("failure", "1011")
    assert len(turns(span)) == 1
    assert "the loopback is tired" in span.status.description
    assert events(span)[-1] == "litellm.failure"
