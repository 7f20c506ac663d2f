"""Phoenix's page in headless Chromium, read as a user reads it."""

import contextlib
import importlib.util
import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from end_to_end.phoenix.example import server

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

# Chromium is Debian's; it is to ask for nothing but the page.
_ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_TIMEOUT_S: Final = 60.0
_RELOAD_S: Final = 5.0
_ROWS: Final = """table => {
    const text = cell => cell.innerText.trim() || (cell.querySelector("[aria-label]")?.ariaLabel ?? "")
    const names = [...table.querySelectorAll("thead th")].map(cell => cell.innerText.trim())
    return [...table.querySelectorAll("tbody tr")].map(row => Object.fromEntries(
        [...row.querySelectorAll("td")].map((cell, index) => [names[index], text(cell)])))
}"""
_SPANS: Final = """spans => spans.map(span => {
    const [name, _latency, ...tokens] = span.innerText.split("\\n")
    return [name, ...tokens.slice(0, 1)]
})"""


def absent() -> str | None:
    """What is missing of a browser, or None."""
    if importlib.util.find_spec("playwright") is None:
        return "pip install playwright"
    return None if _chromium() else "apt-get install chromium"


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.contextmanager
def chromium() -> Iterator["BrowserContext"]:
    """Runs Chromium while the `with` block does."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # is not there in every environment

    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=_chromium(), args=_ARGUMENTS) as running,
    ):
        yield running.new_context(viewport={"width": 1900, "height": 1000})  # one cache for all tabs


class PhoenixPage:
    """One tab of the browser."""

    def __init__(self, page: "Page") -> None:
        self.page = page

    @property
    def rows(self) -> list[dict[str, str]]:
        """The rows of the list that is shown, by the names of its columns; a status by what its sign stands for."""
        table = self.page.locator("table").first
        return table.evaluate(_ROWS) if table.count() else []

    @property
    def tree(self) -> list[tuple[str, ...]]:
        """The spans of the trace that is shown: name and, where it has some, tokens."""
        return [tuple(span) for span in self._tree.locator("[role=button]").evaluate_all(_SPANS)]

    def open_project(self, address: str, name: str) -> None:
        """Goes to the list of projects, and to one of them."""
        self.page.goto(server(address))
        self.page.get_by_role("link", name=name).click()

    def open_tab(self, name: str) -> None:
        """Opens one of the lists of a project: Spans, Traces, Sessions."""
        self.page.get_by_role("tab", name=name).click()

    def open_row(self, text: str) -> None:
        """Opens the trace, or the session, in whose row the text stands."""
        row = self.page.locator("table tbody tr").filter(has_text=text)
        row.get_by_role("link").or_(row.get_by_text(text)).first.click()

    def wait_for_rows(self, *expected: Mapping[str, str]) -> None:
        """Waits until these are the rows of the list, by the columns that are named."""
        self._wait_for(lambda: _narrowed(self.rows, expected), list(expected))

    def wait_for_tree(self, *expected: tuple[str, ...]) -> None:
        """Waits until these are the spans of the trace."""
        self._wait_for(lambda: self.tree, list(expected))

    def choose(self, span: str, nth: int = 0) -> None:
        """Chooses a span of the trace; its details are shown then."""
        self._tree.get_by_text(span, exact=True).nth(nth).click()
        self._details.get_by_title(span, exact=True).wait_for()

    def wait_for_section(self, title: str, *texts: str) -> None:
        """Waits until these texts stand in a section of the details: Input, Output, Metadata."""
        heading = self.page.get_by_role("heading", name=title, exact=True)
        section = self._details.locator("section").filter(has=heading).first
        for text in texts:
            section.filter(has_text=text).wait_for()

    def wait_for_usage(self, expected: Mapping[str, str]) -> None:
        """Waits until this is shown, name and number, when the pointer rests on the chosen span's tokens."""

        def seen() -> dict[str, str]:
            self._details.get_by_label("Span metrics").hover()
            lines = [line for line in self.page.get_by_role("tooltip").inner_text().split("\n") if line.strip()]
            return {name: number for name, number in itertools.pairwise(lines) if name in expected}

        self._wait_for(seen, expected)

    def _wait_for(self, seen: Callable[[], object], expected: object) -> None:
        """Waits for what is expected, reloading now and then, as a user does."""
        deadline = time.monotonic() + _TIMEOUT_S
        reloaded = time.monotonic()
        while (found := seen()) != expected:
            assert time.monotonic() < deadline, f"expected {expected}\nthe page has {found}"
            if time.monotonic() - reloaded > _RELOAD_S:
                self.page.reload()
                reloaded = time.monotonic()
            self.page.wait_for_timeout(100)

    @property
    def _tree(self) -> "Locator":
        return self.page.locator("#trace-tree")

    @property
    def _details(self) -> "Locator":
        return self.page.locator("#span-details")


def _narrowed(rows: Sequence[Mapping[str, str]], expected: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The rows, each with the columns of its counterpart alone."""
    pairs = itertools.zip_longest(rows, expected[: len(rows)], fillvalue={})
    return [{name: row[name] for name in counterpart if name in row} for row, counterpart in pairs]


@contextlib.contextmanager
def looking(browser: "BrowserContext", directory: Path) -> Iterator[PhoenixPage]:
    """Opens a tab while the `with` block runs; if that fails, what was to be seen is in `directory`."""
    page = browser.new_page()
    page.set_default_timeout(_TIMEOUT_S * 1000)
    try:
        yield PhoenixPage(page)
    except BaseException as error:
        with contextlib.suppress(Exception):
            page.screenshot(path=directory / "page.png")
            error.add_note(f"what the page showed: {directory / 'page.png'}")
        raise
    finally:
        page.close()
