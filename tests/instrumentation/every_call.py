"""Each kind of call that LiteLLM makes to a provider, with arguments that the loopback upstream answers.

The table of instrumentation/calls.md is checked against this one.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from instrumentation import calls

ANTHROPIC = "anthropic/claude-sonnet-4-5"


def audio() -> io.BytesIO:
    """A file to be transcribed."""
    file = io.BytesIO(b"RIFF loopback")
    file.name = "speech.wav"
    return file


def picture() -> io.BytesIO:
    """A file to be edited."""
    file = io.BytesIO(b"\x89PNG loopback")
    file.name = "picture.png"
    return file


@dataclass(frozen=True)
class Made:
    """One kind of call.

    Attributes:
        operation: value of ``gen_ai.operation.name``.
        arguments: what LiteLLM's function takes.
        files: arguments that are files, and can be read once.
        twins: whether there is a synchronous and an asynchronous function.
        tokens: input and output tokens on the span.
        priced: whether the span has the cost.
        output_type: value of ``gen_ai.output.type``.
        router: whether a Router has it too.
    """

    operation: str
    arguments: Mapping[str, Any]
    files: Mapping[str, Any] = field(default_factory=dict)
    twins: bool = True
    tokens: tuple[int | None, int | None] = (None, None)
    priced: bool = False
    output_type: str | None = None
    router: bool = True


MADE: dict[str, Made] = {
    "image_generation": Made(
        "image_generation",
        {"model": "openai/gpt-image-1", "prompt": "A loop."},
        tokens=(11, 7),
        priced=True,
        output_type="image",
    ),
    "image_edit": Made(
        "image_edit",
        {"model": "openai/gpt-image-1", "prompt": "A loop."},
        files={"image": picture},
        tokens=(11, 7),
        priced=True,
        output_type="image",
    ),
    "image_variation": Made(
        "image_variation",
        {"model": "openai/gpt-image-1"},
        files={"image": picture},
        tokens=(11, 7),
        output_type="image",
        router=False,
    ),
    "ocr": Made(
        "ocr",
        {
            "model": "mistral/mistral-ocr-latest",
            "document": {"type": "document_url", "document_url": "https://documents.test/a.pdf"},
            "api_key": "mistral-loopback",
        },
        priced=True,
        output_type="text",
        router=False,
    ),
    "transcription": Made(
        "transcription",
        {"model": "openai/gpt-4o-transcribe"},
        files={"file": audio},
        tokens=(11, 7),
        priced=True,
        output_type="text",
    ),
    "speech": Made(
        "speech", {"model": "openai/tts-1", "input": "Say hello.", "voice": "alloy"}, output_type="speech", priced=True
    ),
    "rerank": Made(
        "rerank",
        {"model": "cohere/rerank-v3.5", "query": "hello", "documents": ["a", "b"], "api_key": "co-loopback"},
        tokens=(11, 0),
        priced=True,
    ),
    "moderation": Made("moderation", {"model": "openai/omni-moderation-latest", "input": "hello"}),
    "anthropic_messages": Made(
        "chat",
        {"model": ANTHROPIC, "messages": calls.MESSAGES, "max_tokens": 64, "api_key": "sk-ant-loopback"},
        twins=False,
        tokens=(11, 7),
        priced=True,
    ),
    "get_responses": Made("fetch_response", {"response_id": "resp_1", "custom_llm_provider": "openai"}, router=False),
    "create_file": Made(
        "create_file", {"purpose": "batch", "custom_llm_provider": "openai"}, files={"file": audio}, router=False
    ),
    "file_list": Made("file_list", {"custom_llm_provider": "openai"}, router=False),
    "create_batch": Made(
        "create_batch",
        {
            "completion_window": "24h",
            "endpoint": "/v1/chat/completions",
            "input_file_id": "file-1",
            "custom_llm_provider": "openai",
        },
        router=False,
    ),
    "cancel_batch": Made("cancel_batch", {"batch_id": "batch_1", "custom_llm_provider": "openai"}, router=False),
    "list_fine_tuning_jobs": Made("list_fine_tuning_jobs", {"custom_llm_provider": "openai"}, router=False),
    "create_thread": Made("create_thread", {"custom_llm_provider": "openai", "messages": calls.MESSAGES}, router=False),
    "get_assistants": Made("get_assistants", {"custom_llm_provider": "openai"}, router=False),
}
"""LiteLLM's function, without the ``a`` of its asynchronous twin -> what is known of it."""
