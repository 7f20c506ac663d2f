"""The uploader of opentelemetry-util-genai as completion hook: what a LiteLLM call says ends up in files."""

import json
from pathlib import Path
from typing import Any

import pytest

from loopback.openai_api import OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver, ReceivedSpan
from loopback.processes import run_python

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
NAMES = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "gen_ai.tool.definitions")

# Each file takes a while to open, so that whoever leaves without waiting leaves without them.
SLOW_FILES = """
import time
import fsspec
from fsspec.implementations.local import LocalFileSystem

class Slow(LocalFileSystem):
    protocol = "slow"

    def open(self, *args, **kwargs):
        time.sleep(0.5)
        return super().open(*args, **kwargs)

fsspec.register_implementation("slow", Slow)
"""

CALLS = """
messages = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [
        {"type": "text", "text": "The word is swordfish."},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}},
    ]},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "I would rather not."}]},
]
parameters = {"type": "object", "properties": {}}
tools = [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": parameters}}]
asked = {"model": "openai/gpt-4o-mini", "messages": messages, "tools": tools}
for function in (litellm.completion, litellm.acompletion):
    for stream in (False, True):
        calls.make(function, **asked, stream=stream)
"""

INSTRUMENTED = """
import callspan
callspan.instrument()
import litellm
from instrumentation import calls
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def environment(files: Path, upstream: OpenAIUpstream, receiver: OtlpReceiver, **more: str) -> dict[str, str]:
    return {
        "OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK": "upload",
        "OTEL_INSTRUMENTATION_GENAI_UPLOAD_BASE_PATH": files.as_uri(),
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_API_BASE": upstream.base_url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "CALLSPAN_REDACT_PATTERNS": "swordfish",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        **more,
    }


def uploaded(span: ReceivedSpan, name: str) -> Any:
    return json.loads(Path(span.attributes[f"{name}_ref"].removeprefix("file://")).read_text())


@pytest.mark.parametrize("mode", ["NO_CONTENT", "SPAN_ONLY"])
def test_content_is_in_files_that_the_span_refers_to(
    mode: str, files: Path, upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """In the conventions' message schema, cleaned, and once: the instrumentation below uploads nothing of its own."""
    run_python(INSTRUMENTED + CALLS, env=environment(files, upstream, otlp_receiver, **{CAPTURE: mode}))
    spans = otlp_receiver.wait_for(4)
    assert [span.attributes["callspan.outcome"] for span in spans] == ["success"] * 4
    for span in spans:
        inputs, (output,), instructions, (tool,) = (uploaded(span, name) for name in NAMES)
        asked, refused = inputs
        assert asked["role"] == "user"
        assert asked["parts"] == [
            {"type": "text", "content": "The word is [redacted]."},
            {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "aGVsbG8="},
        ]
        assert refused["parts"] == [{"type": "refusal", "content": "I would rather not."}]
        assert output["parts"] == [{"type": "text", "content": "Hello from loopback."}]
        assert output["finish_reason"] == "stop"
        assert instructions == [{"type": "text", "content": "Be brief."}]
        assert (tool["type"], tool["name"], tool["description"]) == ("function", "look", "Looks.")
        assert [name in span.attributes for name in NAMES] == [mode == "SPAN_ONLY"] * 4
    # Instructions and tools are the same each time, and are kept once.
    assert len(list(files.iterdir())) == 4 * 2 + 2


@pytest.mark.parametrize("mode", ["NO_CONTENT", "SPAN_ONLY"])
def test_the_spool_holds_the_references_and_content_only_if_asked_to(
    mode: str, files: Path, upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver, spool_dir: Path
) -> None:
    otlp_receiver.down()  # what is not delivered stays on disk
    run_python(INSTRUMENTED + CALLS, env=environment(files, upstream, otlp_receiver, **{CAPTURE: mode}))
    stored = b"".join(path.read_bytes() for path in spool_dir.rglob("*") if path.is_file())
    assert stored.count(b"gen_ai.input.messages_ref") == 4
    assert b"swordfish" not in stored
    for text in (b"The word is", b"I would rather not.", b"Hello from loopback.", b"Be brief.", b"Looks."):
        assert (text in stored) == (mode == "SPAN_ONLY"), text


ENDS = {
    "exit": "litellm.completion(**calls.CHAT)",
    "asyncio.run": "import asyncio; asyncio.run(litellm.acompletion(**calls.CHAT))",
    "SIGTERM": "import signal; litellm.completion(**calls.CHAT); signal.raise_signal(signal.SIGTERM); time.sleep(9)",
    "forked child": """
import multiprocessing
litellm.completion(**calls.CHAT)
time.sleep(2)  # until the uploader's threads have nothing to do, as the child would take them to be
child = multiprocessing.get_context("fork").Process(target=litellm.completion, kwargs=calls.CHAT)
child.start()
child.join()
""",
}


@pytest.mark.parametrize("end", ENDS)
def test_everything_is_uploaded_before_the_process_ends(
    end: str, files: Path, upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """The uploader works in threads of its own, which a signal and a fork do away with."""
    env = environment(files, upstream, otlp_receiver, OTEL_INSTRUMENTATION_GENAI_UPLOAD_BASE_PATH=f"slow://{files}")
    run_python(SLOW_FILES + INSTRUMENTED + ENDS[end], env=env, check=end != "SIGTERM")
    count = 2 if end == "forked child" else 1
    assert sorted(path.name.partition("_")[2] for path in files.iterdir()) == sorted(
        ["inputs.json", "outputs.json"] * count
    )


def test_where_nothing_can_be_written_one_warning_says_so(
    tmp_path: Path, upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """The calls go on, and their spans refer to nothing."""
    done = run_python(INSTRUMENTED + CALLS, env=environment(tmp_path / "missing", upstream, otlp_receiver))
    assert done.stderr.count("the completion hook cannot be set up") == 1
    for span in otlp_receiver.wait_for(4):
        assert span.attributes["callspan.outcome"] == "success"
        assert not any(name.endswith("_ref") for name in span.attributes)


def test_nothing_is_uploaded_where_a_pattern_cannot_be_understood(
    files: Path, upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """What it was to keep back is kept back from files too."""
    done = run_python(
        INSTRUMENTED + CALLS, env=environment(files, upstream, otlp_receiver, CALLSPAN_REDACT_PATTERNS="swordfish(")
    )
    assert "is no regular expression" in done.stderr
    assert len(otlp_receiver.wait_for(4)) == 4
    assert list(files.iterdir()) == []
