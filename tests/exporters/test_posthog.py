"""PostHog: what its capture API's answers mean, what it takes at once, and how it is configured."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from callspan import semconv
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._kinds import destination_named
from callspan_exporters._outcome import Verdict
from callspan_exporters.conformance import DestinationConformance, Request
from callspan_exporters.destination import SettingError
from callspan_exporters.posthog import PostHogDestination
from exporters.posthog_spans import CHAT, KEY, content, ended, events_of, sent
from loopback.posthog_api import (
    Hang,
    PostHogApi,
    QuotaLimited,
    RefuseEvents,
    Reset,
    Status,
    TooLargeAbove,
)


@pytest.fixture
def posthog() -> Iterator[PostHogApi]:
    """A PostHog of our own, which finds nothing wrong with what it is sent."""
    with PostHogApi() as server:
        yield server
        assert not server.complaints


class TestConformance(DestinationConformance):
    """It keeps what is promised of every destination."""

    secrets = (KEY,)

    def destination(self, url: str) -> PostHogDestination:
        return PostHogDestination(KEY, url)

    def ids(self, request: Request) -> list[str]:
        return [event["uuid"] for event in request.json()["batch"]]


@pytest.mark.parametrize("texts", [1, 40, 20_000], ids=["one text", "forty", "twenty thousand"])
def test_an_event_that_is_too_large_is_cut(posthog: PostHogApi, texts: int) -> None:
    """PostHog refuses a megabyte: what is too long is cut and marked, and the rest arrives."""
    parts = [{"type": "text", "content": "ä" * (2_000_000 // texts)} for _ in range(texts)]
    given = content(given=[{"role": "user", "parts": parts}])
    attributes = {**CHAT, **given, semconv.GEN_AI_USAGE_INPUT_TOKENS: 7}
    (event,) = events_of(posthog, ended(attributes=attributes))
    assert event.properties["$ai_input_tokens"] == 7
    assert "characters more]" in json.dumps(event.properties["$ai_input"])
    assert event.properties["$ai_model"] == "gpt-4o-mini"
    assert event.properties["callspan.cut_from_bytes"] > 4_000_000


def test_a_request_is_compressed_json(posthog: PostHogApi) -> None:
    """As PostHog's own SDKs send it, with the key in the body alone."""
    sent(posthog, ended(attributes=CHAT))
    (request,) = posthog.requests
    assert request.path == "/batch/"
    assert (request.headers["content-type"], request.headers["content-encoding"]) == ("application/json", "gzip")
    assert KEY not in str(request.headers)
    assert posthog.events[0].api_key == KEY


@pytest.mark.parametrize(
    ("behaviour", "verdict"),
    [
        (Status(200, {}, b'{"status": 1}'), Verdict.DELIVERED),
        (Status(200, {}, b"1"), Verdict.DELIVERED),
        (Status(204), Verdict.DELIVERED),
        (Status(400), Verdict.REJECTED),
        (Status(401), Verdict.HELD),
        (Status(403), Verdict.HELD),
        (Status(413), Verdict.TOO_LARGE),
        (Status(429), Verdict.RETRY),
        (Status(503), Verdict.RETRY),
        (TooLargeAbove(10), Verdict.TOO_LARGE),
        (RefuseEvents(lambda _event: True), Verdict.REJECTED),
        (QuotaLimited(("events",)), Verdict.HELD),
        (QuotaLimited(("llm_events",)), Verdict.HELD),
        (QuotaLimited(("recordings",)), Verdict.DELIVERED),
        (Reset(), Verdict.RETRY),
        (Hang(0.01), Verdict.RETRY),
    ],
)
def test_answers(posthog: PostHogApi, behaviour: Any, verdict: Verdict) -> None:
    """What could still be sent is kept: over the quota, too, which is answered with 200."""
    posthog.behave(behaviour)
    outcome = sent(posthog, ended(attributes=CHAT))
    assert outcome.verdict is verdict
    assert verdict is Verdict.DELIVERED or outcome.reason
    assert KEY not in repr(outcome)


def test_what_may_mend_it(posthog: PostHogApi) -> None:
    """People are told of the settings by their names."""
    posthog.behave(Status(401), Status(404))
    assert "POSTHOG_API_KEY" in sent(posthog, ended()).fix
    assert "POSTHOG_API_URL" in sent(posthog, ended()).fix
    posthog.down()
    assert "POSTHOG_API_URL" in sent(posthog, ended()).fix


def test_a_span_that_cannot_be_read(posthog: PostHogApi) -> None:
    """It is found among others by its own."""
    bad = EncodedSpan(b"", b"", b"\xff\xff\xff")
    assert sent(posthog, ended(), bad).verdict is Verdict.REJECTED
    assert not posthog.requests


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of LiteLLM's own integration, or those of PostHog's SDKs."""
    with pytest.raises(SettingError, match="POSTHOG_API_KEY"):
        destination_named("posthog")
    monkeypatch.setenv("POSTHOG_PROJECT_API_KEY", "phc_project")
    destination = PostHogDestination.from_environment()
    assert (destination.api_key, destination.host) == ("phc_project", "https://us.i.posthog.com")
    monkeypatch.setenv("POSTHOG_HOST", "https://ph.example.com/")
    monkeypatch.setenv("POSTHOG_API_KEY", "phc_litellm")
    destination = PostHogDestination.from_environment()
    assert (destination.api_key, destination.host) == ("phc_litellm", "https://ph.example.com")
    monkeypatch.setenv("POSTHOG_API_URL", "https://eu.i.posthog.com")
    assert destination_named("posthog") == PostHogDestination("phc_litellm", "https://eu.i.posthog.com")
    monkeypatch.setenv("POSTHOG_API_URL", "eu.i.posthog.com")
    with pytest.raises(SettingError, match="POSTHOG_API_URL"):
        PostHogDestination.from_environment()


@pytest.mark.parametrize(
    ("host", "ingestion"),
    [
        ("https://app.posthog.com", "https://us.i.posthog.com"),
        ("https://us.posthog.com/", "https://us.i.posthog.com"),
        ("https://eu.posthog.com", "https://eu.i.posthog.com"),
        ("https://ph.example.com/", "https://ph.example.com"),
    ],
)
def test_where_people_look_is_not_where_events_go(host: str, ingestion: str) -> None:
    """As PostHog's own SDKs have it."""
    assert PostHogDestination(KEY, host).host == ingestion


def test_identities_hold_no_secret() -> None:
    """They tell projects apart all the same."""
    ours, theirs = PostHogDestination(KEY), PostHogDestination("phc_other")
    assert KEY not in ours.identity + repr(ours) + ours.component_type
    assert ours.identity.startswith("posthog https://us.i.posthog.com ~")
    assert len({ours.identity, theirs.identity, PostHogDestination(KEY, "https://eu.i.posthog.com").identity}) == 3


def test_the_project_of_a_call() -> None:
    """What a call does not say is as it is for all."""
    ours = PostHogDestination(KEY, "https://ph.example.com", timeout_s=3.0)
    assert ours.of_call({}) == ours
    theirs = ours.of_call({"posthog_api_key": "phc_theirs"})
    assert (theirs.api_key, theirs.host, theirs.timeout_s) == ("phc_theirs", "https://ph.example.com", 3.0)
    for name in ("posthog_api_url", "posthog_host"):
        elsewhere = ours.of_call({"posthog_api_key": "phc_theirs", name: "https://eu.posthog.com/"})
        assert (elsewhere.api_key, elsewhere.host) == ("phc_theirs", "https://eu.i.posthog.com")
    with pytest.raises(SettingError, match="posthog_api_url"):
        ours.of_call({"posthog_api_key": "phc_theirs", "posthog_api_url": "file:///etc/passwd"})
    with pytest.raises(SettingError, match="posthog_api_key"):
        PostHogDestination("").of_call({"posthog_api_url": "https://ph.example.com"})


def test_our_key_goes_to_no_address_that_a_call_names() -> None:
    """Whoever makes a call could have it sent to himself."""
    ours = PostHogDestination(KEY, "https://app.posthog.com")
    assert ours.of_call({"posthog_api_url": "https://us.i.posthog.com/"}) == ours
    with pytest.raises(SettingError, match="posthog_api_key"):
        ours.of_call({"posthog_api_url": "https://elsewhere.example.com"})
