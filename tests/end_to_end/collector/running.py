"""The real Collector as a child process, started with the collector-config.yaml we ship."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from loopback.otlp_inbox import ReceivedSpan, spans_in

CONFIG = Path(__file__).parents[3] / "collector-config.yaml"
IDS = ("traceId", "spanId", "parentSpanId")
PORTS = ("GRPC", "HTTP", "FILE", "HEALTH", "METRICS", "SPAN_METRICS")


class Collector:
    """A Collector on free ports, with its queue and its output under one directory.

    Args:
        program: the executable.
        directory: where it keeps what it writes; made if need be.
        changes: configurations that are laid over collector-config.yaml, as `--config` does.
        variables: of the configuration.
    """

    def __init__(self, program: Path, directory: Path, *changes: Path, **variables: str) -> None:
        directory.mkdir(exist_ok=True)
        self._command = [str(program), *(f"--config={config}" for config in (CONFIG, *changes))]
        self.output = directory / "spans.jsonl"
        self.storage = directory / "queue"
        self.log = directory / "collector.log"
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self._environment = {
            **{f"COLLECTOR_{name}_PORT": str(port) for name, port in self.ports.items()},
            "COLLECTOR_BACKEND": f"http://127.0.0.1:{self.ports['FILE']}",
            "COLLECTOR_STORAGE_DIR": str(self.storage),
            "COLLECTOR_OUTPUT": str(self.output),
            **variables,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http_endpoint(self) -> str:
        """Where it takes OTLP/HTTP."""
        return f"http://127.0.0.1:{self.ports['HTTP']}"

    @property
    def grpc_endpoint(self) -> str:
        """Where it takes OTLP/gRPC."""
        return f"http://127.0.0.1:{self.ports['GRPC']}"

    @property
    def grpc_address(self) -> str:
        """The same as another Collector is told it."""
        return f"127.0.0.1:{self.ports['GRPC']}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.stop(signal.SIGKILL)

    def start(self, **changed: str) -> None:
        """Starts it and waits until it is in service; `changed` are variables of the configuration."""
        environment = {**os.environ, **self._environment, **changed}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=environment, stdin=subprocess.DEVNULL, stderr=log, stdout=log
            )
        deadline = time.monotonic() + 20
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the Collector is not in service:\n{self.log.read_text()}")
            time.sleep(0.05)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, by SIGKILL if so told."""
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait(20)
            self._process = None

    def metric(self, name: str, **labels: str) -> float:
        """The sum of one of its own metrics, where it has these labels."""
        return _sum(self._get("METRICS", "/metrics").text, name, labels)

    def span_metric(self, name: str, **labels: str) -> float:
        """The sum of one of the metrics it derives from spans, where it has these labels."""
        return _sum(self._get("SPAN_METRICS", "/metrics").text, name, labels)

    @property
    def spans(self) -> list[ReceivedSpan]:
        """The spans in the output of its file exporter."""
        # A line still being written has no end yet.
        lines = self.output.read_text().split("\n")[:-1] if self.output.exists() else []
        return [span for line in lines for span in spans_in(_request(json.loads(_whole(line))))]

    def wait_for(self, spans: int, timeout: float = 20.0) -> list[ReceivedSpan]:
        """Waits until its output has so many spans and returns those it has; there may be fewer after the timeout."""
        deadline = time.monotonic() + timeout
        while len(found := self.spans) < spans and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _get(self, port: str, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.ports[port]}{path}", verify=False)  # no time for certificates

    def _healthy(self) -> bool:
        try:
            return self._get("HEALTH", "/").is_success
        except httpx.TransportError:
            return False


def _sum(exposition: str, name: str, labels: Mapping[str, str]) -> float:
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    lines = [line for line in exposition.splitlines() if re.match(rf"{name}[{{ ]", line)]
    return sum(float(line.rpartition(" ")[2]) for line in lines if all(label in line for label in wanted))


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


def _whole(line: str) -> str:
    """The line without the piece in front that a killed Collector did not get to finish: it was written again."""
    return line[line.rindex('{"resourceSpans"') :]


def _request(line: Any) -> ExportTraceServiceRequest:
    return ParseDict(_with_protobuf_ids(line), ExportTraceServiceRequest(), ignore_unknown_fields=True)


def _with_protobuf_ids(value: Any) -> Any:
    """OTLP's JSON has ids in hex where protobuf's JSON has base64."""
    if isinstance(value, list):
        return [_with_protobuf_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: base64.b64encode(bytes.fromhex(item)).decode() if name in IDS else _with_protobuf_ids(item)
        for name, item in value.items()
    }
