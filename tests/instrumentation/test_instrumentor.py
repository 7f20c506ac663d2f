"""Switching callspan on and off."""

import functools
import importlib
import signal
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import FunctionType

import litellm
import litellm.router
import pytest
from litellm.litellm_core_utils.thread_pool_executor import executor
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

import callspan
from callspan._content import ContentCapture
from callspan._litellm.call import Recording
from callspan._litellm.call_factory import CallFactory
from callspan._litellm.seams import litellm_seams
from callspan._metrics import Metrics
from callspan._neighbours import joining
from callspan._patches import Patches, Seam
from callspan._tracer import TracerSource
from instrumentation import calls
from instrumentation.conftest import Spans
from loopback.processes import run_python

MODULES = (
    "litellm",
    "litellm.main",
    "litellm.utils",
    "litellm.router",
    "litellm.responses.main",
    "litellm.litellm_core_utils.litellm_logging",
    "litellm.litellm_core_utils.asyncify",
    "litellm.litellm_core_utils.logging_worker",
    "litellm.litellm_core_utils.thread_pool_executor",
    "asyncio.runners",
    "asyncio.unix_events",
)
OPTIONAL = ("litellm.rust_bridge.dispatch", "litellm.router_python_core", "litellm.router_rust.core")


def snapshot() -> dict[str, object]:
    """Every object that could be patched, by where it is: functions with their code, classes with their members."""
    found: dict[str, object] = {}
    present = [*MODULES, *(name for name in OPTIONAL if name in sys.modules)]
    for module_name in present:
        module = importlib.import_module(module_name)
        for name, value in vars(module).items():
            found[f"{module_name}.{name}"] = value
            if hasattr(value, "__code__"):
                found[f"{module_name}.{name}.__code__"] = value.__code__
            if isinstance(value, type) and value.__module__.startswith(("litellm", "asyncio")):
                for member, thing in vars(value).items():
                    found[f"{module_name}.{name}.{member}"] = thing
                    if isinstance(thing, FunctionType):
                        found[f"{module_name}.{name}.{member}.__code__"] = thing.__code__
    return found


def test_uninstrument_restores_every_object_to_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """After uninstrument() every function, its code and every class member is the very object it was."""
    monkeypatch.setenv("CALLSPAN_DESTINATIONS", "none")
    litellm.Router(model_list=[])  # LiteLLM 1.110 imports what is behind it now
    before, handler = snapshot(), signal.getsignal(signal.SIGTERM)
    callspan.instrument(tracer_provider=TracerProvider())
    during = snapshot()
    assert "submit" in vars(executor)
    callspan.uninstrument()
    after = snapshot()
    assert "submit" not in vars(executor)
    assert signal.getsignal(signal.SIGTERM) is handler
    changed = {name for name, value in before.items() if during[name] is not value}
    assert {"litellm.main.completion.__code__", "litellm.main.acompletion.__code__"} <= changed
    assert any(name.endswith(("Router.acompletion.__code__", "Core.acompletion.__code__")) for name in changed)
    assert {name for name, value in before.items() if after.get(name) is not value} == set()
    assert set(after) == set(before)


def test_nothing_is_recorded_after_uninstrument(spans: Spans) -> None:
    """Calls made afterwards leave no span."""
    callspan.uninstrument()
    litellm.completion(**calls.CHAT)
    calls.router().completion(model="small", messages=calls.MESSAGES)
    assert spans() == ()


def test_instrument_again_after_uninstrument(spans: Spans) -> None:
    """It can be switched off and on."""
    callspan.uninstrument()
    callspan.instrument(tracer_provider=spans.provider)
    litellm.completion(**calls.CHAT)
    assert len(spans()) == 1


def test_instrumenting_twice_is_harmless_and_said_once(spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    """A second and third instrument() change nothing, and one line says so."""
    callspan.CallspanInstrumentor()._told_twice = False
    callspan.instrument()
    callspan.instrument()
    litellm.completion(**calls.CHAT)
    assert len(spans()) == 1
    assert len([record for record in caplog.records if "already" in record.getMessage()]) == 1


def test_a_wrapper_put_on_top_of_ours_survives_uninstrument(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody wrapped what we had wrapped, theirs stays."""
    inner = litellm.stream_chunk_builder
    monkeypatch.setattr(litellm, "stream_chunk_builder", functools.partial(inner))
    theirs = litellm.stream_chunk_builder
    callspan.uninstrument()
    assert litellm.stream_chunk_builder is theirs
    list(litellm.completion(**calls.CHAT, stream=True))


def test_without_litellm_it_is_harmless_and_said_once(tmp_path: Path) -> None:
    """On a machine without LiteLLM, instrument() says in one line what is missing, and the program runs."""
    program = """
        import importlib.metadata as metadata
        real = metadata.version
        def version(name):
            if name == "litellm":
                raise metadata.PackageNotFoundError(name)
            return real(name)
        metadata.version = version
        import callspan
        callspan.instrument(); callspan.instrument()
        print("done")
    """
    done = run_python(program, env={"CALLSPAN_DESTINATIONS": "none"})
    assert done.stdout == "done\n"
    # Nothing is missing where there is an instrumentation of another library.
    assert done.stderr.count("LiteLLM is not installed") == (0 if joining.anything_installed() else 1)


def test_importing_callspan_imports_neither_litellm_nor_the_sdk() -> None:
    """`import callspan` is cheap, and stays on the API's side of the contract."""
    program = """
        import callspan, sys
        print([name for name in sys.modules if name == "litellm" or name.startswith("opentelemetry.sdk")])
    """
    assert run_python(program).stdout == "[]\n"


def test_litellm_without_a_seam_is_said_and_the_rest_works(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A function that a future LiteLLM no longer has costs one line, not the application."""
    callspan.uninstrument()
    monkeypatch.delattr(litellm, "stream_chunk_builder")
    callspan.instrument(tracer_provider=spans.provider)
    litellm.completion(**calls.CHAT)
    assert len(spans()) == 1
    (line,) = [record.getMessage() for record in caplog.records if record.name == "callspan"]
    assert "litellm.stream_chunk_builder" in line


def test_a_defect_of_ours_does_not_reach_the_caller(
    spans: Spans, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure in what callspan does around a call leaves the call's result, or its exception, as it is."""

    class Broken(TracerProvider):
        def get_tracer(self, *_args: object, **_kwargs: object) -> None:
            raise RuntimeError("a broken provider")

    callspan.uninstrument()
    callspan.instrument(tracer_provider=Broken())
    assert litellm.completion(**calls.CHAT).choices[0].message.content == "Hello from loopback."
    assert "a broken provider" in caplog.text
    assert "the call itself is untouched" in caplog.text


def test_the_entry_point_loads() -> None:
    """What opentelemetry-instrument loads is the instrumentor."""
    (entry,) = entry_points(group="opentelemetry_instrumentor", name="callspan")
    assert entry.load() is callspan.CallspanInstrumentor


def test_the_public_names() -> None:
    """The public API is what it says, and nothing else."""
    assert callspan.__all__ == [
        "CallRecord",
        "CallspanInstrumentor",
        "Delivery",
        "Hook",
        "LiveCallRecord",
        "__version__",
        "add_callback",
        "aflush",
        "callback",
        "context",
        "force_flush",
        "instrument",
        "litellm_callback",
        "remove_callback",
        "uninstrument",
    ]


def test_force_flush_without_a_provider_is_true() -> None:
    """Where nothing is recorded nothing is pending."""
    program = "import callspan; print(callspan.force_flush(1))"
    assert run_python(program).stdout == "True\n"


def test_every_patch_is_in_the_table() -> None:
    """Each seam is named once, so that what is done is undone once."""
    seams = litellm_seams(CallFactory(Recording(TracerSource(), ContentCapture.from_environment(), Metrics())))
    names = [(seam.module, seam.path) for seam in seams if isinstance(seam, Seam)]
    assert len(names) == len(set(names))
    Patches(seams).undo()


def test_a_stream_kept_to_the_end_of_the_process_still_ends(tmp_path: Path) -> None:
    """A stream in a global variable, never read to its end, ends its span at exit as abandoned."""
    program = """
        import callspan, litellm
        from opentelemetry import trace
        from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter, BatchSpanProcessor
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
        trace.set_tracer_provider(provider)
        callspan.instrument()
        messages = [{"role": "user", "content": "hi"}]
        stream = litellm.completion("gpt-4o-mini", messages, mock_response="a b", stream=True)
        next(stream)
    """
    done = run_python(program, env={"CALLSPAN_DESTINATIONS": "none"})
    assert '"callspan.outcome": "abandoned"' in done.stdout


def test_uninstrument_leaves_the_opentelemetry_api_as_it_was() -> None:
    """Also what is patched to notice a provider set later is put back, and instrument() patches it anew."""
    program = """
        from opentelemetry import trace
        before = dict(vars(trace))
        import callspan
        for _ in range(2):
            callspan.instrument()
            patched = {name for name, value in before.items() if vars(trace)[name] is not value}
            callspan.uninstrument()
            left = {name for name, value in before.items() if vars(trace)[name] is not value}
            print(sorted(patched), sorted(left))
    """
    provider = "_TRACER_PROVIDER"  # the SDK that was set up stays: spans that have ended are still to be delivered
    expected = f"['{provider}', '_set_tracer_provider'] ['{provider}']\n"
    assert run_python(program).stdout == expected * 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_span_processor_that_raises_does_not_reach_the_caller(
    stream: bool, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK lets a processor's exception through to whoever ends a span; LiteLLM's caller must not meet it."""

    class Raises(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            raise RuntimeError("a broken processor")

    callspan._guard._reported.clear()
    spans.provider.add_span_processor(Raises())
    assert calls.make(litellm.completion, **calls.CHAT, stream=stream)
    assert "a broken processor" in caplog.text
