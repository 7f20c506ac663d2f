"""What the Collector takes out of spans before anything of them is written to its disk, and what it leaves alone."""

import json

import pytest

from end_to_end.collector.sending import exchange, send, span
from loopback.otlp_inbox import ReceivedSpan

KEYS = [
    "sk-proj-abcdefghijklmnopqrstuvwx",
    "sk-ant-api03-abcdefghijklmnopqrstuv",
    "sk-lf-01234567-89ab-cdef-0123-456789abcdef",
    "pk-lf-01234567-89ab-cdef-0123-456789abcdef",
    "phc_abcdefghijklmnopqrstuvwxyz012345",
    "lsv2_pt_0123456789abcdef0123456789abcdef_0123456789",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA-0123456789abcdefghijklmnopqrstu",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "hf_abcdefghijklmnopqrstuvwxyz01234567",
    "Bearer abcdefghijklmnop.qrstuvwxyz",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijk",
    '"api_key": "0123456789abcdef"',
    "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----",
]
PERSONAL = [
    "ann.smith+work@mail.example.co.uk",
    "+49 30 1234 5678",
    "+14155552671",
    "(415) 555-2671",
    "4111 1111 1111 1111",
    "5500005555555559",
    "3782 822463 10005",
    "078-05-1120",
    "DE89 3704 0044 0532 0130 00",
]
NAMES = [
    "api_key",
    "callspan.metadata.openai_api_key",
    "http.request.header.authorization",
    "http.request.header.x-api-key",
    "http.response.header.set-cookie",
    "db.password",
    "aws.secret_access_key",
    "callspan.metadata.token",
    "oauth.access_token",
]
# What spans of callspan look like; none of it is a secret, though some of it comes near.
HARMLESS = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "claude-3-5-sonnet@20240620",
    "gen_ai.response.id": "chatcmpl-4123456789012345BnQ",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.request.seed": 4111111111111111,
    "gen_ai.request.max_tokens": 4096,
    "gen_ai.token.type": "input",
    "gen_ai.usage.input_tokens": 11,
    "gen_ai.usage.cache_read.input_tokens": 4,
    "callspan.cost.amount": 0.5312345678901234,
    "callspan.cost.currency": "USD",
    "callspan.outcome": "success",
    "callspan.tags": ["beta", "risk-management-of-everything"],
    "callspan.usage.estimated": True,
    "litellm.call_id": "4111a111-1111-4111-8111-123456789012",
    "litellm.overhead": 0.0004123456789012345,
    "server.address": "127.0.0.1",
    "server.port": 8080,
    "session.id": "2026-11-27T06:55:04+01:00",
    "user.id": "u-1",
    "gen_ai.input.messages": json.dumps([{"role": "user", "content": "A basic understanding of 1 + 1 = 2, please"}]),
}


def everything_in(received: ReceivedSpan) -> str:
    """All that is said with a span, as one text."""
    return f"{received.resource}{received.scope}{received.span}"


@pytest.mark.parametrize("secret", [*KEYS, *PERSONAL])
def test_the_patterns_hold_wherever_a_text_stands(shared_collector, secret):
    text = f"before {secret} after"
    sent = span(
        secret,
        {"any.text": text, "callspan.tags": ["beta", text], "gen_ai.input.messages": json.dumps([{"content": secret}])},
        error=text,
        events={"exception": {"exception.message": text}},
    )
    received = exchange(shared_collector, sent, resource={"service.name": text})

    assert secret not in everything_in(received)
    assert received.attributes["any.text"].startswith("before ")
    assert received.attributes["any.text"].endswith("after")
    assert "****" in received.attributes["any.text"]
    assert received.attributes["callspan.tags"][0] == "beta"
    assert "****" in received.span.status.message
    assert "****" in received.name
    assert "****" in received.events[0][1]["exception.message"]


def test_what_is_named_a_secret_is_hidden_whatever_it_is(shared_collector):
    sent = span("named", {**dict.fromkeys(NAMES, "hunter2"), "http.request.header.cookie": ["a", "hunter2"]})
    received = exchange(shared_collector, sent)

    assert "hunter2" not in everything_in(received)
    assert [received.attributes[name] for name in NAMES] == ["****"] * len(NAMES)


def test_what_callspan_records_keeps_its_value_and_its_type(shared_collector):
    received = exchange(shared_collector, span("chat gpt-4o-mini", HARMLESS, error="Rate limit reached"))

    expected = {key: tuple(value) if isinstance(value, list) else value for key, value in HARMLESS.items()}
    assert received.attributes == expected
    assert received.name == "chat gpt-4o-mini"
    assert received.span.status.message == "Rate limit reached"


def test_messages_that_are_a_list_are_looked_into(shared_collector):
    received = exchange(shared_collector, span("list", {"gen_ai.output.messages": ["Write to ann@example.com", "Bye"]}))

    assert json.loads(received.attributes["gen_ai.output.messages"]) == ["Write to ****", "Bye"]


def test_nothing_of_it_is_on_the_disk_of_the_collector(collector):
    collector.stop()
    collector.start(COLLECTOR_BACKEND="http://127.0.0.1:9")  # where nobody listens
    send(collector, span("a secret", {"any.text": "sk-proj-abcdefghijklmnopqrstuvwx and ann@example.com"}))
    collector.stop()

    on_disk = b"".join(file.read_bytes() for file in collector.storage.iterdir())
    assert b"a secret" in on_disk
    assert b"sk-proj" not in on_disk
    assert b"ann@" not in on_disk


def test_some_attributes_can_be_left_alone_and_others_hashed(collector):
    collector.stop()
    collector.start(
        COLLECTOR_REDACTION_EXCEPT=r'["^user\\.id$"]',
        COLLECTOR_REDACTION_HASH="hmac-sha256",
        COLLECTOR_REDACTION_HMAC_KEY="k" * 32,
    )
    send(collector, *(span(f"span{n}", {"user.id": "ann@example.com", "mail": "ann@example.com"}) for n in range(2)))
    first, second = collector.wait_for(2)

    assert first.attributes["user.id"] == "ann@example.com"
    assert len(first.attributes["mail"]) == 64
    assert first.attributes["mail"] == second.attributes["mail"]
