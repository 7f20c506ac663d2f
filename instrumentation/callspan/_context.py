"""What the application says of the calls it makes: who the user is, which session, and whatever else it knows.

It travels in the OpenTelemetry context, and so to every call below, into tasks and into the threads of pools.
"""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Final

from opentelemetry import baggage
from opentelemetry import context as otel_context
from opentelemetry.context import Context
from opentelemetry.util.types import AttributeValue

from callspan import semconv
from callspan._redaction import redact

_KEY: Final = semconv.CONTEXT_KEY
_MOST: Final = 64
_LONGEST: Final = 1024
"""Entries, and characters of each, that land on a span: baggage comes from whoever calls us."""

_PRIVATE: Final = ("key", "token", "secret", "password", "authorization", "headers", "credential", "cookie")

# What LiteLLM itself puts into the metadata of a call, which says nothing about who made it.
_LITELLMS: Final = frozenset(
    {
        *("model_group", "model_group_alias", "model_group_size", "deployment", "deployment_model_name", "api_base"),
        *("caching_groups", "endpoint", "litellm_api_version", "global_max_parallel_requests", "requester_ip_address"),
        *("previous_models", "hidden_params", "raw_request", "attempted_fallbacks", "attempted_retries", "max_retries"),
        "request_retry_count",
        *("requester_custom_headers", "user_agent", "litellm_call_id", "litellm_parent_otel_span"),
    }
)

Attributes = dict[str, AttributeValue]


@contextlib.contextmanager
def context(
    *,
    user_id: str | None = None,
    session_id: str | None = None,
    tags: Sequence[str] = (),
    metadata: Mapping[str, str | int | float | bool] | None = None,
    attributes: Mapping[str, AttributeValue] | None = None,
) -> Generator[None]:
    """Say of all calls made in a ``with`` block, by whatever name and in whatever task or pool, who makes them.

        >>> with callspan.context(user_id="u-1", session_id="s-1", tags=["beta"], metadata={"plan": "pro"}):
        ...     litellm.completion(...)

    Blocks inside one another add up; the inner one prevails, and what LiteLLM is told of a single call prevails over
    both.

    Args:
        user_id: ``user.id``.
        session_id: ``session.id``.
        tags: ``callspan.tags``.
        metadata: each entry as ``callspan.metadata.<name>``.
        attributes: further attributes under their own names. Those that the conventions have for the call itself
            (``gen_ai.*``) are the call's to set.

    Raises:
        TypeError: a value cannot be an attribute.
    """
    said = _said(user_id, session_id, tags, metadata, attributes)
    outer: Any = otel_context.get_value(_KEY) or {}
    token = otel_context.attach(otel_context.set_value(_KEY, {**outer, **said}))
    try:
        yield
    finally:
        otel_context.detach(token)


def _said(
    user_id: str | None,
    session_id: str | None,
    tags: Sequence[str],
    metadata: Mapping[str, Any] | None,
    attributes: Mapping[str, AttributeValue] | None,
) -> Attributes:
    for name, value in (("user_id", user_id), ("session_id", session_id)):
        if value is not None and not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"callspan.context({name}={value!r}): give a text")
    if isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"callspan.context(tags={tags!r}): give a list of texts")
    said: Attributes = dict(attributes or {})
    for name, value in (metadata or {}).items():
        if not isinstance(value, (str, int, float, bool)):
            raise TypeError(
                f"callspan.context(metadata={{{name!r}: ...}}): {type(value).__name__} is no text or number"
            )
        said[semconv.CALLSPAN_METADATA_PREFIX + name] = value
    if user_id:
        said[semconv.USER_ID] = user_id
    if session_id:
        said[semconv.SESSION_ID] = session_id
    if tags:
        said[semconv.CALLSPAN_TAGS] = tuple(tags)
    return said


def ambient_attributes(inbound: Context | None = None) -> Attributes:
    """What holds for a span that starts now: baggage, and what :func:`context` was told.

    Args:
        inbound: the current context with what the request that is being served carries, where nobody else has put that
            in force.
    """
    carried = baggage.get_all(inbound)
    said: Any = otel_context.get_value(_KEY)
    if not carried:
        return dict(said) if said else {}
    known = {
        key: redact(value)[:_LONGEST]
        for key, value in list(carried.items())[:_MOST]
        if isinstance(value, str) and not _is_private(key)
    }
    return {**known, **(said or {})}


def call_attributes(arguments: Mapping[str, Any], metadata: Mapping[str, Any]) -> Attributes:
    """What LiteLLM was told of one call, by the rules that the documentation states.

    Args:
        arguments: of the call by name: ``user``, ``tags`` and ``litellm_session_id``.
        metadata: of the call: ``user_id``, ``trace_user_id``, ``session_id``, ``tags``, and any other text or number.
    """
    attributes: Attributes = {}
    user = arguments.get("user") or metadata.get("user_id") or metadata.get("trace_user_id")
    session = arguments.get("litellm_session_id") or metadata.get("session_id")
    tags = arguments.get("tags") or metadata.get("tags")
    if isinstance(user, str):
        attributes[semconv.USER_ID] = user[:_LONGEST]
    if isinstance(session, str):
        attributes[semconv.SESSION_ID] = session[:_LONGEST]
    if isinstance(tags, (list, tuple)) and all(isinstance(tag, str) for tag in tags):  # pyright: ignore[reportUnknownVariableType]
        attributes[semconv.CALLSPAN_TAGS] = tuple(tags[:_MOST])  # pyright: ignore[reportUnknownArgumentType]
    for name, value in list(metadata.items())[:_MOST]:
        if not isinstance(value, (str, int, float, bool)) or _is_litellms(str(name)):
            continue
        attributes[f"{semconv.CALLSPAN_METADATA_PREFIX}{name}"] = (
            redact(value)[:_LONGEST] if isinstance(value, str) else value
        )
    return attributes


def _is_litellms(name: str) -> bool:
    return (
        name in _LITELLMS
        or "model_group" in name
        or name.startswith(("user_api_", "litellm_", "_"))
        or _is_private(name)
    )


def _is_private(name: str) -> bool:
    lowered = name.lower()
    return any(word in lowered for word in _PRIVATE)
