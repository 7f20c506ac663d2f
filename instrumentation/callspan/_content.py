"""Whether message content is recorded, and where: only what the user asked for."""

import logging
import os
from dataclasses import dataclass
from typing import Final, Self

from callspan.environment_variables import OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT

_logger = logging.getLogger("callspan")

# (on spans, on events)
_MODES: Final = {
    "NO_CONTENT": (False, False),
    "SPAN_ONLY": (True, False),
    "EVENT_ONLY": (False, True),
    "SPAN_AND_EVENT": (True, True),
}


@dataclass(frozen=True, slots=True)
class ContentCapture:
    """Where messages, system instructions and tool definitions go."""

    on_span: bool = False
    on_event: bool = False

    @property
    def wanted(self) -> bool:
        """Whether content goes anywhere at all."""
        return self.on_span or self.on_event

    @classmethod
    def from_environment(cls) -> Self:
        """Read the conventions' variable. A value it does not know records nothing, and is said once."""
        variable = OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT
        value = os.environ.get(variable, "").strip().upper() or "NO_CONTENT"
        if value not in _MODES:
            _logger.warning(
                "%s=%r is not one of %s; no message content is recorded", variable, value, ", ".join(_MODES)
            )
        return cls(*_MODES.get(value, (False, False)))
