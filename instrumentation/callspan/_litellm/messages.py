"""Requests and responses in the conventions' message schema: ``[{role, parts: [{type, ...}]}]``.

Source: gen-ai-input-messages.json, gen-ai-output-messages.json, gen-ai-system-instructions.json and
gen-ai-tool-definitions.json of the GenAI semantic conventions. On spans they are JSON text, as in the conventions'
own Python packages, because nested attribute values need an SDK newer than the oldest we support.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from callspan import semconv
from callspan._litellm import other_messages
from callspan._litellm.operations import Operation
from callspan._litellm.response import finish_reasons
from callspan._litellm.untyped import as_items, as_mapping, read

Part = dict[str, Any]
Message = dict[str, Any]

_SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_PROMPTS: Final = {"text": "prompt", "embedding": "input", "image": "prompt", "speech": "input"} | {
    "moderation": "input",
    "transcription": "prompt",
}
"""Request shape -> the argument that is all there is to say."""
_FINISH_REASONS: Final = {"tool_calls": "tool_call", "function_call": "tool_call"}


Content = dict[str, Any]
"""Attribute -> its value in JSON's types."""


def input_content(operation: Operation, arguments: Mapping[str, Any]) -> Content:
    """Content attributes of a request, copied; what the request does not have is left out."""
    messages, instructions = _input(operation.kind.api, arguments)
    content = {
        semconv.GEN_AI_INPUT_MESSAGES: messages,
        semconv.GEN_AI_SYSTEM_INSTRUCTIONS: instructions,
        semconv.GEN_AI_TOOL_DEFINITIONS: _tool_definitions(arguments),
    }
    return {key: plain(value) for key, value in content.items() if value}


def output_content(response: object, api: str = "chat") -> Content:
    """Content attributes of a whole response; embeddings and the like have none."""
    messages = _output(response, api)
    return {semconv.GEN_AI_OUTPUT_MESSAGES: plain(messages)} if messages else {}


def _output(response: object, api: str) -> list[Message]:
    if api in other_messages.OUTPUTS:
        return other_messages.OUTPUTS[api](response)
    return _output_items(response) if read(response, "output") is not None else _output_choices(response)


def as_json(content: Content) -> dict[str, str]:
    """Content as attributes are written: JSON text. Control characters are escaped in it, NUL among them."""
    return {key: _encode(value) for key, value in content.items()}


_encode: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode


def plain(value: Any) -> Any:
    """Turn LiteLLM's and pydantic's objects into JSON values; a lone surrogate, which no wire takes, is replaced."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if value is None or isinstance(value, (int, float)):
        return value
    if type(value) in {list, tuple}:
        return [plain(item) for item in value]
    mapping = as_mapping(value)
    if mapping is not None:
        return {str(key): plain(item) for key, item in mapping.items()}
    dump = getattr(value, "model_dump", None)
    if callable(dump) and not isinstance(value, type):
        return plain(dump(exclude_none=True))
    return str(value)


def _input(api: str, arguments: Mapping[str, Any]) -> tuple[list[Message], list[Part]]:
    if api == "chat":
        given: Any = arguments.get("messages")
        instructions: list[Part] = []
    elif api == "responses":
        given = arguments.get("input")
        instructions = _parts(arguments.get("instructions"))
    elif api in other_messages.INPUTS:
        return other_messages.INPUTS[api](arguments)
    elif api not in _PROMPTS:
        return [], []
    else:
        given = arguments.get(_PROMPTS[api])
        return [{"role": "user", "parts": _parts(given)}] if given else [], []
    if isinstance(given, str):
        return [{"role": "user", "parts": _parts(given)}], instructions
    messages: list[Message] = []
    for item in as_items(given):
        if _text(item, "role") in _SYSTEM_ROLES:
            instructions += _parts(read(item, "content"))
        else:
            messages.append(_message(item))
    return messages, instructions


def _text(item: Any, name: str) -> str | None:
    value = read(item, name)
    return value if isinstance(value, str) else None


def _message(item: Any) -> Message:
    role = _text(item, "role")
    kind = read(item, "type")
    if role in {"tool", "function"}:
        parts = [_tool_result(read(item, "tool_call_id"), read(item, "content"))]
    elif kind == "function_call_output":
        role, parts = "tool", [_tool_result(read(item, "call_id"), read(item, "output"))]
    elif kind == "function_call":
        role, parts = "assistant", [_tool_call(read(item, "call_id"), item)]
    elif kind == "reasoning":
        role, parts = "assistant", _reasoning_summary(item)
    else:
        parts = [*_reasoning(item), *_parts(read(item, "content")), *_tool_calls(item)]
    message: Message = {"role": role or "user", "parts": parts}
    if read(item, "name"):
        message["name"] = read(item, "name")
    return message


def _parts(content: Any) -> list[Part]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "content": content}]
    return [_part(item) for item in as_items(content) or (content,)]


def _part(item: Any) -> Part:
    if not isinstance(item, Mapping) and not hasattr(item, "type"):
        return {"type": "text", "content": item if isinstance(item, str) else json.dumps(plain(item), default=str)}
    kind = str(read(item, "type"))
    if kind in {"text", "input_text", "output_text"}:
        return {"type": "text", "content": read(item, "text")}
    if kind == "refusal":
        return {"type": "refusal", "content": read(item, "refusal")}
    if kind in _MEDIA:
        return _MEDIA[kind](item)
    known = as_mapping(plain(item)) or {"type": kind}
    return {key: value for key, value in known.items() if value is not None}


def _image(item: Any) -> Part:
    image = read(item, "image_url")
    return uri("image", read(image, "url") if not isinstance(image, str) else image)


def _recording(item: Any) -> Part:
    sound = read(item, "input_audio")
    return blob("audio", f"audio/{read(sound, 'format')}", read(sound, "data"))


def _file(item: Any) -> Part:
    file = read(item, "file") or item
    if read(file, "file_id"):
        return {"type": "file", "modality": "document", "file_id": read(file, "file_id")}
    return uri("document", read(file, "file_data") or read(file, "file_url"))


_MEDIA: Final = {
    "image_url": _image,
    "input_image": _image,
    "input_audio": _recording,
    "file": _file,
    "input_file": _file,
}
"""Type of a part -> what makes the conventions' part of it."""


def blob(modality: str, mime_type: str, data: Any) -> Part:
    """Binary content, in base64."""
    return {"type": "blob", "modality": modality, "mime_type": mime_type, "content": str(data or "")}


def uri(modality: str, url: Any) -> Part:
    """Content that an address leads to, or that is in the address."""
    head, separator, data = str(url).partition(";base64,")
    if separator and head.startswith("data:"):
        return blob(modality, head.removeprefix("data:"), data)
    return {"type": "uri", "modality": modality, "uri": str(url)}


def _reasoning(message: Any) -> list[Part]:
    text = read(message, "reasoning_content")
    return [{"type": "reasoning", "content": text}] if text else []


def _refusal(message: Any) -> list[Part]:
    text = read(message, "refusal")
    return [{"type": "refusal", "content": text}] if isinstance(text, str) and text else []


def _sound(message: Any) -> list[Part]:
    sound = read(message, "audio")
    if sound is None:
        return []
    said = read(sound, "transcript")
    return [blob("audio", "audio", read(sound, "data")), *([{"type": "text", "content": said}] if said else [])]


def _reasoning_summary(item: Any) -> list[Part]:
    return [{"type": "reasoning", "content": read(part, "text")} for part in as_items(read(item, "summary"))]


def _tool_calls(message: Any) -> list[Part]:
    calls = as_items(read(message, "tool_calls"))
    return [_tool_call(read(call, "id"), read(call, "function")) for call in calls]


def _tool_call(call_id: Any, function: Any) -> Part:
    arguments = read(function, "arguments")
    try:
        parsed = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        parsed = arguments  # a model may well write broken JSON; what it wrote is what happened
    return {"type": "tool_call", "id": call_id, "name": read(function, "name"), "arguments": parsed}


def _tool_result(call_id: Any, content: Any) -> Part:
    return {"type": "tool_call_response", "id": call_id, "response": plain(content)}


def _output_choices(response: object) -> list[Message]:
    messages: list[Message] = []
    for choice, reason in zip(as_items(read(response, "choices")), finish_reasons(response), strict=False):
        message = read(choice, "message")
        if message is None:
            parts = _parts(read(choice, "text"))
        else:
            parts = [
                *_reasoning(message),
                *_parts(read(message, "content")),
                *_refusal(message),
                *_sound(message),
                *_tool_calls(message),
            ]
        messages.append(
            {
                "role": read(message, "role") or "assistant",
                "parts": parts,
                "finish_reason": _FINISH_REASONS.get(reason, reason),
            }
        )
    return messages


def _output_items(response: object) -> list[Message]:
    # The Responses API's items are parts of what the conventions call one message.
    parts: list[Part] = []
    for item in as_items(read(response, "output")):
        parts += _message(item)["parts"]
    if not parts:
        return []
    tools = any(part["type"] == "tool_call" for part in parts)
    reason = next(iter(finish_reasons(response)), "error")
    return [{"role": "assistant", "parts": parts, "finish_reason": "tool_call" if tools else reason}]


def _tool_definitions(arguments: Mapping[str, Any]) -> list[Any]:
    return [
        {"type": read(tool, "type"), **plain(read(tool, "function"))}
        if isinstance(read(tool, "function"), Mapping)
        else plain(tool)
        for tool in as_items(arguments.get("tools"))
    ]
