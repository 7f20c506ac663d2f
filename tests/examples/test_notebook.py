"""The notebook, in a kernel of Jupyter's: its calls arrive while the kernel lives, and however it ends."""

import os
import signal
from collections import Counter
from typing import Final

import pytest

from examples.running import EXAMPLES, command, drained, of_calls, run, running
from faults.driving import wait_until
from loopback.openai_api import Hang, OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver, ReceivedSpan

NEEDS: Final = ("ipykernel", "nbclient")
EXAMPLE: Final = "notebook.ipynb"
CALLS: Final = {("ada", "exploring", "success"): 2, (None, None, "success"): 1}
# Someone who works in the notebook: runs its cells, all but those that wait for its spans; then, where there is more to
# be asked, asks once more until interrupted, and once more; and leaves.
READER: Final = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
reader = NotebookClient(notebook, shutdown_kernel=sys.argv[2], allow_errors=True)
def cell(source):
    notebook.cells.append(nbformat.v4.new_code_cell(source))
    reader.execute_cell(notebook.cells[-1], len(notebook.cells) - 1)
    return [output.get("ename") for output in notebook.cells[-1].outputs]
with reader.setup_kernel():
    for index, each in enumerate(notebook.cells):
        if each.cell_type == "code" and "callspan show" not in each.source and "flush" not in each.source:
            reader.execute_cell(each, index)
    print("executed by", reader.km.provisioner.pid, flush=True)
    if "more" in sys.stdin.readline():
        print(cell("litellm.completion(**ask('Are you there?'))"), flush=True)
        print(cell("litellm.completion(**ask('And now?'))"), flush=True)
"""


def seen(spans: list[ReceivedSpan]) -> Counter[tuple[str | None, str | None, str]]:
    """The user, the session and the outcome of each call."""
    assert len({span.span_id for span in spans}) == len(spans)
    attributes = [span.attributes for span in spans]
    return Counter((its.get("user.id"), its.get("session.id"), its["callspan.outcome"]) for its in attributes)


@pytest.mark.parametrize("key", [True, False], ids=["with a key", "without one"])
def test_executed_as_a_whole(
    key: bool, env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """All of it has arrived when its last cells say so, with what the callback was told of each call."""
    if not key:
        del env["OPENAI_API_KEY"]
    run(command(EXAMPLE, "jupyter", "execute"), env)
    assert len(upstream.requests) == (3 if key else 0)
    calls = of_calls(otlp_receiver)
    assert seen(calls) == CALLS
    told = [span.parent_id for span in otlp_receiver.spans if span.name == "callback __main__.took"]
    assert sorted(told) == sorted(span.span_id for span in calls)


@pytest.mark.parametrize("shutdown", ["graceful", "immediate"])
def test_a_kernel_that_is_shut_down(shutdown: str, env: dict[str, str], otlp_receiver: OtlpReceiver) -> None:
    """What had not been sent by then: a kernel that is asked to go sends it, and one that is killed leaves it."""
    env = env | {"OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with running(["python", "-c", READER, str(EXAMPLES / EXAMPLE), shutdown], env) as reader:
        reader.hear("executed", 60)
        assert not otlp_receiver.spans
        reader.say("leave")
        reader.finish(60)
        assert not reader.hung, reader.output
    assert seen(of_calls(otlp_receiver)) == (CALLS if shutdown == "graceful" else {})
    assert seen(drained(otlp_receiver, env)) == CALLS


def test_a_kernel_that_lives_and_is_interrupted(
    env: dict[str, str], upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver
) -> None:
    """Spans go by themselves, a call that its reader stops is recorded as such, and the next one as any."""
    with running(["python", "-c", READER, str(EXAMPLES / EXAMPLE), "graceful"], env) as reader:
        kernel = int(reader.hear("executed by ([0-9]+)", 60).group(1))
        assert wait_until(lambda: len(of_calls(otlp_receiver)) == 3, 30)
        upstream.behave(Hang())
        reader.say("more")
        assert wait_until(lambda: len(upstream.requests) == 4, 30)
        os.kill(kernel, signal.SIGINT)
        reader.hear("KeyboardInterrupt", 60)
        reader.finish(60)
        assert not reader.hung, reader.output
    assert seen(of_calls(otlp_receiver)) == {
        **CALLS,
        (None, None, "success"): 2,
        (None, None, "cancelled"): 1,
    }
