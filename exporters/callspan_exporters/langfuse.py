"""Langfuse, by OTLP.

What its attributes mean: https://langfuse.com/integrations/native/opentelemetry#property-mapping, and its server's
``packages/shared/src/server/otel`` (https://github.com/langfuse/langfuse). ``user.id``, ``session.id``, the models, the
parameters, ``service.version`` and the status it reads from the conventions' attributes itself.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry.util.types import AttributeValue

from callspan_exporters._presets import messages, reading
from callspan_exporters._presets.building import OfCall, account_of, basic, preset, same_address_or_own_key, traces
from callspan_exporters._rewriting import Rewriting, SpanView
from callspan_exporters._variables import SettingError, required, required_url, variable
from callspan_exporters.otlp import OTLPDestination

KIND: Final = "langfuse"

_PUBLIC: Final = "LANGFUSE_PUBLIC_KEY"
_SECRET: Final = "LANGFUSE_SECRET_KEY"  # noqa: S105  the variable's name
_HOST: Final = ("LANGFUSE_HOST", "LANGFUSE_BASE_URL", "LANGFUSE_OTEL_HOST")
_CLOUD: Final = "https://cloud.langfuse.com"

_TYPES: Final[Mapping[str, str]] = {
    reading.AGENT: "agent",
    reading.CHAIN: "chain",
    reading.EMBEDDING: "embedding",
    reading.GUARDRAIL: "guardrail",
    reading.LLM: "generation",
    reading.RERANK: "retriever",
    reading.TOOL: "tool",
}
# Entries of LiteLLM's metadata that its own integration makes something else of than metadata.
_TRACE_NAME: Final = "trace_name"
_VERSIONS: Final = ("trace_version", "version")
_RELEASE: Final = "trace_release"
_PROMPT_NAME: Final = "langfuse_prompt_name"
_PROMPT_VERSION: Final = "langfuse_prompt_version"
_AS_ROOT: Final = "langfuse.internal.as_root"
_NOT_METADATA: Final = frozenset({_TRACE_NAME, *_VERSIONS, _RELEASE, _PROMPT_NAME, _PROMPT_VERSION})


def langfuse() -> OTLPDestination:
    """Return Langfuse as ``LANGFUSE_*`` configure it.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    public = required(_PUBLIC, what="the public key of a project")
    secret = required(_SECRET, what="the secret key of a project")
    host = required_url(*_HOST, default=_CLOUD)
    environment, release = variable("LANGFUSE_TRACING_ENVIRONMENT"), variable("LANGFUSE_RELEASE")

    def of_call(values: Mapping[str, str]) -> OTLPDestination:
        own_secret = values.get("langfuse_secret_key") or values.get("langfuse_secret") or ""
        own_public, given = values.get("langfuse_public_key", ""), values.get("langfuse_host", "")
        names = "langfuse_public_key and langfuse_secret_key"
        if bool(own_public) != bool(own_secret):
            raise SettingError(f"{names} belong together: give both")
        same_address_or_own_key(given, host, own_public, address_name="langfuse_host", key_name=names)
        rewriting = _rewriting(values.get("langfuse_environment") or environment, release, _attributes_of_call)
        return _destination(given or host, own_public or public, own_secret or secret, rewriting)

    return _destination(host, public, secret, _rewriting(environment, release, attributes_of), of_call)


def _rewriting(
    environment: str, release: str, of_span: Callable[[SpanView], Mapping[str, AttributeValue | None]]
) -> Rewriting:
    resource = {"langfuse.environment": environment, "langfuse.release": release}
    return Rewriting(of_span=of_span, of_resource={name: value for name, value in resource.items() if value})


def _destination(
    host: str, public: str, secret: str, rewriting: Rewriting, of_call: OfCall | None = None
) -> OTLPDestination:
    return preset(
        KIND,
        traces(f"{host.rstrip('/')}/api/public/otel"),
        {"Authorization": basic(public, secret), "x-langfuse-ingestion-version": "4"},
        account=account_of(public),  # a project's, whatever the secret key is
        address_variable=_HOST[0],
        key_variable=f"{_PUBLIC} and {_SECRET}",
        rewriting=rewriting,
        of_call=of_call,
    )


def _attributes_of_call(view: SpanView) -> Mapping[str, AttributeValue | None]:
    """Return the same for a call in a project of its own, where what is around it is not."""
    return {**attributes_of(view), _AS_ROOT: None if reading.is_attempt(view) else "true"}


def attributes_of(view: SpanView) -> Mapping[str, AttributeValue | None]:
    """Return what Langfuse reads, of what it does not read from the conventions' attributes."""
    kind = reading.kind_of(view)
    broken_off = reading.broken_off(view)
    version = next((value for name in _VERSIONS if (value := reading.of_metadata(view, name)) is not None), None)
    added: dict[str, AttributeValue | None] = {
        **{
            f"langfuse.trace.metadata.{name}": value
            for name, value in reading.metadata(view)
            if name not in _NOT_METADATA
        },
        "langfuse.trace.tags": reading.tags(view) or None,
        "langfuse.trace.name": _text(reading.of_metadata(view, _TRACE_NAME)),
        "langfuse.version": _text(version),
        "langfuse.release": _text(reading.of_metadata(view, _RELEASE)),
        "langfuse.observation.type": _TYPES.get(kind),
        "langfuse.observation.level": "WARNING" if broken_off else None,
        "langfuse.observation.status_message": broken_off or reading.error_message(view) or None,
        # Or the trace would have neither name nor input: its root goes elsewhere.
        _AS_ROOT: "true" if reading.has_remote_parent(view) else None,
    }
    if kind in ("", reading.CHAIN):
        return added
    return {**added, **_said(view), **_counted(view), **_prompt(view)}


def _said(view: SpanView) -> Mapping[str, AttributeValue | None]:
    """Return input and output in OpenAI's format, which Langfuse shows as messages and finds tools in."""
    prompt, answers, tools = messages.prompt(view), messages.completion(view), messages.tools(view)
    asked: Any = {"tools": tools, "messages": prompt} if tools else prompt
    return {
        "langfuse.observation.input": reading.as_json(asked) if prompt else None,
        "langfuse.observation.output": reading.as_json(answers[0] if len(answers) == 1 else answers)
        if answers
        else None,
        "langfuse.observation.completion_start_time": reading.first_chunk_at(view),
    }


def _counted(view: SpanView) -> Mapping[str, AttributeValue | None]:
    """Return tokens and cost. Langfuse adds up and prices what it is given, so no token may be in two of them."""
    counted, cost = reading.tokens(view), reading.dollars(view)
    of_input = {
        "input_cached_tokens": counted.cache_read,
        "input_cache_creation": counted.cache_write,
        "input_audio_tokens": counted.input_audio,
    }
    of_output = {"output_reasoning_tokens": counted.reasoning, "output_audio_tokens": counted.output_audio}
    usage = {
        "input": max(0, (counted.input or 0) - sum(of_input.values())),
        "output": max(0, (counted.output or 0) - sum(of_output.values())),
        **{name: count for name, count in {**of_input, **of_output}.items() if count},
        "total": counted.total,
    }
    return {
        "langfuse.observation.usage_details": reading.as_json(usage) if counted else None,
        "langfuse.observation.cost_details": None if cost is None else reading.as_json({"total": cost}),
    }


def _prompt(view: SpanView) -> Mapping[str, AttributeValue | None]:
    name, version = reading.of_metadata(view, _PROMPT_NAME), reading.of_metadata(view, _PROMPT_VERSION)
    number = int(version) if str(version).isdecimal() else None
    return {
        "langfuse.observation.prompt.name": str(name) if name and number is not None else None,
        "langfuse.observation.prompt.version": number if name else None,
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
