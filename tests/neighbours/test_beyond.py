"""Programs that use the OpenAI and Anthropic SDKs directly: their calls have the same delivery and callbacks."""

import json

import pytest

from loopback.openai_api import Fail, OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import run_python

CALLS = """
    import asyncio, json, sys
    import callspan
    if sys.argv[1] == "in the program":
        callspan.instrument()
    import anthropic, openai

    told = []

    def note(how):
        def tell(call):
            told.append([how, call.operation, call.provider, call.outcome, call.input_tokens, call.user_id])
        return tell

    async def awaited(call):
        await asyncio.sleep(0)
        note("async")(call)

    callspan.add_callback(note("blocking"), delivery="blocking", name="blocking")
    callspan.add_callback(note("background"), name="background")
    callspan.add_callback(note("durable"), delivery="durable", name="durable")
    callspan.add_callback(awaited, name="awaited")

    messages = [{"role": "user", "content": "Say hello."}]
    with callspan.context(user_id="u-1"):
        openai.OpenAI().chat.completions.create(model="gpt-4o", messages=messages)
        assert ["blocking", "chat", "openai", "success", 11, "u-1"] in told, told
        asyncio.run(openai.AsyncOpenAI().chat.completions.create(model="gpt-4o", messages=messages))
        list(openai.OpenAI().chat.completions.create(
            model="gpt-4o", messages=messages, stream=True, stream_options={"include_usage": True}))
        openai.OpenAI().embeddings.create(model="text-embedding-3-small", input="hello")
        anthropic.Anthropic(max_retries=0).messages.create(model="claude-sonnet-4-5", messages=messages, max_tokens=9)
        try:
            openai.OpenAI(max_retries=0).chat.completions.create(model="broken", messages=messages)
        except openai.OpenAIError:
            pass
    assert callspan.force_flush(20)
    print(json.dumps(told))
"""

# opentelemetry-instrument also loads the other instrumentations of the OpenAI SDK that are installed here.
BY_OFFICIAL = ("in the program",)
TOLD = [
    ["chat", "openai", "success", 11, "u-1"],
    ["chat", "openai", "success", 11, "u-1"],
    ["chat", "openai", "success", 11, "u-1"],
    ["embeddings", "openai", "success", 11, "u-1"],
    ["chat", "anthropic", "success", 11, "u-1"],
    ["chat", "openai", "failure", None, "u-1"],
]


@pytest.mark.parametrize("how", ["in the program", "opentelemetry-instrument"])
def test_their_calls_are_delivered_and_told(how: str, upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver) -> None:
    upstream.models["broken"] = Fail(400, "no loopback for you", "invalid_request_error")
    env = {
        "OPENAI_BASE_URL": upstream.base_url,
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{upstream.port}",
        "ANTHROPIC_API_KEY": "sk-ant-loopback",
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "httpx,aiohttp-client",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    done = run_python(CALLS, env=env, auto_instrument=how != "in the program", arguments=[how])
    told = [
        entry for entry in json.loads(done.stdout.splitlines()[-1]) if how in BY_OFFICIAL or entry[2] == "anthropic"
    ]
    expected = [entry for entry in TOLD if how in BY_OFFICIAL or entry[1] == "anthropic"]
    for delivery in ("blocking", "background", "durable", "async"):
        ours = [entry[1:6] for entry in told if entry[0] == delivery]
        assert sorted(map(str, ours)) == sorted(map(str, expected)), delivery
    official = [
        span for span in otlp_receiver.spans if span.scope.name.startswith("opentelemetry.instrumentation.genai")
    ]
    assert len(official) == len(TOLD)
    assert all(span.attributes["user.id"] == "u-1" for span in official)
