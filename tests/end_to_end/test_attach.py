"""However an application comes by its tracer provider, each of its spans is delivered exactly once."""

import importlib.util
import re
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from loopback.otlp_grpc_receiver import OtlpGrpcReceiver
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import run_python

needs_distro: Final = pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.distro") is None, reason="opentelemetry-distro is not installed"
)
needs_configuration: Final = pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.configuration") is None,
    reason="opentelemetry-configuration is not installed",
)

# What an installed distro would do, undone: nobody sets an SDK up.
WITHOUT_DISTRO: Final = {"OTEL_PYTHON_DISTRO": "none", "OTEL_PYTHON_CONFIGURATOR": "none"}
# A distro exports more than traces, to the same endpoint.
TRACES_ONLY: Final = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
OVER_HTTP: Final = {**TRACES_ONLY, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}

PRELUDE: Final = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

def span(name, provider=None):
    with trace.get_tracer("app", tracer_provider=provider).start_as_current_span(name):
        pass

def stock():
    return BatchSpanProcessor(OTLPSpanExporter(ENDPOINT) if ENDPOINT else OTLPSpanExporter())
"""

GLOBAL: Final = """
span("1")
span("2")
"""

OWN_PROVIDER: Final = """
early = trace.get_tracer("early")
with early.start_as_current_span("1"):
    pass
own = TracerProvider()
trace.set_tracer_provider(own)
assert trace.get_tracer_provider() is own
span("2")
with early.start_as_current_span("3"):
    pass
"""

OWN_PROVIDER_WITH_STOCK: Final = """
span("1")
own = TracerProvider()
own.add_span_processor(stock())
trace.set_tracer_provider(own)
span("2")
"""

STOCK_LATER: Final = """
span("1")
with trace.get_tracer("app").start_as_current_span("2"):
    trace.get_tracer_provider().add_span_processor(stock())
span("3")
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(ENDPOINT or None)))
span("4")
"""

FLUSHED_AND_SHUT_DOWN: Final = """
span("1")
assert trace.get_tracer_provider().force_flush(5000)
span("2")
trace.get_tracer_provider().shutdown()
"""

INSTRUMENT: Final = """
from callspan_exporters import ensure_delivery
assert ensure_delivery() and ensure_delivery()
"""

OWN_PROVIDER_BEFORE: Final = """
own = TracerProvider()
trace.set_tracer_provider(own)
"""

OWN_PROVIDER_WITH_STOCK_BEFORE: Final = """
own = TracerProvider()
own.add_span_processor(stock())
trace.set_tracer_provider(own)
span("before")
"""

APPLICATIONS: Final = {
    "global": (GLOBAL, "12"),
    "own provider": (OWN_PROVIDER, "123"),
    "own provider with stock processor": (OWN_PROVIDER_WITH_STOCK, "12"),
    "stock processors added later": (STOCK_LATER, "1234"),
    "flushed and shut down": (FLUSHED_AND_SHUT_DOWN, "12"),
}
applications: Final = pytest.mark.parametrize(("program", "names"), APPLICATIONS.values(), ids=APPLICATIONS)
# The global provider is the distro's for good: an application cannot set its own then, with or without us.
with_distro_applications: Final = pytest.mark.parametrize(
    ("program", "names"),
    [value for key, value in APPLICATIONS.items() if "own" not in key],
    ids=[key for key in APPLICATIONS if "own" not in key],
)


def source(*parts: str, endpoint: str = "") -> str:
    return f"ENDPOINT = {endpoint!r}\n" + "".join((PRELUDE, *parts))


def delivered_once(receiver: OtlpReceiver | OtlpGrpcReceiver, names: str) -> None:
    assert Counter(span.name for span in receiver.spans) == Counter(names)


def configuration_file(directory: Path, endpoint: str) -> dict[str, str]:
    """Writes one that exports to an endpoint; another one in the environment would be in vain."""
    file = directory / "otel.yaml"
    file.write_text(f"""
file_format: "1.0"
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
            endpoint: {endpoint}
""")
    return {"OTEL_CONFIG_FILE": str(file), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@applications
def test_without_a_distro(otlp_receiver: OtlpReceiver, program: str, names: str) -> None:
    """Under opentelemetry-instrument without a distro, we set the SDK up, and yield to the application's own."""
    env = {**WITHOUT_DISTRO, "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    run_python(source(program), env=env, auto_instrument=True)
    delivered_once(otlp_receiver, names)


@needs_distro
@with_distro_applications
def test_with_a_distro(otlp_receiver: OtlpReceiver, program: str, names: str) -> None:
    """Where a distro has set the SDK up, we take its exporter's place."""
    env = {**OVER_HTTP, "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    run_python(source(program), env=env, auto_instrument=True)
    delivered_once(otlp_receiver, names)
    assert all(request.headers["user-agent"].startswith("callspan") for request in otlp_receiver.requests)


@needs_distro
def test_with_a_distro_as_it_comes(otlp_grpc_receiver: OtlpGrpcReceiver) -> None:
    """The distro's own default is gRPC."""
    env = {**TRACES_ONLY, "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_grpc_receiver.endpoint}
    run_python(source(GLOBAL), env=env, auto_instrument=True)
    delivered_once(otlp_grpc_receiver, "12")


@needs_distro
@needs_configuration
@with_distro_applications
def test_with_a_configuration_file(tmp_path: Path, otlp_receiver: OtlpReceiver, program: str, names: str) -> None:
    """A configuration file's exporter is replaced as well, and the variables it overrules are not listened to."""
    endpoint = f"{otlp_receiver.endpoint}/v1/traces"
    env = configuration_file(tmp_path, endpoint)
    result = run_python(source(program, endpoint=endpoint), env=env, auto_instrument=True)
    delivered_once(otlp_receiver, names)
    assert "kept" not in result.stderr


@needs_configuration
def test_with_a_configuration_file_and_no_distro(tmp_path: Path, otlp_receiver: OtlpReceiver) -> None:
    """Where nobody else sets an SDK up by it, we do."""
    env = configuration_file(tmp_path, f"{otlp_receiver.endpoint}/v1/traces")
    result = run_python(source(INSTRUMENT, GLOBAL), env=env)
    delivered_once(otlp_receiver, "12")
    assert result.stderr == ""


@applications
def test_in_a_program(otlp_receiver: OtlpReceiver, program: str, names: str) -> None:
    """Called in a program before it has a provider."""
    run_python(source(INSTRUMENT, program), env={"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint})
    delivered_once(otlp_receiver, names)


@pytest.mark.parametrize("key", [key for key, (program, _) in APPLICATIONS.items() if "stock()" in program])
def test_in_a_program_that_names_its_endpoint(otlp_receiver: OtlpReceiver, key: str) -> None:
    """With no endpoint in the environment, the application's own exporter names it, also for earlier spans."""
    program, names = APPLICATIONS[key]
    run_python(source(INSTRUMENT, program, endpoint=f"{otlp_receiver.endpoint}/v1/traces"))
    delivered_once(otlp_receiver, names)


@pytest.mark.parametrize(
    ("before", "extra"),
    [(OWN_PROVIDER_BEFORE, []), (OWN_PROVIDER_WITH_STOCK_BEFORE, ["before"])],
    ids=["own provider", "own provider with stock processor"],
)
@pytest.mark.parametrize("program", [GLOBAL, FLUSHED_AND_SHUT_DOWN], ids=["global", "flushed and shut down"])
def test_in_a_program_that_has_a_provider(
    otlp_receiver: OtlpReceiver, before: str, extra: list[str], program: str
) -> None:
    """What a stock processor has queued it still sends."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    run_python(source(before, INSTRUMENT, program), env=env)
    assert Counter(span.name for span in otlp_receiver.spans) == Counter([*extra, "1", "2"])


def test_a_provider_that_is_handed_over(otlp_receiver: OtlpReceiver) -> None:
    """It need not be the global one, which is left as it is."""
    program = """
from callspan_exporters import ensure_delivery
own = TracerProvider()
assert ensure_delivery(own)
span("1", own)
span("nowhere")
"""
    run_python(source(program), env={"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint})
    delivered_once(otlp_receiver, "1")


def test_spans_of_exit_hooks(otlp_receiver: OtlpReceiver) -> None:
    """Hooks that were registered after delivery run before it, also where the provider is the application's own."""
    program = """
import atexit
atexit.register(span, "1")
trace.set_tracer_provider(TracerProvider())
atexit.register(span, "2")
"""
    run_python(source(INSTRUMENT, program), env={"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint})
    delivered_once(otlp_receiver, "12")


def test_two_endpoints_that_are_both_named(otlp_receiver: OtlpReceiver) -> None:
    """An endpoint in the environment and another one in the program are both meant."""
    with OtlpReceiver() as other:
        program = source(INSTRUMENT, OWN_PROVIDER_WITH_STOCK, endpoint=f"{other.endpoint}/v1/traces")
        run_python(program, env={"OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint})
        delivered_once(otlp_receiver, "12")
        assert "2" in [span.name for span in other.spans]
        assert max(Counter(span.name for span in other.spans).values()) == 1


def test_settings_are_carried_over(otlp_receiver: OtlpReceiver) -> None:
    """Headers and compression of the stock exporter go with every request of ours."""
    program = """
from opentelemetry.exporter.otlp.proto.http import Compression
own = TracerProvider()
exporter = OTLPSpanExporter(ENDPOINT, headers={"x-key": "k1"}, compression=Compression.Gzip, timeout=3)
own.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(own)
"""
    run_python(source(program, INSTRUMENT, GLOBAL, endpoint=f"{otlp_receiver.endpoint}/v1/traces"))
    delivered_once(otlp_receiver, "12")
    (request,) = otlp_receiver.requests
    assert request.headers["x-key"] == "k1"
    assert request.headers["content-encoding"] == "gzip"
    assert request.headers["user-agent"] == "callspan"


def test_a_grpc_exporter_of_the_application(otlp_grpc_receiver: OtlpGrpcReceiver) -> None:
    """A stock gRPC exporter's settings are carried over, too."""
    program = """
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Grpc
own = TracerProvider()
own.add_span_processor(BatchSpanProcessor(Grpc(ENDPOINT, headers={"x-key": "k1"})))
trace.set_tracer_provider(own)
"""
    run_python(source(program, INSTRUMENT, GLOBAL, endpoint=otlp_grpc_receiver.endpoint))
    delivered_once(otlp_grpc_receiver, "12")
    assert [request.headers["x-key"] for request in otlp_grpc_receiver.requests] == ["k1"]


def test_an_exporter_that_cannot_be_replaced_stays(otlp_receiver: OtlpReceiver) -> None:
    """A session of the application's own is left to its exporter, with a warning, and each span is sent once."""
    program = """
import requests
session = requests.Session()
session.auth = ("user", "secret")
own = TracerProvider()
own.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(ENDPOINT, session=session)))
trace.set_tracer_provider(own)
"""
    result = run_python(source(program, INSTRUMENT, GLOBAL, endpoint=f"{otlp_receiver.endpoint}/v1/traces"))
    delivered_once(otlp_receiver, "12")
    assert result.stderr.count("session of its own") == 1
    assert "secret" not in result.stderr


def test_other_exporters_of_the_environment(otlp_receiver: OtlpReceiver) -> None:
    """OTEL_TRACES_EXPORTER is honoured where we set the SDK up."""
    env = {"OTEL_TRACES_EXPORTER": "console,otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    result = run_python(source(INSTRUMENT, GLOBAL), env=env)
    assert result.stdout.count('"name": "1"') == 1
    delivered_once(otlp_receiver, "12")


@pytest.mark.parametrize("exporters", ["console", "none"])
def test_no_otlp_where_the_environment_names_other_exporters(
    exporters: str, otlp_receiver: OtlpReceiver, spool_dir: Path
) -> None:
    """Who asks OpenTelemetry for other exporters, or for none, gets no OTLP unless CALLSPAN_DESTINATIONS says so."""
    env = {"OTEL_TRACES_EXPORTER": exporters, "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    result = run_python(source(INSTRUMENT, GLOBAL), env=env)
    assert result.stdout.count('"name": "1"') == (exporters == "console")
    assert otlp_receiver.requests == []
    assert not spool_dir.exists()
    run_python(source(INSTRUMENT, GLOBAL), env={**env, "CALLSPAN_DESTINATIONS": "otlp"})
    delivered_once(otlp_receiver, "12")


def test_no_destinations(otlp_receiver: OtlpReceiver, spool_dir: Path) -> None:
    """With CALLSPAN_DESTINATIONS=none the SDK is set up all the same, and delivers by itself."""
    env = {"CALLSPAN_DESTINATIONS": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    run_python(source(INSTRUMENT, GLOBAL), env=env)
    delivered_once(otlp_receiver, "12")
    assert not spool_dir.exists()
    assert not any(request.headers["user-agent"].startswith("callspan") for request in otlp_receiver.requests)


def test_an_unknown_destination(otlp_receiver: OtlpReceiver) -> None:
    """A name that means nothing is warned of once; the rest works."""
    env = {"CALLSPAN_DESTINATIONS": "otpl,otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    result = run_python(source(INSTRUMENT, GLOBAL), env=env)
    delivered_once(otlp_receiver, "12")
    (warning,) = result.stderr.splitlines()
    assert "CALLSPAN_DESTINATIONS" in warning
    assert "'otpl'" in warning
    assert re.search(r"There are: .*\botlp\b.*, none", warning)


@pytest.mark.parametrize("disabled", ["callspan", "*", "requests, callspan"])
def test_disabled(otlp_receiver: OtlpReceiver, spool_dir: Path, disabled: str) -> None:
    """Who disables callspan's instrumentation under opentelemetry-instrument has nothing of it."""
    env = {
        **WITHOUT_DISTRO,
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": disabled,
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint,
    }
    run_python(source(GLOBAL), env=env, auto_instrument=True)
    assert otlp_receiver.requests == []
    assert not spool_dir.exists()


def test_a_disabled_sdk(otlp_receiver: OtlpReceiver) -> None:
    """OTEL_SDK_DISABLED is listened to."""
    env = {**WITHOUT_DISTRO, "OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    run_python(source(GLOBAL), env=env, auto_instrument=True)
    assert otlp_receiver.requests == []


def test_destinations_that_cannot_be_used_have_no_other_in_their_place(otlp_receiver: OtlpReceiver) -> None:
    """Who has named a vendor and forgotten its key has not asked for a collector."""
    env = {"CALLSPAN_DESTINATIONS": "langfuse", "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint}
    without = INSTRUMENT.replace("assert ensure_delivery() and", "assert not ensure_delivery() and not")
    chosen = without.replace("ensure_delivery()", "ensure_delivery(destinations=['langfuse'])")
    for program, said in ((without, env), (chosen, {**env, "CALLSPAN_DESTINATIONS": None})):
        (warning,) = set(run_python(source(program, GLOBAL), env=said).stderr.splitlines())
        assert "LANGFUSE_PUBLIC_KEY" in warning
    assert otlp_receiver.requests == []


@needs_distro
def test_a_distributions_exporter_that_nobody_asked_for(otlp_receiver: OtlpReceiver) -> None:
    """Who names another destination, and no endpoint, means no collector, though a distribution has one by default."""
    env: dict[str, str | None] = {
        "CALLSPAN_DESTINATIONS": "phoenix",
        "PHOENIX_COLLECTOR_ENDPOINT": otlp_receiver.endpoint,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    done = run_python(source("", GLOBAL), auto_instrument=True, env=env)
    delivered_once(otlp_receiver, "12")
    assert done.stderr == ""
    # What the application adds itself it means.
    own = """
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
"""
    done = run_python(source(own, GLOBAL), auto_instrument=True, env=env)
    assert "localhost:4318" in done.stderr
