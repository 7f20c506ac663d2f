"""Runs the fault matrix with the stock batch span processor and with callspan, and prints what each lost.

python tests/faults/compare.py [--only SUBSTRING] [--quick] [--markdown]
"""
# ruff: noqa: T201  a table is what this prints

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults.running import CALLSPAN, STOCK, Result, run
from faults.scenario import Scenario
from faults.table import SCENARIOS

COLUMNS: Final = ("scenario", "spans", "stock lost", "it reports", "exit s", "callspan lost", "twice", "exit s")
WIDTHS: Final = (44, 8, 10, 10, 6, 13, 6, 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="the scenarios in whose names this is")
    parser.add_argument("--quick", action="store_true", help="without those that take long")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    arguments = parser.parse_args()
    line = _markdown if arguments.markdown else _text
    print(line(COLUMNS))
    if arguments.markdown:
        print(line(["---"] + ["---:"] * (len(COLUMNS) - 1)))
    both: list[tuple[Result, Result]] = []
    for scenario in SCENARIOS:
        if scenario.compared and arguments.only in scenario.name and not (arguments.quick and scenario.slow):
            both.append((_run(scenario, STOCK), _run(scenario, CALLSPAN)))
            print(line(_row(scenario.name, *both[-1])), flush=True)
    print(f"\n{_summary(both)}")


def _summary(both: list[tuple[Result, Result]]) -> str:
    # What the collector refused for good is no loss.
    lost = [stock for stock, callspan in both if stock.lost > callspan.account.rejected]
    told = sum(result.reported == result.lost for result in lost)
    ours = sum(callspan.lost > callspan.account.rejected for _, callspan in both)
    return (
        f"Of {len(both)} scenarios, the stock processor lost spans in {len(lost)}, and told how many in {told} of them;"
        f" callspan lost spans in {ours}."
    )


def _row(name: str, stock: Result, callspan: Result) -> list[str]:
    return [
        name,
        f"{stock.ended:,}",
        f"{stock.lost:,}",
        "-" if stock.reported is None else f"{stock.reported:,}",
        _exit(stock),
        f"{callspan.lost:,}",
        f"{callspan.duplicates:,}",
        _exit(callspan),
    ]


def _run(scenario: Scenario, delivery: str) -> Result:
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as work:
        return run(scenario, delivery, Path(work))


def _exit(result: Result) -> str:
    return "hung" if result.hung else "-" if result.exit_s is None else f"{result.exit_s:.1f}"


def _text(cells) -> str:
    first, *others = zip(cells, WIDTHS, strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])


def _markdown(cells) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
