"""PostHog by its capture API: every span as an event of LLM analytics.

``POSTHOG_API_KEY`` and ``POSTHOG_API_URL`` are the variables that LiteLLM's own integration reads. What is sent:
https://posthog.com/docs/llm-analytics/manual-capture.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

from callspan_exporters._address import address_without_secrets, digest
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._http import Advice, HttpClient
from callspan_exporters._outcome import Outcome, Transport, Verdict
from callspan_exporters._posthog.bodies import LARGEST_BODY, body_of, encoded_event
from callspan_exporters._posthog.events import events_of
from callspan_exporters._presets.building import same_address_or_own_key
from callspan_exporters._rewriting import viewed
from callspan_exporters._variables import SettingError, is_url, required, required_url

_KEYS: Final = ("POSTHOG_API_KEY", "POSTHOG_PROJECT_API_KEY")
_HOSTS: Final = ("POSTHOG_API_URL", "POSTHOG_HOST")
_US: Final = "https://us.i.posthog.com"
_EU: Final = "https://eu.i.posthog.com"
# Where people look at PostHog -> where it takes events, as PostHog's own SDKs have it.
_INGESTION: Final = {"https://app.posthog.com": _US, "https://us.posthog.com": _US, "https://eu.posthog.com": _EU}
_PATH: Final = "/batch/"

_ADVICE: Final = Advice(
    endpoint=f"Is it where PostHog takes events? {' or '.join(_HOSTS)} says where",
    key=f"{' or '.join(_KEYS)} holds the key of the project",
    certificate="SSL_CERT_FILE names what is trusted",
)
_NO_QUOTA: Final = "the billing limits of the PostHog project allow no more"
_NOT_OURS: Final = frozenset({"recordings", "feature_flags", "feature_flag_requests", "surveys", "exceptions"})


@dataclass(frozen=True, slots=True)
class PostHogDestination:
    """Where spans go, and for which project.

    Attributes:
        api_key: the key of the project; never stored, shown or logged.
        host: an URL without a path.
        timeout_s: how long one request may take, in seconds.
        max_batch_size: how many spans it takes at once; PostHog's own SDKs send as many events.
        kind: the name of the kind of destination, which its identity begins with.
    """

    api_key: str = field(repr=False)
    host: str = _US
    timeout_s: float = 10.0
    max_batch_size: int = 100
    kind: str = "posthog"

    def __post_init__(self) -> None:
        host = self.host.rstrip("/")
        # Frozen for all others.
        object.__setattr__(self, "host", _INGESTION.get(host, host))

    @classmethod
    def from_environment(cls) -> "PostHogDestination":
        """Return the destination that the environment names.

        Raises:
            SettingError: there is no key, or the host is no URL.
        """
        key = required(*_KEYS, what="the key of the PostHog project")
        return cls(key, required_url(*_HOSTS, default=_US, what="the address of PostHog"))

    def of_call(self, values: Mapping[str, str]) -> "PostHogDestination":
        """Return the destination for the spans of a call that has a credential of its own.

        Args:
            values: it, by LiteLLM's names: ``posthog_api_key``, ``posthog_api_url`` or ``posthog_host``. What is
                missing is as it is here, but no key goes from here to an address that a call names.

        Raises:
            SettingError: there is no key, none for the address, or the address is no URL.
        """
        key, host = values.get("posthog_api_key", ""), values.get("posthog_api_url") or values.get("posthog_host", "")
        if host and not is_url(host):
            raise SettingError("posthog_api_url is no URL: it holds the address of PostHog, such as https://host:port")
        theirs = replace(self, api_key=key or self.api_key, host=host or self.host)
        if not theirs.api_key:
            raise SettingError("posthog_api_key is not given with the call, and there is none besides")
        same_address_or_own_key(theirs.host, self.host, key, address_name="posthog_api_url", key_name="posthog_api_key")
        return theirs

    @property
    def identity(self) -> str:
        """What names it on disk and to people."""
        return f"{self.kind} {address_without_secrets(self.host)} ~{digest(self.api_key)}"

    @property
    def component_type(self) -> str:
        """What the metrics call it."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    def connect(self) -> Transport:
        """Return a way to it; nothing is connected yet."""
        return _PostHogTransport(self)

    def force_flush(self, timeout_s: float) -> bool:  # noqa: ARG002
        """Do nothing: what was acknowledged has arrived."""
        return True

    def shutdown(self) -> None:
        """Do nothing: connections are the transport's."""


class _PostHogTransport:
    """Posts batches to one project."""

    def __init__(self, destination: PostHogDestination) -> None:
        self._api_key = destination.api_key
        self._client = HttpClient(
            f"{destination.host}{_PATH}",
            {},
            content_type="application/json",
            compression="gzip",
            verify=urlsplit(destination.host).scheme == "https",
            advice=_ADVICE,
            accepted=_accepted,
        )

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
        """Post the events that the spans are."""
        try:
            events = [encoded_event(event) for span in spans for event in events_of(viewed(span))]
        except Exception as error:  # noqa: BLE001  whatever is wrong with one of them is so for good
            return Outcome(Verdict.REJECTED, f"a span that makes no event: {type(error).__name__}")
        body = body_of(self._api_key, events)
        if len(body) > LARGEST_BODY and len(spans) > 1:
            return Outcome(Verdict.TOO_LARGE, f"{len(body)} bytes at once")
        return self._client.post(body, timeout_s)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _accepted(body: bytes) -> Outcome:
    """Return what a 2xx answer means: taken, unless it says that the project has no quota left for it.

    What is over the quota is not taken, and is kept: the same events sent again later count once.
    """
    try:
        answer: Any = json.loads(body)
        limited = set(answer["quota_limited"] or ()) - _NOT_OURS
    except (ValueError, KeyError, TypeError, RecursionError):  # some answer otherwise; it arrived all the same
        return Outcome(Verdict.DELIVERED)
    return Outcome(Verdict.HELD, _NO_QUOTA, fix="They are in its settings") if limited else Outcome(Verdict.DELIVERED)
