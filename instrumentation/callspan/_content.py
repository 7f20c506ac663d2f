"""Whether message content is recorded, and where: only what the user asked for, cleaned and bounded."""

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from callspan._guard import report
from callspan.environment_variables import (
    CALLSPAN_BLOB_MAX_BYTES,
    CALLSPAN_CONTENT_MAX_LENGTH,
    CALLSPAN_REDACT_PATTERNS,
    OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT,
)

_logger = logging.getLogger("callspan")

# (on spans, on events)
_MODES: Final = {
    "NO_CONTENT": (False, False),
    "SPAN_ONLY": (True, False),
    "EVENT_ONLY": (False, True),
    "SPAN_AND_EVENT": (True, True),
}
_LONGEST_TEXT: Final = 65_536
_LARGEST_BLOB: Final = 4096
_REDACTED: Final = "[redacted]"
_FAILED: Final = "[left out: redact= failed]"

_STRUCTURE: Final = frozenset({"type", "role", "modality", "mime_type", "finish_reason", "id", "name", "file_id"})
"""Names whose values are the schema's, not what somebody wrote."""
_FREE: Final = frozenset({"arguments", "response"})
"""Names below which there is no schema of ours: of a tool call, and of its result."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_\r\n-]{512,}={0,2}")

Redact = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class ContentCapture:
    """Where messages, system instructions and tool definitions go, and what becomes of them on the way.

    Attributes:
        on_span: whether they go on spans.
        on_event: whether they go on events.
        redact: the user's function, given each text, returns what may be recorded of it.
        patterns: what they match is replaced, in content and in error messages.
        longest_text: characters of a text that are kept; 0 for all.
        largest_blob: bytes of binary content that are kept; of what is larger nothing is.
        forbidden: whether content may go nowhere at all, since what was to be kept back of it is not known.
    """

    on_span: bool = False
    on_event: bool = False
    redact: Redact | None = None
    patterns: tuple[re.Pattern[str], ...] = ()
    longest_text: int = _LONGEST_TEXT
    largest_blob: int = _LARGEST_BLOB
    forbidden: bool = False

    @property
    def wanted(self) -> bool:
        """Whether content goes anywhere at all."""
        return self.on_span or self.on_event

    @classmethod
    def from_environment(cls, redact: Redact | None = None) -> Self:
        """Read the conventions' variable and our own. What one says wrongly is said, and never records more.

        Args:
            redact: the user's function, if there is one.
        """
        variable = OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT
        value = os.environ.get(variable, "").strip().upper() or "NO_CONTENT"
        if value not in _MODES:
            _logger.warning(
                "%s=%r is not one of %s; no message content is recorded", variable, value, ", ".join(_MODES)
            )
        on_span, on_event = _MODES.get(value, (False, False))
        patterns = _patterns()
        if patterns is None:
            on_span = on_event = False
        return cls(
            on_span,
            on_event,
            redact,
            patterns or (),
            _whole_number(CALLSPAN_CONTENT_MAX_LENGTH, _LONGEST_TEXT),
            _whole_number(CALLSPAN_BLOB_MAX_BYTES, _LARGEST_BLOB),
            forbidden=patterns is None,
        )

    def clean(self, value: Any, *, free: bool = False) -> Any:
        """What may be recorded of messages, parts or tool definitions, all in JSON's types: texts cleaned.

        Args:
            value: any of them.
            free: whether nothing in it is the schema's: all is what somebody, or a model, wrote.
        """
        if isinstance(value, str):
            return self._clean_text(value)
        if isinstance(value, dict):
            return self._clean_mapping(cast("Mapping[str, Any]", value), free=free)
        if isinstance(value, list):
            return [self.clean(item, free=free) for item in cast("list[Any]", value)]
        return value

    def clean_message(self, text: str) -> str:
        """What may be recorded of an error message or traceback."""
        for pattern in self.patterns:
            text = pattern.sub(_REDACTED, text)
        return self._redacted(text) if self.redact is not None else text

    def _clean_mapping(self, value: Mapping[str, Any], *, free: bool) -> dict[str, Any]:
        if value.get("type") == "blob" and isinstance(value.get("content"), str):
            return self._clean_blob(value)
        if free:
            return {self._clean_text(key): self.clean(item, free=True) for key, item in value.items()}
        # The name of a tool is the schema's, that of somebody who takes part is not.
        kept = _STRUCTURE - {"name"} if "parts" in value else _STRUCTURE
        return {
            key: item if key in kept and isinstance(item, str) else self.clean(item, free=key in _FREE)
            for key, item in value.items()
        }

    def _clean_blob(self, blob: Mapping[str, Any]) -> dict[str, Any]:
        size = len(blob["content"]) * 3 // 4
        return dict(blob) if size <= self.largest_blob else {**blob, "content": "", "left_out_bytes": size}

    def _clean_text(self, text: str) -> str:
        if len(text) * 3 // 4 > self.largest_blob and _BASE64.match(text[:4096]) and " " not in text[:4096]:
            return f"[left out: {len(text) * 3 // 4} bytes of base64]"
        text = self.clean_message(text)
        if 0 < self.longest_text < len(text):
            return f"{text[: self.longest_text]}[cut: {len(text) - self.longest_text} characters more]"
        return text

    def _redacted(self, text: str) -> str:
        try:
            return str(cast("Redact", self.redact)(text))
        except Exception:  # noqa: BLE001  # theirs; what it was to keep back is kept back
            report("redact=")
            return _FAILED


def _patterns() -> tuple[re.Pattern[str], ...] | None:
    """The user's patterns, ``None`` where one is none: then nothing is recorded that they were to keep back."""
    patterns: list[re.Pattern[str]] = []
    for line in os.environ.get(CALLSPAN_REDACT_PATTERNS, "").splitlines():
        if line.strip():
            try:
                patterns.append(re.compile(line.strip()))
            except re.error as error:
                _logger.warning(
                    "%s: %r is no regular expression (%s); no message content is recorded",
                    CALLSPAN_REDACT_PATTERNS,
                    line.strip(),
                    error,
                )
                return None
    return tuple(patterns)


def _whole_number(variable: str, default: int) -> int:
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    if text.isdecimal():
        return int(text)
    _logger.warning("%s=%r is not understood and is ignored: set it to a whole number", variable, text)
    return default
