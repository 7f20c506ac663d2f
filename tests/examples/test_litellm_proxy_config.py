"""The configuration of LiteLLM's proxy: calls are in their callers' traces, with their users, once."""

import os
import secrets
import signal
import socket
from collections import Counter
from typing import Any, Final

import httpx
import pytest

from examples.running import command, drained, outermost, running, stop
from faults.driving import wait_until
from loopback.litellm_proxy import absent
from loopback.openai_api import Answer, Fail, OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver

EXAMPLE: Final = "litellm_proxy/config.yaml"
MASTER_KEY: Final = f"sk-{secrets.token_hex(32)}"


@pytest.fixture
def env(env: dict[str, str]) -> dict[str, str]:
    reason = absent(server_spans=False)
    if reason is not None:
        (pytest.fail if os.environ.get("CALLSPAN_REQUIRE_PROXY") == "1" else pytest.skip)(reason)
    return env | {"LITELLM_MASTER_KEY": MASTER_KEY}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Caller:
    """Who asks the proxy, each request from a trace of its own.

    Attributes:
        asked: of each request's trace, the user who asked and the span above the request.
    """

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.asked: dict[str, tuple[str, str]] = {}

    def request(self, user: str, model: str, *, stream: bool = False) -> httpx.Request:
        trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
        self.asked[trace_id] = (user, span_id)
        headers = {"authorization": f"Bearer {MASTER_KEY}", "traceparent": f"00-{trace_id}-{span_id}-01"}
        messages = [{"role": "user", "content": "What is a span?"}]
        body: Any = {"model": model, "user": user, "messages": messages, "stream": stream}
        return self.http.build_request("POST", "/v1/chat/completions", headers=headers, json=body)


def test_each_call_once_in_its_callers_trace(
    env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """Made up or not, streamed, failed, and still being answered when the proxy is told to stop."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    words = [*command(EXAMPLE, "litellm"), "--host", "127.0.0.1", "--port", str(port)]
    with running(words, env) as program, httpx.Client(base_url=url, timeout=60) as http:
        assert wait_until(lambda: "Uvicorn running" in program.output or program.gone_at is not None, 120)
        caller = Caller(http)
        for user, model in (("ada", "made-up"), ("bob", "assistant")):
            for stream in (False, True):
                assert http.send(caller.request(user, model, stream=stream)).status_code == 200, program.output
        upstream.models["gpt-4o-mini"] = Fail(500)
        assert http.send(caller.request("unlucky", "assistant")).status_code == 500
        upstream.models["gpt-4o-mini"] = Answer(text="word " * 20, chunk_delay=0.05)
        late = http.send(caller.request("late", "assistant", stream=True), stream=True)
        program.signal(signal.SIGTERM)
        assert sum(piece.count("word") for piece in late.iter_text()) > 10
        stop(program)
    spans = drained(otlp_receiver, env)
    assert len({span.span_id for span in spans}) == len(spans)
    ids = {span.span_id for span in spans}
    for span in spans:
        user, above = caller.asked[span.trace_id]
        assert (span.attributes["user.id"], outermost(otlp_receiver, span)) == (user, above)
    calls = [span for span in spans if span.parent_id not in ids]
    assert Counter((call.attributes["user.id"], call.attributes["callspan.outcome"]) for call in calls) == {
        **{(user, "success"): 2 for user in ("ada", "bob")},
        ("unlucky", "failure"): 1,
        ("late", "success"): 1,
    }
    attempts = Counter(span.attributes["user.id"] for span in spans if "gen_ai.operation.name" in span.attributes)
    assert attempts == {"ada": 2, "bob": 2, "unlucky": 3, "late": 1}
