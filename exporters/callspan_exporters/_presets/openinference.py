"""OpenInference, as Phoenix and Arize AX read it.

https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md has the names. Phoenix makes most of
them from the conventions' attributes itself; what it does not is what `for_phoenix` adds, measured with Phoenix 20.26.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from opentelemetry.util.types import AttributeValue

from callspan import semconv
from callspan_exporters._presets import messages
from callspan_exporters._presets.reading import (
    AGENT,
    CHAIN,
    EMBEDDING,
    GUARDRAIL,
    LLM,
    RERANK,
    TOOL,
    as_json,
    dollars,
    kind_of,
    metadata,
    tags,
    text,
    tokens,
)
from callspan_exporters._rewriting import SpanView

Attributes = Mapping[str, AttributeValue | None]

_KINDS: Final = {
    AGENT: "AGENT",
    CHAIN: "CHAIN",
    EMBEDDING: "EMBEDDING",
    GUARDRAIL: "GUARDRAIL",
    LLM: "LLM",
    RERANK: "RERANKER",
    TOOL: "TOOL",
}
_TEXT: Final = "text/plain"
_JSON: Final = "application/json"


def for_phoenix(view: SpanView) -> Attributes:
    """Return what Phoenix does not find out by itself."""
    kind = kind_of(view)
    if not kind:
        return {}
    known = dict(metadata(view))
    return {
        "openinference.span.kind": _KINDS[kind],
        "metadata": as_json(known) if known else None,
        "tag.tags": tags(view) or None,
        **(_said(view, kind) if kind in (LLM, EMBEDDING, GUARDRAIL, RERANK) else {}),
        **_counted(view),
        **(_embedded(view) if kind == EMBEDDING else {}),
        **(_reranked(view) if kind == RERANK else {}),
        "llm.cost.total": dollars(view),
    }


def whole(view: SpanView) -> Attributes:
    """Return all that there is, for who reads OpenInference alone."""
    kind = kind_of(view)
    if not kind:
        return {}
    request = {
        key.removeprefix("gen_ai.request."): value
        for key, value in view.attributes.items()
        if key.startswith("gen_ai.request.") and key != semconv.GEN_AI_REQUEST_MODEL
    }
    counted = tokens(view)
    model = "embedding.model_name" if kind == EMBEDDING else "llm.model_name"
    return {
        **for_phoenix(view),
        model: text(view, semconv.GEN_AI_RESPONSE_MODEL) or text(view, semconv.GEN_AI_REQUEST_MODEL) or None,
        "llm.provider": text(view, semconv.GEN_AI_PROVIDER_NAME) or None,
        "llm.invocation_parameters": as_json(request) if request else None,
        "llm.token_count.prompt": counted.input,
        "llm.token_count.completion": counted.output,
        "llm.token_count.total": counted.total if counted else None,
        "llm.token_count.prompt_details.cache_read": counted.cache_read or None,
        **dict(_flat("llm.input_messages", messages.prompt(view))),
        **dict(_flat("llm.output_messages", messages.completion(view))),
        **{f"llm.tools.{at}.tool.json_schema": as_json(tool) for at, tool in enumerate(messages.tools(view))},
    }


def _said(view: SpanView, kind: str) -> Attributes:
    """Return the columns input and output. Phoenix would show the response's id as output where there is none."""
    given = messages.texts(view)
    asked = given[0] if kind == RERANK and given else messages.last_said(messages.prompt(view), "user")
    answers = messages.completion(view)
    answer = messages.last_said(answers, "assistant")
    calls = [message["tool_calls"] for message in answers if message.get("tool_calls")]
    return {
        "input.value": asked or None,
        "input.mime_type": _TEXT if asked else None,
        "output.value": answer if answer or not calls else as_json(calls[-1]),
        "output.mime_type": _TEXT if answer or not calls else _JSON,
    }


def _counted(view: SpanView) -> Attributes:
    counted = tokens(view)
    return {
        "llm.token_count.prompt_details.cache_write": counted.cache_write or None,
        "llm.token_count.prompt_details.audio": counted.input_audio or None,
        "llm.token_count.completion_details.audio": counted.output_audio or None,
        "llm.token_count.completion_details.reasoning": counted.reasoning or None,
    }


def _embedded(view: SpanView) -> Attributes:
    return {f"embedding.embeddings.{at}.embedding.text": each for at, each in enumerate(messages.texts(view))}


def _reranked(view: SpanView) -> Attributes:
    given = messages.texts(view)
    return {
        "reranker.model_name": text(view, semconv.GEN_AI_REQUEST_MODEL) or None,
        "reranker.query": given[0] if given else None,
        **{f"reranker.input_documents.{at}.document.content": each for at, each in enumerate(given[1:])},
    }


def _flat(prefix: str, given: list[messages.Message]) -> Iterator[tuple[str, AttributeValue]]:
    for at, message in enumerate(given):
        start = f"{prefix}.{at}.message"
        yield f"{start}.role", str(message.get("role"))
        if said := messages.plain_text(message):
            yield f"{start}.content", said
        if message.get("tool_call_id"):
            yield f"{start}.tool_call_id", str(message["tool_call_id"])
        calls: list[Any] = message.get("tool_calls") or []
        for number, call in enumerate(calls):
            each = f"{start}.tool_calls.{number}.tool_call"
            yield f"{each}.id", str(call.get("id"))
            yield f"{each}.function.name", str(call["function"]["name"])
            yield f"{each}.function.arguments", str(call["function"]["arguments"])
