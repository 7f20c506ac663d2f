"""A real Kafka broker, its own controller, as a child process."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from end_to_end.collector.running import free_ports

SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{broker}
log.dirs={directory}/log
num.partitions=3
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=2000
"""


class Kafka:
    """A broker on free ports, with its log under one directory."""

    def __init__(self, jars: Path, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
        self._settings = directory / "server.properties"
        self._log = directory / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._port, controller = free_ports(2)
        self._settings.write_text(SETTINGS.format(broker=self._port, controller=controller, directory=directory))
        cluster = ("-t", "callspan-callspan-caQ", "-c", str(self._settings))
        subprocess.run([*self._java, "kafka.tools.StorageTool", "format", *cluster], check=True, capture_output=True)

    @property
    def address(self) -> str:
        """Where it takes what is written and read."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.stop(signal.SIGKILL)

    def start(self) -> None:
        """Starts it and waits until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._settings)],
                env=os.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Kafka is not in service:\n{self._log.read_text()}")
            time.sleep(0.05)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, by SIGKILL if so told."""
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait(60)
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
