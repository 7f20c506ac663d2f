"""From LiteLLM's own loggers for PostHog and LangSmith to callspan: the same program, the same variables."""

import difflib
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from examples.running import EXAMPLES, command, run
from loopback.openai_api import Fail, OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver
from loopback.posthog_api import PostHogApi
from loopback.server import Handler, LoopbackServer

BEFORE: Final = "migration_before.py"
AFTER: Final = "migration_after.py"
CALLS: Final = 6
CAPTURE: Final = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY"}


class _Runs(Handler):
    def do_POST(self) -> None:  # noqa: N802 - the name http.server calls
        self.read_body()
        self.server.owner.paths.append(self.path)  # type: ignore[attr-defined]
        self.reply(200, b"{}", {"Content-Type": "application/json"})


class LangSmithRuns(LoopbackServer):
    """LangSmith as LiteLLM's logger knows it, which does not speak OTLP."""

    handler = _Runs

    def __init__(self) -> None:
        super().__init__()
        self.paths: list[str] = []


@pytest.fixture
def posthog() -> Iterator[PostHogApi]:
    with PostHogApi() as server:
        yield server


@pytest.fixture
def langsmith() -> Iterator[OtlpReceiver]:
    """LangSmith as callspan knows it: a receiver of spans by OTLP."""
    with OtlpReceiver() as server:
        yield server


@pytest.fixture
def env(env: dict[str, str], posthog: PostHogApi, langsmith: OtlpReceiver) -> dict[str, str]:
    return env | {"POSTHOG_API_URL": posthog.host, "LANGSMITH_BASE_URL": langsmith.endpoint}


def code(example: str) -> list[str]:
    """An example without its docstring and without empty lines."""
    source = (EXAMPLES / example).read_text().split('"""', 2)[2]
    return [line for line in source.splitlines() if line]


def test_nothing_else_differs() -> None:
    changes = [line for line in difflib.ndiff(code(BEFORE), code(AFTER)) if line[0] in "+-"]
    assert sorted(changes) == [
        '+ callspan.instrument(destinations=["posthog", "langsmith"])  # or CALLSPAN_DESTINATIONS=posthog,langsmith',
        "+ import callspan",
        '- litellm.failure_callback = ["posthog", "langsmith"]',
        '- litellm.success_callback = ["posthog", "langsmith"]',
    ]


def test_before(env: dict[str, str], posthog: PostHogApi) -> None:
    """It runs, and tells what it tells: how much of it, is LiteLLM's business."""
    with LangSmithRuns() as runs:
        run(command(BEFORE, "python"), env | {"LANGSMITH_BASE_URL": f"http://127.0.0.1:{runs.port}"})
    assert len(posthog.counted) <= CALLS
    assert not posthog.complaints
    assert set(runs.paths) <= {"/api/v1/runs/batch"}


@pytest.mark.parametrize("key", [True, False], ids=["with a key", "without one"])
def test_after(
    key: bool, env: dict[str, str], upstream: OpenAIUpstream, posthog: PostHogApi, langsmith: OtlpReceiver
) -> None:
    """Both are told of each call once, of the failure as one, and of what the metadata say."""
    if key:
        upstream.models["no-such-model"] = Fail(404)
    else:
        del env["OPENAI_API_KEY"]
    run(command(AFTER, "python"), env | CAPTURE)
    events = posthog.events
    assert len({event.identity for event in events}) == len(events) == CALLS
    assert not posthog.complaints
    assert {event.api_key for event in events} == {"phc_..."}
    assert {event.distinct_id for event in events} == {"ada"}
    assert {(event.properties["$ai_session_id"], event.properties["plan"]) for event in events} == {("s-1", "pro")}
    assert Counter(event.properties["$ai_is_error"] for event in events) == {False: CALLS - 1, True: 1}
    spans = langsmith.spans
    assert len({span.span_id for span in spans}) == len(spans) == CALLS
    assert {request.headers["x-api-key"] for request in langsmith.requests} == {"lsv2_..."}
    assert {request.headers["langsmith-project"] for request in langsmith.requests} == {"bot"}
    assert Counter(span.attributes["callspan.outcome"] for span in spans) == {"success": CALLS - 1, "failure": 1}
    assert {span.attributes["langsmith.metadata.plan"] for span in spans} == {"pro"}
    asked = {f"Question {number}?" for number in range(3)}
    assert asked <= {event.properties["$ai_input"][0]["content"] for event in events}


def test_after_an_outage_of_both(env: dict[str, str], posthog: PostHogApi, langsmith: OtlpReceiver) -> None:
    """What could not be sent is kept, and goes with the next run, once."""
    del env["OPENAI_API_KEY"]
    posthog.down()
    langsmith.down()
    said = run(command(AFTER, "python"), env)
    assert said.count(f"kept {CALLS} spans") == 1
    posthog.up()
    langsmith.up()
    run(command(AFTER, "python"), env)
    assert len(posthog.counted) == len(posthog.events) == 2 * CALLS
    assert len({span.span_id for span in langsmith.spans}) == len(langsmith.spans) == 2 * CALLS
