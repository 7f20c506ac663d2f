"""The example for AWS Lambda, on a host that freezes the process between invocations as Lambda does."""

import os
import signal
from collections import Counter
from pathlib import Path
from subprocess import Popen
from typing import Final

from callspan_exporters._spool import read_accounts
from loopback.openai_api import OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import start_python

EXAMPLES: Final = Path(__file__).parents[2] / "examples"

# What the runtime of Lambda does: imports the module once, then calls the handler whenever there is an event.
RUNTIME: Final = """
import sys
sys.path.insert(0, sys.argv[1])
from lambda_handler import handler

class Context:
    def get_remaining_time_in_millis(self):
        return 10_000

for number in range(int(sys.argv[2])):
    with open(sys.argv[3]) as event:  # closed at once: who writes the next one waits for the next opening
        event.read()
    try:
        print(handler({"question": f"number {number}?"}, Context())["body"], flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""


def invoke(process: "Popen[str]", events: Path) -> str:
    """Thaws the function, lets it answer, and freezes it in the moment it has."""
    os.kill(process.pid, signal.SIGCONT)
    events.write_text("go")
    assert process.stdout is not None
    answer = process.stdout.readline().strip()
    os.kill(process.pid, signal.SIGSTOP)
    return answer


def test_each_invocation_has_delivered_its_spans(
    upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver, tmp_path: Path, spool_dir: Path
) -> None:
    """Frozen as soon as the handler returns, and in the end killed: nothing waits for a next invocation."""
    events = tmp_path / "events"
    os.mkfifo(events)
    env = {
        "OPENAI_BASE_URL": upstream.base_url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
    }
    with start_python(RUNTIME, env=env, arguments=[str(EXAMPLES), "5", str(events)]) as process:
        for number in range(3):
            assert invoke(process, events) == "Hello from loopback."
            assert len(otlp_receiver.wait_for(number + 1, timeout=0.0)) == number + 1
        otlp_receiver.down()
        assert invoke(process, events) == "Hello from loopback."
        otlp_receiver.up()
        assert invoke(process, events) == "Hello from loopback."
        process.kill()
        os.kill(process.pid, signal.SIGCONT)
    assert Counter(span.name for span in otlp_receiver.spans) == {"chat gpt-4o-mini": 5}
    (account,) = read_accounts(spool_dir)
    assert (account.offered, account.delivered, account.pending) == (5, 5, 0)
