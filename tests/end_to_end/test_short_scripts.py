"""Scripts that are gone in a second: their spans, with all their events, arrive."""

import json
from pathlib import Path

import pytest

from loopback.openai_api import Fail, OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import run_python

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"

# The shape of BerriAI/litellm#8842: a Router with a strategy of its own, a CustomLogger, one asynchronous call.
ISSUE_8842 = """
    import asyncio
    import litellm
    from litellm.integrations.custom_logger import CustomLogger

    class Handler(CustomLogger):
        async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
            pass

    litellm.callbacks = [Handler()]
    router = litellm.Router(
        model_list=[{"model_name": "default", "litellm_params": {"model": "openai/gpt-4o-mini"}}],
        routing_strategy="usage-based-routing-v2",
    )

    async def send_request():
        await router.acompletion(model="default", messages=[{"role": "user", "content": "Hello world!"}])

    asyncio.run(send_request())
"""


@pytest.mark.parametrize("auto_instrument", [True, False], ids=["opentelemetry-instrument", "instrument()"])
def test_the_script_of_issue_8842_is_recorded_whole(
    auto_instrument: bool, upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """asyncio.run() ends at once, and the spans of the call, its attempt and the callback have arrived by exit."""
    program = ISSUE_8842 if auto_instrument else "\n    import callspan\n    callspan.instrument()\n" + ISSUE_8842
    done = run_python(
        program,
        auto_instrument=auto_instrument,
        env={
            "OPENAI_BASE_URL": upstream.base_url,
            "OPENAI_API_BASE": upstream.base_url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        },
    )
    assert "callspan" not in done.stderr
    spans = {span.name: span for span in otlp_receiver.spans if span.scope.name == "callspan"}
    assert set(spans) == {"Router.acompletion default", "chat gpt-4o-mini", "callback __main__.Handler"}
    call, attempt = spans["Router.acompletion default"], spans["chat gpt-4o-mini"]
    assert attempt.parent_id == call.span_id
    assert spans["callback __main__.Handler"].parent_id == attempt.span_id
    assert [event.name for event in call.span.events] == ["litellm.success"]
    assert [event.name for event in attempt.span.events] == [
        "litellm.pre_api_call",
        "litellm.post_api_call",
        "litellm.success",
    ]


def test_the_quickstart_can_be_looked_at_without_a_collector() -> None:
    """With no collector, key or network, the quickstart's calls are in the spool, each with its outcome and parents."""
    env = {"OPENAI_API_KEY": None, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    done = run_python(QUICKSTART, auto_instrument=True, env=env)
    assert done.stdout.count("\n") == 5
    assert "Traceback" not in done.stderr
    (kept,) = [line for line in done.stderr.splitlines() if "callspan" in line]
    assert "kept 7 spans" in kept
    assert "callspan show" in kept
    shown = run_python(
        "import sys; from callspan_exporters.cli import main; sys.exit(main())", arguments=["show", "--json"]
    )
    roots = {root["name"]: root for trace in reversed(json.loads(shown.stdout)) for root in trace["spans"]}
    assert set(roots) == {"chat gpt-4o-mini", "Router.acompletion assistant", "chat no-such-model"}
    router_call = roots["Router.acompletion assistant"]
    (attempt,) = router_call["children"]
    assert attempt["attributes"]["gen_ai.usage.output_tokens"] > 0
    assert attempt["attributes"]["callspan.cost.amount"] > 0
    assert roots["chat no-such-model"]["attributes"]["callspan.outcome"] == "failure"
    assert "litellm.success" in [event["name"] for event in router_call["events"]]


def test_the_quickstart_asks_the_model_that_the_environment_names(upstream: OpenAIUpstream) -> None:
    """With OPENAI_API_KEY set, it asks OPENAI_BASE_URL instead of making answers up."""
    run_python(QUICKSTART, env={"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "sk-loopback"})
    assert len(upstream.requests) == 5
    assert [bool(request.body.get("stream")) for request in upstream.requests].count(True) == 1
    assert any("tools" in request.body for request in upstream.requests)


def test_the_next_process_sends_what_a_dead_collector_left(otlp_receiver: OtlpReceiver) -> None:
    """A quickstart while the collector is down, and another when it is up: every span arrives, each once."""
    env = {
        "OPENAI_API_KEY": None,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    }
    otlp_receiver.down()
    run_python(QUICKSTART, auto_instrument=True, env=env)
    otlp_receiver.up()
    run_python(QUICKSTART, auto_instrument=True, env=env)
    identifiers = [span.span_id for span in otlp_receiver.wait_for(14)]
    assert len(identifiers) == len(set(identifiers)) == 14


@pytest.mark.parametrize("up", [True, False], ids=["collector up", "collector down"])
def test_force_flush_tells_the_truth(up: bool, upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver) -> None:
    """callspan.force_flush() is True when everything has been delivered, and False when it has not."""
    if not up:
        otlp_receiver.down()
    program = """
        import callspan, litellm
        callspan.instrument()
        litellm.completion("openai/gpt-4o-mini", [{"role": "user", "content": "Hi"}])
        print(callspan.force_flush(timeout=3.0))
    """
    env = {"OPENAI_BASE_URL": upstream.base_url, "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    assert run_python(program, env=env).stdout == f"{up}\n"
    assert len(otlp_receiver.spans) == up


def test_no_secret_and_no_prompt_reaches_the_disk(upstream: OpenAIUpstream, spool_dir: Path) -> None:
    """Neither keys, nor a destination's headers, nor prompts and answers are in any file of the spool."""
    upstream.models["gpt-4o"] = Fail(
        401, "Incorrect API key provided: sk-of-the-user-0123456789", "invalid_request_error"
    )
    program = """
        import contextlib, callspan, litellm
        callspan.instrument()
        messages = [{"role": "user", "content": "the launch code is swordfish"}]
        litellm.completion("openai/gpt-4o-mini", messages)
        with contextlib.suppress(litellm.AuthenticationError):
            litellm.completion("openai/gpt-4o", messages)
    """
    env = {
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_API_KEY": "sk-of-the-user-0123456789",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:password-of-the-url@127.0.0.1:9/key-in-the-path-0123456789",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20token-of-the-header",
    }
    done = run_python(program, env=env)
    written = b"".join(file.read_bytes() for file in spool_dir.rglob("*") if file.is_file())
    assert b"gpt-4o-mini" in written
    for secret in (
        "sk-of-the-user",
        "password-of-the-url",
        "key-in-the-path",
        "token-of-the-header",
        "swordfish",
        "Hello from loopback",
    ):
        assert secret.encode() not in written
        assert secret not in done.stderr
        assert not [name for name in map(str, spool_dir.rglob("*")) if secret in name]


def test_our_own_requests_are_not_in_the_applications_log(otlp_receiver: OtlpReceiver) -> None:
    """Each request is information to httpx; those that carry spans are no news for the application."""
    program = """
        import logging
        logging.basicConfig(level=logging.INFO)
        import callspan, httpx, os
        from opentelemetry import trace
        callspan.instrument()
        trace.get_tracer("user").start_span("one").end()
        assert callspan.force_flush(5)
        httpx.get(os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] + "/the-applications-own")
        trace.get_tracer("user").start_span("two").end()
    """
    done = run_python(program, env={"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint})
    assert len(otlp_receiver.wait_for(2)) == 2
    assert done.stderr.count("HTTP Request") == 1
    assert "the-applications-own" in done.stderr


@pytest.mark.parametrize("when", ["before", "after"])
def test_calls_are_spans_of_the_applications_provider(
    when: str, upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """Whether the application sets its provider before or after, its resource is on the call's span, sent once."""
    setting = """
        own = TracerProvider(resource=Resource({"service.name": "mine"}))
        own.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(own)
    """
    program = f"""
        import callspan, litellm
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        {setting if when == "before" else ""}
        callspan.instrument()
        {setting if when == "after" else ""}
        litellm.completion("openai/gpt-4o-mini", [{{"role": "user", "content": "Hi"}}])
    """
    env = {"OPENAI_BASE_URL": upstream.base_url, "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    run_python(program, env=env)
    (span,) = otlp_receiver.spans
    assert span.name == "chat gpt-4o-mini"
    service = {attribute.key: attribute.value.string_value for attribute in span.resource.attributes}
    assert service["service.name"] == "mine"
