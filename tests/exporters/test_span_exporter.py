"""Any OpenTelemetry exporter of spans as a destination: what it is given, what its answers mean, what it is called."""

import io
import re
from pathlib import Path

import pytest
import requests
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from callspan_exporters._delivery import Delivery
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import encode_resource, encode_scope, encode_span
from callspan_exporters._outcome import Outcome, Verdict
from callspan_exporters._settings import BatchSettings
from callspan_exporters._spool import Limits
from callspan_exporters.otlp import GRPC, HTTP, OTLPDestination
from callspan_exporters.span_exporter import SpanExporterDestination, as_destination
from loopback.processes import run_python

CORRUPT = EncodedSpan(b"", b"", b"\xff")


class Exporter(SpanExporter):
    """A user's, which answers as told."""

    def __init__(self, answer=SpanExportResult.SUCCESS, **attributes):
        self.answer = answer
        self.calls = 0
        vars(self).update(attributes)

    def export(self, spans):
        self.calls += 1
        return self.said()

    def force_flush(self, timeout_millis=30000):
        self.flushed = timeout_millis
        return self.said()

    def shutdown(self):
        self.said()

    def said(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def sdk_spans(*names: str) -> list[ReadableSpan]:
    """Return spans as the SDK hands them to an exporter."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for name in names:
        with provider.get_tracer("app", "1").start_as_current_span(name, attributes={"list": ["a"], "number": 1.5}):
            pass
    return list(kept.get_finished_spans())


def encoded(span: ReadableSpan) -> EncodedSpan:
    return EncodedSpan(encode_resource(span.resource), encode_scope(span.instrumentation_scope), encode_span(span))


def send(destination: SpanExporterDestination, *spans: EncodedSpan) -> Outcome:
    transport = destination.connect()
    try:
        return transport.send(spans or [encoded(span) for span in sdk_spans("n")], 1.0)
    finally:
        transport.close()


def test_an_exporter_is_given_the_spans_in_their_order():
    """What was stored reaches the exporter whole, in one call and as it was stored."""
    exporter = InMemorySpanExporter()
    spans = sdk_spans("first", "second")
    assert send(SpanExporterDestination(exporter), *map(encoded, spans)) == Outcome(Verdict.DELIVERED)
    assert [span.to_json() for span in exporter.get_finished_spans()] == [span.to_json() for span in spans]


def test_an_exporter_that_prints_prints_the_same():
    """A console shows what it shows when the SDK itself writes to it."""
    ours, theirs = io.StringIO(), io.StringIO()
    spans = sdk_spans("first", "second")
    ConsoleSpanExporter(out=theirs).export(spans)
    assert (
        send(SpanExporterDestination(ConsoleSpanExporter(out=ours)), *map(encoded, spans)).verdict is Verdict.DELIVERED
    )
    assert ours.getvalue() == theirs.getvalue()
    assert '"name": "second"' in ours.getvalue()


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (SpanExportResult.SUCCESS, Outcome(Verdict.DELIVERED)),
        (None, Outcome(Verdict.DELIVERED)),
        (SpanExportResult.FAILURE, Outcome(Verdict.RETRY, "its exporter reported a failure")),
        (RuntimeError("no room"), Outcome(Verdict.RETRY, "no room")),
        (ConnectionRefusedError(111, "Connection refused"), Outcome(Verdict.RETRY, "connection refused")),
        (
            ValueError("401 for url: https://u:p@h:1/v1/ZaVnC4dhaV2spqTz0?key=k3y, sorry"),
            Outcome(Verdict.RETRY, "401 for url: https://h:1/v1/~b0917b76 sorry"),
        ),
    ],
)
def test_what_an_exporter_says_decides_what_is_done(answer, outcome):
    """A failure or an exception has the batch sent again, and names no key; all else is success."""
    exporter = Exporter(answer)
    assert send(SpanExporterDestination(exporter)) == outcome
    assert exporter.calls == 1


def test_a_span_that_cannot_be_read_is_refused_and_the_exporter_not_called():
    """Corrupt bytes are no reason to try again, and the exporter is not given half a batch."""
    exporter = Exporter()
    whole = encoded(sdk_spans("n")[0])
    outcome = send(SpanExporterDestination(exporter), whole, CORRUPT)
    assert outcome == Outcome(Verdict.REJECTED, "a span that cannot be read: DecodeError")
    assert exporter.calls == 0


def test_of_a_batch_with_a_corrupt_span_the_others_arrive():
    """One span that cannot be read costs no other one, and holds nobody up."""
    exporter = InMemorySpanExporter()
    delivery = Delivery(
        [SpanExporterDestination(exporter)],
        root=None,
        limits=Limits(),
        settings=BatchSettings(60.0, 100),
        exit_budget_s=1.0,
    )
    first, second, third = map(encoded, sdk_spans("first", "second", "third"))
    for span in (first, second, CORRUPT, third):
        delivery.append(span.resource, span.scope, span.span)
    assert delivery.force_flush(10.0)
    delivery.shutdown()
    assert [span.name for span in exporter.get_finished_spans()] == ["first", "second", "third"]


def test_closing_a_connection_leaves_the_exporter_open():
    """Connections are remade, in a forked child and at exit; what is shut down takes no more spans."""
    exporter = InMemorySpanExporter()
    destination = SpanExporterDestination(exporter)
    assert [send(destination).verdict for _ in range(2)] == [Verdict.DELIVERED] * 2
    destination.shutdown()
    assert send(destination).verdict is Verdict.RETRY


@pytest.mark.parametrize(("answer", "flushed"), [(True, True), (None, True), (False, False), (OSError(), False)])
def test_a_flush_says_whether_the_exporter_flushed(answer, flushed):
    """The exporter is given the timeout in its unit, and believed; one that says nothing has done it."""
    exporter = Exporter(answer)
    assert SpanExporterDestination(exporter).force_flush(1.5) is flushed
    assert exporter.flushed == 1500


def test_an_exporter_that_cannot_be_shut_down_raises_nothing(caplog):
    """The application's exit is not hurt; what went wrong is said, without keys."""
    SpanExporterDestination(Exporter(ValueError("not at https://u:p@h/")), name="mine").shutdown()
    assert "exporter mine was not shut down: not at https://h/" in caplog.text
    SpanExporterDestination(type("Bare", (), {"export": print})()).shutdown()
    assert "Bare was not shut down" in caplog.text


def test_an_exporter_is_called_by_the_name_of_its_class():
    """Without a name, what it is and where it leads identify it, in every process."""
    assert SpanExporterDestination(ConsoleSpanExporter()).identity == (
        "exporter opentelemetry.sdk.trace.export.ConsoleSpanExporter"
    )
    assert SpanExporterDestination(Exporter()).identity == f"exporter {Exporter.__module__}.Exporter"
    assert SpanExporterDestination(Exporter(url="http://h"), name="mine").identity == "exporter mine"


@pytest.mark.parametrize("attribute", ["endpoint", "_endpoint", "url"])
@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("https://u:p@h:1/v1/traces?key=k3y#k3y", "https://h:1/v1/traces"),
        ("https://h/ZaVnC4dhaV2spqTz0/v1", "https://h/~b0917b76/v1"),
        ("u:p@h:4317", "h:4317"),
        ("http://[", "(no address)"),
    ],
)
def test_an_address_is_told_without_its_secrets(attribute, endpoint, address):
    """Two exporters of one class for two places are two destinations, and no key is in what is written down."""
    identity = SpanExporterDestination(Exporter(**{attribute: endpoint})).identity
    assert identity == f"exporter {Exporter.__module__}.Exporter {address}"


@pytest.mark.parametrize("attributes", [{}, {"endpoint": 5}, {"url": ""}, {"endpoint": None, "url": b"http://h"}])
def test_an_attribute_that_is_no_address_is_none(attributes):
    """What is called like an address and is something else is left alone."""
    assert SpanExporterDestination(Exporter(**attributes)).identity == f"exporter {Exporter.__module__}.Exporter"


def test_an_address_that_raises_is_none():
    """A property that cannot be read does not cost the destination."""

    class Shy(Exporter):
        endpoint = property(lambda self: 1 / 0)

    assert SpanExporterDestination(Shy()).identity.endswith(".Shy")


SCRIPT = """
import multiprocessing
from callspan_exporters.span_exporter import SpanExporterDestination

class Mine:
    def export(self, spans): ...

def tell():
    print(SpanExporterDestination(Mine()).identity, flush=True)

if __name__ == "__main__":
    tell()
    if "__file__" in globals():
        child = multiprocessing.get_context("spawn").Process(target=tell)
        child.start()
        child.join()
"""


def test_an_exporter_of_a_script_is_known_again_and_by_that_script_alone(tmp_path: Path):
    """Two scripts that define a class of one name share no destination; one that is run again, or spawns, does."""
    scripts = [tmp_path / directory / "app.py" for directory in ("a", "b")]
    for script in scripts:
        script.parent.mkdir()
        script.write_text(SCRIPT)
    told = [run_python(script).stdout.split("\n")[:2] for script in (*scripts, scripts[0])]
    relative = run_python(Path("app.py"), cwd=scripts[0].parent).stdout.split("\n")[:2]
    assert told[0] == told[2] == relative
    assert told[0][0] == told[0][1], "a spawned child tells another one"
    assert told[0] != told[1]
    assert re.fullmatch(r"exporter app~[0-9a-f]{8}\.Mine", told[0][0])
    assert run_python(SCRIPT).stdout == "exporter __main__.Mine\n"


def test_sending_imports_nothing():
    """A sender's thread may be in a forked child, where another thread's import lock is never released."""
    program = """
    import sys
    from callspan_exporters._encoded import EncodedSpan
    from callspan_exporters.span_exporter import SpanExporterDestination

    class Failing:
        def export(self, spans):
            raise ValueError("not at https://u:p@h/")

    span = EncodedSpan(b"", b"", bytes.fromhex("1a03613d31390100000000000000"))
    before = set(sys.modules)
    for exporter in (Failing(), type("Taking", (), {"export": lambda self, spans: None})()):
        transport = SpanExporterDestination(exporter).connect()
        print(transport.send([span], 1.0).verdict.name)
        transport.send([EncodedSpan(b"", b"", b"\\xff")], 1.0)
    print(sorted(set(sys.modules) - before))
    """
    assert run_python(program).stdout == "RETRY\nDELIVERED\n[]\n"


def test_a_destination_is_what_it_is():
    """What is a destination already is returned itself."""
    for destination in (OTLPDestination("http://h"), SpanExporterDestination(Exporter())):
        assert as_destination(destination) is destination


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_stock_http_exporter_becomes_an_otlp_destination(monkeypatch, compression):
    """Its settings are carried over, and its stored bytes go without being read back."""
    if compression:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
    destination = as_destination(HttpExporter("http://h:1/v1/traces", headers={"x-key": "k"}, timeout=7))
    assert isinstance(destination, OTLPDestination)
    assert (destination.endpoint, destination.protocol) == ("http://h:1/v1/traces", HTTP)
    assert (destination.headers, destination.timeout_s) == ({"x-key": "k"}, 7.0)
    assert destination.compression == (compression or "none")


def test_a_stock_grpc_exporter_becomes_an_otlp_destination():
    """The same by gRPC."""
    exporter = GrpcExporter("http://127.0.0.1:1", insecure=True, headers=(("x-key", "k"),), timeout=7)
    destination = as_destination(exporter)
    exporter.shutdown()
    assert isinstance(destination, OTLPDestination)
    assert (destination.endpoint, destination.protocol) == ("http://127.0.0.1:1", GRPC)
    assert (destination.headers, destination.timeout_s) == ({"x-key": "k"}, 7.0)


def test_a_stock_exporter_that_cannot_be_carried_over_is_called():
    """One with a session of the user's own, or a subclass, does what ours does not."""
    session = requests.Session()
    session.auth = ("user", "s3cr3t")
    own_session = as_destination(HttpExporter("http://h:1/v1/traces", session=session))
    subclass = as_destination(type("Mine", (HttpExporter,), {"__module__": "app"})("http://h:1/v1/traces"))
    assert isinstance(own_session, SpanExporterDestination)
    assert isinstance(subclass, SpanExporterDestination)
    assert own_session.identity.endswith(".OTLPSpanExporter http://h:1/v1/traces")
    assert subclass.identity == "exporter app.Mine http://h:1/v1/traces"


def test_whatever_exports_becomes_a_destination():
    """An exporter need not be of the SDK's class, nor stock."""
    duck = type("Duck", (), {"export": lambda self, spans: SpanExportResult.SUCCESS})()
    for exporter in (duck, InMemorySpanExporter()):
        destination = as_destination(exporter)
        assert isinstance(destination, SpanExporterDestination)
        assert destination.exporter is exporter
        assert (destination.timeout_s, send(destination).verdict) == (30.0, Verdict.DELIVERED)


@pytest.mark.parametrize(
    ("given", "called"),
    [
        (None, "NoneType"),
        ("http://user:s3cr3t@h:4318", "str"),
        (ConsoleSpanExporter, "the class ConsoleSpanExporter"),
        (OTLPDestination, "the class OTLPDestination"),
        (SimpleSpanProcessor(ConsoleSpanExporter()), "SimpleSpanProcessor"),
        (type("Odd", (), {"export": 5})(), "Odd"),
    ],
)
def test_what_takes_no_spans_is_refused(given, called):
    """Whoever passes something else is told what is accepted and what they gave, but nothing of what is in it."""
    with pytest.raises(TypeError, match=f"SpanExporter.*OTLPDestination.*{called}") as error:
        as_destination(given)
    assert "s3cr3t" not in str(error.value)
