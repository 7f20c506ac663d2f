"""Every ended span arrives, once: through the death of processes, forks, and destinations that fail."""

import os
import signal
import stat
import time
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from callspan_exporters._spool import read_accounts, read_refusals, read_spans
from loopback.otlp_grpc_receiver import GrpcStatus, OtlpGrpcReceiver
from loopback.otlp_receiver import (
    Hang,
    LoseAck,
    OtlpReceiver,
    PartialSuccess,
    RefuseSpans,
    Reset,
    Status,
    TooLargeAbove,
)
from loopback.processes import run_python, start_python

PRELUDE: Final = """
import os, signal, sys, time
from callspan_exporters import ensure_delivery
assert ensure_delivery()
from opentelemetry import trace
provider = trace.get_tracer_provider()
tracer = trace.get_tracer("app")

def spans(count, prefix="", **attributes):
    for number in range(count):
        tracer.start_span(f"{prefix}{number}", attributes=attributes).end()
"""


def source(program: str) -> str:
    return PRELUDE + program


def names(count: int, prefix: str = "") -> Counter[str]:
    return Counter(f"{prefix}{number}" for number in range(count))


def received(receiver: OtlpReceiver | OtlpGrpcReceiver) -> Counter[str]:
    return Counter(span.name for span in receiver.spans)


def pointed_at(receiver: OtlpReceiver) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}


def seconds_to_exit(program: str, env: dict[str, str]) -> tuple[float, str]:
    """Returns how long the program took from its last line to its end, and what it said on stderr."""
    with start_python(source(program) + "\nprint('done', flush=True)", env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        started = time.monotonic()
        _, err = process.communicate(timeout=30)
        return time.monotonic() - started, err


def all_sent(spool_dir: Path) -> bool:
    """Tells whether nothing is pending in the spool, and whether the account of all that was adds up."""
    for account in read_accounts(spool_dir):
        assert account.accepted == account.delivered + account.rejected + account.expired + account.pending
    return not any(account.pending for account in read_accounts(spool_dir))


ENDS: Final = {
    "end of main": "",
    "sys.exit": "sys.exit(0)",
    "exception": "raise SystemExit(0) from ValueError()",
    "late span in an atexit hook": "import atexit; atexit.register(spans, 1, 'late')",
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_exit_flushes(otlp_receiver: OtlpReceiver, spool_dir: Path, end: str) -> None:
    """What ends before exit has gone by then, and nothing stays on disk."""
    run_python(source(f"spans(20)\n{end}"), env=pointed_at(otlp_receiver))
    assert received(otlp_receiver) - Counter(["late0"]) == names(20)
    assert list(read_spans(spool_dir)) == []


@pytest.mark.parametrize(
    "death",
    ["os.kill(os.getpid(), signal.SIGKILL)", "os.kill(os.getpid(), signal.SIGTERM)", "os._exit(0)"],
    ids=["SIGKILL", "SIGTERM", "os._exit"],
)
def test_a_dead_process_loses_nothing(otlp_receiver: OtlpReceiver, spool_dir: Path, death: str) -> None:
    """All spans that had ended are sent by the next process with the same destination."""
    run_python(source(f"spans(50, 'dead')\n{death}"), env=pointed_at(otlp_receiver), check=False)
    (account,) = read_accounts(spool_dir)
    assert (account.accepted, account.pending + account.delivered) == (50, 50)
    run_python(source("spans(1, 'next')"), env=pointed_at(otlp_receiver))
    assert received(otlp_receiver) == names(50, "dead") + names(1, "next")
    assert all_sent(spool_dir)


def test_a_process_without_a_span_sends_what_is_left(otlp_receiver: OtlpReceiver) -> None:
    """To send what a dead process left needs no span of one's own."""
    run_python(source("spans(5); os._exit(0)"), env=pointed_at(otlp_receiver))
    run_python(source(""), env=pointed_at(otlp_receiver))
    assert received(otlp_receiver) == names(5)


def test_another_destination_leaves_it_alone(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """Spans go only where they were meant to go."""
    run_python(source("spans(5); os._exit(0)"), env=pointed_at(otlp_receiver))
    with OtlpReceiver() as other:
        run_python(source("spans(1, 'other')"), env=pointed_at(other))
        assert received(other) == names(1, "other")
    (waiting,) = [account for account in read_accounts(spool_dir) if account.pending]
    assert waiting.pending == 5
    assert waiting.destination.startswith(f"otlp {otlp_receiver.endpoint}")


def test_a_living_process_is_not_adopted(otlp_receiver: OtlpReceiver) -> None:
    """Who lives sends its own spans, so that none is sent twice."""
    env = {**pointed_at(otlp_receiver), "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with start_python(source("spans(5, 'alive'); print('ended', flush=True); time.sleep(60)"), env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ended\n"
        run_python(source("spans(5, 'other')"), env=env)
        assert received(otlp_receiver) == names(5, "other")
        process.send_signal(signal.SIGKILL)
        process.wait()
    run_python(source(""), env=env)
    assert received(otlp_receiver) == names(5, "other") + names(5, "alive")


FORKS: Final = {
    "os._exit": "os._exit(0)",
    "sys.exit": "sys.exit(0)",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "flush": "assert provider.force_flush(5000); os._exit(0)",
}


@pytest.mark.parametrize("end", FORKS.values(), ids=FORKS)
def test_fork(otlp_receiver: OtlpReceiver, spool_dir: Path, end: str) -> None:
    """A child keeps its spans apart from its parent's, however it ends, and the parent sends what it left."""
    program = f"""
spans(10, 'parent')
provider.force_flush(5000)
spans(10, 'queued')
if (child := os.fork()) == 0:
    spans(10, 'child')
    {end}
os.waitpid(child, 0)
"""
    run_python(source(program), env=pointed_at(otlp_receiver))
    assert received(otlp_receiver) == names(10, "parent") + names(10, "queued") + names(10, "child")
    assert all_sent(spool_dir)


def test_a_pool_of_processes(otlp_receiver: OtlpReceiver) -> None:
    """Workers of multiprocessing leave without any exit hook."""
    program = """
import multiprocessing
def work(number):
    spans(5, f"{number}-")
with multiprocessing.get_context("fork").Pool(2) as pool:
    pool.map(work, range(4))
"""
    run_python(source(program), env=pointed_at(otlp_receiver))
    assert received(otlp_receiver) == sum((names(5, f"{number}-") for number in range(4)), Counter())


def test_a_collector_that_is_down(spool_dir: Path) -> None:
    """Exit does not wait for it, says in one line what is kept, and a later process sends it."""
    with OtlpReceiver() as receiver:
        receiver.down()
        seconds, err = seconds_to_exit("spans(30)", pointed_at(receiver))
        assert seconds < 1
        (line,) = err.splitlines()
        assert "30 spans" in line
        assert str(spool_dir) in line
        assert f"{receiver.endpoint}/v1/traces" in line
        receiver.up()
        run_python(source(""), env=pointed_at(receiver))
        assert received(receiver) == names(30)


def test_exit_within_the_budget(otlp_receiver: OtlpReceiver) -> None:
    """A collector that says nothing holds exit up for the budget and no longer."""
    otlp_receiver.default = Hang()
    seconds, err = seconds_to_exit("spans(3)", {**pointed_at(otlp_receiver), "CALLSPAN_EXIT_BUDGET": "1"})
    assert 0.5 < seconds < 2.5
    assert "3 spans" in err
    otlp_receiver.default = Status(200)


def test_exit_with_a_collector_known_to_hang(otlp_receiver: OtlpReceiver) -> None:
    """Once it is known to be down, exit takes less than a second, on a busy machine two: not the budget's five."""
    otlp_receiver.default = Hang()
    env = {**pointed_at(otlp_receiver), "OTEL_EXPORTER_OTLP_TIMEOUT": "0.5"}
    seconds, err = seconds_to_exit("spans(3); print(provider.force_flush(3000), file=sys.stderr)", env)
    assert seconds < 2
    assert "False" in err


OUTAGES: Final = {
    "429": Status(429, {"Retry-After": "1"}),
    "503": Status(503),
    "503 with a date": Status(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    "500": Status(500),
    "401": Status(401),
    "404": Status(404),
    "reset": Reset(),
    "lost acknowledgement": LoseAck(),
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
def test_outages(otlp_receiver: OtlpReceiver, outage: Status | Reset | LoseAck) -> None:
    """Whatever the first answer, the spans are kept and arrive; twice only where it took them and did not say so."""
    otlp_receiver.behave(outage)
    program = "spans(10)\nfirst = provider.force_flush(8000)\nprovider.force_flush(8000)"
    run_python(source(program), env=pointed_at(otlp_receiver))
    assert set(received(otlp_receiver)) == set(names(10))
    assert max(received(otlp_receiver).values()) == (2 if isinstance(outage, LoseAck) else 1)


def test_retry_after_is_honoured(otlp_receiver: OtlpReceiver) -> None:
    """A destination that asks to be left alone is."""
    otlp_receiver.behave(Status(503, {"Retry-After": "2"}))
    env = {**pointed_at(otlp_receiver), "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with start_python(source("spans(1); time.sleep(30)"), env=env):
        assert otlp_receiver.wait_for_requests(1)
        refused_at = time.monotonic()
        assert len(otlp_receiver.wait_for(1)) == 1
        assert 1.8 < time.monotonic() - refused_at < 5


def test_a_flush_does_not_wait_for_the_schedule(otlp_receiver: OtlpReceiver) -> None:
    """force_flush sends at once, and tells the truth when it has."""
    env = {**pointed_at(otlp_receiver), "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    result = run_python(source("spans(5); print(provider.force_flush(5000), flush=True); os._exit(0)"), env=env)
    assert result.stdout == "True\n"
    assert received(otlp_receiver) == names(5)


def test_a_flush_keeps_its_timeout(otlp_receiver: OtlpReceiver) -> None:
    """force_flush returns False in time where nothing can be delivered."""
    otlp_receiver.default = Hang()
    program = """
spans(5)
started = time.monotonic()
print(provider.force_flush(500))
print(time.monotonic() - started < 1, flush=True)
os._exit(0)
"""
    result = run_python(source(program), env=pointed_at(otlp_receiver))
    assert result.stdout == "False\nTrue\n"


def test_one_poisoned_span(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """A span that is refused is set aside and counted; the others of its batch arrive."""
    otlp_receiver.default = RefuseSpans(lambda span: span.name == "7")
    result = run_python(source("spans(40); print(provider.force_flush(5000))"), env=pointed_at(otlp_receiver))
    assert result.stdout == "True\n"
    assert received(otlp_receiver) == names(40) - Counter(["7"])
    (refusal,) = read_refusals(spool_dir)
    assert "HTTP 400" in refusal.reason
    assert result.stderr.count("refused") == 1


def test_too_large_requests_are_split(otlp_receiver: OtlpReceiver) -> None:
    """413 makes requests smaller until they are taken."""
    otlp_receiver.default = TooLargeAbove(8000)
    run_python(source("spans(100, text='x' * 500)"), env=pointed_at(otlp_receiver))
    assert received(otlp_receiver) == names(100)


def test_partial_success_is_counted(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """What a destination takes only in part is not sent again, and what it refused is counted as that."""
    otlp_receiver.behave(PartialSuccess(3, "too old"))
    result = run_python(source("spans(10); provider.force_flush(5000); os._exit(0)"), env=pointed_at(otlp_receiver))
    (account,) = read_accounts(spool_dir)
    assert (account.accepted, account.delivered, account.rejected, account.pending) == (10, 7, 3, 0)
    assert "too old" in result.stderr


def test_a_warning_when_held_and_one_when_well(otlp_receiver: OtlpReceiver) -> None:
    """A key that is refused is said once, not per attempt, and so is its recovery."""
    otlp_receiver.behave(Status(401), Status(401), Status(401))
    program = "spans(3)\nfor _ in range(4): provider.force_flush(100); time.sleep(.2)\nprovider.force_flush(5000)"
    env = {**pointed_at(otlp_receiver), "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer s3cr3t"}
    result = run_python(source(program), env=env)
    assert received(otlp_receiver) == names(3)
    assert result.stderr.count("HTTP 401") == 1
    assert result.stderr.count("again") == 1
    assert "s3cr3t" not in result.stderr


def test_nothing_secret_and_nothing_readable_by_others_on_disk(spool_dir: Path) -> None:
    """Headers are not stored; files are their owner's whatever the umask."""
    env = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer s3cr3t",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
    }
    result = run_python("import os; os.umask(0)\n" + source("spans(3)"), env=env)
    paths = [spool_dir, *spool_dir.rglob("*")]
    assert len(paths) > 3
    for path in paths:
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600)
        assert path.is_dir() or b"s3cr3t" not in path.read_bytes()
    assert "s3cr3t" not in result.stderr


def test_an_endpoint_with_a_password(spool_dir: Path) -> None:
    """A password in the endpoint is not part of what names the destination."""
    result = run_python(source("spans(3)"), env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://user:s3cr3t@127.0.0.1:9"})
    assert "3 spans" in result.stderr
    assert "s3cr3t" not in result.stderr
    assert not any("s3cr3t" in str(path) for path in spool_dir.rglob("*"))


def test_the_spool_can_be_off(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """Then spans wait in memory only, and a collector that is down costs them, which is said."""
    env = {**pointed_at(otlp_receiver), "CALLSPAN_SPOOL": "off"}
    run_python(source("spans(5)"), env=env)
    assert received(otlp_receiver) == names(5)
    otlp_receiver.down()
    result = run_python(source("spans(5)"), env=env)
    assert "5 spans" in result.stderr
    assert "lost" in result.stderr
    assert not spool_dir.exists()


@pytest.mark.parametrize("obstacle", ["a file", "another user's link", "another user's directory", "a file above it"])
def test_a_spool_that_cannot_be_trusted(otlp_receiver: OtlpReceiver, spool_dir: Path, obstacle: str) -> None:
    """Memory takes the spans, with one warning."""
    env = pointed_at(otlp_receiver)
    if obstacle == "a file":
        spool_dir.write_text("")
    elif obstacle == "a file above it":
        spool_dir.write_text("")
        env["CALLSPAN_SPOOL_DIR"] = str(spool_dir / "spool")
    elif os.geteuid() != 0:
        pytest.skip("only root can give files to another user")
    else:
        elsewhere = spool_dir.with_name("elsewhere")
        elsewhere.mkdir()
        if obstacle == "another user's link":
            spool_dir.symlink_to(elsewhere)
        else:
            elsewhere.rename(spool_dir)
        os.lchown(spool_dir, 12345, 12345)
    result = run_python(source("spans(5)"), env=env)
    assert received(otlp_receiver) == names(5)
    (warning,) = result.stderr.splitlines()
    assert "CALLSPAN_SPOOL_DIR" in warning


def test_wrong_settings_are_named(otlp_receiver: OtlpReceiver) -> None:
    """Each is one warning with the variable's name, and its default is used."""
    wrong = {
        "CALLSPAN_SPOOL_MAX_BYTES": "many",
        "CALLSPAN_SPOOL_MAX_AGE": "-1",
        "CALLSPAN_EXIT_BUDGET": "soon",
        "CALLSPAN_SPOOL": "maybe",
        "OTEL_BSP_SCHEDULE_DELAY": "x",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "x",
    }
    result = run_python(source("spans(5)"), env={**pointed_at(otlp_receiver), **wrong})
    assert received(otlp_receiver) == names(5)
    assert len(result.stderr.splitlines()) == len(wrong)
    for variable in wrong:
        assert variable in result.stderr


def test_grpc_outage(otlp_grpc_receiver: OtlpGrpcReceiver) -> None:
    """Over gRPC, too, a span that could not be sent is sent later."""
    import grpc  # noqa: PLC0415

    otlp_grpc_receiver.behave(GrpcStatus(grpc.StatusCode.UNAVAILABLE, "busy"))
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_grpc_receiver.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    result = run_python(source("spans(5); print(provider.force_flush(5000))"), env=env)
    assert result.stdout == "True\n"
    assert received(otlp_grpc_receiver) == names(5)


def test_fork_with_grpc(otlp_grpc_receiver: OtlpGrpcReceiver) -> None:
    """A child makes a channel of its own."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_grpc_receiver.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    program = """
spans(10, 'parent')
provider.force_flush(5000)
if (child := os.fork()) == 0:
    spans(10, 'child')
    print(provider.force_flush(5000), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""
    result = run_python(source(program), env=env)
    assert result.stdout == "True\n"
    assert received(otlp_grpc_receiver) == names(10, "parent") + names(10, "child")


@pytest.mark.parametrize("threads", [1, 8])
def test_a_burst_that_is_killed(otlp_receiver: OtlpReceiver, spool_dir: Path, threads: int) -> None:
    """SIGKILL at any moment of a burst: what had ended arrives, and the account adds up."""
    program = f"""
import threading
def burst(thread):
    while True:
        spans(1, f"{{next(counter)}}-")
        if next(ended) == 2000:
            os.kill(os.getpid(), signal.SIGKILL)
import itertools
counter, ended = itertools.count(), itertools.count(1)
for thread in range({threads}):
    threading.Thread(target=burst, args=(thread,)).start()
"""
    run_python(source(program), env=pointed_at(otlp_receiver), check=False)
    (account,) = read_accounts(spool_dir)
    assert account.accepted >= 2000
    assert account.accepted == account.delivered + account.pending
    run_python(source(""), env=pointed_at(otlp_receiver))
    arrived = received(otlp_receiver)
    assert len(arrived) == account.accepted
    assert sum(arrived.values()) - len(arrived) <= 512
    assert all_sent(spool_dir)
