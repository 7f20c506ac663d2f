"""The LangChain chain: each of its calls arrives once and with its user, with LangChain's own spans and without."""

import importlib.util
from collections import Counter
from typing import Final

import pytest

from examples.running import command, of_calls, outermost, run
from loopback.openai_api import OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver

NEEDS: Final = ("langchain_litellm",)
EXAMPLE: Final = "langchain_app.py"
RUNS: Final = {("ada", "s-1"): 2, ("bob", "s-2"): 4}
has_chain_spans: Final = pytest.mark.skipif(
    importlib.util.find_spec("langchain") is None, reason="pip install 'callspan[langchain]' langchain"
)


@pytest.mark.parametrize("key", [True, False], ids=["with a key", "without one"])
@pytest.mark.parametrize("below_chain", [False, pytest.param(True, marks=has_chain_spans)], ids=["alone", "in a chain"])
def test_each_call_once_with_its_user(
    below_chain: bool, key: bool, env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    if not below_chain:
        env["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = "langchain"
    if not key:
        del env["OPENAI_API_KEY"]
    said = run(command(EXAMPLE, "python"), env)
    assert said.count("Hello from loopback." if key else "One span is one call.") == 6
    assert len(upstream.requests) == (6 if key else 0)
    calls = of_calls(otlp_receiver)
    assert len({call.trace_id for call in calls}) == len(calls) == 6
    assert Counter((call.attributes["user.id"], call.attributes["session.id"]) for call in calls) == RUNS
    assert {call.attributes["callspan.outcome"] for call in calls} == {"success"}
    counted = [span for span in otlp_receiver.spans if "gen_ai.usage.input_tokens" in span.attributes]
    assert len(counted) == 6
    assert {outermost(otlp_receiver, call) for call in calls} == {None}
    if below_chain:
        names = {span.span_id: span.name for span in otlp_receiver.spans}
        assert {names[call.parent_id] for call in calls} == {"chat openai/gpt-4o-mini"}
        assert not [call for call in calls if call in counted]
