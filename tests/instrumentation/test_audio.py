"""Sound, and what is made of it, is one span to the end of its answer, however that is read."""

import asyncio
import gc
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import litellm
import pytest

from instrumentation import calls
from instrumentation.conftest import Spans, events
from instrumentation.every_call import audio
from instrumentation.test_router import attempts
from loopback.openai_api import Answer, CutStream, OpenAIUpstream
from loopback.openai_others import AUDIO

pytestmark = pytest.mark.filterwarnings("ignore:.*doesn't actually stream:DeprecationWarning")
SPEECH: dict[str, Any] = {"model": "openai/tts-1", "input": "Say hello.", "voice": "alloy"}
TRANSCRIPT: dict[str, Any] = {"model": "openai/gpt-4o-transcribe", "stream": True}
streaming = pytest.mark.skipif(
    importlib.util.find_spec("litellm.litellm_core_utils.audio_utils.transcription_streaming") is None,
    reason="this LiteLLM does not stream transcripts",
)
twins = pytest.mark.parametrize("name", ["transcription", "atranscription"])


def _to_file(spoken: Any, file: Path) -> bytes:
    spoken.stream_to_file(file)
    return file.read_bytes()


READ: dict[str, Callable[[Any, Path], bytes]] = {
    "stream_to_file": _to_file,
    "content": lambda spoken, _file: spoken.content,
    "iter_bytes": lambda spoken, _file: b"".join(spoken.iter_bytes(100)),
}


@pytest.mark.parametrize("name", ["speech", "aspeech"])
@pytest.mark.parametrize("way", READ)
def test_speech_is_one_span_however_it_is_read(way: str, name: str, spans: Spans, tmp_path: Path) -> None:
    """LiteLLM returns it when it has come, so that the call is over by then."""
    spoken = calls.make(getattr(litellm, name), **SPEECH)
    end = spans.only().end_time
    assert READ[way](spoken, tmp_path / "speech.mp3") == AUDIO
    del spoken
    gc.collect()
    assert spans.only().end_time == end
    assert spans.only().attributes["callspan.outcome"] == "success"
    assert spans.only().attributes["callspan.cost.amount"] > 0


def test_speech_read_by_a_coroutine_is_one_span(spans: Spans, tmp_path: Path) -> None:
    async def main() -> bytes:
        await (await litellm.aspeech(**SPEECH)).astream_to_file(tmp_path / "speech.mp3")
        spoken = await litellm.aspeech(**SPEECH)
        return b"".join([piece async for piece in await spoken.aiter_bytes(100)])

    assert asyncio.run(main()) == (tmp_path / "speech.mp3").read_bytes() == AUDIO
    assert [span.attributes["callspan.outcome"] for span in spans()] == ["success", "success"]


@pytest.mark.parametrize("name", ["speech", "aspeech"])
def test_speech_that_breaks_off_has_failed(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    upstream.default = CutStream()
    with pytest.raises(Exception, match=r"(?i)connection|peer|closed|error"):
        calls.make(getattr(litellm, name), **SPEECH, max_retries=0)
    assert spans.only().attributes["callspan.outcome"] == "failure"


def test_a_transcript_asked_for_as_a_stream_is_one_span(spans: Spans) -> None:
    """Before LiteLLM 1.110 it is none: what is returned is the whole."""

    async def main() -> None:
        result: Any = await litellm.atranscription(file=audio(), **TRANSCRIPT)
        assert [piece async for piece in result] if hasattr(result, "__aiter__") else result.text

    asyncio.run(main())
    assert list(litellm.transcription(file=audio(), **TRANSCRIPT))
    assert [span.attributes["callspan.outcome"] for span in spans()] == ["success", "success"]


@streaming
@twins
def test_a_streamed_transcript_says_what_a_whole_one_does(name: str, spans: Spans) -> None:
    function = getattr(litellm, name)
    calls.make(function, file=audio(), **TRANSCRIPT)
    calls.make(function, file=audio(), **{**TRANSCRIPT, "stream": None})
    streamed, whole = spans()
    for key in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "callspan.cost.amount"):
        assert streamed.attributes[key] == whole.attributes[key] > 0
    assert streamed.attributes["callspan.outcome"] == "success"
    assert streamed.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert "litellm.first_chunk" in events(streamed)


@streaming
@twins
def test_a_streamed_transcript_that_breaks_off_has_failed(name: str, spans: Spans, upstream: OpenAIUpstream) -> None:
    upstream.default = CutStream(after_chunks=1)
    with pytest.raises(Exception):  # noqa: B017, PT011 - the HTTP client's, as it is
        calls.make(getattr(litellm, name), file=audio(), **TRANSCRIPT)
    assert spans.only().attributes["callspan.outcome"] == "failure"
    assert "litellm.first_chunk" in events(spans.only())


@streaming
def test_a_streamed_transcript_left_before_its_end_is_abandoned(spans: Spans) -> None:
    stream = litellm.transcription(file=audio(), **TRANSCRIPT)
    next(stream)
    del stream
    gc.collect()
    assert spans.only().attributes["callspan.outcome"] == "abandoned"


@streaming
def test_a_streamed_transcript_whose_reader_is_cancelled(spans: Spans, upstream: OpenAIUpstream) -> None:
    upstream.default = Answer(chunk_delay=30)

    async def main() -> None:
        stream = await litellm.atranscription(file=audio(), **TRANSCRIPT)
        await anext(stream)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.2)

    asyncio.run(main())
    assert spans.only().attributes["callspan.outcome"] == "cancelled"


@streaming
def test_a_routers_streamed_transcript_lasts_until_it_is_read(spans: Spans) -> None:
    router = litellm.Router([{"model_name": "group", "litellm_params": {"model": TRANSCRIPT["model"]}}])
    calls.make(router.atranscription, model="group", file=audio(), stream=True)
    (made,) = attempts(spans)
    (call,) = spans.roots()
    assert call.end_time >= made.end_time
    assert "litellm.first_chunk" in events(call)
    assert made.attributes["gen_ai.usage.output_tokens"] == 7


@streaming
def test_a_streamed_transcript_is_recorded_where_it_is_asked_for(
    recording: Callable[[], Spans], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    spans = recording()
    list(litellm.transcription(file=audio(), **TRANSCRIPT))
    assert "Hello from loopback." in spans.only().attributes["gen_ai.output.messages"]
