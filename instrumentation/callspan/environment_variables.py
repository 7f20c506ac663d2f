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
