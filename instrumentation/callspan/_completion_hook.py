"""The conventions' completion hook, which takes content elsewhere: upstream's uploader, or anybody's.

Source: "Uploading content to external storage" of the GenAI conventions, and opentelemetry-util-genai, whose
entry-point group and types these are.
"""

import base64
import binascii
import functools
import inspect
import keyword
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import make_dataclass
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
    "compaction": "CompactionPart",
}


class CompletionHook:
    """Hands content to the hook that the environment names.

    A hook may work on in threads of its own: they are waited for where the process would be gone before, and a child
    that is forked, which has none of them, makes its own hook.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        """Set the hook up; raises what ``make`` raises."""
        self._make = make
        self._hook = make()
        self._process_id = os.getpid()
        self._used = False

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
            return cls(found.load())
        except Exception:  # theirs
            _logger.warning("%s=%r: the completion hook cannot be set up", variable, name, exc_info=True)
            return None

    @property
    def busy(self) -> bool:
        """Whether the hook may have something to finish, and can be asked to."""
        mine = self._used and self._process_id == os.getpid()
        return mine and callable(getattr(self._hook, "shutdown", None))

    @guarded
    def shut_down(self, timeout: float) -> None:
        """Have the hook finish what it was handed, in ``timeout`` seconds if it takes notice of that."""
        if self.busy:
            self._used = False
            takes_timeout = "timeout_sec" in inspect.signature(self._hook.shutdown).parameters
            self._hook.shutdown(**({"timeout_sec": timeout} if takes_timeout else {}))

    @guarded
    def complete(self, content: Mapping[str, Sequence[Any]], span: Span, log_record: Any) -> None:
        """Hand over the content of a call whose span has not ended yet."""
        if self._process_id != os.getpid():
            self._hook, self._process_id = self._make(), os.getpid()
        self._used = True
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
        fields["content"] = _bytes_of(str(fields["content"]))
    kind = _PARTS.get(str(part.get("type")))
    return _made_generic(part) if kind is None else _made(kind, fields)


def _bytes_of(text: str) -> bytes:
    """What is in base64, since hooks write it in base64 again; what is not, as it is."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return text.encode()


def _tool(tool: Mapping[str, Any]) -> Any:
    fields = {"description": None, "parameters": None, "name": "", **tool}
    return _made("FunctionToolDefinition" if tool.get("type") == "function" else "GenericToolDefinition", fields)


def _made(kind: str, fields: Mapping[str, Any]) -> Any:
    """An object of upstream's type, as far as the type has such fields; where upstream is missing, one like it."""
    made = _upstream(kind)
    if made is None:
        return SimpleNamespace(**fields)
    known = made.__dataclass_fields__
    return made(**{name: value for name, value in fields.items() if name in known})


def _made_generic(part: Mapping[str, Any]) -> Any:
    """A part for which upstream has no type, with all that is in it: the schema lets parts be of any type."""
    fields = {name: value for name, value in part.items() if name.isidentifier() and not keyword.iskeyword(name)}
    return _generic(tuple(sorted({"type", *fields})))(**{"type": "", **fields})


@functools.lru_cache(maxsize=64)
def _generic(names: tuple[str, ...]) -> type[Any]:
    base = _upstream("GenericPart")
    return make_dataclass("Part", [(name, Any) for name in names], bases=() if base is None else (base,))


def _upstream(kind: str) -> Any:
    try:
        from opentelemetry.util.genai import types  # noqa: PLC0415  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    except ImportError:
        return None
    return getattr(types, kind, None)  # pyright: ignore[reportUnknownArgumentType]
