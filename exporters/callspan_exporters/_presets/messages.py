"""The conventions' messages as OpenAI's chat API has them, which is what most vendors show best.

https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Iterable
from typing import Any, cast

from callspan import semconv
from callspan_exporters._presets.reading import as_json, parsed
from callspan_exporters._rewriting import SpanView

Message = dict[str, Any]


def prompt(view: SpanView) -> list[Message]:
    """Return what was said to the model: system instructions first, then the messages."""
    instructions = parsed(view, semconv.GEN_AI_SYSTEM_INSTRUCTIONS)
    system = [{"role": "system", "content": _content(instructions)}] if instructions else []
    return [*system, *_messages(parsed(view, semconv.GEN_AI_INPUT_MESSAGES))]


def completion(view: SpanView) -> list[Message]:
    """Return what the model said: a message for each choice."""
    return _messages(parsed(view, semconv.GEN_AI_OUTPUT_MESSAGES))


def tools(view: SpanView) -> list[Any]:
    """Return the tools that the model was offered."""
    return [tool(each) for each in parsed(view, semconv.GEN_AI_TOOL_DEFINITIONS)]


def plain_text(message: Message) -> str:
    """Return what a message says in words."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in _dicts(content) if part.get("text"))


def last_said(messages: Iterable[Message], role: str) -> str:
    """Return the words of the last message of a role, empty where there are none."""
    said = [plain_text(message) for message in messages if message.get("role") == role]
    return said[-1] if said else ""


def texts(view: SpanView) -> list[str]:
    """Return each text that was given to a model, such as those to be embedded."""
    given = [part for message in _dicts(parsed(view, semconv.GEN_AI_INPUT_MESSAGES)) for part in _parts(message)]
    return [str(part.get("content")) for part in given if part.get("type") == "text"]


def _dicts(given: Any) -> list[Message]:
    """Return what is a mapping in a list: other instrumentations write what they like."""
    items = cast("list[Any]", given) if isinstance(given, list) else []
    return [cast("Message", item) for item in items if isinstance(item, dict)]


def _parts(message: Message) -> list[Message]:
    return _dicts(message.get("parts"))


def _messages(given: list[Any]) -> list[Message]:
    return [message for each in _dicts(given) for message in _of_one(each)]


def _of_one(given: Message) -> list[Message]:
    """Return one message; several where it answers several tool calls, each of which is a message to OpenAI."""
    parts = _parts(given)
    answers = [part for part in parts if part.get("type") == "tool_call_response"]
    said = [part for part in parts if part.get("type") not in ("tool_call", "tool_call_response", "reasoning")]
    calls = [part for part in parts if part.get("type") == "tool_call"]
    reasoning = [str(part.get("content")) for part in parts if part.get("type") == "reasoning"]
    messages: list[Message] = [
        {"role": "tool", "tool_call_id": part.get("id"), "content": _as_text(part.get("response"))} for part in answers
    ]
    if said or calls or reasoning or not answers:
        message: Message = {"role": given.get("role", "user"), "content": _content(said) if said or not calls else None}
        if given.get("name"):
            message["name"] = given["name"]
        if reasoning:
            message["reasoning_content"] = "\n".join(reasoning)
        if calls:
            message["tool_calls"] = [_tool_call(part) for part in calls]
        messages.append(message)
    return messages


def _content(parts: list[Any]) -> Any:
    """Return text as it is; a list of parts where there are others."""
    given = _dicts(parts)
    if all(part.get("type") == "text" for part in given):
        return "\n".join(str(part.get("content") or "") for part in given)
    return [_part(part) for part in given]


def _part(part: Message) -> Any:
    match part.get("type"):
        case "text":
            return {"type": "text", "text": part.get("content")}
        case "uri" if part.get("modality") == "image":
            return {"type": "image_url", "image_url": {"url": part.get("uri")}}
        case "blob" if part.get("modality") == "image" and part.get("content"):
            url = f"data:{part.get('mime_type')};base64,{part['content']}"
            return {"type": "image_url", "image_url": {"url": url}}
        case _:
            return part


def _tool_call(part: Message) -> Message:
    arguments = _as_text(part.get("arguments"))
    return {"id": part.get("id"), "type": "function", "function": {"name": part.get("name"), "arguments": arguments}}


def tool(given: Any) -> Any:
    """Return the definition of a tool in OpenAI's form, which a function's is not in by the conventions."""
    if not isinstance(given, dict):
        return given
    definition = cast("Message", given)
    if definition.get("type") != "function" or "function" in definition:
        return definition
    return {"type": "function", "function": {key: value for key, value in definition.items() if key != "type"}}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)
