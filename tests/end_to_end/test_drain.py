"""``callspan drain`` and ``callspan status``, as a cron line, an init container, a sidecar and a person run them."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest

from end_to_end.test_delivery import names, pointed_at, received, source
from loopback.otlp_receiver import Accept, Delay, OtlpReceiver, RefuseSpans, Status
from loopback.processes import environment, run_python

COMMAND: Final = Path(sys.executable).with_name("callspan")


def callspan(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment(env)
    )


def status() -> dict[str, Any]:
    done = callspan("status", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def die(receiver: OtlpReceiver, count: int, prefix: str = "dead") -> None:
    """Has a process end spans and die before it can send them."""
    env = {**pointed_at(receiver), "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    run_python(source(f"spans({count}, {prefix!r}); os.kill(os.getpid(), signal.SIGKILL)"), env=env, check=False)


def test_drain_sends_what_dead_processes_left(otlp_receiver: OtlpReceiver) -> None:
    """Each span arrives once, the exit code is 0, and the account keeps what became of them."""
    die(otlp_receiver, 30)
    die(otlp_receiver, 20, "late")
    (before,) = status()["destinations"]
    assert (before["offered"], before["pending"], before["segments"]) == (50, 50, {"live": 0, "orphaned": 2})
    assert before["oldest_pending_age_s"] > 0
    assert before["bytes"] > 50 * 50
    done = callspan("drain", env=pointed_at(otlp_receiver))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"50 spans sent to {before['destination']}\n"
    assert received(otlp_receiver) == names(30, "dead") + names(20, "late")
    (after,) = status()["destinations"]
    assert (after["offered"], after["accepted"], after["delivered"], after["pending"]) == (50, 50, 50, 0)


def test_drain_goes_on_until_the_collector_is_there(otlp_receiver: OtlpReceiver) -> None:
    """An init container may start before the collector does."""
    die(otlp_receiver, 5)
    otlp_receiver.down()
    with subprocess.Popen([COMMAND, "drain"], env=environment(pointed_at(otlp_receiver))) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(4)
        otlp_receiver.up()
        assert process.wait(20) == 0
    assert received(otlp_receiver) == names(5, "dead")


def test_drain_tells_what_it_could_not_send(otlp_receiver: OtlpReceiver) -> None:
    """Within its time, by the exit code and one line; the spans stay."""
    die(otlp_receiver, 5)
    otlp_receiver.default = Status(503)
    done = callspan("drain", "--timeout", "2", env=pointed_at(otlp_receiver))
    assert done.returncode == 1
    (destination,) = status()["destinations"]
    assert f"5 spans left for {destination['destination']} (HTTP 503 Service Unavailable)" in done.stderr
    assert status()["destinations"][0]["pending"] == 5


def test_drain_leaves_what_is_not_configured_here(otlp_receiver: OtlpReceiver) -> None:
    """Spans go only where they were meant to go, and what is left is named."""
    die(otlp_receiver, 5)
    with OtlpReceiver() as other:
        done = callspan("drain", env=pointed_at(other))
        assert done.returncode == 1
        assert "not configured here" in done.stderr
        assert other.requests == []


def test_drain_without_a_spool_or_a_destination(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """What was never stored needs no sending; nowhere to send to is a mistake, and named."""
    named = callspan("drain")
    assert (named.returncode, "CALLSPAN_SPOOL_DIR" in named.stderr) == (2, True)
    usual = callspan("drain", env={"CALLSPAN_SPOOL_DIR": "", "XDG_STATE_HOME": str(spool_dir.parent)})
    assert (usual.returncode, usual.stderr) == (0, "")
    die(otlp_receiver, 1)
    nowhere = callspan("drain", env={"CALLSPAN_DESTINATIONS": "none"})
    assert (nowhere.returncode, "CALLSPAN_DESTINATIONS" in nowhere.stderr) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_drain_watches_until_it_is_told_to_stop(otlp_receiver: OtlpReceiver, number: signal.Signals) -> None:
    """As a sidecar it sends what other processes leave as they die, and ends in good order."""
    die(otlp_receiver, 3, "first")
    arguments = [COMMAND, "drain", "--watch", "--timeout", "10"]
    env = environment(pointed_at(otlp_receiver))
    with subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert len(otlp_receiver.wait_for(3, timeout=20)) == 3
        die(otlp_receiver, 4, "second")
        assert len(otlp_receiver.wait_for(7, timeout=20)) == 7
        process.send_signal(number)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out.startswith("7 spans sent to otlp http://")
    assert received(otlp_receiver) == names(3, "first") + names(4, "second")


def test_drain_is_not_held_up_when_it_is_told_twice(otlp_receiver: OtlpReceiver) -> None:
    """Once to send what is left and end, and once more to leave that."""
    die(otlp_receiver, 3)
    otlp_receiver.default = Status(503)
    with subprocess.Popen([COMMAND, "drain", "--watch"], env=environment(pointed_at(otlp_receiver))) as process:
        assert otlp_receiver.wait_for_requests(1, timeout=20)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 1


def test_drain_leaves_what_an_answer_did_not_come_for_in_time(otlp_receiver: OtlpReceiver) -> None:
    """Where it ends while a request is on its way, the spans behind that one stay, each once."""
    die(otlp_receiver, 300)
    otlp_receiver.default = Delay(1.0)
    env = {**pointed_at(otlp_receiver), "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "20"}
    for _ in range(3):
        assert callspan("drain", "--timeout", "1.5", env=env).returncode == 1
    (account,) = status()["destinations"]
    assert (account["offered"], account["expired"], account["dropped"]) == (300, 0, 0)
    otlp_receiver.default = Accept()
    assert callspan("drain", env=env).returncode == 0
    assert received(otlp_receiver).keys() == names(300, "dead").keys()
    (account,) = status()["destinations"]
    assert (account["delivered"], account["pending"]) == (300, 0)


def test_status_tells_why_spans_were_rejected(otlp_receiver: OtlpReceiver) -> None:
    """By reason and number, for people as well as for programs."""
    otlp_receiver.default = RefuseSpans(lambda span: span.name in ("3", "7"))
    run_python(source("spans(10)"), env=pointed_at(otlp_receiver))
    (account,) = status()["destinations"]
    assert (account["offered"], account["delivered"], account["rejected"], account["pending"]) == (10, 8, 2, 0)
    assert account["rejected_reasons"] == {"HTTP 400 Bad Request": 2}
    text = callspan("status").stdout
    assert "accepted         10 = delivered 8 + rejected 2 + expired 0 + pending 0" in text
    assert "rejected          2   HTTP 400 Bad Request" in text


def test_status_of_a_process_that_lives(otlp_receiver: OtlpReceiver) -> None:
    """The account is there at any moment, and looking at it disturbs nobody."""
    program = """
        import json, subprocess, sys
        spans(7)
        look = [sys.argv[1], "status", "--json"]
        print(json.loads(subprocess.run(look, capture_output=True, check=True).stdout)["destinations"][0])
        assert provider.force_flush(5000)
        print(json.loads(subprocess.run(look, capture_output=True, check=True).stdout)["destinations"][0])
    """
    env = {**pointed_at(otlp_receiver), "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    done = run_python(source(dedent(program)), env=env, arguments=[str(COMMAND)])
    waiting, sent = (json.loads(line.replace("'", '"').replace("None", "null")) for line in done.stdout.splitlines())
    assert (waiting["pending"], waiting["segments"]) == (7, {"live": 1, "orphaned": 0})
    assert (sent["delivered"], sent["pending"], sent["segments"]) == (7, 0, {"live": 0, "orphaned": 0})
    assert received(otlp_receiver) == names(7)


def test_status_without_a_spool(spool_dir: Path) -> None:
    """No spool yet is nothing wrong, unless it was named."""
    env = {"CALLSPAN_SPOOL_DIR": "", "XDG_STATE_HOME": str(spool_dir.parent)}
    assert "No span was stored" in callspan("status", env=env).stdout
    assert json.loads(callspan("status", "--json", env=env).stdout)["destinations"] == []
    named = callspan("status", "--spool", str(spool_dir))
    assert (named.returncode, "--spool" in named.stderr) == (2, True)
