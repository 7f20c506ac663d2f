"""An answer from LiteLLM's cache says so, whichever cache it is, and is not counted as if it had been paid for."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from typing import Any

import fakeredis
import litellm
import pytest
from redis.asyncio import Connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from instrumentation import calls
from instrumentation.conftest import Spans, events
from loopback.openai_api import OpenAIUpstream

# LiteLLM leaves its connections to Redis open.
pytestmark = pytest.mark.filterwarnings("ignore:.*StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    yield
    litellm.cache = None
    litellm.in_memory_llm_clients_cache.flush_cache()  # of Redis too
    gc.collect()  # while the warnings that it brings are let through


@pytest.fixture
def redis() -> Iterator[int]:
    """The port of a Redis on loopback."""
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["local", "redis"])
def cached(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteLLM with a cache."""
    where: dict[str, Any] = {"type": request.param}
    if request.param == "redis":
        where |= {"host": "127.0.0.1", "port": str(request.getfixturevalue("redis"))}
    monkeypatch.setattr(litellm, "cache", litellm.Cache(**where))


async def hang_up() -> None:
    """Close LiteLLM's connections to Redis, while there is the loop to do it: who holds them may live on."""
    for connection in [held for held in gc.get_objects() if isinstance(held, Connection)]:
        await connection.disconnect()


async def twice(function: Any, **arguments: Any) -> None:
    for _ in range(2):
        result = await function(**arguments)
        if arguments.get("stream"):
            assert [chunk async for chunk in result]
        await asyncio.sleep(0.2)  # LiteLLM stores what it caches in a task
    await hang_up()


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("name", ["acompletion", "aembedding"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_hit_is_said_and_not_paid_for(name: str, stream: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
    if stream and name != "acompletion":
        pytest.skip("there is no such stream")
    options = {"stream": True} if stream else {}
    asyncio.run(twice(getattr(litellm, name), **calls.arguments(name), **options, caching=True))
    asked, hit = spans()
    assert len(upstream.requests) == 1
    assert "litellm.cache_hit" not in asked.attributes
    assert hit.attributes["litellm.cache_hit"] is True
    assert "litellm.cache_hit" in events(hit)
    assert asked.attributes["callspan.cost.amount"] > 0
    assert hit.attributes.get("callspan.cost.amount", 0) == 0
    assert "litellm.pre_api_call" not in events(hit)


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ["completion", "embedding", "responses"])
def test_a_synchronous_hit_is_said(name: str, stream: bool, spans: Spans, upstream: OpenAIUpstream) -> None:
    if stream and name != "completion":
        pytest.skip("LiteLLM keeps no such stream, or there is none")
    for _ in range(2):
        calls.make(getattr(litellm, name), **calls.arguments(name), stream=stream or None, caching=True)
    asked, hit = spans()
    assert len(upstream.requests) == 1
    assert "litellm.cache_hit" not in asked.attributes
    assert hit.attributes["litellm.cache_hit"] is True
    assert hit.attributes.get("callspan.cost.amount", 0) == 0


@pytest.mark.usefixtures("cached")
def test_embeddings_of_which_some_were_cached_cost_what_the_others_did(spans: Spans, upstream: OpenAIUpstream) -> None:
    """A hit, which all the same has asked the provider: for what it did not have."""

    async def main() -> None:
        for texts in (["one"], ["one", "two", "three"], ["one", "two"]):
            await litellm.aembedding(model="openai/text-embedding-3-small", input=texts, caching=True)
            await asyncio.sleep(0.2)  # LiteLLM stores what it caches in a task
        await hang_up()

    asyncio.run(main())
    asked, some, all_of_them = spans()
    assert {"two", "three"} <= set(upstream.requests[-1].body["input"])
    assert len(upstream.requests) == 2
    assert "litellm.cache_hit" not in asked.attributes
    assert some.attributes["litellm.cache_hit"] is all_of_them.attributes["litellm.cache_hit"] is True
    assert some.attributes["callspan.cost.amount"] == asked.attributes["callspan.cost.amount"] > 0
    assert all_of_them.attributes.get("callspan.cost.amount", 0) == 0
    assert "litellm.pre_api_call" in events(some)


def test_a_routers_hit_is_said(redis: int, spans: Spans, upstream: OpenAIUpstream) -> None:
    """On its attempt, and on the call."""
    router = litellm.Router(
        [{"model_name": "group", "litellm_params": {"model": "openai/gpt-4o-mini"}}],
        cache_responses=True,
        redis_host="127.0.0.1",
        redis_port=redis,
        redis_password="loopback",  # LiteLLM asks for one; a server without one takes none
    )
    try:
        asyncio.run(twice(router.acompletion, model="group", messages=calls.MESSAGES))
    finally:
        litellm.cache = None
    assert len(upstream.requests) == 1
    _, asked, attempt, hit = spans()
    assert (asked.name, hit.name) == ("Router.acompletion group", "Router.acompletion group")
    assert "litellm.cache_hit" not in asked.attributes
    assert attempt.attributes["litellm.cache_hit"] is True
    assert hit.attributes["litellm.cache_hit"] is True


@pytest.mark.parametrize("name", ["completion", "acompletion"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_cache_that_is_not_there_hurts_no_call(
    name: str, stream: bool, spans: Spans, upstream: OpenAIUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At once: LiteLLM's Redis client waits for seconds before it tries again.
    options = {"socket_connect_timeout": 0.2, "retry": Retry(NoBackoff(), 0)}
    monkeypatch.setattr(litellm, "cache", litellm.Cache(type="redis", host="127.0.0.1", port="1", **options))
    question = [{"role": "user", "content": f"Is anybody there? {name} {stream}"}]
    for _ in range(2):
        calls.make(getattr(litellm, name), model="openai/gpt-4o-mini", messages=question, caching=True, stream=stream)
    # Some LiteLLMs keep what they could not store for a while, and answer from that.
    hits = [span for span in spans() if span.attributes.get("litellm.cache_hit")]
    assert len(upstream.requests) == 2 - len(hits) > 0
    assert [span.attributes["callspan.outcome"] for span in spans()] == ["success", "success"]
    assert spans()[0].attributes["callspan.cost.amount"] > 0
