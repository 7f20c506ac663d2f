"""The Celery worker, with the processes that it forks: every call arrives once, with its user."""

import importlib.util
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from examples.running import command, drained, outermost, run, running, stop
from faults.driving import Program, living, wait_until
from loopback.openai_api import Answer, Fail, Hang, OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver, ReceivedSpan

NEEDS: Final = ("celery",)
EXAMPLE: Final = "celery_worker.py"
WORKER: Final = command(EXAMPLE, "celery")
ASK: Final = command(EXAMPLE, "python")
# Without the example, which takes a while to import LiteLLM.
SEND: Final = """
import sys, tempfile
from celery import Celery
app = Celery(broker="filesystem://")
folder = tempfile.gettempdir() + "/callspan-celery"
app.conf.broker_transport_options = {
    "data_folder_in": folder, "data_folder_out": folder, "control_folder": folder + "/control"
}
for user in sys.argv[1:]:
    app.send_task("celery_worker.answer", ["What is a span?", user])
"""


@pytest.fixture
def env(env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """With a broker of the test's own: a folder."""
    (tmp_path / "temporary").mkdir()
    return env | {"TMPDIR": str(tmp_path / "temporary")}


def send(env: dict[str, str], *users: str) -> None:
    run(["python", "-c", SEND, *users], env)


def done(program: Program, count: int, how: str = "succeeded") -> bool:
    return wait_until(lambda: program.output.count(f"] {how}") == count or program.gone_at is not None, 60)


def seen(spans: list[ReceivedSpan]) -> Counter[tuple[str, str]]:
    """The user and the outcome of each call."""
    assert len({span.span_id for span in spans}) == len(spans)
    return Counter((span.attributes["user.id"], span.attributes["callspan.outcome"]) for span in spans)


def test_every_call_arrives_once_with_its_user(
    env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """Of tasks that are done, that fail, and that are still being done when the worker is told to stop."""
    with running(WORKER, env) as program:
        program.hear("ready", 60)
        run(ASK, env)
        send(env, *(f"user {number}" for number in range(8)))
        assert done(program, 10), program.output
        upstream.default = Fail(400)
        send(env, "unlucky")
        assert done(program, 1, "raised"), program.output
        upstream.default = Answer(delay=1.5)
        asked = len(upstream.requests)
        send(env, "late")
        assert wait_until(lambda: len(upstream.requests) > asked, 60), program.output
        stop(program)
    assert seen(drained(otlp_receiver, env)) == {
        **{(f"user {number}", "success"): 1 for number in range(8)},
        **{(user, "success"): 1 for user in ("ada", "bob", "late")},
        ("unlucky", "failure"): 1,
    }


def test_a_process_that_is_killed(env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver) -> None:
    """What it ended arrives, once; the task that it was at is done again; in the end all of the worker is killed."""
    env = env | {"OTEL_BSP_SCHEDULE_DELAY": "60000"}  # so that what it ended is still with it
    with running([*WORKER, "--concurrency=1"], env) as program:
        program.hear("ready", 60)
        send(env, "before")
        assert done(program, 1), program.output
        assert not otlp_receiver.spans
        upstream.behave(Hang())
        send(env, "killed")
        assert wait_until(lambda: len(upstream.requests) == 2, 60), program.output
        (child,) = set(living(program.pid)) - {program.pid}
        os.kill(child, signal.SIGKILL)
        assert done(program, 2), program.output
        os.killpg(program.pid, signal.SIGKILL)
        program.finish(60)
    assert seen(drained(otlp_receiver, env)) == {("before", "success"): 1, ("killed", "success"): 1}


@pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.instrumentation.celery") is None,
    reason="pip install opentelemetry-instrumentation-celery",
)
def test_a_tasks_call_is_in_the_trace_of_who_sent_it(
    env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """As it stands, without a key: LiteLLM makes the answers up, and the calls are recorded all the same."""
    del env["OPENAI_API_KEY"]
    with running(["opentelemetry-instrument", "--", *WORKER], env) as program:
        program.hear("ready", 60)
        run(["opentelemetry-instrument", "--", *ASK], env)
        assert done(program, 2), program.output
        stop(program)
    assert not upstream.requests
    calls = drained(otlp_receiver, env)
    assert seen(calls) == {("ada", "success"): 1, ("bob", "success"): 1}
    names = {span.span_id: span.name for span in otlp_receiver.spans}
    parents = {span.span_id: span.parent_id for span in otlp_receiver.spans}
    for call in calls:
        task = call.parent_id
        assert (names[task], names[parents[task]]) == ("run/celery_worker.answer", "apply_async/celery_worker.answer")
        assert outermost(otlp_receiver, call) is None


POOL: Final = """
import os, time, billiard, callspan, litellm
callspan.instrument()
@callspan.callback
def slow(call):
    time.sleep(2)
    os.write(1, b"callback ran\\n")
def work():
    litellm.completion("openai/x", [{"role": "user", "content": "x"}], mock_response="a")
if __name__ == "__main__":
    pool = billiard.Pool(1, maxtasksperchild=1)
    pool.apply(work)
    pool.close()
    pool.join()
"""


def test_callbacks_are_done_before_a_process_of_the_pool_ends(env: dict[str, str]) -> None:
    """Celery's pool ends its processes by `os._exit`, a second after their last task."""
    assert "callback ran" in run(["python", "-c", POOL], env)
