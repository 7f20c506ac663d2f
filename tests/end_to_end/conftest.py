"""The real Collector, for the tests that need one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.collector import build
from end_to_end.collector.running import Collector

HOW = "no Collector: `python tests/end_to_end/collector/build.py` builds one, with Go"
HOW_KAFKA = "no Kafka: `python tests/end_to_end/collector/build.py` fetches one, with Java and Maven"


@pytest.fixture(scope="session")
def collector_program() -> Path:
    """The Collector's executable; where it must not be missing, a missing one is a failure."""
    return _built(build.cached(), HOW)


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """The directory of Kafka's jars; where they must not be missing, missing ones are a failure."""
    return _built(build.cached_kafka(), HOW_KAFKA)


def _built(what: Path, how: str) -> Path:
    if not what.exists():
        required = os.environ.get("CI") == "true" or os.environ.get("CALLSPAN_REQUIRE_COLLECTOR") == "1"
        (pytest.fail if required else pytest.skip)(how)
    return what


@pytest.fixture
def collector(collector_program: Path, tmp_path: Path) -> Iterator[Collector]:
    """A Collector in service."""
    with Collector(collector_program, tmp_path / "collector") as running:
        yield running


@pytest.fixture(scope="module")
def shared_collector(collector_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A Collector for tests that leave it as they find it."""
    with Collector(collector_program, tmp_path_factory.mktemp("collector")) as running:
        yield running
