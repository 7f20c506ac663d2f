"""The conventions' messages in the shape that PostHog documents for ``$ai_input`` and ``$ai_output_choices``.

``[{role, content}]``, where the content is a text or a list of parts: ``{type: text, text}``, ``{type: image, image}``,
``{type: function, function: {name, arguments}}`` (https://posthog.com/docs/llm-analytics/manual-capture). What that has
no word for is as the provider's API has it, which PostHog's pages show as well.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from callspan import semconv
from callspan_exporters._presets.messages import tool

Json = dict[str, Any]

_DEEPEST: Final = 100
"""Levels of what is nested in a property; PostHog's parser takes 128 of a request."""


def inputs(attributes: Mapping[str, Any]) -> list[Json] | None:
    """Return the messages of a request, the system's instructions first; None where they are not on the span."""
    instructions = _read(attributes, semconv.GEN_AI_SYSTEM_INSTRUCTIONS)
    messages = _messages(_read(attributes, semconv.GEN_AI_INPUT_MESSAGES))
    if instructions is None:
        return messages
    parts: Any = [instructions] if isinstance(instructions, str) else instructions
    return [{"role": "system", "content": _content(_items(parts))}, *(messages or [])]


def outputs(attributes: Mapping[str, Any]) -> list[Json] | None:
    """Return what was answered, one message for each choice; None where it is not on the span."""
    return _messages(_read(attributes, semconv.GEN_AI_OUTPUT_MESSAGES))


def texts(attributes: Mapping[str, Any]) -> Any:
    """Return what was embedded: a text, or a list of them where there are several."""
    messages = inputs(attributes)
    if messages is None:
        return None
    found = [text for message in messages for text in _texts(message["content"])]
    return found[0] if len(found) == 1 else found


def tools(attributes: Mapping[str, Any]) -> Any:
    """Return the tools that a model was offered, as OpenAI's API has them; None where they are not on the span."""
    definitions = _read(attributes, semconv.GEN_AI_TOOL_DEFINITIONS)
    return None if definitions is None else [tool(definition) for definition in _items(definitions)]


def from_json(text: Any) -> Any:
    """Return what a text says in JSON; the text itself where it says nothing, or nests deeper than PostHog reads."""
    if not isinstance(text, str):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    many = text.count("[") + text.count("{") > _DEEPEST  # nearly never, and to count is quicker than to look
    return text if many and _is_deeper(value, _DEEPEST) else value


def _is_deeper(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        items: Iterable[Any] = cast("Json", value).values()
    elif isinstance(value, list):
        items = cast("list[Any]", value)
    else:
        return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in items)


def _read(attributes: Mapping[str, Any], key: str) -> Any:
    value = attributes.get(key)
    return None if value is None else from_json(value)


def _messages(value: Any) -> list[Json] | None:
    if value is None:
        return None
    return [message for item in _items(value) for message in _message(item)]


def _items(value: Any) -> Iterable[Any]:
    return cast("Iterable[Any]", value) if isinstance(value, (list, tuple)) else (value,)


def _message(message: Any) -> list[Json]:
    if not isinstance(message, dict):
        return [{"role": "user", "content": _as_text(message)}]
    given = cast("Json", message)
    if "parts" not in given:  # the shape of an older convention, or somebody's own
        return [given]
    role = given.get("role") or "user"
    parts = list(_items(given["parts"]))
    if role == "tool":  # one message for each result, by which the API finds the call
        return [_tool_message(part) for part in parts]
    converted: Json = {"role": role, "content": _content(parts)}
    if given.get("name"):
        converted["name"] = given["name"]
    return [converted]


def _tool_message(part: Any) -> Json:
    given: Json = cast("Json", part) if isinstance(part, dict) else {"response": part}
    result = given["response"] if "response" in given else given.get("content")
    converted: Json = {"role": "tool", "content": _as_text(result)}
    if given.get("id"):
        converted["tool_call_id"] = given["id"]
    return converted


def _content(parts: Iterable[Any]) -> Any:
    converted = [_part(part) for part in parts]
    if not converted:
        return ""
    only = converted[0]
    return only["text"] if len(converted) == 1 and only.get("type") == "text" else converted


def _part(part: Any) -> Json:
    if not isinstance(part, dict):
        return {"type": "text", "text": _as_text(part)}
    given = cast("Json", part)
    convert = _PARTS.get(str(given.get("type")))
    return given if convert is None else convert(given)


def _text(part: Json) -> Json:
    return {"type": "text", "text": part.get("content") if "content" in part else part.get("text")}


def _reasoning(part: Json) -> Json:
    return {"type": "thinking", "thinking": part.get("content")}


def _refusal(part: Json) -> Json:
    return {"type": "refusal", "refusal": part.get("content")}


def _tool_call(part: Json) -> Json:
    function = {"name": part.get("name"), "arguments": part.get("arguments")}
    return {"type": "function", "id": part.get("id"), "function": function}


def _tool_result(part: Json) -> Json:
    return {"type": "tool_result", "tool_use_id": part.get("id"), "content": part.get("response")}


def _uri(part: Json) -> Json:
    kind = "image" if part.get("modality") == "image" else "file"
    return {"type": kind, kind: part.get("uri")}


def _blob(part: Json) -> Json:
    mime_type, data = part.get("mime_type"), part.get("content")
    if "left_out_bytes" in part:
        return {"type": "text", "text": f"[left out: {part['left_out_bytes']} bytes of {mime_type}]"}
    if part.get("modality") == "image":
        return {"type": "image", "image": f"data:{mime_type};base64,{data}"}
    kind = "audio" if part.get("modality") == "audio" else "file"
    return {"type": kind, "mime_type": mime_type, "data": data}


def _file(part: Json) -> Json:
    return {"type": "file", "file": part.get("file_id")}


_PARTS: Final[Mapping[str, Callable[[Json], Json]]] = {
    "text": _text,
    "reasoning": _reasoning,
    "refusal": _refusal,
    "tool_call": _tool_call,
    "tool_call_response": _tool_result,
    "uri": _uri,
    "blob": _blob,
    "file": _file,
}


def _texts(content: Any) -> list[str]:
    if isinstance(content, list):
        return [str(cast("Json", part).get("text")) for part in cast("list[Any]", content)]
    return [str(content)]


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
