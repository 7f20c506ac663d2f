"""Whatever shape a response has, the call's result is untouched and the span says what is known."""

import string
import sys
from collections.abc import Callable
from typing import Any

import litellm
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litellm.types.llms.openai import ResponsesAPIResponse
from litellm.types.rerank import RerankResponse
from litellm.types.utils import (
    Choices,
    Delta,
    EmbeddingResponse,
    ImageResponse,
    Message,
    ModelResponse,
    ModelResponseStream,
    StreamingChoices,
    TextCompletionResponse,
    TranscriptionResponse,
    Usage,
)
from opentelemetry.sdk.trace import ReadableSpan

import callspan._guard
from callspan._content import ContentCapture
from callspan._invocation import Invocation
from callspan._litellm.call import Call, Recording
from callspan._litellm.operations import KINDS, Operation, kind_of
from callspan._metrics import Metrics
from callspan._tracer import TracerSource
from callspan_exporters._encoding import encode_span
from instrumentation.conftest import Spans

KINDS_OF_RESPONSES: list[type[Any]] = [
    ModelResponse,
    ModelResponseStream,
    TextCompletionResponse,
    EmbeddingResponse,
    ImageResponse,
    TranscriptionResponse,
    RerankResponse,
    ResponsesAPIResponse,
    Usage,
    Message,
    Choices,
    Delta,
    StreamingChoices,
]

texts = st.text(max_size=20) | st.sampled_from(["\x00", "\ud800", "data:image/png;base64,AA", "{", "stop", "end_turn"])
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.binary(max_size=9)
    | st.builds(object)
    | st.builds(Usage)
    | st.just(float("nan"))
)
# Names that responses are read by, so that odd values are met where something else is looked for.
names = st.sampled_from(
    [
        *("id", "model", "choices", "usage", "message", "content", "role", "tool_calls", "function", "arguments"),
        *("output", "status", "finish_reason", "text", "type", "data", "b64_json", "url", "summary", "refusal"),
        *("prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "input_tokens", "meta"),
        *("candidates", "parts", "usageMetadata", "stop_reason", "incomplete_details", "reason", "audio", "tokens"),
        *(
            "cache_read_input_tokens",
            "_hidden_params",
            "response_cost",
            "delta",
            "index",
            "event",
            "source",
            "image_url",
        ),
    ]
) | st.text(string.ascii_lowercase, min_size=1, max_size=5)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=5), max_leaves=12
)


def odd_response(kind: type[Any], fields: dict[str, Any]) -> Any:
    """A response of one of LiteLLM's types with fields that it would never have, past its own checks."""
    response = kind.model_construct() if hasattr(kind, "model_construct") else kind.__new__(kind)
    response.__dict__.update(fields)
    return response


responses = (
    st.builds(odd_response, st.sampled_from(KINDS_OF_RESPONSES), st.dictionaries(names, values, max_size=6)) | values
)
requests = st.dictionaries(
    st.sampled_from(
        [
            *("messages", "input", "prompt", "model", "tools", "metadata", "user", "stop", "n", "response_format"),
            *("contents", "system", "documents", "query", "temperature", "stream", "extra_headers", "api_base", "tags"),
        ]
    ),
    values,
    max_size=5,
)
operations = [Operation("litellm.odd", kind_of(name)) for name in (*KINDS, "unheard_of")]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Spans:
    """Spans, with what our boundary catches let through: an odd field must not cost the span all the others."""

    def reraise(where: str) -> None:
        raise AssertionError(where) from sys.exception()

    monkeypatch.setattr(callspan._guard, "report", reraise)
    return Spans()


def as_recorded(spans: Spans, call: Callable[[], None]) -> ReadableSpan:
    call()
    (span,) = spans.take()
    encode_span(span)
    return span


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operation=st.sampled_from(operations), request=requests, response=responses, chunks=st.lists(values, max_size=4))
def test_odd_responses(
    recorded: Spans, operation: Operation, request: dict[str, Any], response: Any, chunks: list[Any]
) -> None:
    """The same object comes back, the span ends as a success, and can be encoded."""
    recording = Recording(TracerSource(recorded.provider), ContentCapture(on_span=True), Metrics())

    def start() -> Call:
        invocation = Invocation(recording.tracers.tracer(), "odd", {})
        return Call(invocation, operation, request, recording)

    def whole() -> None:
        assert start().returned(response) is response

    def streamed() -> None:
        seen = list(start().returned(iter(chunks)))
        assert [id(chunk) for chunk in seen] == [id(chunk) for chunk in chunks]

    for call in (whole, streamed):
        assert as_recorded(recorded, call).attributes["callspan.outcome"] == "success"


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=requests)
def test_odd_requests(recorded: Spans, spans: Spans, request: dict[str, Any]) -> None:
    """LiteLLM refuses or serves them as it does without us; there is one span, which has ended."""
    request = {"model": "openai/gpt-4o-mini", "messages": [], **request, "mock_response": "hi", "stream": False}
    spans.take()
    try:
        litellm.completion(**request)
    except Exception:  # noqa: BLE001  # LiteLLM's own word on it
        outcome = "failure"
    else:
        outcome = "success"
    ended = spans.take()
    assert len(ended) <= 1
    for span in ended:
        assert span.attributes["callspan.outcome"] == outcome
        encode_span(span)
