"""The table of instrumentation/calls.md has each kind of call, with the operation that its span says."""

import re
from pathlib import Path

import pytest

from callspan._litellm.operations import KINDS
from instrumentation.every_call import MADE

PAGE = Path(__file__).parents[2] / "instrumentation" / "calls.md"
RULE = "|---|---|---|---|---|\n"
OF_THE_SAME_NAME = "the function's name"
OF_ITS_CALLS = "none"


def rows() -> dict[str, str]:
    """LiteLLM's function -> what the table says of its operation."""
    table = PAGE.read_text().partition(RULE)[2].partition("\n\n")[0]
    said: dict[str, str] = {}
    for row in table.splitlines():
        functions, operation = (cell.strip() for cell in row.strip("|").split("|")[:2])
        names = re.findall(r"`(\w+)`", functions)
        operations = re.findall(r"`(\w+)`", operation) or [operation.partition(":")[0]]
        said |= dict(zip(names, operations * len(names) if len(operations) == 1 else operations, strict=False))
    return said


@pytest.mark.parametrize("name", sorted({*MADE, *KINDS}))
def test_each_call_is_documented(name: str) -> None:
    said = rows()[name]
    if said == OF_ITS_CALLS:
        assert name.startswith("batch_completion")
    elif said == OF_THE_SAME_NAME:
        assert MADE[name].operation == name
    else:
        assert said == (MADE[name].operation if name in MADE else KINDS[name].name)
        assert said == KINDS[name].name


def test_nothing_is_documented_that_there_is_not() -> None:
    assert set(rows()) <= {*MADE, *KINDS}
