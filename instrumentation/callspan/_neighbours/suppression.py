"""Instrumentations of provider SDKs below a call of ours make no LLM span of it: tokens are counted once.

Each has its own sign in the OpenTelemetry context. The general one, ``suppress_instrumentation``, is never set for a
whole call: HTTP instrumentations heed it too, and their spans are wanted.
"""

import functools
import sys
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry.context import Context

_UTIL_GENAI: Final = "opentelemetry.util.genai.invocation"
_INFERENCE: Final = "opentelemetry.genai.client.inference.context"
_EMBEDDINGS: Final = "opentelemetry.genai.client.embedding.context"
"""The official GenAI instrumentations': whoever finds a value makes no span of its own (opentelemetry-util-genai)."""

_LANGUAGE_MODEL: Final = "suppress_language_model_instrumentation"
"""Traceloop's (opentelemetry-semantic-conventions-ai)."""

_TRACELOOP: Final = "opentelemetry.semconv_ai"


def suppressing(context: Context) -> Context:
    """``context`` for what runs inside a call of ours."""
    if _UTIL_GENAI in sys.modules:
        for key, kind in _signs().items():
            context = otel_context.set_value(key, kind(), context)
    if _TRACELOOP in sys.modules:
        context = otel_context.set_value(_LANGUAGE_MODEL, True, context)
    return context


def allowing(context: Context) -> Context:
    """``context`` for what is called back from inside a call of ours, and is no part of it."""
    for key in (_INFERENCE, _EMBEDDINGS, _LANGUAGE_MODEL):
        if context.get(key) is not None:
            context = otel_context.set_value(key, None, context)
    return context


def inside_another() -> bool:
    """Whether the running code is part of an LLM call that another instrumentation has a span for."""
    if _UTIL_GENAI not in sys.modules:
        return False
    here = otel_context.get_current()
    return any(here.get(key) is not None and not isinstance(here[key], kind) for key, kind in _signs().items())


@functools.cache
def _signs() -> Mapping[str, type[Any]]:
    """Types whose values the owners accept, and by which ours are told from others'."""
    invocation = sys.modules[_UTIL_GENAI]
    signs: dict[str, type[Any]] = {}
    for key, name in ((_INFERENCE, "InferenceData"), (_EMBEDDINGS, "EmbeddingData")):
        kind: Any = getattr(invocation, name, None)
        if isinstance(kind, type):
            signs[key] = type(f"Callspan{name}", (kind,), {})
    return signs
