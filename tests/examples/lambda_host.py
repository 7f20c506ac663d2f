"""What AWS Lambda is to a function: its runtime API on loopback, and a process that is frozen between invocations.

The API: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html.
"""

import itertools
import json
import os
import re
import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from examples.running import EXAMPLES, running
from faults.driving import Program
from loopback.server import Handler, LoopbackServer

_NEXT: Final = "/2018-06-01/runtime/invocation/next"
_ANSWER: Final = re.compile("/2018-06-01/runtime/invocation/(.*)/(response|error)")
_COLD_START_S: Final = 60.0


class _Api(Handler):
    def do_GET(self) -> None:  # noqa: N802 - the name http.server calls
        assert self.path == _NEXT
        host: LambdaHost = self.server.owner  # type: ignore[assignment]
        with host.changed:
            host.changed.wait_for(lambda: host.events or self.server.stopping)
            if self.server.stopping:
                self.drop()
                return
            number, deadline, event = host.events.popleft()
        headers = {"Lambda-Runtime-Aws-Request-Id": number, "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000))}
        headers["Lambda-Runtime-Invoked-Function-Arn"] = "arn:aws:lambda:eu-north-1:123456789012:function:example"
        self.reply(200, json.dumps(event).encode(), {"Content-Type": "application/json", **headers})

    def do_POST(self) -> None:  # noqa: N802 - the name http.server calls
        host: LambdaHost = self.server.owner  # type: ignore[assignment]
        answer, match = json.loads(self.read_body()), _ANSWER.fullmatch(self.path)
        if match is not None:
            os.kill(host.function.pid, signal.SIGSTOP)  # in the moment it has answered
        with host.changed:
            number, kind = match.groups() if match is not None else ("init", "error")
            host.answers[number] = (kind, answer)
            host.changed.notify_all()
        self.reply(202, b"{}", {"Content-Type": "application/json"})


class LambdaHost(LoopbackServer):
    """Runs a function in an environment for which it is called, thawed and frozen.

    Attributes:
        function: its process.
    """

    handler = _Api
    function: Program

    def __init__(self) -> None:
        super().__init__()
        self.events: deque[tuple[str, float, Any]] = deque()
        self.answers: dict[str, tuple[str, Any]] = {}
        self._numbers = itertools.count(1)

    @contextmanager
    def environment(self, handler: str, env: dict[str, str]) -> Iterator[None]:
        """An environment of the function, from its cold start until it is taken away without a word."""
        own = {"AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self.port}", "PYTHONPATH": str(EXAMPLES)}
        with running(["python", "-m", "awslambdaric", handler], env | own) as self.function:
            yield
            self.function.process.kill()

    def thaw(self) -> None:
        """Lets the function run."""
        os.kill(self.function.pid, signal.SIGCONT)

    def invoke(self, event: Any, *, timeout: float = 30.0) -> tuple[str, Any]:
        """Thaws the function, has it answer, and freezes it in the moment it has.

        Returns:
            `response` or `error`, and what it answered.
        """
        number = f"invocation-{next(self._numbers)}"
        self.thaw()
        with self.changed:
            self.events.append((number, time.time() + timeout, event))
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.answers.keys() & {number, "init"}, timeout + _COLD_START_S)
        assert number in self.answers, (self.answers, self.function.output)
        return self.answers[number]
