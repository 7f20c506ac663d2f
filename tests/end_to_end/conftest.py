"""The real Collector, for the tests that need one."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.collector import build
from end_to_end.collector.running import Collector

HOW = "no Collector: `python tests/end_to_end/collector/build.py` builds one, with Go"


@pytest.fixture(scope="session")
def collector_program() -> Path:
    """The Collector's executable; where it must not be missing, a missing one is a failure."""
    program = build.cached()
    if not program.exists():
        required = os.environ.get("CI") == "true" or os.environ.get("CALLSPAN_REQUIRE_COLLECTOR") == "1"
        (pytest.fail if required else pytest.skip)(HOW)
    return program


@pytest.fixture
def collector(collector_program: Path, tmp_path: Path) -> Iterator[Collector]:
    """A Collector in service."""
    directory = tmp_path / "collector"
    directory.mkdir()
    with Collector(collector_program, directory) as running:
        yield running
