"""The scripts that need nothing but LiteLLM, as they stand: without a key, all that they make arrives by their end."""

from collections import Counter
from typing import Final

import pytest

from examples.running import command, of_calls, run
from loopback.openai_api import OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver

# Of a Router's call: itself, and its attempt.
OUTCOMES: Final = {"quickstart.py": {"success": 6, "failure": 1}, "callbacks.py": {"success": 1}}


@pytest.mark.parametrize("example", OUTCOMES)
def test_every_call_arrives_once(
    example: str, env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    del env["OPENAI_API_KEY"]
    run(command(example, "python"), env)
    assert not upstream.requests
    spans = of_calls(otlp_receiver)
    assert len({span.span_id for span in spans}) == len(spans)
    assert Counter(span.attributes["callspan.outcome"] for span in spans) == OUTCOMES[example]
