"""Applications, Collectors, a broker and a backend, each stopped and each killed in turn: every span comes through.

Stopped by SIGTERM, as everybody is now and then: every span is there exactly once. Killed, or behind a Kafka that was
away as a whole: at least once.
"""

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, Self

import pytest

from end_to_end.collector.application import Application
from end_to_end.collector.kafka import Kafka
from end_to_end.collector.running import CONFIG, Collector
from end_to_end.collector.sending import send, span
from loopback.otlp_grpc_receiver import OtlpGrpcReceiver

EXAMPLES = CONFIG.parent / "examples" / "collector"
ENVIRONMENT = re.compile(r"\$\{env:(\w+)")
SPAN_ID = re.compile(r'"spanId":"([0-9a-f]{16})"')


class Member(Protocol):
    """What can be stopped and started again."""

    def start(self) -> None: ...
    def stop(self, by: signal.Signals = ...) -> None: ...


class Chain:
    """What stands between an application and a backend, each of which is started with what comes after it."""

    def __init__(self, program: Path, directory: Path) -> None:
        self._program = program
        self._directory = directory
        self._processes = ExitStack()
        self.between: list[Member] = []
        self.backend = self._collector("backend")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self._processes.close()

    def _collector(self, name: str, *changes: str, **variables: str) -> Collector:
        configs = [EXAMPLES / f"{change}.yaml" for change in changes]
        return self._processes.enter_context(Collector(self._program, self._directory / name, *configs, **variables))

    def add(self, name: str, *changes: str, **variables: str) -> Collector:
        """Starts a Collector whose configuration has these changes, named after their file."""
        collector = self._collector(name, *changes, **variables)
        self.between.insert(0, collector)
        return collector

    def add_kafka(self, jars: Path) -> Kafka:
        """Starts a broker."""
        kafka = self._processes.enter_context(Kafka(jars, self._directory / "kafka"))
        self.between.insert(0, kafka)
        return kafka

    def add_application(self, first: Collector) -> Application:
        """Starts the application, which sends to the first Collector."""
        return self._processes.enter_context(Application(first.http_endpoint, self._directory / "application"))

    @property
    def arrived(self) -> Counter[str]:
        """How often the span of each id has come out at the end."""
        return Counter(SPAN_ID.findall(self.backend.output.read_text() if self.backend.output.exists() else ""))

    def wait_until_arrived(self, ids: Sequence[str]) -> Counter[str]:
        """Waits until every one of these spans has come out at the end."""
        deadline = time.monotonic() + 60
        while missing := set(ids) - (arrived := self.arrived).keys():
            assert time.monotonic() < deadline, f"{len(missing)} of {len(ids)} spans are missing"
            time.sleep(0.1)
        return arrived

    def wait_until_idle(self) -> None:
        """Waits until no Collector has anything left to send."""
        deadline = time.monotonic() + 60
        collectors = [member for member in (*self.between, self.backend) if isinstance(member, Collector)]
        while any(collector.metric("otelcol_exporter_queue_size") for collector in collectors):
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture
def chain(collector_program: Path, tmp_path: Path) -> Iterator[Chain]:
    with Chain(collector_program, tmp_path) as built:
        yield built


def check_that_every_span_comes_through(chain: Chain, application: Application) -> None:
    """Stops everybody in turn, kills everybody in turn, and compares what has ended with what has arrived."""
    everybody = (application, *chain.between, chain.backend)
    # A broker that is alone is all of Kafka, and a gateway cannot tell it any more what it has just read.
    brokers = [member for member in everybody if isinstance(member, Kafka)]
    interrupt(chain, application, signal.SIGTERM, [member for member in everybody if member not in brokers])
    arrived = finish(chain, application)
    assert arrived.keys() == set(application.ended)
    assert [span for span, times in arrived.items() if times > 1] == []

    application.start()
    interrupt(chain, application, signal.SIGTERM, brokers)
    interrupt(chain, application, signal.SIGKILL, everybody)
    arrived = finish(chain, application)
    assert len(arrived.keys() - set(application.ended)) <= 2  # had ended, and could not be noted any more


def interrupt(chain: Chain, application: Application, by: signal.Signals, members: Sequence[Member]) -> None:
    """Stops one after the other, has the others go on meanwhile, and starts it again."""
    for member in members:
        application.work(100)
        member.stop(by)
        if member is not application:
            application.work(100)
        member.start()
        chain.wait_until_arrived(application.ended)


def finish(chain: Chain, application: Application) -> Counter[str]:
    """Ends the application, and returns how often each of its spans has arrived."""
    application.stop()
    application.drain()
    chain.wait_until_arrived(application.ended)
    chain.wait_until_idle()
    return chain.arrived


def test_a_collector(chain):
    collector = chain.add("collector", COLLECTOR_BACKEND=chain.backend.http_endpoint)
    check_that_every_span_comes_through(chain, chain.add_application(collector))


def test_an_agent_and_two_gateways(chain):
    gateways = [
        chain.add(f"gateway {number}", "gateway", COLLECTOR_BACKEND=chain.backend.http_endpoint) for number in (1, 2)
    ]
    first, second = (gateway.grpc_address for gateway in gateways)
    agent = chain.add("agent", "agent", COLLECTOR_GATEWAY_1=first, COLLECTOR_GATEWAY_2=second)
    check_that_every_span_comes_through(chain, chain.add_application(agent))


def test_an_agent_that_looks_its_gateways_up(chain):
    gateway = chain.add("gateway", "gateway", COLLECTOR_BACKEND=chain.backend.http_endpoint)
    host, _, port = gateway.grpc_address.partition(":")
    agent = chain.add("agent", "agent-dns", COLLECTOR_GATEWAYS=host, COLLECTOR_GATEWAYS_PORT=port)
    check_that_every_span_comes_through(chain, chain.add_application(agent))


def test_an_agent_and_a_gateway_with_kafka_between_them(chain, kafka_jars):
    kafka = chain.add_kafka(kafka_jars)
    brokers = {"COLLECTOR_KAFKA_BROKERS": f"[{kafka.address}]", "COLLECTOR_KAFKA_INSTANCE": "gateway"}
    chain.add("gateway", "gateway", "kafka-gateway", COLLECTOR_BACKEND=chain.backend.http_endpoint, **brokers)
    agent = chain.add("agent", "kafka-agent", **brokers)
    check_that_every_span_comes_through(chain, chain.add_application(agent))


@pytest.mark.parametrize(
    "changes",
    [[], ["agent"], ["agent-dns"], ["gateway"], ["kafka-agent"], ["kafka-gateway"], ["gateway", "kafka-gateway"]],
)
def test_each_configuration_is_valid_as_it_stands(collector_program, changes):
    configs = [CONFIG, *(EXAMPLES / f"{change}.yaml" for change in changes)]
    options = [f"--config={config}" for config in configs]
    checked = subprocess.run([collector_program, "validate", *options], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_no_configuration_is_left_out():
    assert {file.stem for file in EXAMPLES.glob("*.yaml")} == {
        "agent",
        "agent-dns",
        "gateway",
        "kafka-agent",
        "kafka-gateway",
    }


def test_an_agent_sends_the_whole_of_a_trace_to_one_gateway(collector_program, tmp_path):
    with OtlpGrpcReceiver() as first, OtlpGrpcReceiver() as second:
        gateways = {"COLLECTOR_GATEWAY_1": first.endpoint[7:], "COLLECTOR_GATEWAY_2": second.endpoint[7:]}
        with Collector(collector_program, tmp_path / "agent", EXAMPLES / "agent.yaml", **gateways) as agent:
            for part in ("call", "attempt"):
                send(agent, *(span(f"{part} {trace}", trace=str(trace)) for trace in range(100)))
            deadline = time.monotonic() + 20
            while len(first.spans) + len(second.spans) < 200 and time.monotonic() < deadline:
                time.sleep(0.05)
        at_first, at_second = (Counter(received.trace_id for received in each.spans) for each in (first, second))

    assert set((at_first | at_second).values()) == {2}
    assert len(at_first | at_second) == 100
    assert min(len(at_first), len(at_second)) > 20
    assert not at_first & at_second


def test_every_variable_of_the_configurations_is_explained():
    used = {name for file in (CONFIG, *EXAMPLES.glob("*.yaml")) for name in ENVIRONMENT.findall(file.read_text())}
    explained = (EXAMPLES / "README.md").read_text().partition("## Variables")[2]
    assert set(re.findall(r"COLLECTOR_\w+", explained)) == used
