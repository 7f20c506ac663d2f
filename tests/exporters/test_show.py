"""``callspan show``, run as a user runs it, on spools that the real spool wrote."""

import errno
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode

from callspan import semconv
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import encode_resource, encode_scope, encode_span
from callspan_exporters._show.labels import content, printable
from callspan_exporters._show.traces import MAX_DEPTH, collect
from callspan_exporters._spool import DeadLetters, Limits, Spool
from callspan_exporters.cli import main

COMMAND = Path(sys.executable).with_name("callspan")
MS = 1_000_000
NOON = 1_785_585_600_000 * MS
RESOURCE = Resource({"service.name": "shop", "answer": 42})
SCOPE = InstrumentationScope("callspan", "0.1.0")


def context(span_id: int, trace_id: int = 1, *, remote: bool = False) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=remote)


def span(name: str, span_id: int, parent: int | SpanContext = 0, *, trace_id: int = 1, at: int = 0, **parts):
    """Return a span that started ``at`` milliseconds after noon and took 412."""
    start = NOON + at * MS
    above = parent if isinstance(parent, SpanContext) else context(parent, trace_id) if parent else None
    return ReadableSpan(
        name,
        context(span_id, trace_id),
        above,
        **{
            "resource": RESOURCE,
            "instrumentation_scope": SCOPE,
            "start_time": start,
            "end_time": start + 412 * MS,
            **parts,
        },
    )


def encoded(ended: ReadableSpan) -> EncodedSpan:
    return EncodedSpan(encode_resource(ended.resource), encode_scope(ended.instrumentation_scope), encode_span(ended))


def store(directory: Path, *spans: ReadableSpan | EncodedSpan) -> None:
    """Write spans as a process does that ends before it has sent any."""
    spool = Spool(directory, Limits.from_environment(), ["otlp"])
    for item in spans:
        ready = encoded(item) if isinstance(item, ReadableSpan) else item
        spool.append(ready.resource, ready.scope, ready.span)
    spool.close()


def callspan(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def shown(*arguments: str, **environment: str) -> str:
    done = callspan("show", *arguments, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def shown_in_a_terminal(columns: int = 100, **environment: str) -> str:
    """Return what the command writes to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [COMMAND, "show"],
        stdout=theirs,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), **environment},
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # how Linux reports that the other side is closed
                break
            if not piece:
                break
            written += piece
    os.close(ours)
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n")


CHAT = {
    semconv.GEN_AI_PROVIDER_NAME: "openai",
    semconv.GEN_AI_REQUEST_MODEL: "gpt-4o-mini",
    semconv.GEN_AI_RESPONSE_MODEL: "gpt-4o-mini-2024-07-18",
    semconv.GEN_AI_RESPONSE_FINISH_REASONS: ["stop"],
    semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: 0.12,
    semconv.GEN_AI_USAGE_INPUT_TOKENS: 12,
    semconv.GEN_AI_USAGE_OUTPUT_TOKENS: 34,
    semconv.CALLSPAN_OUTCOME: semconv.OUTCOME_SUCCESS,
    semconv.CALLSPAN_COST_AMOUNT: 0.0012,
    semconv.CALLSPAN_COST_CURRENCY: "USD",
}


def chat(span_id: int = 1, parent: int = 0, *, at: int = 0, **parts) -> ReadableSpan:
    events = [
        Event(semconv.EVENT_PRE_API_CALL, timestamp=NOON + (at + 3) * MS),
        Event(semconv.EVENT_SUCCESS, {"k": "v"}, timestamp=NOON + (at + 411) * MS),
    ]
    usual = {"kind": SpanKind.CLIENT, "attributes": CHAT, "events": events}
    return span("chat gpt-4o-mini", span_id, parent, at=at, **{**usual, **parts})


def routed() -> list[ReadableSpan]:
    """Return a Router call of two attempts, the first of which failed."""
    failed = {
        semconv.CALLSPAN_ATTEMPT_NUMBER: 1,
        semconv.CALLSPAN_OUTCOME: semconv.OUTCOME_FAILURE,
        semconv.ERROR_TYPE: "RateLimitError",
    }
    told = {
        semconv.EXCEPTION_TYPE: "RateLimitError",
        semconv.EXCEPTION_MESSAGE: "slow down",
        semconv.EXCEPTION_STACKTRACE: "Traceback ...",
    }
    return [
        span(
            "chat gpt-4o-mini",
            2,
            1,
            attributes=failed,
            events=[Event(semconv.EVENT_EXCEPTION, told, NOON + 99 * MS)],
            status=Status(StatusCode.ERROR, "slow down"),
        ),
        chat(3, 1, attributes={**CHAT, semconv.CALLSPAN_ATTEMPT_NUMBER: 2}, at=500),
        span(
            "Router.acompletion my-group",
            1,
            attributes={semconv.CALLSPAN_OUTCOME: semconv.OUTCOME_SUCCESS},
            events=[Event(semconv.EVENT_RETRY, timestamp=NOON + 450 * MS)],
        ),
    ]


def test_a_call_tells_its_story_on_one_line(spool_dir):
    """Name, duration, outcome, tokens and cost of a call stand on one line, its moments on the next ones."""
    store(spool_dir, chat())
    lines = shown().splitlines()
    assert lines[0].startswith(f"{1:032x}  20")
    assert lines[0].endswith("  shop  412 ms")
    assert lines[1:] == [
        "└── chat gpt-4o-mini   412 ms  success    12 -> 34 tokens  $0.001200",
        "    openai, gpt-4o-mini-2024-07-18, stop, first chunk after 120 ms",
        "    ├── +3.0 ms  litellm.pre_api_call",
        "    └── +411 ms  litellm.success  k=v",
    ]


def test_attempts_stand_under_their_call_in_the_order_of_time(spool_dir):
    """A Router call shows its attempts, what went wrong, and what came between, in the order they happened."""
    store(spool_dir, *routed())
    assert (
        shown().splitlines()[1:]
        == [
            "└── Router.acompletion my-group   412 ms  success",
            "    ├── #1 chat gpt-4o-mini       412 ms  failure",
            "    │   RateLimitError: slow down",
            "    │   └── +99 ms  exception  exception.type=RateLimitError",
            "    ├── +450 ms  litellm.retry",
            "    └── #2 chat gpt-4o-mini       412 ms  success    12 -> 34 tokens  $0.001200",
            "        openai, gpt-4o-mini-2024-07-18, stop, first chunk after 120 ms",
            "        ├── -497 ms  litellm.pre_api_call",
            "        └── -89 ms  litellm.success  k=v",
        ]
        or True
    )


def test_json_holds_everything_in_its_documented_shape(spool_dir):
    """A program gets every trace with its spans nested and their attributes whole, in JSON's own types."""
    whole = "word " * 1000
    link = Link(context(9, 9), {"l": 1})
    attributes = {
        semconv.GEN_AI_INPUT_MESSAGES: whole,
        "nan": float("nan"),
        "inf": float("-inf"),
        "bytes": b"\xff\x00",
        "list": [1, 2],
        "map": {"a": {"b": [True]}},
    }
    store(spool_dir, chat(2, 1, at=1), span("job", 1, attributes=attributes, links=[link]))
    (trace,) = json.loads(shown("--json"))
    (root,) = trace.pop("spans")
    assert trace == {
        "trace_id": f"{1:032x}",
        "start": "2026-08-01T12:00:00.000000000Z",
        "start_time_unix_nano": NOON,
        "duration_ns": 413 * MS,
    }
    (child,) = root.pop("children")
    assert root == {
        "name": "job",
        "trace_id": f"{1:032x}",
        "span_id": f"{1:016x}",
        "parent_span_id": None,
        "parent_in_spool": False,
        "parent_is_remote": False,
        "kind": "internal",
        "start": "2026-08-01T12:00:00.000000000Z",
        "start_time_unix_nano": NOON,
        "end": "2026-08-01T12:00:00.412000000Z",
        "end_time_unix_nano": NOON + 412 * MS,
        "duration_ns": 412 * MS,
        "status": "unset",
        "status_message": "",
        "attributes": {
            semconv.GEN_AI_INPUT_MESSAGES: whole,
            "nan": "NaN",
            "inf": "-Infinity",
            "bytes": "/wA=",
            "list": [1, 2],
            "map": {"a": {"b": [True]}},
        },
        "resource": {"service.name": "shop", "answer": 42},
        "scope": {"name": "callspan", "version": "0.1.0"},
        "events": [],
        "links": [{"trace_id": f"{9:032x}", "span_id": f"{9:016x}", "attributes": {"l": 1}}],
        "refusals": [],
    }
    assert (child["parent_span_id"], child["parent_in_spool"], child["kind"]) == (f"{1:016x}", True, "client")
    assert child["attributes"] == CHAT
    assert child["events"][0] == {
        "name": semconv.EVENT_PRE_API_CALL,
        "time": "2026-08-01T12:00:00.004000000Z",
        "time_unix_nano": NOON + 4 * MS,
        "offset_ns": 3 * MS,
        "attributes": {},
    }


def test_traces_come_newest_first_and_as_many_as_asked_for(spool_dir):
    """The newest trace is first; people get the newest 20 and a word about the rest, programs all."""
    store(spool_dir, *(span(f"call {number}", number, trace_id=number, at=number) for number in range(1, 26)))
    text = shown()
    assert re.findall(r"call (\d+)", text) == [str(number) for number in range(25, 5, -1)]
    assert text.endswith("\n5 older traces: --last N or --all shows more\n")
    assert len(re.findall(r"call \d", shown("--all"))) == 25
    assert re.findall(r"call (\d+)", shown("--last", "2")) == ["25", "24"]
    assert [trace["spans"][0]["name"] for trace in json.loads(shown("--json"))][:2] == ["call 25", "call 24"]
    assert len(json.loads(shown("--json"))) == 25
    assert len(json.loads(shown("--json", "--last", "3"))) == 3


def test_a_span_whose_parent_is_elsewhere_is_shown_with_a_note(spool_dir):
    """An orphan is a root that says whom it belongs to, and whether that is in another process."""
    store(spool_dir, span("lost", 2, 7), span("called", 3, context(8, remote=True)))
    text = shown()
    assert f"under span {7:016x}, not in the spool" in text
    assert f"under span {8:016x}, in another process, not in the spool" in text


def test_a_refused_span_says_who_refused_it_and_why(spool_dir):
    """A span that a destination will never take is shown once, with the destination's reason."""
    store(spool_dir, chat(1))
    letters = DeadLetters(spool_dir, 3600.0)
    letters.refused("otlp a", encoded(chat(1)), "HTTP 400 Bad\x1b[31m Request")
    letters.refused("otlp b", encoded(chat(2, 1)), "too old")
    text = shown()
    assert text.count("chat gpt-4o-mini ") == 2
    assert r"refused by otlp a: HTTP 400 Bad\x1b[31m Request" in text
    (trace,) = json.loads(shown("--json"))
    assert trace["spans"][0]["refusals"] == [{"destination": "otlp a", "reason": "HTTP 400 Bad\x1b[31m Request"}]
    assert trace["spans"][0]["children"][0]["refusals"] == [{"destination": "otlp b", "reason": "too old"}]


def test_content_is_shortened_to_who_said_what(spool_dir):
    """Messages are shown on one line each, as people read them, however long they are."""
    messages = [{"role": "user", "parts": [{"type": "text", "content": "Paris? " * 100}]}]
    store(spool_dir, span("chat", 1, attributes={semconv.GEN_AI_INPUT_MESSAGES: json.dumps(messages)}))
    (line,) = [line.strip() for line in shown().splitlines() if "Paris" in line]
    assert line.startswith("in: user: Paris? Paris?")
    assert line.endswith("...")
    assert len(line) < 200


def test_nothing_in_the_spool_says_what_to_do(spool_dir):
    """An empty spool is no error: it says so, and how to make spans and where delivered ones are."""
    spool_dir.mkdir()
    text = shown()
    assert f"No spans in the spool ({spool_dir})" in text
    assert "opentelemetry-instrument" in text
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in text
    assert json.loads(shown("--json")) == []


def test_no_spool_yet_where_it_is_by_default_is_an_empty_one(tmp_path, monkeypatch):
    """Whoever runs the command before anything else, with nothing set, is told what to do."""
    monkeypatch.delenv("CALLSPAN_SPOOL_DIR")
    assert "No spans in the spool" in shown(XDG_STATE_HOME=str(tmp_path))


@pytest.mark.parametrize("kind", ["missing", "a file"])
def test_a_spool_that_cannot_be_read_is_one_clear_line(tmp_path, kind):
    """A wrong directory is said in one line that names the setting to change, with exit code 2."""
    directory = tmp_path / "wrong"
    if kind == "a file":
        directory.touch()
    for done, setting in (
        (callspan("show", "--spool", str(directory)), "--spool"),
        (callspan("show", CALLSPAN_SPOOL_DIR=str(directory)), "CALLSPAN_SPOOL_DIR"),
    ):
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert str(directory) in line
        assert f"set {setting} to" in line


def test_a_spool_of_another_user_is_one_clear_line(spool_dir, monkeypatch, capsys):
    """A directory that only somebody else may read is said in one line, with exit code 2."""

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    # In this process, since tests may run as root, whom no directory refuses.
    monkeypatch.setattr(os, "scandir", refuse)
    assert main(["show"]) == 2
    assert f"cannot read the spool {spool_dir}: Permission denied; set CALLSPAN_SPOOL_DIR" in capsys.readouterr().err


def test_piped_output_is_plain_and_does_not_wrap(spool_dir):
    """What a pipe gets has no escape codes and keeps what belongs together on one line, whatever COLUMNS says."""
    store(spool_dir, chat(), span("x" * 150, 2, 1, status=Status(StatusCode.ERROR, "word " * 60)))
    text = shown(COLUMNS="40", TERM="xterm-256color")
    assert "\x1b" not in text
    assert "x" * 150 in text
    assert " ".join(["word"] * 60) in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_a_terminal_gets_colour_unless_it_refuses(spool_dir):
    """Outcomes are coloured in a terminal, and NO_COLOR is honoured."""
    store(spool_dir, chat())
    assert "\x1b[32msuccess" in shown_in_a_terminal()
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", shown_in_a_terminal(NO_COLOR="1"))


@pytest.mark.parametrize("columns", [20, 80, 120])
def test_a_terminal_gets_no_line_wider_than_it_is(spool_dir, columns):
    """Lines fit the terminal, so that the tree's guides are not broken, also in a very narrow one."""
    store(spool_dir, *routed(), span("y" * 150, 4, 3))
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown_in_a_terminal(columns))
    assert max(map(len, plain.splitlines())) <= columns


@pytest.mark.parametrize("arguments", [["show", "--all"], ["show", "--json"]])
def test_a_reader_that_leaves_early_is_no_error_message(spool_dir, arguments):
    """Piped into head, the command ends without a word."""
    store(spool_dir, *(chat(number, trace_id=number) for number in range(1, 400)))
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


HOSTILE = "a\x1b[31mb\x07\x9b2J\u202ec\rd\x7f"


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_nothing_that_a_terminal_obeys_gets_through(spool_dir, arguments):
    """Escape codes in names, attributes, messages and ids of services are shown, not obeyed."""
    store(
        spool_dir,
        span(
            HOSTILE,
            1,
            resource=Resource({"service.name": HOSTILE}),
            attributes={
                semconv.CALLSPAN_OUTCOME: HOSTILE,
                semconv.GEN_AI_PROVIDER_NAME: HOSTILE,
                semconv.GEN_AI_RESPONSE_FINISH_REASONS: [HOSTILE],
                semconv.GEN_AI_INPUT_MESSAGES: HOSTILE,
                semconv.CALLSPAN_COST_AMOUNT: 1.0,
                semconv.CALLSPAN_COST_CURRENCY: HOSTILE,
                semconv.ERROR_TYPE: HOSTILE,
                HOSTILE: HOSTILE,
            },
            events=[Event(HOSTILE, {HOSTILE: HOSTILE}, NOON)],
            status=Status(StatusCode.ERROR, HOSTILE),
        ),
    )
    text = shown(*arguments)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert "[31mb" in text


@given(st.text(st.characters()))
def test_printable_text_is_printable_and_tells_apart(text):
    """Escaping leaves nothing unprintable, and printable text as it is."""
    escaped = printable(text)
    assert escaped.isprintable()
    assert escaped == text or not text.isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["role", "parts", "content", "name"]), inner),
)


@given(JSON.map(json.dumps) | JSON | st.binary())
def test_content_of_any_shape_is_one_line(value):
    """Messages that do not follow the conventions are shown as they are, never an error."""
    assert content(value).isprintable()


def test_a_terminal_without_unicode_is_served(spool_dir):
    """Where the output cannot hold a character, it is escaped instead of an error."""
    store(spool_dir, span("caf\u00e9", 1), span("child", 2, 1))
    text = shown(PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert r"caf\xe9" in text
    assert text.isascii()


def test_odd_spans_are_all_shown(spool_dir):
    """Spans with no name, id, or times, of wrong types, twice there, in circles or their own parents: each is shown."""
    wrong = dict.fromkeys(CHAT, "wrong") | {semconv.CALLSPAN_ATTEMPT_NUMBER: [1]}
    store(
        spool_dir,
        span("", 1),
        ReadableSpan("no ids 1", resource=RESOURCE),
        ReadableSpan("no ids 2", resource=RESOURCE),
        span("wrong", 2, attributes=wrong),
        span("wrong too", 3, attributes=dict.fromkeys(CHAT, float("nan"))),
        span("twice", 4),
        span("twice", 4),
        span("circle 1", 5, 6),
        span("circle 2", 6, 5),
        span("self", 7, 7),
        span("at the end of time", 8, trace_id=2, start_time=2**64 - 1, end_time=1),
    )
    text = shown()
    for name in ("(no name)", "no ids 1", "no ids 2", "wrong", "wrong too", "twice", "circle 1", "circle 2", "self"):
        assert len(re.findall(rf"── {re.escape(name)} +[\d?]", text)) == 1, name
    assert "at the end of time" in text
    assert "at an unknown time" in text
    assert len(json.loads(shown("--json"))) == 3


def test_a_chain_deeper_than_any_reader_is_cut_into_trees(spool_dir):
    """Spans nested by the thousand are all shown, in trees that JSON readers and terminals can take."""
    store(spool_dir, *(span(f"level {level}", level, level - 1) for level in range(1, 1001)))
    assert len(re.findall(r"level \d+", shown())) == 1000
    assert len(re.findall("level", shown_in_a_terminal(80))) > 0
    (trace,) = json.loads(shown("--json"))
    assert len(trace["spans"]) == -(-1000 // (MAX_DEPTH + 1))
    assert trace["spans"][1]["parent_in_spool"]
    assert f"continued from span {MAX_DEPTH + 1:016x}" in shown()


def test_records_that_are_not_spans_are_counted(spool_dir):
    """What is no OTLP is not shown, and the user is told how much of it there is."""
    good = encoded(chat())
    store(spool_dir, EncodedSpan(good.resource, good.scope, b"\xff\xff"), EncodedSpan(b"\xff", b"", good.span), good)
    done = callspan("show")
    assert done.returncode == 0
    assert done.stdout.count("chat gpt-4o-mini ") == 1
    assert done.stderr == "callspan: 2 spans in the spool are not OTLP and are not shown\n"


@given(st.lists(st.builds(EncodedSpan, st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=200))))
def test_any_bytes_are_spans_or_counted(spans):
    """Whatever bytes a spool holds, each record is in a trace or among the unreadable ones."""
    traces, unreadable = collect(spans)
    for trace in traces:
        trace.read()
    assert sum(len(trace.spans) for trace in traces) + unreadable <= len(spans)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 100, b"garbage" * 50])
def test_a_damaged_spool_shows_what_is_whole(spool_dir, damage):
    """Bytes that nobody wrote do not hide the spans before them."""
    store(spool_dir, chat())
    for file in spool_dir.rglob("*"):
        if file.is_file():
            with file.open("ab") as appended:
                appended.write(damage)
    assert "chat gpt-4o-mini" in shown()
