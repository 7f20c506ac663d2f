"""LiteLLM's side: its hooks as without callspan, its worker out of use, its batching loggers, and blocking delivery."""

import json
from pathlib import Path

import pytest

from callbacks.scenarios import Scenario, check, check_control
from loopback.openai_api import OpenAIUpstream
from loopback.processes import run_python

HOOKS = """
import asyncio, json, os, sys, time
if sys.argv[1] == "callspan":
    import callspan
    callspan.instrument()
import litellm
from litellm.integrations.custom_logger import CustomLogger

litellm.suppress_debug_info = True
seen = []

def note(hook, args, kwargs):
    details = kwargs.get("kwargs")
    described = {name: type(value).__name__ for name, value in kwargs.items()}
    seen.append([hook, len(args), described, sorted(details) if isinstance(details, dict) else None])

class Logger(CustomLogger):
    async def async_log_success_event(self, *args, **kwargs):
        note("async_success", args, kwargs)
    async def async_log_failure_event(self, *args, **kwargs):
        note("async_failure", args, kwargs)
    def log_success_event(self, *args, **kwargs):
        note("success", args, kwargs)
    def log_failure_event(self, *args, **kwargs):
        note("failure", args, kwargs)
    def log_pre_api_call(self, *args, **kwargs):
        note("pre", args, {})
    def log_post_api_call(self, *args, **kwargs):
        note("post", args, {})
    async def async_log_stream_event(self, *args, **kwargs):
        pass  # of each chunk, on threads that LiteLLM does not wait for itself
    def log_stream_event(self, *args, **kwargs):
        pass

litellm.callbacks = [Logger()]
GOOD = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_retries": 0}
BAD = {**GOOD, "api_base": "http://127.0.0.1:9"}

async def make(options):
    try:
        result = await litellm.acompletion(**options)
        if options.get("stream"):
            async for _ in result:
                pass
    except Exception:
        pass
    await asyncio.sleep(0.4)

def make_sync(options):
    try:
        result = litellm.completion(**options)
        if options.get("stream"):
            list(result)
    except Exception:
        pass
    time.sleep(0.4)

async def main():
    for options in (GOOD, BAD, {**GOOD, "stream": True}):
        await make(options)
        print(json.dumps(sorted(seen)))
        seen.clear()

asyncio.run(main())
for options in (GOOD, BAD, {**GOOD, "stream": True}):
    make_sync(options)
    print(json.dumps(sorted(seen)))
    seen.clear()
"""


@pytest.fixture
def quiet(upstream: OpenAIUpstream) -> dict[str, str]:
    """Nowhere to send spans, and LiteLLM on loopback."""
    return {
        "OTEL_TRACES_EXPORTER": "none",
        "OPENAI_API_BASE": upstream.base_url,
        "OPENAI_BASE_URL": upstream.base_url,
    }


def test_each_hook_is_called_once_with_the_same_arguments(quiet: dict[str, str]) -> None:
    """With callspan and without: successes, failures and streams, synchronous or not."""
    alone, ours = (run_python(HOOKS, arguments=[who], env=quiet).stdout for who in ("LiteLLM", "callspan"))
    for theirs, with_callspan in zip(alone.splitlines(), ours.splitlines(), strict=True):
        assert json.loads(with_callspan) == json.loads(theirs)
    assert [len(json.loads(line)) >= 2 for line in ours.splitlines()] == [True] * 6


BLOCKING = """
import asyncio, sys, time
import callspan
{switch_on}
import litellm
from litellm.integrations.custom_logger import CustomLogger

told = []
class Audit(CustomLogger):
    async def async_log_success_event(self, *_args, **_kwargs):
        await asyncio.sleep(0.1)
        told.append("async")
    def log_success_event(self, *_args, **_kwargs):
        time.sleep(0.1)
        told.append("sync")

litellm.callbacks = [{logger}]
CHAT = dict(model="openai/gpt-4o-mini", messages=[{{"role": "user", "content": "hi"}}])

async def main():
    for _ in range(2):
        await litellm.acompletion(**CHAT)
        print(*told)
        told.clear()
    async for _ in await litellm.acompletion(**CHAT, stream=True):
        assert not told
    print(*told)
    told.clear()
    router = litellm.Router(model_list=[{{"model_name": "one", "litellm_params": {{"model": "openai/gpt-4o-mini"}}}}])
    await router.acompletion("one", CHAT["messages"])
    print(*told)
    told.clear()

asyncio.run(main())
litellm.completion(**CHAT)
print(*told)
told.clear()
for _ in litellm.completion(**CHAT, stream=True):
    pass
print("sync" in told)
"""


@pytest.mark.parametrize("one", [False, True], ids=["all", "one logger"])
def test_litellms_callbacks_can_block(quiet: dict[str, str], one: bool) -> None:
    """They have run before the call, or the end of the stream, returns."""
    program = BLOCKING.format(
        switch_on="callspan.instrument()" if one else "callspan.instrument(litellm_callbacks='blocking')",
        logger="callspan.litellm_callback(Audit(), delivery='blocking')" if one else "Audit()",
    )
    assert run_python(program, env=quiet).stdout.splitlines() == ["async"] * 4 + ["sync", "True"]


MRE = """
import asyncio
import litellm
from litellm.integrations.custom_logger import CustomLogger

class Handler(CustomLogger):
    def log_pre_api_call(self, model, messages, kwargs):
        print("pre")
    def log_post_api_call(self, kwargs, response_obj, start_time, end_time):
        print("post")
    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        print("success")
    def log_failure_event(self, kwargs, response_obj, start_time, end_time):
        print("failure")
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        print("async success")
    async def async_log_failure_event(self, kwargs, response_obj, start_time, end_time):
        print("async failure")

router = litellm.Router(
    model_list=[{"model_name": "default", "litellm_params": {"model": "openai/gpt-4o-mini"}}],
    routing_strategy="usage-based-routing-v2",
)
litellm.callbacks.append(Handler())

async def send():
    response = await router.acompletion("default", messages=[{"role": "user", "content": "Hello world!"}])
    print("returned")
    return response

asyncio.run(send())
print("end")
"""


def test_the_script_of_8842(quiet: dict[str, str]) -> None:
    """Of its shape, under ``opentelemetry-instrument``: the asynchronous hook fires before the loop is gone."""
    printed = run_python(MRE, env=quiet, auto_instrument=True).stdout.splitlines()
    assert printed.count("async success") == 1
    assert printed.index("async success") < printed.index("end")


def test_the_script_of_8842_with_blocking_callbacks(quiet: dict[str, str]) -> None:
    """The stricter form: it has fired before the call returned."""
    program = "import callspan\ncallspan.instrument(litellm_callbacks='blocking')\n" + MRE
    printed = run_python(program, env=quiet).stdout.splitlines()
    assert printed.count("async success") == 1
    assert printed.index("async success") < printed.index("returned")


BATCHING = """
import http.server, json
from litellm.integrations.custom_batch_logger import CustomBatchLogger

class Taking(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        for _ in json.loads(self.rfile.read(int(self.headers["content-length"]))):
            line("LiteLLM sent")
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_args):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Taking)
threading.Thread(target=server.serve_forever, daemon=True).start()

class Batching(CustomBatchLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        await asyncio.sleep(0.05)
        self.log_queue.append(response_obj.id)
    async def async_send_batch(self):
        import httpx
        async with httpx.AsyncClient(trust_env=False) as client:
            await client.post(f"http://localhost:{server.server_port}/", json=self.log_queue)

class Unlocked(Batching):  # another class: LiteLLM takes two loggers of one for the same
    pass

litellm.callbacks = [Batching(flush_lock=asyncio.Lock()), Unlocked()]
async def main():
    await asyncio.gather(*(call() for _ in range(3)))
"""


@pytest.mark.parametrize("ending", ["asyncio.run(main())", "asyncio.new_event_loop().run_until_complete(main())"])
def test_batching_loggers_let_go_at_the_end(tmp_path: Path, ending: str) -> None:
    """After the callbacks that feed them, by their own way to send, over the network by name."""
    check(Scenario(BATCHING + ending, {"LiteLLM sent": 6, "callspan": 3}), tmp_path)


WORKER = """
import asyncio
import callspan
callspan.instrument()
import litellm
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER as worker

ran = []
async def work(name):
    await asyncio.sleep(0.05)
    ran.append(name)

async def main():
    worker.start()
    worker.enqueue(work("enqueued"))
    worker.ensure_initialized_and_enqueue(async_coroutine=work("ensured"))
    assert not ran
    await worker.flush()
    print(sorted(ran))
    worker.enqueue(work("cleared"))
    await worker.clear_queue()
    await worker.stop()
    worker.enqueue(work("last"))
asyncio.run(main())
print(sorted(ran), worker._worker_task)
"""


def test_the_workers_public_methods_work(quiet: dict[str, str]) -> None:
    """For code that calls them; no worker task is ever started."""
    assert run_python(WORKER, env=quiet).stdout.splitlines() == [
        "['enqueued', 'ensured']",
        "['cleared', 'enqueued', 'ensured', 'last'] None",
    ]


UNINSTRUMENTED = """
import asyncio, atexit
import callspan, litellm
from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER as worker
callspan.instrument()
callspan.uninstrument()

class Logger(CustomLogger):
    async def async_log_success_event(self, *_args, **_kwargs):
        print("ran", worker._worker_task is not None)

litellm.callbacks = [Logger()]
CHAT = dict(model="openai/gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], mock_response="Hello!")
async def main():
    await litellm.acompletion(**CHAT)
    await asyncio.sleep(0.2)
    await litellm.acompletion(**CHAT)
asyncio.run(main())
print("end")
"""


def test_uninstrument_puts_the_worker_back(quiet: dict[str, str]) -> None:
    """It runs callbacks as before, and flushes at exit what it still had."""
    assert sorted(run_python(UNINSTRUMENTED, env=quiet).stdout.splitlines()) == ["end", "ran True", "ran True"]


PROVIDERS = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

def provide():
    provider = TracerProvider()
    provider.add_span_processor(
        BatchSpanProcessor(ConsoleSpanExporter(formatter=lambda span: span.name + "\\n"))
    )
    trace.set_tracer_provider(provider)

{before}
import callspan
callspan.instrument()
import litellm
from litellm.integrations.custom_logger import CustomLogger
{after}

class Logger(CustomLogger):
    async def async_log_success_event(self, *_args, **_kwargs):
        await asyncio.sleep(0.1)
        with trace.get_tracer("app").start_as_current_span("within"):
            pass

litellm.callbacks = [Logger()]
CHAT = dict(model="openai/gpt-4o-mini", messages=[{{"role": "user", "content": "hi"}}], mock_response="Hello!")
asyncio.run(litellm.acompletion(**CHAT))
loop = asyncio.new_event_loop()
loop.run_until_complete(litellm.acompletion(**CHAT))
"""


@pytest.mark.parametrize("order", ["before", "after"])
def test_spans_of_callbacks_reach_the_provider(order: str) -> None:
    """Whether it was made before LiteLLM was imported or after: it is not shut down before they have ended."""
    places = {"before": "", "after": "", order: "provide()"}
    printed = run_python(PROVIDERS.format(**places), env={"CALLSPAN_DESTINATIONS": "none"}).stdout.splitlines()
    names = [line for line in printed if line]
    assert sorted(names) == sorted(["chat gpt-4o-mini", "callback __main__.Logger", "within"] * 2)


def test_the_example_runs() -> None:
    """As it stands, in the order that each delivery promises."""
    example = Path(__file__).parents[2] / "examples" / "callbacks.py"
    printed = [line.split(":")[0] for line in run_python(example).stdout.splitlines()]
    assert printed == ["audit", "answer", "analytics", "end of main", "ledger"]


REAL_LOGGER = """
import http.server, json

class Taking(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for _ in sent.get("batch") or sent["post"]:
            line("LiteLLM sent")
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{{}}")
    def log_message(self, *_args):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Taking)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://localhost:{{server.server_port}}"
os.environ.update(
    POSTHOG_API_KEY="phc-x", POSTHOG_API_URL=url,
    LANGSMITH_API_KEY="lsv2-x", LANGSMITH_BASE_URL=url, LANGSMITH_PROJECT="p",
)
litellm.callbacks = ["{name}"]
async def main():
    for _ in range(3):
        await call()
    await asyncio.sleep(0.1)
asyncio.run(main())
"""
LANGSMITH = Scenario(REAL_LOGGER.format(name="langsmith"), {"LiteLLM sent": 3, "callspan": 3})
POSTHOG = Scenario(REAL_LOGGER.format(name="posthog"), {"LiteLLM sent": 3, "callspan": 3})


@pytest.mark.parametrize("scenario", [LANGSMITH, POSTHOG], ids=["LangSmith", "PostHog"])
def test_litellms_own_batching_loggers_let_go(tmp_path: Path, scenario: Scenario) -> None:
    """Asked for by name, and sending to a server by name."""
    check(scenario, tmp_path)


@pytest.mark.slow
def test_litellm_alone_sends_nothing_to_langsmith(tmp_path: Path) -> None:
    """So the test above can fail."""
    check_control(LANGSMITH, tmp_path)
