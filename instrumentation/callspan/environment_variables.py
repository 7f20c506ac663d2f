"""Environment variables that the instrumentation reads; those of the delivery are in ``callspan_exporters``."""

from typing import Final

OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""Whether messages, system instructions and tool definitions are recorded, and where.

``NO_CONTENT`` (the default), ``SPAN_ONLY``, ``EVENT_ONLY`` or ``SPAN_AND_EVENT``, in any case. Source: the GenAI
conventions' Python packages (opentelemetry-util-genai). Read when :func:`callspan.instrument` runs.
"""

CALLSPAN_EXIT_BUDGET: Final = "CALLSPAN_EXIT_BUDGET"
"""How long the end of a loop or of the process may be held up, in seconds: 5 by default.

Callbacks take four fifths of it at most; the delivery, which reads the same variable, has the rest for sending.
"""

CALLSPAN_REDACT_PATTERNS: Final = "CALLSPAN_REDACT_PATTERNS"
"""Regular expressions, one a line: what they match in content or error messages is recorded as ``[redacted]``."""

CALLSPAN_CONTENT_MAX_LENGTH: Final = "CALLSPAN_CONTENT_MAX_LENGTH"
"""Characters of each text of a message that are recorded: 65536 by default; 0 for all."""

CALLSPAN_BLOB_MAX_BYTES: Final = "CALLSPAN_BLOB_MAX_BYTES"
"""Bytes of an image, a sound or a file in a message that are recorded: 4096 by default. Of what is larger none are."""

OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK: Final = "OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK"
"""Name of a completion hook, such as ``upload``, that is handed the content of each call (opentelemetry-util-genai)."""
