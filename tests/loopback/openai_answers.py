"""The JSON that OpenAI's endpoints answer with, whole and as streamed events."""

import base64
import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from loopback.openai_behaviours import Answer, Fail

CREATED = 1_700_000_000

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event; `piece` where it carries a piece of the answer, which is what cuts are counted in."""

    data: bytes
    piece: bool = False


def event(payload: Any, name: str | None = None, *, piece: bool = False) -> Event:
    """Writes a server-sent event."""
    data = payload if isinstance(payload, str) else json.dumps(payload)
    return Event((f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode(), piece)


def error(fail: Fail) -> Json:
    """OpenAI's error JSON."""
    return {"error": {"message": fail.message, "type": fail.type, "param": None, "code": fail.code}}


def error_event(fail: Fail) -> Event:
    """The event by which a stream fails."""
    return event(error(fail))


def usage(answer: Answer) -> Json:
    """The usage of chat and text completions."""
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": answer.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
    }


def _envelope(number: int, body: Json, answer: Answer, kind: str) -> Json:
    prefix = "cmpl" if kind == "text_completion" else "chatcmpl"
    return {
        "id": f"{prefix}-loopback-{number}",
        "object": kind,
        "created": CREATED,
        "model": answer.model or body.get("model", "unknown"),
        "system_fingerprint": "fp_loopback",
    }


def _tool_calls(answer: Answer) -> list[Json]:
    return [
        {
            "id": f"{tool.id}_{index}",
            "type": "function",
            "function": {"name": tool.name, "arguments": tool.arguments_json},
        }
        for index, tool in enumerate(answer.tool_calls)
    ]


def chat(number: int, body: Json, answer: Answer) -> Json:
    """The answer of /v1/chat/completions."""
    message: Json = {"role": "assistant", "content": None if answer.tool_calls else answer.text}
    if answer.tool_calls:
        message["tool_calls"] = _tool_calls(answer)
    choices = [
        {"index": index, "message": message, "logprobs": None, "finish_reason": answer.stopped_by}
        for index in range(body.get("n") or 1)
    ]
    return {**_envelope(number, body, answer, "chat.completion"), "choices": choices, "usage": usage(answer)}


def text(number: int, body: Json, answer: Answer) -> Json:
    """The answer of /v1/completions."""
    choices = [
        {"index": index, "text": answer.text, "logprobs": None, "finish_reason": answer.stopped_by}
        for index in range(body.get("n") or 1)
    ]
    return {**_envelope(number, body, answer, "text_completion"), "choices": choices, "usage": usage(answer)}


def _chat_deltas(answer: Answer) -> Iterator[Json]:
    if not answer.tool_calls:
        yield from ({"content": piece} for piece in answer.pieces)
    for index, call in enumerate(_tool_calls(answer)):
        arguments = call["function"]["arguments"]
        call["function"] = {**call["function"], "arguments": ""}
        yield {"tool_calls": [{"index": index, **call}]}
        for piece in (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]):
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


def chat_stream(number: int, body: Json, answer: Answer) -> list[Event]:
    """The events of a streamed /v1/chat/completions."""

    def choice(delta: Json, index: int, finish_reason: str | None = None) -> Json:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}

    opening: Json = {"role": "assistant", "content": None if answer.tool_calls else ""}
    choices = range(body.get("n") or 1)
    return _completion_stream(
        _envelope(number, body, answer, "chat.completion.chunk"),
        body,
        answer,
        opening=[choice(opening, index) for index in choices],
        pieces=[choice(delta, index) for delta in _chat_deltas(answer) for index in choices],
        closing=[choice({}, index, answer.stopped_by) for index in choices],
    )


def text_stream(number: int, body: Json, answer: Answer) -> list[Event]:
    """The events of a streamed /v1/completions."""

    def choice(text: str, index: int, finish_reason: str | None = None) -> Json:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}

    choices = range(body.get("n") or 1)
    return _completion_stream(
        _envelope(number, body, answer, "text_completion"),
        body,
        answer,
        opening=[],
        pieces=[choice(piece, index) for piece in answer.pieces for index in choices],
        closing=[choice("", index, answer.stopped_by) for index in choices],
    )


def _completion_stream(
    head: Json, body: Json, answer: Answer, *, opening: list[Json], pieces: list[Json], closing: list[Json]
) -> list[Event]:
    asked = bool((body.get("stream_options") or {}).get("include_usage"))
    without_usage = {"usage": None} if asked else {}

    def chunk(choice: Json, *, piece: bool = False) -> Event:
        return event({**head, "choices": [choice], **without_usage}, piece=piece)

    events = [chunk(choice) for choice in opening]
    events += [chunk(choice, piece=True) for choice in pieces]
    events += [chunk(choice) for choice in closing]
    if asked or answer.always_send_usage:
        events.append(event({**head, "choices": [], "usage": usage(answer)}))
    return [*events, event("[DONE]")]


def embeddings(body: Json, answer: Answer) -> Json:
    """The answer of /v1/embeddings, as floats or, as the SDK asks for them, as base64."""
    texts = body.get("input", "")
    # A string is one text; so is a list of token numbers.
    count = len(texts) if isinstance(texts, list) and not (texts and isinstance(texts[0], int)) else 1
    size = body.get("dimensions") or answer.dimensions
    vectors = [[(index + 1) / (place + 2) for place in range(size)] for index in range(count)]
    encoded = (
        [base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() for vector in vectors]
        if body.get("encoding_format") == "base64"
        else vectors
    )
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(encoded)],
        "model": answer.model or body.get("model", "unknown"),
        "usage": {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens},
    }


def models(names: Iterable[str]) -> Json:
    """The answer of /v1/models."""
    data = [{"id": name, "object": "model", "created": CREATED, "owned_by": "loopback"} for name in names]
    return {"object": "list", "data": data}
