"""The conventions' completion hook, which takes content elsewhere: upstream's uploader, or anybody's.

Source: "Uploading content to external storage" of the GenAI conventions, and opentelemetry-util-genai, whose
entry-point group and types these are.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any, Final

from opentelemetry.trace import Span

from callspan import semconv
from callspan._guard import guarded
from callspan.environment_variables import OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK

_logger = logging.getLogger("callspan")

_GROUP: Final = "opentelemetry_genai_completion_hook"

# Type of a part in the schema -> class of opentelemetry.util.genai.types.
_PARTS: Final = {
    "text": "TextPart",
    "reasoning": "ReasoningPart",
    "tool_call": "ToolCallRequestPart",
    "tool_call_response": "ToolCallResponsePart",
    "blob": "BlobPart",
    "file": "FilePart",
    "uri": "UriPart",
}


class CompletionHook:
    """Hands content to the hook that the environment names."""

    def __init__(self, hook: Any) -> None:
        self._hook = hook

    @classmethod
    def from_environment(cls) -> "CompletionHook | None":
        """Load the hook, ``None`` where none is named. One that cannot be loaded is said, and nothing else is hurt."""
        variable = OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK
        name = os.environ.get(variable, "").strip()
        if not name:
            return None
        found = next(iter(entry_points(group=_GROUP, name=name)), None)
        if found is None:
            known = ", ".join(sorted({entry_point.name for entry_point in entry_points(group=_GROUP)})) or "none"
            _logger.warning("%s=%r: there is no such completion hook; installed are: %s", variable, name, known)
            return None
        try:
            return cls(found.load()())
        except Exception:  # theirs
            _logger.warning("%s=%r: the completion hook cannot be set up", variable, name, exc_info=True)
            return None

    @guarded
    def complete(self, content: Mapping[str, Sequence[Any]], span: Span, log_record: Any) -> None:
        """Hand over the content of a call whose span has not ended yet."""
        self._hook.on_completion(
            inputs=[_message("InputMessage", one) for one in content.get(semconv.GEN_AI_INPUT_MESSAGES, ())],
            outputs=[_message("OutputMessage", one) for one in content.get(semconv.GEN_AI_OUTPUT_MESSAGES, ())],
            system_instruction=[_part(one) for one in content.get(semconv.GEN_AI_SYSTEM_INSTRUCTIONS, ())],
            tool_definitions=[_tool(one) for one in content.get(semconv.GEN_AI_TOOL_DEFINITIONS, ())] or None,
            span=span,
            log_record=log_record,
        )


def _message(kind: str, message: Mapping[str, Any]) -> Any:
    return _made(kind, {**message, "parts": [_part(part) for part in message.get("parts", ())]})


def _part(part: Mapping[str, Any]) -> Any:
    fields = {"mime_type": None, "id": None, **part}
    if fields["type"] == "blob":
        fields["content"] = str(fields["content"]).encode()
    return _made(_PARTS.get(str(part.get("type")), "GenericPart"), fields)


def _tool(tool: Mapping[str, Any]) -> Any:
    fields = {"description": None, "parameters": None, "name": "", **tool}
    return _made("FunctionToolDefinition" if tool.get("type") == "function" else "GenericToolDefinition", fields)


def _made(kind: str, fields: Mapping[str, Any]) -> Any:
    """An object of upstream's type, as far as the type has such fields; where upstream is missing, one like it."""
    try:
        from opentelemetry.util.genai import types  # noqa: PLC0415  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    except ImportError:
        return SimpleNamespace(**fields)
    made: Any = getattr(types, kind)  # pyright: ignore[reportUnknownArgumentType]
    known = made.__dataclass_fields__
    return made(**{name: value for name, value in fields.items() if name in known})
