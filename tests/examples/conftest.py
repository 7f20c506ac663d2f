"""What the examples need, and the environment that they are run in."""

import importlib.util
import os
from typing import Final

import pytest

from loopback.openai_api import OpenAIUpstream
from loopback.otlp_receiver import OtlpReceiver
from loopback.processes import SCRIPTS, environment

# Read before a test's environment is made its own.
REQUIRED: Final = os.environ.get("CALLSPAN_REQUIRE_EXAMPLES") == "1"


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    """Skips a test whose module says that it needs what is not there; where nothing may be missing, fails it."""
    for package in getattr(request.module, "NEEDS", ()):
        if importlib.util.find_spec(package) is None:
            (pytest.fail if REQUIRED else pytest.skip)(f"pip install 'callspan[examples]': there is no {package}")


@pytest.fixture
def env(upstream: OpenAIUpstream, otlp_receiver: OtlpReceiver) -> dict[str, str]:
    """The environment of an example: its model and its collector are on loopback, and its commands on the path."""
    return environment(
        {
            "OPENAI_BASE_URL": upstream.base_url,
            "OPENAI_API_BASE": upstream.base_url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_receiver.endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "PATH": os.pathsep.join([str(SCRIPTS), os.environ["PATH"]]),
        }
    )
