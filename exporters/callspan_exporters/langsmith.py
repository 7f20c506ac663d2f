"""LangSmith, by OTLP.

What its attributes mean: https://docs.langchain.com/langsmith/trace-with-opentelemetry, and for
``langsmith.usage_metadata`` LangSmith's own https://github.com/langchain-ai/langsmith-collector-proxy
(``internal/translator/otel_converter.go``) and SDK; the fields of it are those of
https://docs.langchain.com/langsmith/log-llm-trace#supported-usage_metadata-fields.

LangSmith drops a span without a word when its parent never comes. So a span whose parent is of another process, which
may well send it elsewhere, is sent as a root; ``CALLSPAN_LANGSMITH_REMOTE_PARENTS=keep`` leaves it where it is.
"""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.util.types import AttributeValue

from callspan import semconv
from callspan_exporters._presets import messages, reading
from callspan_exporters._presets.building import OfCall, account_of, in_header, preset, same_address_or_own_key, traces
from callspan_exporters._rewriting import Rewriting, SpanView
from callspan_exporters._variables import SettingError, required, required_url, variable
from callspan_exporters.environment_variables import CALLSPAN_LANGSMITH_REMOTE_PARENTS
from callspan_exporters.otlp import OTLPDestination

KIND: Final = "langsmith"

_KEY: Final = ("LANGSMITH_API_KEY", "LANGCHAIN_API_KEY")
_ENDPOINT: Final = ("LANGSMITH_ENDPOINT", "LANGCHAIN_ENDPOINT", "LANGSMITH_BASE_URL")
_PROJECT: Final = ("LANGSMITH_PROJECT", "LANGCHAIN_PROJECT")
_TENANT: Final = ("LANGSMITH_WORKSPACE_ID", "LANGSMITH_TENANT_ID")
_CLOUD: Final = "https://api.smith.langchain.com"
_CLOUDS: Final = ".smith.langchain.com"
_ROOT: Final = "root"
_KEEP: Final = "keep"

_RUN_TYPES: Final[Mapping[str, str]] = {
    reading.AGENT: "chain",
    reading.CHAIN: "chain",
    reading.EMBEDDING: "embedding",
    reading.GUARDRAIL: "llm",
    reading.LLM: "llm",
    reading.RERANK: "retriever",
    reading.TOOL: "tool",
}
# What LiteLLM's own integration sends of a call besides, under its names.
_DETAILS: Final[Mapping[str, str]] = {
    "litellm_call_id": semconv.LITELLM_CALL_ID,
    "call_type": semconv.CALLSPAN_ENTRY_POINT,
    "cache_hit": semconv.LITELLM_CACHE_HIT,
    "model_group": semconv.LITELLM_MODEL_GROUP,
    "model_id": semconv.LITELLM_DEPLOYMENT_ID,
    "api_base": semconv.SERVER_ADDRESS,
    "custom_llm_provider": semconv.LITELLM_PROVIDER,
    "provider_request_id": semconv.LITELLM_PROVIDER_REQUEST_ID,
    "error_class": semconv.ERROR_TYPE,
    "error_code": semconv.HTTP_RESPONSE_STATUS_CODE,
    "time_to_first_token": semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK,
    "attempt": semconv.CALLSPAN_ATTEMPT_NUMBER,
    "outcome": semconv.CALLSPAN_OUTCOME,
}
# The conventions' providers as LangSmith's own SDK calls them, where it does otherwise.
_PROVIDERS: Final[Mapping[str, str]] = {
    "aws.bedrock": "amazon_bedrock",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google_ai",
    "gcp.vertex_ai": "google_vertexai",
}


def langsmith() -> OTLPDestination:
    """Return LangSmith as ``LANGSMITH_*`` or ``LANGCHAIN_*`` configure it.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    parents = variable(CALLSPAN_LANGSMITH_REMOTE_PARENTS, default=_ROOT).lower()
    if parents not in (_ROOT, _KEEP):
        raise SettingError(f"{CALLSPAN_LANGSMITH_REMOTE_PARENTS} is {_ROOT!r} or {_KEEP!r}")
    key = required(*_KEY, what="an API key of LangSmith")
    base = required_url(*_ENDPOINT, default=_CLOUD)
    project, tenant = in_header(variable(*_PROJECT), _PROJECT[0]), variable(*_TENANT)

    def of_call(values: Mapping[str, str]) -> OTLPDestination:
        given, own_key = values.get("langsmith_base_url", ""), values.get("langsmith_api_key", "")
        same_address_or_own_key(given, base, own_key, address_name="langsmith_base_url", key_name="langsmith_api_key")
        at_home = not given or given.rstrip("/") == base
        return _destination(
            given or base,
            own_key or key,
            values.get("langsmith_project") or (project if at_home else ""),
            values.get("langsmith_tenant_id") or (tenant if at_home else ""),
            rewriting=Rewriting(of_span=attributes_of, place=_alone),
        )

    rewriting = Rewriting(of_span=attributes_of, place=_without_remote_parent if parents == _ROOT else None)
    return _destination(base, key, project, tenant, rewriting=rewriting, of_call=of_call)


def _destination(
    base: str, key: str, project: str, tenant: str, *, rewriting: Rewriting, of_call: OfCall | None = None
) -> OTLPDestination:
    headers = {"x-api-key": key, "Langsmith-Project": project, "X-Tenant-Id": tenant}
    return preset(
        KIND,
        traces(_otlp(base)),
        headers,
        account=account_of(key, tenant, project=project),
        address_variable=_ENDPOINT[0],
        key_variable=_KEY[0],
        rewriting=rewriting,
        of_call=of_call,
    )


def _otlp(base: str) -> str:
    """Return the base of OTLP: in the cloud at the root, where it is self-hosted below the API, wherever that is."""
    parts = urlsplit(base)
    if f".{parts.hostname}".endswith(_CLOUDS):
        return f"{parts.scheme}://{parts.netloc}/otel"
    return f"{base.rstrip('/')}/otel" if parts.path.strip("/") else f"{base.rstrip('/')}/api/v1/otel"


def _without_remote_parent(view: SpanView) -> tuple[bytes, bytes] | None:
    return (view.span.trace_id, b"") if reading.has_remote_parent(view) else None


def _alone(view: SpanView) -> tuple[bytes, bytes]:
    """Place a call with an account of its own: what is around it goes to another, so it is a trace of its own there."""
    parent = view.span.parent_span_id if reading.is_attempt(view) else b""
    call = parent or view.span.span_id
    return hashlib.sha256(view.span.trace_id + call).digest()[:16], parent


def attributes_of(view: SpanView) -> Mapping[str, AttributeValue | None]:
    """Return what LangSmith reads, of what it does not read from the conventions' attributes."""
    kind = reading.kind_of(view)
    details = {name: view.attributes.get(key) for name, key in _DETAILS.items()} if kind else {}
    added: dict[str, AttributeValue | None] = {
        **{f"langsmith.metadata.{name}": value for name, value in details.items()},
        **{f"langsmith.metadata.{name}": value for name, value in reading.metadata(view)},
        "langsmith.span.kind": _RUN_TYPES.get(kind),
        "langsmith.trace.name": str(reading.of_metadata(view, "run_name") or "") or None,
        "langsmith.span.tags": ", ".join(tag.replace(",", " ") for tag in reading.tags(view)) or None,
        "langsmith.metadata.user_id": reading.text(view, semconv.USER_ID) or None,
        "langsmith.metadata.session_id": reading.session(view) or None,
    }
    if reading.has_remote_parent(view):
        added["langsmith.metadata.otel_parent_span_id"] = view.span.parent_span_id.hex()
    if kind in ("", reading.CHAIN):
        return added
    return {**added, **_of_model(view), **_said(view), **_counted(view)}


def _of_model(view: SpanView) -> Mapping[str, AttributeValue | None]:
    said = reading.text(view, semconv.GEN_AI_PROVIDER_NAME)
    provider = _PROVIDERS.get(said, said) or None
    model = reading.text(view, semconv.GEN_AI_REQUEST_MODEL) or reading.text(view, semconv.GEN_AI_RESPONSE_MODEL)
    return {
        "gen_ai.system": provider,
        "langsmith.metadata.ls_provider": provider,
        "langsmith.metadata.ls_model_name": model or None,
    }


def _said(view: SpanView) -> Mapping[str, AttributeValue | None]:
    """Return prompt and response in OpenAI's format, one of those that LangSmith shows as messages.

    The response is there without content as well: LangSmith puts the tokens into it.
    """
    prompt, tools = messages.prompt(view), messages.tools(view)
    return {
        "gen_ai.prompt": reading.as_json({"messages": prompt}) if prompt else None,
        "gen_ai.completion": reading.as_json(_response(view)),
        "tools": reading.as_json(tools) if tools else None,
    }


def _response(view: SpanView) -> Mapping[str, Any]:
    reasons: Sequence[Any] = view.attributes.get(semconv.GEN_AI_RESPONSE_FINISH_REASONS) or ()
    choices = [
        {"index": at, "finish_reason": reason, **({"message": message} if message else {})}
        for at, (reason, message) in enumerate(zip_longest(reasons, messages.completion(view)))
    ]
    known = {
        "id": reading.text(view, semconv.GEN_AI_RESPONSE_ID),
        "model": reading.text(view, semconv.GEN_AI_RESPONSE_MODEL),
    }
    return {**{name: value for name, value in known.items() if value}, "choices": choices}


def _counted(view: SpanView) -> Mapping[str, AttributeValue | None]:
    counted, cost = reading.tokens(view), reading.dollars(view)
    usage: dict[str, Any] = {}
    if counted:
        inputs = {
            "cache_read": counted.cache_read,
            "cache_creation": counted.cache_write,
            "audio": counted.input_audio,
            "image": counted.input_image,
        }
        outputs = {"reasoning": counted.reasoning, "audio": counted.output_audio, "image": counted.output_image}
        usage = {
            "input_tokens": counted.input or 0,
            "output_tokens": counted.output or 0,
            "total_tokens": counted.total,
            "input_token_details": {name: count for name, count in inputs.items() if count},
            "output_token_details": {name: count for name, count in outputs.items() if count},
        }
    if cost is not None:
        usage["total_cost"] = cost
    return {
        "langsmith.usage_metadata": reading.as_json({key: value for key, value in usage.items() if value != {}})
        if usage
        else None,
        "gen_ai.usage.total_tokens": counted.total if counted else None,
        "gen_ai.usage.details.reasoning_tokens": counted.reasoning or None,
    }
