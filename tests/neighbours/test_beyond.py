"""Programs that use the OpenAI and Anthropic SDKs directly: their calls have the same delivery and callbacks."""

import json
from collections import Counter

import pytest

from loopback.openai_api import Fail, OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import run_python

CALLS = """
    import asyncio, importlib, json, sys
    import callspan
    how, *others = sys.argv[1:]
    if how == "others first":
        for module in others:
            importlib.import_module(module).OpenAIInstrumentor().instrument()
    if how != "opentelemetry-instrument":
        callspan.instrument()
    if how == "others last":
        for module in others:
            importlib.import_module(module).OpenAIInstrumentor().instrument()
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

    async def streamed():
        stream = await openai.AsyncOpenAI().chat.completions.create(
            model="gpt-4o", messages=messages, stream=True, stream_options={"include_usage": True})
        async for _ in stream:
            pass

    with callspan.context(user_id="u-1"):
        openai.OpenAI().chat.completions.create(model="gpt-4o", messages=messages)
        assert ["blocking", "chat", "openai", "success", 11, "u-1"] in told, told
        asyncio.run(openai.AsyncOpenAI().chat.completions.create(model="gpt-4o", messages=messages))
        list(openai.OpenAI().chat.completions.create(
            model="gpt-4o", messages=messages, stream=True, stream_options={"include_usage": True}))
        asyncio.run(streamed())
        openai.OpenAI().embeddings.create(model="text-embedding-3-small", input="hello")
        # Traceloop's span of it begins when all is over, and shows too late that it is an LLM call's.
        if not others:
            openai.OpenAI().responses.create(model="gpt-4o", input="Say hello.")
        claude = {"model": "claude-sonnet-4-5", "messages": messages, "max_tokens": 9}
        anthropic.Anthropic(max_retries=0).messages.create(**claude)
        list(anthropic.Anthropic(max_retries=0).messages.create(**claude, stream=True))
        asyncio.run(anthropic.AsyncAnthropic(max_retries=0).messages.create(**claude))
        try:
            openai.OpenAI(max_retries=0).chat.completions.create(model="broken", messages=messages)
        except openai.OpenAIError:
            pass
    assert callspan.force_flush(20)
    print(json.dumps(told))
"""

OTHERS = ("opentelemetry.instrumentation.openai", "openinference.instrumentation.openai")
TOLD = [
    *[("chat", "openai", "success", 11, "u-1")] * 4,
    ("embeddings", "openai", "success", 11, "u-1"),
    ("chat", "openai", "failure", None, "u-1"),
    *[("chat", "anthropic", "success", 11, "u-1")] * 3,
]
RESPONSES = ("chat", "openai", "success", 11, "u-1")
WAYS = ("in the program", "opentelemetry-instrument", "others first", "others last")


@pytest.mark.parametrize("how", WAYS)
def test_their_calls_are_delivered_and_told_once(
    how: str, upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """Also where several record the same call, as with opentelemetry-instrument, which loads all that are installed."""
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
    auto, alone = how == "opentelemetry-instrument", how == "in the program"
    expected = [*TOLD, RESPONSES] if alone else TOLD
    done = run_python(CALLS, env=env, auto_instrument=auto, arguments=[how, *(() if alone else OTHERS)])
    told = json.loads(done.stdout.splitlines()[-1])
    for delivery in ("blocking", "background", "durable", "async"):
        assert Counter(tuple(entry[1:6]) for entry in told if entry[0] == delivery) == Counter(expected), delivery
    official = [
        span for span in otlp_receiver.spans if span.scope.name.startswith("opentelemetry.instrumentation.genai")
    ]
    assert len(official) == len(expected)
    assert all(span.attributes["user.id"] == "u-1" for span in official)
    scopes = {span.scope.name for span in otlp_receiver.spans}
    assert {"opentelemetry.instrumentation.openai.v1", OTHERS[1]} <= scopes or alone
