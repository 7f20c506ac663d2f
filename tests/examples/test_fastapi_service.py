"""The FastAPI service, under each server that it names: every call arrives once, in its request's trace."""

import contextlib
import importlib.util
import os
import re
import secrets
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

import httpx
import pytest
from gunicorn.config import make_settings

from examples.conftest import REQUIRED
from examples.running import command, drained, of_calls, outermost, running, stop
from faults.driving import Program, living, wait_until
from loopback.openai_api import Answer, Fail, OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver, ReceivedSpan

NEEDS: Final = ("fastapi", "uvicorn", "gunicorn")
EXAMPLE: Final = "fastapi_service.py"
# Which it would put below the user's home; gunicorn 23 has none.
ANYWHERE: Final = [
    "--bind=127.0.0.1:0",
    *(["--no-control-socket"] if "control_socket_disable" in make_settings() else []),
]
ASGI: Final = [*command(EXAMPLE, "gunicorn", "asgi"), *ANYWHERE]
UVICORN_WORKER: Final = [*command(EXAMPLE, "gunicorn", "uvicorn_worker.UvicornWorker"), *ANYWHERE]
# What a command needs besides, by its worker class.
WORKER_CLASSES: Final = {"asgi": "gunicorn.workers.gasgi", "uvicorn_worker.UvicornWorker": "uvicorn_worker"}
SERVERS: Final = {
    "uvicorn": [*command(EXAMPLE, "uvicorn"), "--port=0"],
    "gunicorn": ASGI,
    "gunicorn, preload": [*ASGI, "--preload"],
    "uvicorn_worker": UVICORN_WORKER,
    "uvicorn_worker, preload": [*UVICORN_WORKER, "--preload"],
}
READY: Final = re.compile("Application startup complete|ASGI server listening")
HAS_SERVER_SPANS: Final = importlib.util.find_spec("fastapi.telemetry") is not None


class Client:
    """Who asks the service, each request from a trace of its own.

    Attributes:
        asked: of each request's trace, the user who asked and the span above the request.
    """

    def __init__(self, url: str) -> None:
        self.asked: dict[str, tuple[str, str]] = {}
        # A connection for each request: a server may close one that it has answered an error on.
        self._http = httpx.Client(base_url=url, timeout=60, limits=httpx.Limits(max_keepalive_connections=0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def headers(self, user: str) -> dict[str, str]:
        trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.asked[trace_id] = (user, span_id)
        return {"x-user": user, "traceparent": f"00-{trace_id}-{span_id}-01"}

    def ask(self, path: str, user: str) -> httpx.Response:
        return self._http.post(path, json={"question": "What is a span?"}, headers=self.headers(user))

    @contextlib.contextmanager
    def stream(self, user: str) -> Iterator[Iterator[str]]:
        question = {"question": "Count."}
        with self._http.stream("POST", "/stream", json=question, headers=self.headers(user)) as answer:
            yield answer.iter_text()

    def saw(self, receiver: OtlpReceiver, spans: list[ReceivedSpan]) -> Counter[tuple[str, str]]:
        """The user and the outcome of each call, once it is certain that each is in its request's trace, once."""
        assert len({span.span_id for span in spans}) == len(spans) == len({span.trace_id for span in spans})
        seen: Counter[tuple[str, str]] = Counter()
        for span in spans:
            if HAS_SERVER_SPANS:
                user, above = self.asked[span.trace_id]
                assert outermost(receiver, span) == above
                assert span.attributes["user.id"] == user
            seen[span.attributes["user.id"], span.attributes["callspan.outcome"]] += 1
        return seen


@contextlib.contextmanager
def serving(words: list[str], env: dict[str, str]) -> Iterator[tuple[Program, Client]]:
    """A server, once each of its workers serves."""
    for worker_class, module in WORKER_CLASSES.items():
        if worker_class in words and importlib.util.find_spec(module) is None:
            (pytest.fail if REQUIRED else pytest.skip)(f"gunicorn has no workers of the class {worker_class} here")
    with running(words, env) as program:
        url = program.hear(r"http://127\.0\.0\.1:[1-9][0-9]*").group()
        workers = 2 if "--workers" in words else 1
        assert wait_until(lambda: len(READY.findall(program.output)) == workers, 60), program.output
        with Client(url) as client:
            yield program, client


def user_of(span: ReceivedSpan) -> str | None:
    return span.attributes.get("user.id")


def workers_of(program: Program) -> list[int]:
    return sorted(set(living(program.pid)) - {program.pid})


@pytest.mark.parametrize("server", SERVERS)
def test_every_call_arrives_once_in_its_requests_trace(
    server: str, env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """Whole or streamed, failed, left by its client, or still being answered when the server is told to stop."""
    env["OTEL_BSP_SCHEDULE_DELAY"] = "200"
    with serving(SERVERS[server], env) as (program, client):
        with ThreadPoolExecutor(4) as pool:
            paths = ["/chat", "/stream"] * 4
            answers = list(pool.map(client.ask, paths, [f"user {number}" for number in range(8)]))
        assert [(answer.status_code, "Hello from loopback." in answer.text) for answer in answers] == [(200, True)] * 8
        upstream.behave(Fail(400))
        assert client.ask("/chat", "unlucky").status_code == 500
        # gunicorn takes its time to notice that a client has gone; an older uvicorn may not notice at all.
        upstream.default = Answer(text=" ".join(map(str, range(80))), chunk_delay=0.1)
        with client.stream("impatient") as pieces:
            next(pieces)
        assert wait_until(lambda: "impatient" in [*map(user_of, of_calls(otlp_receiver))], 30), program.output
        upstream.default = Answer(text="word " * 20, chunk_delay=0.05)
        with client.stream("late") as pieces:
            next(pieces)
            program.signal(signal.SIGTERM)
            assert sum(piece.count("word") for piece in pieces) > 10
        stop(program)
    seen = client.saw(otlp_receiver, drained(otlp_receiver, env))
    (outcome,) = [outcome for user, outcome in seen if user == "impatient"]
    assert outcome in ({"cancelled", "abandoned"} if upstream.disconnects or HAS_SERVER_SPANS else {"success"})
    assert seen == {
        **{(f"user {number}", "success"): 1 for number in range(8)},
        ("unlucky", "failure"): 1,
        ("impatient", outcome): 1,
        ("late", "success"): 1,
    }


@pytest.mark.parametrize("server", ["gunicorn, preload", "uvicorn_worker, preload"])
def test_workers_that_restart_and_that_are_killed(
    server: str, env: dict[str, str], otlp_receiver: OtlpReceiver
) -> None:
    """What a worker ended before it was replaced, by its own end or by SIGKILL, arrives all the same, once."""
    env = env | {"OTEL_BSP_SCHEDULE_DELAY": "60000"}  # so that what a killed worker ended is still with it
    with serving([*SERVERS[server], "--max-requests=4"], env) as (program, client):
        first = workers_of(program)
        answered = [ask_until_answered(client) for _ in range(12)]
        assert wait_until(lambda: len(workers_of(program)) == 2 and workers_of(program) != first, 60), program.output
        for worker in workers_of(program):
            os.kill(worker, signal.SIGKILL)
        answered.append(ask_until_answered(client))
        stop(program)
    seen = client.saw(otlp_receiver, drained(otlp_receiver, env))
    assert set(seen.values()) == {1}
    assert seen.keys() >= {(user, "success") for user in answered}


def ask_until_answered(client: Client) -> str:
    """The user whose request was answered: a worker that is leaving may break off a connection."""
    for _ in range(100):
        user = f"user {len(client.asked)}"
        with contextlib.suppress(httpx.TransportError):
            assert client.ask("/chat", user).status_code == 200
            return user
        time.sleep(0.1)
    raise AssertionError("none of a hundred requests was answered")


def test_without_a_key(env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver) -> None:
    """As it stands: LiteLLM makes the answers up, and the calls are recorded all the same."""
    del env["OPENAI_API_KEY"]
    with serving(SERVERS["uvicorn"], env) as (program, client):
        assert client.ask("/chat", "ada").json() == {"answer": "One, two, three."}
        assert client.ask("/stream", "bob").text == "One, two, three."
        stop(program)
    assert not upstream.requests
    assert client.saw(otlp_receiver, drained(otlp_receiver, env)) == {("ada", "success"): 1, ("bob", "success"): 1}
