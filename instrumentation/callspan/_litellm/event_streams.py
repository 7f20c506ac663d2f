"""Streams that LiteLLM hands on as the provider sent them, put together by callspan.

Of chat, text and Responses streams LiteLLM itself makes the whole response (:mod:`callspan._litellm.stream_results`);
of Anthropic's messages, Google's content and transcripts it does so only for its own logging, after the stream.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from callspan._guard import guarded
from callspan._litellm.untyped import as_items, as_mapping, read

_LARGEST_REST = 1 << 20
"""Bytes of an unfinished event that are kept; what is longer is no event that says what was used."""


class Reader(Protocol):
    """Reads a stream along with the caller."""

    def feed(self, chunk: Any) -> None: ...

    def response(self) -> Mapping[str, Any] | None: ...


def reader_of(api: str, *, with_content: bool) -> Reader | None:
    """What reads the stream of a kind of call, where LiteLLM puts nothing together.

    Args:
        api: the kind's; see :class:`callspan._litellm.operations.Kind`.
        with_content: whether the text is to be kept as well.
    """
    if api == "anthropic":
        return MessageReader(with_content=with_content)
    if api == "transcription":
        return TranscriptReader(with_content=with_content)
    return ContentReader(with_content=with_content) if api == "google" else None


class _EventReader:
    """Takes chunks that are bytes of server-sent events, or events already."""

    def __init__(self, *, with_content: bool) -> None:
        self._with_content = with_content
        self._rest = b""
        self._seen = False

    @guarded
    def feed(self, chunk: Any) -> None:
        """Read one chunk."""
        for event in self._events(chunk):
            self._seen = True
            self._take(event)

    def _take(self, event: Any) -> None:
        raise NotImplementedError

    def _events(self, chunk: Any) -> Iterator[Any]:
        if isinstance(chunk, str):
            chunk = chunk.encode(errors="replace")
        if not isinstance(chunk, (bytes, bytearray)):
            yield chunk
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _LARGEST_REST:
            self._rest = b""
        for line in lines:
            if line.startswith(b"data:"):
                try:
                    yield json.loads(line[5:])
                except ValueError:  # `[DONE]`, or what a provider has broken
                    continue


class MessageReader(_EventReader):
    """Puts Anthropic's message together from its stream."""

    def __init__(self, *, with_content: bool) -> None:
        super().__init__(with_content=with_content)
        self._message: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._blocks: dict[Any, dict[str, Any]] = {}

    def response(self) -> Mapping[str, Any] | None:
        """The message as far as it has come, ``None`` if it has not begun."""
        if not self._seen:
            return None
        content = [_finished(block) for block in self._blocks.values()]
        return {**self._message, "usage": self._usage or None, "content": content}

    def _take(self, event: Any) -> None:
        match read(event, "type"):
            case "message_start":
                self._message = dict(as_mapping(read(event, "message")) or {})
                self._usage |= as_mapping(self._message.get("usage")) or {}
            case "message_delta":
                self._message |= {key: item for key, item in (as_mapping(read(event, "delta")) or {}).items() if item}
                self._usage |= {k: v for k, v in (as_mapping(read(event, "usage")) or {}).items() if v is not None}
            case "content_block_start" if self._with_content:
                self._blocks[_index(event)] = dict(as_mapping(read(event, "content_block")) or {})
            case "content_block_delta" if self._with_content:
                _extend(self._blocks.setdefault(_index(event), {}), read(event, "delta"))
            case _:
                pass


def _index(event: Any) -> int:
    index = read(event, "index")
    return index if isinstance(index, int) else 0


def _extend(block: dict[str, Any], delta: Any) -> None:
    for name, into in (("text", "text"), ("thinking", "thinking"), ("partial_json", "partial_json")):
        piece = read(delta, name)
        if isinstance(piece, str):
            block[into] = str(block.get(into) or "") + piece


def _finished(block: dict[str, Any]) -> dict[str, Any]:
    arguments = block.pop("partial_json", None)
    if isinstance(arguments, str) and arguments:
        try:
            block["input"] = json.loads(arguments)
        except ValueError:
            block["input"] = arguments  # as far as it came
    return block


class ContentReader(_EventReader):
    """Puts Google's content together from its stream."""

    def __init__(self, *, with_content: bool) -> None:
        super().__init__(with_content=with_content)
        self._response: dict[str, Any] = {}
        self._parts: list[Any] = []
        self._reason: Any = None

    def response(self) -> Mapping[str, Any] | None:
        """The response as far as it has come, ``None`` if it has not begun."""
        if not self._seen:
            return None
        candidate = {"content": {"role": "model", "parts": self._parts}, "finishReason": self._reason}
        return {**self._response, "candidates": [candidate]}

    def _take(self, event: Any) -> None:
        for names in (
            ("responseId", "response_id"),
            ("modelVersion", "model_version"),
            ("usageMetadata", "usage_metadata"),
        ):
            for name in names:
                value = read(event, name)
                if value is not None:
                    self._response[names[0]] = value
        for candidate in as_items(read(event, "candidates"))[:1]:
            self._reason = read(candidate, "finishReason") or read(candidate, "finish_reason") or self._reason
            if self._with_content:
                self._parts += as_items(read(read(candidate, "content"), "parts"))


class TranscriptReader(_EventReader):
    """Takes a transcript, with what it used, from the event that ends its stream; until then as far as it has come."""

    def __init__(self, *, with_content: bool) -> None:
        super().__init__(with_content=with_content)
        self._pieces: list[str] = []
        self._whole: dict[str, Any] = {}

    def response(self) -> Mapping[str, Any] | None:
        """The transcript, ``None`` if it has not begun."""
        return {"text": "".join(self._pieces), **self._whole} if self._seen else None

    def _take(self, event: Any) -> None:
        match read(event, "type"):
            case "transcript.text.delta" if self._with_content:
                self._pieces.append(str(read(event, "delta") or ""))
            case "transcript.text.done":
                self._whole = {"text": read(event, "text"), "usage": read(event, "usage")}
            case _:
                pass
