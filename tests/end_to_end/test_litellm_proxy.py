"""The real LiteLLM proxy: its calls are in their callers' traces, once, and nobody's key is."""

import contextlib
import itertools
import json
import os
import secrets
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import openai
import pytest

from loopback.litellm_proxy import (
    KEYS,
    MASTER_KEY,
    PASSED,
    PROVIDER_KEY,
    VIRTUAL_KEY,
    LiteLLMProxy,
    absent,
    litellm_proxy,
)
from loopback.openai_api import Answer, Fail, OpenAIUpstream
from loopback.otlp_receiver import Accept, OtlpReceiver, ReceivedSpan, Status
from loopback.processes import SCRIPTS

CAPTURING: Final = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY", "OTEL_BSP_SCHEDULE_DELAY": "100"}

PROMPT: Final = "the prompt of the loopback proxy"
MESSAGES: Final[Any] = [{"role": "user", "content": PROMPT}]
KINDS: Final[dict[str, Callable[[openai.OpenAI], Any]]] = {
    "chat": lambda client: client.chat.completions.create(model="assistant", messages=MESSAGES),
    "streamed chat": lambda client: list(
        client.chat.completions.create(model="assistant", messages=MESSAGES, stream=True)
    ),
    "text": lambda client: client.completions.create(model="assistant", prompt=PROMPT),
    "embeddings": lambda client: client.embeddings.create(model="embedder", input=PROMPT),
    "responses": lambda client: client.responses.create(model="assistant", input=PROMPT),
    "streamed responses": lambda client: list(client.responses.create(model="assistant", input=PROMPT, stream=True)),
    "messages": lambda client: client.post("/messages", body=_for_anthropic(stream=False), cast_to=object),
    "streamed messages": lambda client: client.post(
        "/messages", body=_for_anthropic(stream=True), cast_to=httpx.Response
    ),
    "image": lambda client: client.images.generate(model="painter", prompt=PROMPT),
}
kinds: Final = pytest.mark.parametrize("request_of_kind", KINDS.values(), ids=KINDS)


def _for_anthropic(*, stream: bool) -> dict[str, Any]:
    return {"model": "assistant", "max_tokens": 50, "messages": MESSAGES, "stream": stream}


@contextlib.contextmanager
def serving(directory: Path, *, server_spans: bool = True, **env: str) -> Iterator[LiteLLMProxy]:
    reason = absent(server_spans=server_spans)
    if reason is not None:
        (pytest.fail if os.environ.get("CALLSPAN_REQUIRE_PROXY") == "1" else pytest.skip)(reason)
    with (
        OpenAIUpstream(Answer(always_send_usage=True)) as upstream,
        OtlpReceiver() as receiver,
        litellm_proxy(directory, upstream, receiver, server_spans=server_spans, env=CAPTURING | env) as proxy,
    ):
        yield proxy


@pytest.fixture(scope="module", params=[False, True], ids=["alone", "below server's spans"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiteLLMProxy]:
    """A proxy without and with spans of its server's requests."""
    with serving(tmp_path_factory.mktemp("proxy"), server_spans=request.param) as proxy:
        yield proxy


@pytest.fixture
def proxy(served: LiteLLMProxy) -> Iterator[LiteLLMProxy]:
    """A proxy that has nothing left of the test before."""
    served.receiver.spans.clear()
    served.upstream.requests.clear()
    for name in ("told", "stored"):
        (served.directory / name).write_text("")
    yield served
    served.upstream.models.clear()
    served.receiver.default = Accept()


@contextlib.contextmanager
def client(proxy: LiteLLMProxy, key: str = MASTER_KEY) -> Iterator[tuple[openai.OpenAI, str, str]]:
    """A client that is part of a trace, with the trace's id and that of its span."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace_id}-{span_id}-01"}
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=key, max_retries=0, default_headers=headers) as made:
        yield made, trace_id, span_id


def settled(proxy: LiteLLMProxy, calls: int = 1) -> list[ReceivedSpan]:
    """The spans of calls and attempts that have come, when no more do."""
    deadline = time.monotonic() + 20
    seen, since = -1, time.monotonic()
    while time.monotonic() < deadline and (len(of_calls(proxy)) < calls or time.monotonic() - since < 0.7):
        if seen != len(proxy.receiver.spans):
            seen, since = len(proxy.receiver.spans), time.monotonic()
        time.sleep(0.02)
    return of_calls(proxy)


def of_calls(proxy: LiteLLMProxy) -> list[ReceivedSpan]:
    return [span for span in list(proxy.receiver.spans) if "callspan.entry_point" in span.attributes]


def outermost(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
    ids = {span.span_id for span in spans}
    return [span for span in spans if span.parent_id not in ids]


def attempts(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
    return [span for span in spans if "gen_ai.operation.name" in span.attributes]


def outcomes(spans: list[ReceivedSpan]) -> list[str]:
    return [
        span.attributes["callspan.outcome"] for span in sorted(spans, key=lambda span: span.span.start_time_unix_nano)
    ]


@kinds
def test_the_callers_trace_goes_on(proxy: LiteLLMProxy, request_of_kind: Callable[[openai.OpenAI], Any]) -> None:
    """The call is below the caller's span, by way of the server's where that is recorded."""
    with client(proxy) as (caller, trace_id, span_id):
        request_of_kind(caller)
    spans = settled(proxy)
    parents = {span.span_id: span.parent_id for span in proxy.receiver.spans}
    assert {span.trace_id for span in spans} == {trace_id}
    for span in spans:
        ancestor: str | None = span.span_id
        while ancestor in parents:
            ancestor = parents[ancestor]
        assert ancestor == span_id


@kinds
def test_one_request_is_one_call(proxy: LiteLLMProxy, request_of_kind: Callable[[openai.OpenAI], Any]) -> None:
    """Whatever is asked for, the provider's answer and its tokens are there once."""
    with client(proxy) as (caller, *_):
        request_of_kind(caller)
    spans = settled(proxy)
    assert len(proxy.upstream.requests) == 1
    assert len({span.span_id for span in proxy.receiver.spans}) == len(proxy.receiver.spans)
    assert len(outermost(spans)) == 1
    (attempt,) = attempts(spans)
    assert attempt.attributes["gen_ai.usage.input_tokens"] == 11
    assert attempt.attributes.get("gen_ai.usage.output_tokens") in (7, 0, None)  # embeddings have none
    assert set(outcomes(spans)) == {"success"}


WAYS_THROUGH: Final = {"openai": "/openai/v1/chat/completions", "anthropic": "/anthropic/v1/messages", "own": PASSED}


def passed_on(proxy: LiteLLMProxy, caller: openai.OpenAI, way: str, *, stream: bool, pieces: int | None = None) -> Any:
    """The status of what is passed on, and what comes of it, as far as it is read."""
    headers = {**caller.auth_headers, "traceparent": str(caller.default_headers["traceparent"])}
    body = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": MESSAGES, "stream": stream}
    with httpx.stream("POST", proxy.url + WAYS_THROUGH[way], headers=headers, json=body, timeout=30) as answer:
        return answer.status_code, b"".join(itertools.islice(answer.iter_bytes(), pieces))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("way", WAYS_THROUGH)
def test_what_is_passed_through_is_a_call(proxy: LiteLLMProxy, way: str, stream: bool) -> None:
    """What goes to the provider as it came: a span in the caller's trace, to the answer's end, with no key in it."""
    with client(proxy) as (caller, trace_id, _):
        status, answer = passed_on(proxy, caller, way, stream=stream)
        assert (status, b"loopback" in answer) == (200, True)
        (span,) = settled(proxy)
        assert (span.attributes["gen_ai.operation.name"], span.trace_id) == ("passthrough", trace_id)
        assert span.attributes["callspan.outcome"] == "success"
        assert span.attributes["server.address"] == "127.0.0.1"
        assert span.attributes.get("gen_ai.provider.name") == (None if way == "own" else way)
        assert ("gen_ai.response.time_to_first_chunk" in span.attributes) == stream
        proxy.receiver.spans.clear()
        proxy.upstream.behave(Fail(429, f"Rate limit for {PROVIDER_KEY}"))
        assert passed_on(proxy, caller, way, stream=stream)[0] == 429
    (failed,) = settled(proxy)
    assert failed.attributes["callspan.outcome"] == "failure"
    assert failed.attributes["http.response.status_code"] == 429
    sent = span.span.SerializeToString() + failed.span.SerializeToString()
    assert not [key for key in KEYS if key.encode() in sent]


@pytest.mark.parametrize("way", WAYS_THROUGH)
def test_a_client_that_goes_away_while_it_is_passed_something(proxy: LiteLLMProxy, way: str) -> None:
    proxy.upstream.models["gpt-4o-mini"] = Answer(text="word " * 100, chunk_delay=0.1)
    with client(proxy) as (caller, *_):
        passed_on(proxy, caller, way, stream=True, pieces=1)
    gone = time.time()
    (span,) = settled(proxy)
    assert span.attributes["callspan.outcome"] in {"cancelled", "abandoned"}
    assert span.span.end_time_unix_nano / 1e9 < gone + 2


def test_a_client_that_goes_away_in_mid_stream(proxy: LiteLLMProxy) -> None:
    """The call ends when its reader does, and says so."""
    proxy.upstream.models["gpt-4o-mini"] = Answer(text="word " * 100, chunk_delay=0.1)
    with (
        client(proxy) as (caller, *_),
        caller.chat.completions.create(model="assistant", messages=MESSAGES, stream=True) as stream,
    ):
        for _, _ in zip(range(3), stream, strict=False):
            pass
    gone = time.time()
    spans = settled(proxy)
    assert len(outermost(spans)) == 1
    assert len(attempts(spans)) == 1
    assert set(outcomes(spans)) <= {"cancelled", "abandoned"}
    assert max(span.span.end_time_unix_nano for span in spans) / 1e9 < gone + 2


def test_the_proxys_own_callbacks(proxy: LiteLLMProxy) -> None:
    """A logger of its configuration is told once of each call, of success and of failure."""
    with client(proxy) as (caller, *_):
        for kind in ("chat", "streamed chat", "embeddings", "responses"):
            KINDS[kind](caller)
        proxy.upstream.models["gpt-4o-mini"] = Fail(400)
        with pytest.raises(openai.BadRequestError):
            KINDS["chat"](caller)
    settled(proxy)
    told = [line.split() for line in (proxy.directory / "told").read_text().splitlines()]
    assert Counter(what for what, _ in told) == {"success": 4, "failure": 1}
    assert max(Counter(call for _, call in told).values()) == 1


def test_no_key_is_in_what_is_stored_and_sent(proxy: LiteLLMProxy) -> None:
    """Neither of the proxy nor of its callers nor of the provider, whatever the request's metadata hold."""
    proxy.receiver.default = Status(503)
    for key in (MASTER_KEY, VIRTUAL_KEY):
        with client(proxy, key) as (caller, *_):
            for request_of_kind in KINDS.values():
                request_of_kind(caller)
            caller.chat.completions.create(model="assistant", messages=MESSAGES, metadata={"purpose": "a test"})
            proxy.upstream.models["gpt-4o-mini"] = Fail(401, f"Incorrect API key provided: {PROVIDER_KEY}.")
            with pytest.raises(openai.APIStatusError):
                KINDS["chat"](caller)
            proxy.upstream.models.clear()
    stored = b"".join(path.read_bytes() for path in proxy.spool.rglob("*") if path.is_file())
    proxy.receiver.default = Accept()
    settled(proxy, calls=2 * 8)
    sent = b"".join(
        b"".join(message.SerializeToString() for message in (span.resource, span.scope, span.span))
        for span in proxy.receiver.spans
    )
    headers = json.dumps([request.headers for request in proxy.receiver.requests]).encode()
    told = (proxy.directory / "stored").read_bytes()
    for where in (stored, sent, told):
        assert PROMPT.encode() in where
        assert b"a test" in where
    for where in (stored, sent, headers, told):
        for key in KEYS:
            assert key.encode() not in where


@pytest.mark.parametrize("status", [429, 500])
def test_retries_are_attempts(proxy: LiteLLMProxy, status: int) -> None:
    """The proxy's retries are below one call, and its caller has the answer of the last."""
    proxy.upstream.behave(Fail(status), Fail(status))
    with client(proxy) as (caller, *_):
        KINDS["chat"](caller)
        spans = settled(proxy, calls=4)
        assert outcomes(attempts(spans)) == ["failure", "failure", "success"]
        assert outcomes(outermost(spans)) == ["success"]
        proxy.receiver.spans.clear()
        proxy.upstream.models["gpt-4o-mini"] = Fail(status)
        with pytest.raises(openai.APIStatusError) as failed:
            KINDS["chat"](caller)
    spans = settled(proxy, calls=4)
    assert failed.value.status_code == status
    assert outcomes(attempts(spans)) == ["failure"] * 3
    assert outcomes(outermost(spans)) == ["failure"]
    assert {span.attributes["http.response.status_code"] for span in spans} == {status}


def test_sigterm(tmp_path: Path) -> None:
    """What was called before arrives, and so does what was still being answered, with a later process at the latest."""
    with serving(tmp_path, OTEL_BSP_SCHEDULE_DELAY="60000") as proxy, client(proxy) as (caller, *_):
        for _ in range(20):
            KINDS["chat"](caller)
        proxy.upstream.models["gpt-4o-mini"] = Answer(text="word " * 10, chunk_delay=0.1)
        with caller.chat.completions.create(model="assistant", messages=MESSAGES, stream=True) as stream:
            chunks = iter(stream)
            next(chunks)
            proxy.process.terminate()
            assert len(list(chunks)) > 5
        assert proxy.process.wait(30) == -signal.SIGTERM
        subprocess.run([SCRIPTS / "callspan", "drain"], env=proxy.env, timeout=60, check=False)
        spans = of_calls(proxy)
        assert len(outermost(spans)) == 21
        assert set(outcomes(spans)) == {"success"}
        assert len({span.span_id for span in spans}) == len(spans)
