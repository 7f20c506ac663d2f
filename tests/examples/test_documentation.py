"""What the examples say of themselves, for those who look for one."""

import re
from typing import Final

import pytest

from examples.running import EXAMPLES, commands, documentation

ALL: Final = sorted(
    path.relative_to(EXAMPLES).as_posix()
    for path in [*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.ipynb"), EXAMPLES / "litellm_proxy/config.yaml"]
)


@pytest.mark.parametrize("example", ALL)
def test_an_example_says_what_it_shows_and_how_to_run_it(example: str) -> None:
    said = documentation(example)
    assert len(said.splitlines()[0]) > 20
    assert re.search(r"^    pip install ", said, re.MULTILINE)
    module = example.removesuffix(".py")
    assert [words for words in commands(example) if any(module in word for word in words)]


def test_the_table_has_all_of_them() -> None:
    links = set(re.findall(r"\]\((.*?)\)", (EXAMPLES / "README.md").read_text()))
    assert set(ALL) <= links
    assert not [link for link in links if not (EXAMPLES / link).exists()]
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= {link.partition("/")[0] for link in links}
