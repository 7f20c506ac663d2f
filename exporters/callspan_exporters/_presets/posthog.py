"""PostHog's LLM analytics by OTLP: https://posthog.com/docs/llm-analytics/installation/opentelemetry.

What its server reads is in ``rust/capture/src/otel`` and ``nodejs/src/ingestion`` of https://github.com/PostHog/posthog:
the conventions' attributes, ``user.id``, and properties of its events under their own names. A request may have a
hundred spans of LLM calls; with more of them it is refused for good.
"""

from collections.abc import Mapping
from typing import Final

from opentelemetry.util.types import AttributeValue

from callspan import semconv
from callspan_exporters._presets import reading
from callspan_exporters._presets.building import OfCall, account_of, bearer, preset, same_address_or_own_key
from callspan_exporters._rewriting import Rewriting, SpanView
from callspan_exporters._variables import required, required_url
from callspan_exporters.otlp import OTLPDestination
from callspan_exporters.posthog import PostHogDestination

_KEY: Final = ("POSTHOG_API_KEY", "POSTHOG_PROJECT_API_KEY")
_HOST: Final = ("POSTHOG_API_URL", "POSTHOG_HOST")
_CLOUD: Final = "https://us.i.posthog.com"
_MOST_SPANS: Final = 100


def posthog() -> OTLPDestination:
    """Return PostHog as ``POSTHOG_*`` configure it.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    key = required(*_KEY, what="the API key of the project, which begins with phc_")
    host = required_url(*_HOST, default=_CLOUD)

    def of_call(values: Mapping[str, str]) -> OTLPDestination:
        given = values.get("posthog_host") or values.get("posthog_api_url") or ""
        own_key = values.get("posthog_api_key", "")
        same_address_or_own_key(given, host, own_key, address_name="posthog_host", key_name="posthog_api_key")
        return _destination(given or host, own_key or key)

    return _destination(host, key, of_call)


def _destination(host: str, key: str, of_call: OfCall | None = None) -> OTLPDestination:
    takes_events = PostHogDestination(key, host=host).host  # which is not where people look at them
    return preset(
        "posthog-otlp",
        f"{takes_events}/i/v0/ai/otel",
        {"Authorization": bearer(key)},
        account=account_of(key),
        address_variable=_HOST[0],
        key_variable=_KEY[0],
        max_batch_size=_MOST_SPANS,
        rewriting=Rewriting(of_span=attributes_of),
        of_call=of_call,
    )


def attributes_of(view: SpanView) -> Mapping[str, AttributeValue | None]:
    """Return the properties of PostHog's events that the conventions have no names for, or others."""
    kind, counted, error = reading.kind_of(view), reading.tokens(view), reading.error_message(view)
    if not kind:
        return {}
    return {
        **dict(reading.metadata(view)),
        "$ai_session_id": reading.session(view) or None,
        "tags": reading.tags(view) or None,
        # Or an operation that is neither chat nor embeddings would be a mere span.
        "llm.request.type": "chat" if kind == reading.LLM else None,
        "$ai_cache_read_input_tokens": counted.cache_read or None,
        "$ai_cache_creation_input_tokens": counted.cache_write or None,
        "$ai_reasoning_tokens": counted.reasoning or None,
        "$ai_total_cost_usd": reading.dollars(view),
        "$ai_time_to_first_token": reading.number(view, semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK),
        "$ai_stream": view.attributes.get(semconv.GEN_AI_REQUEST_STREAM),
        "$ai_http_status": view.attributes.get(semconv.HTTP_RESPONSE_STATUS_CODE),
        "$ai_is_error": bool(error) or None,
        "$ai_error": error or None,
    }
