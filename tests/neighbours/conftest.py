"""The real instrumentations and SDKs beside callspan; they are installed by the extra ``neighbours``."""

import importlib.util
import os

import pytest

PACKAGES = (
    "anthropic",
    "openinference.instrumentation.openai",
    "opentelemetry.instrumentation.genai.anthropic",
    "opentelemetry.instrumentation.genai.openai",
    "opentelemetry.instrumentation.httpx",
    "opentelemetry.instrumentation.openai",
)


def _is_there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture(autouse=True, scope="session")
def _neighbours() -> None:
    missing = [package for package in PACKAGES if not _is_there(package)]
    if missing:
        required = os.environ.get("CALLSPAN_REQUIRE_NEIGHBOURS") == "1"
        (pytest.fail if required else pytest.skip)(f"pip install 'callspan[neighbours]': there is no {missing[0]}")
