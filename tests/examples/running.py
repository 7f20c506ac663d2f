"""Examples as their readers run them: by the commands that stand in their docstrings, from the top of the clone."""

import ast
import contextlib
import itertools
import json
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from faults.driving import Program
from loopback.otlp_receiver import OtlpReceiver, ReceivedSpan

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
STOP_TIMEOUT_S: Final = 60.0


def documentation(example: str) -> str:
    """What an example says of itself."""
    path = EXAMPLES / example
    if path.suffix == ".py":
        return ast.get_docstring(ast.parse(path.read_text())) or ""
    if path.suffix == ".ipynb":
        return "".join(json.loads(path.read_text())["cells"][0]["source"])
    comments = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in comments)


def commands(example: str) -> list[list[str]]:
    """The commands by which an example is run, in order: its indented lines, without what installs it."""
    whole = re.sub(r"\\\n\s+", "", documentation(example))
    lines = [line for line in whole.splitlines() if line.startswith("    ")]
    found = [shlex.split(line, comments=True) for line in lines]
    return [["env", *words] if "=" in words[0] else words for words in found if words and words[0] != "pip"]


def command(example: str, *parts: str) -> list[str]:
    """The first command of an example that has all these words in it."""
    return next(words for words in commands(example) if set(parts) <= set(words))


@contextlib.contextmanager
def running(words: list[str], env: Mapping[str, str]) -> Iterator[Program]:
    """Runs a command of an example; what of it still runs after the `with` block is killed."""
    program = Program(words, ROOT, env)
    try:
        yield program
    finally:
        program.finish(0)


def stop(program: Program) -> None:
    """Stops a program as a container's host does, and sees that all of it has gone."""
    program.signal(signal.SIGTERM)
    program.finish(STOP_TIMEOUT_S)
    assert not program.hung, program.output


def run(words: list[str], env: Mapping[str, str]) -> str:
    """Runs a command of an example to its end, and returns what it printed."""
    done = subprocess.run(
        words,
        cwd=ROOT,
        env=dict(env),
        capture_output=True,
        text=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def drained(receiver: OtlpReceiver, env: Mapping[str, str]) -> list[ReceivedSpan]:
    """The spans of calls, when what the processes of an example have left in the spool has been sent."""
    run(["callspan", "drain", "--timeout", "30"], env)
    return of_calls(receiver)


def of_calls(receiver: OtlpReceiver) -> list[ReceivedSpan]:
    """The spans that have come of calls and attempts."""
    return [span for span in list(receiver.spans) if "callspan.entry_point" in span.attributes]


def outermost(receiver: OtlpReceiver, span: ReceivedSpan) -> str | None:
    """The id of what the trace of a span began with, where that is none of the spans that have come."""
    parents = {each.span_id: each.parent_id for each in list(receiver.spans)}
    above: str | None = span.span_id
    while above in parents:
        above = parents[above]
    return above
