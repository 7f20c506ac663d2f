"""Keys that a call carries for where it is recorded: ``langfuse_public_key``, ``posthog_api_key`` and the like.

LiteLLM takes them as arguments of a call, or in its metadata, so that a service can record each customer's calls in the
customer's own account. A span has a digest of them; the keys themselves are told to what delivers spans, and stay in
memory.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.util.types import AttributeValue

from callspan import semconv
from callspan._delivery import call_delivery
from callspan._litellm.untyped import as_mapping

_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "langfuse": (
        *("langfuse_public_key", "langfuse_secret_key", "langfuse_secret", "langfuse_host", "langfuse_environment"),
    ),
    "langsmith": ("langsmith_api_key", "langsmith_project", "langsmith_base_url", "langsmith_tenant_id"),
    "posthog": ("posthog_api_key", "posthog_api_url", "posthog_host"),
    "arize": ("arize_api_key", "arize_space_id", "arize_space_key"),
    "braintrust": ("braintrust_api_key", "braintrust_project", "braintrust_host"),
}
"""By kind of destination, of LiteLLM's ``StandardCallbackDynamicParams`` those that say whose account it is."""

PARAMETERS: Final[Mapping[str, str]] = {name: kind for kind, names in _KINDS.items() for name in names}
_TRUSTED: Final[Mapping[str, str]] = {
    **dict.fromkeys(("newrelic_api_key", "newrelic_region"), "newrelic"),
    **dict.fromkeys(("dd_api_key", "dd_site"), "datadog"),
}
"""Those that LiteLLM takes from its proxy's own settings of a team or a key only, and not from a request."""

_METADATA: Final = ("metadata", "litellm_metadata")
_OF_PROXY: Final = "litellm_trusted_callback_vars"
SOURCES: Final = frozenset({*PARAMETERS, *_METADATA, _OF_PROXY})
"""Arguments of a call that keys may be in."""

_told: set[tuple[str, str]] = set()
_MOST_TOLD: Final = 10_000


def carried(arguments: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the keys of a call by kind of destination and LiteLLM's names; what the call itself says prevails.

    Args:
        arguments: of the call by name.
    """
    found: dict[str, dict[str, str]] = {}
    sources = [(PARAMETERS, arguments)]
    sources += [(PARAMETERS, as_mapping(arguments.get(name)) or {}) for name in _METADATA]
    sources.append((_TRUSTED, as_mapping(arguments.get(_OF_PROXY)) or {}))
    for parameters, source in sources:
        for name in parameters.keys() & source.keys():
            value = source[name]
            if isinstance(value, str) and value and not value.startswith("os.environ/"):
                found.setdefault(parameters[name], {}).setdefault(name, value)
    return found


def credential_attributes(arguments: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Return what stands on a span for the keys that its call carries, and tell what delivers spans of them."""
    attributes: dict[str, AttributeValue] = {}
    for kind, values in carried(arguments).items():
        digest = _digest(values)
        if (kind, digest) not in _told:
            if len(_told) >= _MOST_TOLD:
                _told.clear()
            _told.add((kind, digest))
            call_delivery("remember_credential", kind, digest, values)
        attributes[f"{semconv.CALLSPAN_CREDENTIAL_PREFIX}{kind}"] = digest
    return attributes


def _digest(values: Mapping[str, str]) -> str:
    text = "\0".join(f"{name}={values[name]}" for name in sorted(values))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
