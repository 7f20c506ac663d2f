"""Several destinations at once: what befalls one of them is no other's business, in whole programs."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from callspan_exporters._conformance.answers import Endless, Silence
from callspan_exporters._spool import Account, read_accounts
from callspan_exporters.conformance import Answer, Reply, Server
from loopback import example_kind
from loopback.driven import DELIVERY, driven
from loopback.kinds import ALL, SECRET, Kind
from loopback.otlp_grpc_receiver import OtlpGrpcReceiver
from loopback.processes import environment, run_python

COMMAND = Path(sys.executable).with_name("callspan")
NAMES = ",".join(kind.name for kind in ALL)

INSTRUMENT = """
import callspan
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from callspan_exporters import OTLPDestination

class Recording(SpanExporter):
    def __init__(self, path):
        self.path = path

    def export(self, spans):
        with open(self.path, "a") as file:
            file.writelines(f"{span.name}\\n" for span in spans)
        return SpanExportResult.SUCCESS

def instrument(destinations):
    callspan.instrument(destinations=destinations)
    globals()["provider"] = trace.get_tracer_provider()

def spans(count, prefix=""):
    for number in range(count):
        trace.get_tracer("app").start_span(f"{prefix}{number}").end()
"""


@pytest.fixture
def servers() -> Iterator[dict[str, Server]]:
    """One for each kind."""
    running = {kind.name: Server(kind.success) for kind in ALL}
    try:
        for server in running.values():
            server.__enter__()
        yield running
    finally:
        for server in running.values():
            server.__exit__()


def env_of(servers: dict[str, Server], names: str = NAMES) -> dict[str, str]:
    variables = {"CALLSPAN_DESTINATIONS": names, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    variables["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf"  # which a distro would set to gRPC
    for kind in ALL:
        variables |= kind.env(servers[kind.name].url)
    return variables


def names_in(kind: Kind, server: Server) -> Counter[str]:
    return Counter(name for request in server.taken() for name in kind.names(request))


def arrived(servers: dict[str, Server]) -> dict[str, Counter[str]]:
    return {kind.name: names_in(kind, servers[kind.name]) for kind in ALL}


def numbered(count: int, prefix: str = "") -> Counter[str]:
    return Counter(f"{prefix}{number}" for number in range(count))


def accounts(spool: Path) -> dict[str, Account]:
    found = {account.destination.partition(" ")[0]: account for account in read_accounts(spool)}
    for account in found.values():
        assert account.accepted == account.delivered + account.rejected + account.expired + account.pending
    return found


@pytest.mark.parametrize("auto_instrument", [False, True])
def test_every_kind_at_once(servers: dict[str, Server], spool_dir: Path, auto_instrument: bool) -> None:
    """Each gets every span once, and has an account of its own."""
    with driven(env=env_of(servers), auto_instrument=auto_instrument) as program:
        program.do("spans(30)")
        assert program.do("answer = provider.force_flush(30000)")
    assert program.said == []
    assert arrived(servers) == {kind.name: numbered(30) for kind in ALL}
    assert {name: account.delivered for name, account in accounts(spool_dir).items()} == {kind.name: 30 for kind in ALL}


@pytest.mark.parametrize(
    "answer",
    [Reply(503), Reply(401), Silence(), Endless(b" ", pause_s=0.05), Silence(at_once=True)],
    ids=["503", "401", "silence", "trickle", "no accept"],
)
@pytest.mark.parametrize("ill", [kind.name for kind in ALL[:2]])
def test_one_that_fails_delays_no_other(servers: dict[str, Server], spool_dir: Path, ill: str, answer: Answer) -> None:
    """The others have all of it while it waits; then it has all of it too."""
    good, servers[ill].default = servers[ill].default, answer
    with driven(env={**env_of(servers), "OTEL_BSP_EXPORT_TIMEOUT": "2000"}) as program:
        for batch in range(3):
            program.do(f"spans(10, '{batch} ')")
        for kind in ALL:
            if kind.name != ill:
                wait_until(lambda kind=kind: sum(names_in(kind, servers[kind.name]).values()) == 30)
        assert accounts(spool_dir)[ill].pending == 30
        servers[ill].default = good
        assert program.do("answer = provider.force_flush(30000)")
    assert {name: account.pending for name, account in accounts(spool_dir).items()} == dict.fromkeys(servers, 0)
    assert set(names_in(next(kind for kind in ALL if kind.name == ill), servers[ill])) == {
        f"{batch} {number}" for batch in range(3) for number in range(10)
    }


def wait_until(holds: object, timeout: float = 30.0) -> None:
    import time  # noqa: PLC0415

    deadline = time.monotonic() + timeout
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it has not come to pass"
        time.sleep(0.02)


def test_one_that_is_misconfigured(servers: dict[str, Server], spool_dir: Path) -> None:
    """It is told at the start, with the variable; the rest runs, and an unknown name is told as well."""
    env = {**env_of(servers, f"{NAMES},langfoose"), "POSTHOG_API_KEY": "", "LANGFUSE_HOST": f"no url {SECRET}"}
    with driven(env=env) as program:
        program.do("spans(5)")
        assert program.do("answer = provider.force_flush(30000)")
    posthog, langfuse, unknown = sorted(program.said, key=lambda line: ("langfoose" in line, "langfuse" in line))
    assert "'posthog'" in posthog
    assert "POSTHOG_API_KEY" in posthog
    assert "LANGFUSE_HOST" in langfuse
    assert "'langfoose' is no destination" in unknown
    assert SECRET not in "".join(program.said)
    assert set(accounts(spool_dir)) == {"otlp", "langsmith", "phoenix"}
    assert arrived(servers)["langsmith"] == numbered(5)


def test_the_same_name_twice(servers: dict[str, Server]) -> None:
    """It is one destination."""
    with driven(env=env_of(servers, "otlp, posthog ,OTLP,posthog")) as program:
        program.do("spans(5)")
        assert program.do("answer = provider.force_flush(30000)")
    assert arrived(servers)["otlp"] == arrived(servers)["posthog"] == numbered(5)


def test_destinations_that_come_and_go_between_runs(servers: dict[str, Server], spool_dir: Path) -> None:
    """What is pending for one stays while it is not configured, and no other's place is changed by it."""
    servers["posthog"].default = Reply(503)
    with driven(env=env_of(servers, "otlp,posthog")) as program:
        program.do("spans(5, 'first ')")
        wait_until(lambda: accounts(spool_dir)["otlp"].delivered == 5)
    with driven(env=env_of(servers, "otlp,langsmith")) as program:
        program.do("spans(5, 'second ')")
        assert program.do("answer = provider.force_flush(30000)")
    found = accounts(spool_dir)
    assert (found["otlp"].delivered, found["langsmith"].delivered, found["posthog"].pending) == (10, 5, 5)
    servers["posthog"].default = next(kind.success for kind in ALL if kind.name == "posthog")
    with driven(env=env_of(servers, "posthog")):
        pass
    assert accounts(spool_dir)["posthog"].pending == 0
    assert arrived(servers)["posthog"] == numbered(5, "first ")
    assert arrived(servers)["langsmith"] == numbered(5, "second ")
    assert arrived(servers)["otlp"] == numbered(5, "first ") + numbered(5, "second ")


def test_status_and_drain(servers: dict[str, Server], spool_dir: Path) -> None:
    """Each destination is shown by itself, and what a killed process left goes to each."""
    with driven(env={**env_of(servers), "OTEL_BSP_SCHEDULE_DELAY": "60000"}) as program:
        program.do("spans(12)")
        program.kill()

    env = environment(env_of(servers))

    def callspan(*arguments: str) -> str:
        done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=90, env=env)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    shown = json.loads(callspan("status", "--json"))["destinations"]
    assert {each["destination"].partition(" ")[0]: each["pending"] for each in shown} == dict.fromkeys(servers, 12)
    assert callspan("drain").count("12 spans sent to ") == len(ALL)
    assert arrived(servers) == {kind.name: numbered(12) for kind in ALL}
    assert SECRET not in json.dumps(shown)


@pytest.mark.parametrize("auto_instrument", [False, True])
def test_destinations_in_the_program(servers: dict[str, Server], tmp_path: Path, auto_instrument: bool) -> None:
    """Names, destinations and exporters, in the place of what the environment names, and others later."""
    recorded = tmp_path / "recorded"
    chosen = f"['posthog', OTLPDestination({servers['phoenix'].url!r}), Recording({str(recorded)!r})]"
    with driven(INSTRUMENT, env=env_of(servers, "otlp"), auto_instrument=auto_instrument) as program:
        program.do(f"instrument({chosen})")
        program.do("spans(5)")
        assert program.do("answer = provider.force_flush(30000)")
        program.do("instrument(['langsmith', 'posthog', 'langsmith', 7, 'nonsense'])")
        program.do("spans(3, 'later ')")
        assert program.do("answer = provider.force_flush(30000)")
    assert arrived(servers) == {
        "otlp": Counter(),
        "langfuse": Counter(),
        "phoenix": numbered(5),
        "posthog": numbered(5) + numbered(3, "later "),
        "langsmith": numbered(3, "later "),
    }
    assert Counter(recorded.read_text().splitlines()) == numbered(5)
    wrong_type, unknown = program.said
    assert "int" in wrong_type
    assert "'nonsense' is no destination" in unknown


def install_example(site: Path) -> None:
    """Installs the example as a package of its own, with an entry point."""
    metadata = site / "callspan_example-1.0.dist-info"
    metadata.mkdir(parents=True)
    shutil.copy(example_kind.__file__, site / "callspan_example.py")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: callspan-example\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[callspan_destination]\n"
        "example = callspan_example:ExampleDestination.from_environment\n"
        "broken = callspan_example:no_such_thing\n"
    )


def test_a_kind_by_entry_point(servers: dict[str, Server], spool_dir: Path, tmp_path: Path) -> None:
    """Somebody else's kind is one like ours; one that fails is told, and the rest runs."""
    install_example(tmp_path / "site")
    with Server() as example:
        env = {**env_of(servers, "otlp,example,broken"), "PYTHONPATH": str(tmp_path / "site")}
        with driven(env={**env, "EXAMPLE_URL": example.url, "EXAMPLE_KEY": SECRET}) as program:
            program.do("spans(5)")
            assert program.do("answer = provider.force_flush(30000)")
        got = [json.loads(line)["name"] for request in example.requests for line in request.body.splitlines()]
        (said,) = program.said
        with driven(env=env) as without_key:
            without_key.do("spans(1, 'more ')")
    assert Counter(got) == numbered(5)
    assert "'broken'" in said
    assert any("EXAMPLE_URL" in line for line in without_key.said)
    found = accounts(spool_dir)
    assert (found["example"].delivered, found["otlp"].delivered) == (5, 6)


def test_forks_in_the_middle_of_calls_by_grpc(otlp_grpc_receiver: OtlpGrpcReceiver) -> None:
    """GRPC's own threads hold locks at any moment; a child sends its spans all the same."""
    program = f"""{DELIVERY}
import os, sys, threading, warnings
warnings.simplefilter("ignore")
ended = threading.Event()
def busy():
    while not ended.is_set():
        spans(1, "parent ")
        provider.force_flush(5000)
threading.Thread(target=busy, daemon=True).start()
for number in range(12):
    child = os.fork()
    if not child:
        spans(1, f"child {{number}} ")
        os._exit(0 if provider.force_flush(20000) else 1)
    assert os.waitpid(child, 0)[1] == 0
ended.set()
"""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_grpc_receiver.endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    run_python(program, env=env, timeout=120)
    names = {span.name for span in otlp_grpc_receiver.spans}
    assert names >= {f"child {number} 0" for number in range(12)}
