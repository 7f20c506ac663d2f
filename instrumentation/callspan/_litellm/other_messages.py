"""Anthropic's and Google's requests and responses, and those of media, in the conventions' message schema."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from callspan._litellm import messages
from callspan._litellm.response import finish_reasons
from callspan._litellm.untyped import as_items, as_mapping, read

Part = dict[str, Any]
Message = dict[str, Any]

_WHOLE: Final = "stop"
"""Why an answer ended that comes whole: the schema of output messages asks for a reason in each."""


def _anthropic_input(arguments: Mapping[str, Any]) -> tuple[list[Message], list[Part]]:
    given = [
        {"role": read(one, "role") or "user", "parts": _anthropic_parts(read(one, "content"))}
        for one in as_items(arguments.get("messages"))
    ]
    return given, _anthropic_parts(arguments.get("system"))


def _anthropic_parts(content: Any) -> list[Part]:
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    return [_anthropic_part(block) for block in as_items(content)]


def _anthropic_part(block: Any) -> Part:
    match read(block, "type"):
        case "text":
            return {"type": "text", "content": read(block, "text")}
        case "thinking":
            return {"type": "reasoning", "content": read(block, "thinking")}
        case "tool_use":
            called = {"id": read(block, "id"), "name": read(block, "name"), "arguments": read(block, "input")}
            return {"type": "tool_call", **called}
        case "tool_result":
            return {"type": "tool_call_response", "id": read(block, "tool_use_id"), "response": read(block, "content")}
        case "image" | "document" as kind:
            return _anthropic_media("image" if kind == "image" else "document", read(block, "source"))
        case _:
            return dict(as_mapping(messages.plain(block)) or {"type": "unknown"})


def _anthropic_media(modality: str, source: Any) -> Part:
    if read(source, "type") == "base64":
        return messages.blob(modality, str(read(source, "media_type")), read(source, "data"))
    if read(source, "type") == "file":
        return {"type": "file", "modality": modality, "file_id": read(source, "file_id")}
    return messages.uri(modality, read(source, "url"))


def _anthropic_output(response: object) -> list[Message]:
    parts = _anthropic_parts(read(response, "content"))
    reason = next(iter(finish_reasons(response)), "error")
    finish = "tool_call" if reason == "tool_calls" else reason
    return [{"role": "assistant", "parts": parts, "finish_reason": finish}] if parts else []


def _google_input(arguments: Mapping[str, Any]) -> tuple[list[Message], list[Part]]:
    contents = arguments.get("contents")
    items = [{"parts": [{"text": contents}]}] if isinstance(contents, str) else as_items(contents) or (contents,)
    instruction = arguments.get("systemInstruction") or read(arguments.get("config"), "system_instruction")
    given = [_google_message(item) for item in items if item is not None]
    return given, [{"type": "text", "content": instruction}] if isinstance(instruction, str) else _google_parts(
        instruction
    )


def _google_message(content: Any) -> Message:
    role = read(content, "role") or "user"
    return {"role": "assistant" if role == "model" else role, "parts": _google_parts(content)}


def _google_parts(content: Any) -> list[Part]:
    return [_google_part(part) for part in as_items(read(content, "parts"))]


def _google_part(part: Any) -> Part:
    text = read(part, "text")
    if isinstance(text, str):
        return {"type": "reasoning" if read(part, "thought") is True else "text", "content": text}
    data = read(part, "inlineData") or read(part, "inline_data")
    if data is not None:
        mime_type = str(read(data, "mimeType") or read(data, "mime_type"))
        return messages.blob(mime_type.partition("/")[0], mime_type, read(data, "data"))
    called = read(part, "functionCall") or read(part, "function_call")
    if called is not None:
        return {
            "type": "tool_call",
            "id": read(called, "id"),
            "name": read(called, "name"),
            "arguments": read(called, "args"),
        }
    answered = read(part, "functionResponse") or read(part, "function_response")
    if answered is not None:
        return {"type": "tool_call_response", "id": read(answered, "id"), "response": read(answered, "response")}
    return {"type": "unknown", **(as_mapping(messages.plain(part)) or {})}


def _google_output(response: object) -> list[Message]:
    reasons = finish_reasons(response)
    return [
        {**_google_message(read(one, "content")), "role": "assistant", "finish_reason": reason}
        for one, reason in zip(as_items(read(response, "candidates")), reasons, strict=False)
    ]


def _rerank_input(arguments: Mapping[str, Any]) -> tuple[list[Message], list[Part]]:
    texts = [arguments.get("query"), *as_items(arguments.get("documents"))]
    parts = [{"type": "text", "content": text if isinstance(text, str) else messages.plain(text)} for text in texts]
    return [{"role": "user", "parts": parts}], []


def _image_output(response: object) -> list[Message]:
    parts = [
        messages.uri("image", read(one, "url"))
        if read(one, "url")
        else messages.blob("image", "image", read(one, "b64_json"))
        for one in as_items(read(response, "data"))
    ]
    return [{"role": "assistant", "parts": parts, "finish_reason": _WHOLE}] if parts else []


def _transcription_output(response: object) -> list[Message]:
    text = read(response, "text")
    parts = [{"type": "text", "content": text}]
    return [{"role": "assistant", "parts": parts, "finish_reason": _WHOLE}] if isinstance(text, str) else []


def _none(_response: object) -> list[Message]:
    return []


INPUTS: Final[Mapping[str, Callable[[Mapping[str, Any]], tuple[list[Message], list[Part]]]]] = {
    "anthropic": _anthropic_input,
    "google": _google_input,
    "rerank": _rerank_input,
}
OUTPUTS: Final[Mapping[str, Callable[[object], list[Message]]]] = {
    "anthropic": _anthropic_output,
    "google": _google_output,
    "image": _image_output,
    "transcription": _transcription_output,
    **dict.fromkeys(("speech", "rerank", "moderation", "generic", "fetched", "passthrough", "realtime"), _none),
}
"""Shape of a request or response (:class:`callspan._litellm.operations.Kind`) -> its messages."""
