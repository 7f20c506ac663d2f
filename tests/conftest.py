"""What every test stands on: an environment that is its own, and servers on loopback."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback.openai_api import OpenAIUpstream
from loopback.otlp_grpc_receiver import OtlpGrpcReceiver
from loopback.otlp_receiver import OtlpReceiver

# Test modules import LiteLLM while they are collected, before any fixture; it would fetch its price list then.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

LEAKING = (
    *("OTEL_", "CALLSPAN_", "COLLECTOR_", "OPENAI_", "LITELLM_"),
    # Where spans may go.
    *("ARIZE_", "BRAINTRUST_", "COMET_", "DD_", "GRAFANA_", "HONEYCOMB_", "LANGCHAIN_", "LANGFUSE_", "LANGSMITH_"),
    *("LOGFIRE_", "MLFLOW_", "NEW_RELIC_", "OPIK_", "PHOENIX_", "POSTHOG_"),
)
KEPT = ("CALLSPAN_CACHE_DIR", "CALLSPAN_REQUIRE_")
"""Where the Collector was built, and what turns a skip into a failure."""


def _isolate(environ: pytest.MonkeyPatch, spool: Path) -> None:
    for name in os.environ:
        if name.startswith(LEAKING) and not name.startswith(KEPT):
            environ.delenv(name)
    environ.setenv("CALLSPAN_SPOOL_DIR", str(spool))
    environ.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # LiteLLM fetches its price list at import otherwise
    environ.setenv("OPENAI_API_KEY", "sk-loopback")
    environ.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture(scope="session", autouse=True)
def _isolated_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Covers what is read when modules are imported and what fixtures of a wider scope do."""
    with pytest.MonkeyPatch.context() as environ:
        _isolate(environ, tmp_path_factory.mktemp("spool"))
        yield


@pytest.fixture(autouse=True)
def spool_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own spool directory, which its child processes inherit."""
    directory = tmp_path / "spool"
    _isolate(monkeypatch, directory)
    return directory


@pytest.fixture
def upstream() -> Iterator[OpenAIUpstream]:
    """An OpenAI of our own."""
    with OpenAIUpstream() as server:
        yield server


@pytest.fixture
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """A receiver of spans by OTLP/HTTP."""
    with OtlpReceiver() as server:
        yield server


@pytest.fixture
def otlp_grpc_receiver() -> Iterator[OtlpGrpcReceiver]:
    """A receiver of spans by OTLP/gRPC."""
    with OtlpGrpcReceiver() as server:
        yield server


def pytest_unconfigure() -> None:
    """Let the closing line be the last: LiteLLM leaves aiohttp sessions open, which asyncio reports at exit."""
    logging.getLogger("asyncio").disabled = True
