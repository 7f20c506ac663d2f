"""The table of exporters/destinations.md has each kind of destination, with its address and its variables."""

import re
from pathlib import Path

import pytest

import callspan_exporters
from callspan_exporters._kinds import _OURS
from exporters.preset_table import PRESETS

PAGE = Path(callspan_exporters.__file__).parents[1] / "destinations.md"
RULE = "|---|---|---|---|---|\n"


def rows() -> dict[str, str]:
    """Name -> the row of the table that is about it."""
    table = PAGE.read_text().partition(RULE)[2].partition("\n\n")[0]
    return {re.findall(r"`([a-z-]+)`", row)[0]: row for row in table.splitlines()}


def test_each_destination_is_documented() -> None:
    assert set(rows()) == set(_OURS)


@pytest.mark.parametrize("name", PRESETS)
def test_the_table_has_the_address_and_the_variables(name: str) -> None:
    row = rows()[name]
    for variable in PRESETS[name].env:
        assert f"`{variable}`" in row
    host = PRESETS[name].endpoint.partition("://")[2].partition("/")[0].removeprefix("otlp.")
    assert host in row or name in ("grafana", "mlflow")
