"""What the loopback OpenAI can be told to do with a request."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool the model asks for."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str = "call_loopback"

    @property
    def arguments_json(self) -> str:
        """The arguments as OpenAI sends them."""
        return json.dumps(dict(self.arguments))


@dataclass(frozen=True, slots=True)
class Answer:
    """Answers as OpenAI would.

    Attributes:
        finish_reason: by default "stop", or "tool_calls" where there are some.
        model: the model that answers; by default the one asked for.
        chunks: how many pieces a stream cuts the text into; by default one a word.
        always_send_usage: ends a stream with usage even where `stream_options.include_usage` was not asked for.
        delay: seconds before the answer begins.
        chunk_delay: seconds before each piece of a stream but the first.
        dimensions: length of an embedding where the request names none.
    """

    text: str = "Hello from loopback."
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    model: str | None = None
    chunks: int | None = None
    always_send_usage: bool = False
    delay: float = 0.0
    chunk_delay: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    prompt_tokens: int = 11
    completion_tokens: int = 7
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    dimensions: int = 8

    @property
    def stopped_by(self) -> str:
        """The finish reason it gives."""
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")

    @property
    def pieces(self) -> list[str]:
        """The text as a stream delivers it."""
        if self.chunks is None:
            return [f" {word}" if index else word for index, word in enumerate(self.text.split(" "))]
        if self.chunks > len(self.text):
            raise ValueError(f"{len(self.text)} characters make no {self.chunks} chunks")
        bounds = [len(self.text) * index // self.chunks for index in range(self.chunks + 1)]
        return [self.text[start:end] for start, end in pairwise(bounds)]


@dataclass(frozen=True, slots=True)
class Fail:
    """Answers with OpenAI's error JSON."""

    status: int = 500
    message: str = "The server had an error while processing your request."
    type: str = "server_error"
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Hang:
    """Takes the request and says nothing for so long; then breaks the connection."""

    seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class CutStream:
    """Breaks the connection after so many pieces of the text; an answer not streamed is cut in the middle."""

    after_chunks: int = 2
    answer: Answer = field(default_factory=Answer)


@dataclass(frozen=True, slots=True)
class StreamError:
    """Sends an error event after so many pieces of the text; an answer not streamed is the error alone."""

    after_chunks: int = 2
    error: Fail = field(default_factory=Fail)
    answer: Answer = field(default_factory=Answer)


Behaviour = Answer | Fail | Hang | CutStream | StreamError
