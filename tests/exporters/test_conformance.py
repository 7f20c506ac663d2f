"""Our own destinations keep the promises that those of others are tested for, and who breaks one fails."""

import gc
import json
import subprocess
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import ClassVar

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from callspan_exporters import OTLPDestination, SpanExporterDestination
from callspan_exporters.conformance import (
    Backend,
    ConnectionConformance,
    DestinationConformance,
    Request,
    Server,
)
from callspan_exporters.destination import Destination
from callspan_exporters.otlp import GRPC
from loopback.example_kind import ExampleDestination
from loopback.kinds import BY_NAME, SECRET, Kind, otlp_ids
from loopback.otlp_grpc_receiver import OtlpGrpcReceiver


class OfKind(DestinationConformance):
    """A kind of ours, as the environment configures it."""

    kind: ClassVar[Kind]
    secrets = (SECRET,)

    def __init_subclass__(cls) -> None:
        cls.success = cls.kind.success

    def destination(self, url: str) -> Destination:
        return self.kind.destination(url)

    def ids(self, request: Request) -> list[str]:
        return self.kind.ids(request)


class TestOtlpHttp(OfKind):
    kind = BY_NAME["otlp"]


class TestLangfuse(OfKind):
    kind = BY_NAME["langfuse"]


class TestLangSmith(OfKind):
    kind = BY_NAME["langsmith"]


class TestPhoenix(OfKind):
    kind = BY_NAME["phoenix"]


class TestOtlpHttpInGzip(DestinationConformance):
    secrets = (SECRET,)

    def destination(self, url: str) -> Destination:
        return OTLPDestination(f"{url}/v1/traces", headers={"x-api-key": SECRET}, compression="gzip")

    def ids(self, request: Request) -> list[str]:
        return otlp_ids(request)


class TestSomebodyElses(DestinationConformance):
    secrets = (SECRET,)

    def destination(self, url: str) -> Destination:
        return ExampleDestination(url, SECRET)

    def ids(self, request: Request) -> list[str]:
        return [json.loads(line)["id"] for line in request.body.splitlines()]


class GrpcBackend:
    def __init__(self, receiver: OtlpGrpcReceiver) -> None:
        self.url = receiver.endpoint
        self._receiver = receiver

    def ids(self) -> list[str]:
        return [span.span_id for span in self._receiver.spans]


class TestOtlpGrpc(ConnectionConformance):
    secrets = (SECRET,)

    def destination(self, url: str) -> Destination:
        return OTLPDestination(url, protocol=GRPC, headers={"authorization": f"Bearer {SECRET}"})

    @contextmanager
    def backend(self) -> Generator[Backend, None, None]:
        with OtlpGrpcReceiver() as receiver:
            yield GrpcBackend(receiver)


class HttpBackend:
    def __init__(self, server: Server) -> None:
        self.url = server.url
        self._server = server

    def ids(self) -> list[str]:
        return [one for request in self._server.taken() for one in otlp_ids(request)]


class TestSpanExporter(ConnectionConformance):
    """The stock exporter, called as any other: it says of a batch only whether it failed."""

    secrets = (SECRET,)

    def destination(self, url: str) -> Destination:
        headers = {"authorization": f"Bearer {SECRET}"}
        return SpanExporterDestination(OTLPSpanExporter(f"{url}/v1/traces", headers=headers, timeout=1))

    @contextmanager
    def backend(self) -> Generator[Backend, None, None]:
        with Server() as server:
            yield HttpBackend(server)

    def test_no_tls(self) -> None:
        with warnings.catch_warnings():  # urllib3 leaves sockets open whose handshake failed
            warnings.simplefilter("ignore", ResourceWarning)
            super().test_no_tls()
            gc.collect()


# Breaks every promise that is looked at below, in the way in which that happens.
NAIVE = """
import json, os, urllib.error, urllib.request, uuid
from callspan_exporters.conformance import DestinationConformance
from callspan_exporters.destination import Outcome, Verdict, decode_span

class Naive:
    component_type = ""
    timeout_s = 0.0

    def __init__(self, url, key):
        self.url, self.key, self.closed, self.process = url, key, False, os.getpid()
        self.identity = f"naive {key} {uuid.uuid4()}"

    def connect(self):
        import wave
        assert self.process == os.getpid()
        return self

    def send(self, spans, timeout_s):
        events = [{"id": str(uuid.uuid4()), "name": decode_span(span).name} for span in spans]
        request = urllib.request.Request(self.url, json.dumps(events).encode(), {"x-key": self.key})
        try:
            with urllib.request.urlopen(request) as response:
                response.read()
        except urllib.error.HTTPError as error:
            with error:
                return Outcome(Verdict.REJECTED, error.read().decode())
        return Outcome(Verdict.DELIVERED)

    def close(self):
        assert not self.closed
        self.closed = True

    def force_flush(self, timeout_s):
        return None

    def shutdown(self):
        pass

class TestNaive(DestinationConformance):
    secrets = ("k3y-of-the-test",)

    def destination(self, url):
        return Naive(url, "k3y-of-the-test")

    def ids(self, request):
        return [event["id"] for event in request.json()]
"""

BROKEN = {
    "test_its_attributes",
    "test_its_identity",
    "test_its_identity_in_another_process",
    "test_keys_are_not_shown",
    "test_the_same_span_has_the_same_id",
    "test_a_thread_imports_nothing",
    "test_a_forked_child_connects_anew",
    "test_nobody_listens",
    "test_a_connection_that_breaks[reset]",
    "test_a_connection_that_breaks[closed]",
    "test_no_tls",
    "test_a_span_that_cannot_be_read",
    "test_closing_twice",
    "test_flush_and_shutdown",
    "test_every_status",
    "test_when_to_come_again[429]",
    "test_when_to_come_again[503]",
    "test_redirects_are_not_followed",
    "test_a_web_page",
    "test_an_answer_that_is_wrong[a body that is cut off]",
    "test_an_answer_larger_than_memory[an endless answer]",
    "test_keys_that_come_back",
    "test_one_connection_after_failures",
}


def test_who_keeps_no_promise_fails(tmp_path: Path) -> None:
    """Each of the tests that are looked at finds what it is for, in the suite of a package that is not ours."""
    (tmp_path / "test_naive.py").write_text(NAIVE)
    chosen = [f"test_naive.py::TestNaive::{name}" for name in BROKEN]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider", "--tb=no", *chosen],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    failed = {line.partition("TestNaive::")[2] for line in done.stdout.splitlines() if line.startswith("FAILED")}
    assert {name.partition(" - ")[0] for name in failed} == BROKEN, done.stdout


@pytest.mark.parametrize("module", ["destination", "posthog", "otlp"])
def test_pytest_is_needed_for_the_conformance_test_alone(module: str) -> None:
    """Whoever only sends spans has no pytest."""
    program = f"import sys, callspan_exporters.{module}; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", dedent(program)], check=True, timeout=60)
