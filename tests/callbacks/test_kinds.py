"""Whatever a callback does, and whatever becomes of the call, it runs and hurts nobody."""

from pathlib import Path

import pytest

from callbacks.scenarios import Scenario, both, check
from loopback.openai_api import OpenAIUpstream
from loopback.openai_behaviours import Answer, Behaviour, CutStream, Fail, StreamError

SCENARIOS = {
    "one raises, the others run": Scenario(
        """
class Broken(CustomLogger):
    async def async_log_success_event(self, *_args, **_kwargs):
        raise RuntimeError("not today")
litellm.callbacks = [Broken(), Logger()]
if WITH:
    callspan.add_callback(lambda call: 1 / 0, name="broken")
asyncio.run(call())
""",
        both(1),
    ),
    "one blocks the loop": Scenario(
        """
async def run(who):
    time.sleep(0.3)
    line(who)
asyncio.run(call())
""",
        both(1),
    ),
    "one calls LiteLLM itself": Scenario(
        """
once = [True, True]
async def run(who):
    if who == "LiteLLM" and once and once.pop():
        await call()
    line(who)
asyncio.run(call())
""",
        both(3),
    ),
    "the network by host name, and threads, at the end": Scenario(
        """
import http.server
import aiohttp
import httpx

class Answering(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_args):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Answering)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://localhost:{server.server_port}/"

async def run(who):
    await asyncio.sleep(0.05)
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        assert await response.text() == "ok"
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(url)).text == "ok"
    await asyncio.to_thread(time.sleep, 0.01)
    line(who)

async def main():
    await call()
asyncio.run(main())
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
litellm.callbacks = []
if WITH:
    litellm.completion(**CHAT, mock_response="Hello!")
""",
        {"LiteLLM": 2, "callspan": 3},
    ),
    "objects of the application's loop": Scenario(
        """
async def run(who):
    async with lock:
        await asyncio.wait_for(event.wait(), 5)
        await asyncio.sleep(0.02)
        line(await queue.get())

async def main():
    global lock, event, queue
    lock, event, queue = asyncio.Lock(), asyncio.Event(), asyncio.Queue()
    await asyncio.gather(*(call() for _ in range(3)))
    for _ in range(3):
        queue.put_nowait("LiteLLM")
        queue.put_nowait("callspan")
    asyncio.get_running_loop().call_later(0.1, event.set)
asyncio.run(main())
""",
        both(3),
    ),
    "context variables and the trace": Scenario(
        """
from opentelemetry import trace
tracer = trace.get_tracer("app")
variable = contextvars.ContextVar("variable")
async def run(who):
    context = trace.get_current_span().get_span_context()
    line(f"{who} {variable.get()} {context.trace_id == outer.get_span_context().trace_id}")

async def main():
    global outer
    variable.set("set")
    with tracer.start_as_current_span("outer") as outer:
        await call()
        stream = await litellm.acompletion(**CHAT, mock_response="Hello!", stream=True)
    variable.set("set")
    async for _ in stream:
        pass
asyncio.run(main())
""",
        {"LiteLLM set True": 2, "callspan set True": 2},
    ),
    "a stream that is read": Scenario(
        """
async def main():
    async for _ in await call(stream=True):
        pass
asyncio.run(main())
""",
        both(1),
    ),
    "streams that are dropped and closed": Scenario(
        """
async def main():
    stream = await call(stream=True)
    await anext(stream)
    await stream.aclose()
    dropped = await call(stream=True)
    await anext(dropped)
asyncio.run(main())
""",
        {"callspan abandoned": 2},
    ),
    "a caller that is cancelled": Scenario(
        """
async def main():
    task = asyncio.create_task(litellm.acompletion(**CHAT, mock_response="Hello!", mock_delay=5))
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.wait([task])
asyncio.run(main())
""",
        {"callspan cancelled": 1},
    ),
    "plain functions, and one for this call alone": Scenario(
        """
def plain(kwargs, response, start, end):
    line("LiteLLM plain")
async def plain_async(kwargs, response, start, end):
    await asyncio.sleep(0.1)
    line("LiteLLM async")
async def alone(kwargs, response, start, end):
    await asyncio.sleep(0.1)
    line("LiteLLM alone")
litellm.callbacks = []
litellm.success_callback = [plain]
litellm._async_success_callback = [plain_async]
async def main():
    await call()
    await call(success_callback=[alone])
asyncio.run(main())
litellm.completion(**CHAT, mock_response="Hello!")
""",
        {"LiteLLM async": 2, "LiteLLM alone": 1, "LiteLLM plain": 1, "callspan": 3},
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_runs(tmp_path: Path, name: str) -> None:
    """As often as it has to."""
    check(SCENARIOS[name], tmp_path)


TRANSPORT = """
async def main():
    try:
        async for _ in await litellm.acompletion(**CHAT, stream=True):
            pass
    except Exception:
        pass
asyncio.run(main())
"""
ROUTER = """
router = litellm.Router(
    model_list=[
        {"model_name": "small", "litellm_params": {"model": "openai/gpt-4o-mini"}},
        {"model_name": "large", "litellm_params": {"model": "openai/gpt-4o"}},
    ],
    fallbacks=[{"small": ["large"]}], num_retries=1, retry_after=0, disable_cooldowns=True,
)
asyncio.run(router.acompletion("small", CHAT["messages"], max_retries=0))
"""
OVER_HTTP: dict[str, tuple[list[Behaviour], Scenario]] = {
    "a stream that fails half way": (
        [StreamError(after_chunks=2)],
        Scenario(TRANSPORT, {"LiteLLM failure": 1, "callspan failure": 1}),
    ),
    "a stream that is cut": (
        [CutStream(after_chunks=2)],
        Scenario(TRANSPORT, {"LiteLLM failure": 1, "callspan failure": 1}),
    ),
    "a Router that retries and falls back": (
        [Fail(500), Fail(500), Answer("at last")],
        Scenario(ROUTER, {"LiteLLM failure": 2, "LiteLLM": 1, "callspan failure": 2, "callspan": 1}),
    ),
}


@pytest.mark.parametrize("name", OVER_HTTP)
def test_it_runs_whatever_the_provider_does(tmp_path: Path, upstream: OpenAIUpstream, name: str) -> None:
    """LiteLLM's failure hooks and callspan's, of each attempt."""
    behaviours, scenario = OVER_HTTP[name]
    upstream.behave(*behaviours)
    env = {"OPENAI_API_BASE": upstream.base_url, "OPENAI_BASE_URL": upstream.base_url}
    check(Scenario(scenario.program, scenario.runs, env=env), tmp_path)


NESTED = """
litellm.callbacks = []
callspan.remove_callback(own)

async def again(call):
    await asyncio.sleep(0.05)
    line("outer" if call.metadata.get("outer") else "inner")
    if call.metadata.get("outer"):
        await litellm.acompletion(**CHAT, mock_response="Hello!")

callspan.add_callback(again, delivery="blocking")

async def main():
    await asyncio.gather(*(call(metadata={"outer": True}) for _ in range(300)))
asyncio.run(main())
"""


def test_callbacks_that_wait_for_one_another_are_not_held_back(tmp_path: Path) -> None:
    """Each blocks a call made in a callback of the same kind, more of them at once than run at once otherwise."""
    check(Scenario(NESTED, {"outer": 300, "inner": 300}), tmp_path)
