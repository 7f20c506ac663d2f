"""The Lambda function under AWS's own runtime, on a host that freezes it between invocations as Lambda does."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from examples.lambda_host import LambdaHost
from examples.running import command, of_calls, run
from faults.driving import wait_until
from loopback.openai_api import Fail, OpenAIUpstream
from loopback.otlp_receiver import Accept, Hang, OtlpReceiver

NEEDS: Final = ("awslambdaric",)
EXAMPLE: Final = "lambda_handler.py"
HANDLER: Final = "lambda_handler.handler"
QUESTION: Final = {"question": "What is a span?"}
ANSWER: Final = ("response", {"statusCode": 200, "body": "Hello from loopback."})


@pytest.fixture
def host() -> Iterator[LambdaHost]:
    with LambdaHost() as server:
        yield server


@pytest.fixture
def env(env: dict[str, str]) -> dict[str, str]:
    """In which nothing is sent but by flushing."""
    return env | {"OTEL_BSP_SCHEDULE_DELAY": "60000"}


def outcomes(receiver: OtlpReceiver) -> Counter[str]:
    spans = of_calls(receiver)
    assert len({span.span_id for span in spans}) == len(spans)
    return Counter(span.attributes["callspan.outcome"] for span in spans)


def test_each_invocation_has_delivered_its_spans(
    host: LambdaHost, env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """Frozen as soon as it has answered, and in the end killed: nothing waits for a next invocation."""
    with host.environment(HANDLER, env):
        for number in range(1, 4):
            assert host.invoke(QUESTION) == ANSWER
            assert outcomes(otlp_receiver) == {"success": number}
        upstream.behave(Fail(400))
        kind, error = host.invoke(QUESTION)
        assert (kind, error["errorType"]) == ("error", "BadRequestError")
        assert outcomes(otlp_receiver) == {"success": 3, "failure": 1}


def test_what_an_invocation_cannot_send_the_next_one_does(
    host: LambdaHost, env: dict[str, str], otlp_receiver: OtlpReceiver
) -> None:
    """In the same environment or, where the disk outlives that, in another; and none is kept from answering in time."""
    with host.environment(HANDLER, env):
        otlp_receiver.down()
        assert host.invoke(QUESTION) == ANSWER
        otlp_receiver.up()
        assert host.invoke(QUESTION) == ANSWER
        assert outcomes(otlp_receiver) == {"success": 2}
        otlp_receiver.default = Hang(60)
        assert host.invoke(QUESTION) == ANSWER
    otlp_receiver.default = Accept()
    with host.environment(HANDLER, env | {"OTEL_BSP_SCHEDULE_DELAY": "200"}):
        assert host.invoke(QUESTION) == ANSWER
        host.thaw()  # as for any later invocation
        assert wait_until(lambda: len(of_calls(otlp_receiver)) == 4, 30)
        assert outcomes(otlp_receiver) == {"success": 4}


def test_by_hand_without_a_key(env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver) -> None:
    del env["OPENAI_API_KEY"]
    assert "'Forty-two.'" in run(command(EXAMPLE, "python"), env)
    assert not upstream.requests
    assert outcomes(otlp_receiver) == {"success": 1}
