"""Where what is built for the Collector's tests is kept: outside the clone, one directory for each recipe."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def place(name: str, recipe: Path) -> Path:
    """The directory of what is made by this recipe, be it there or not."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = Path(os.environ.get("CALLSPAN_CACHE_DIR") or Path(home, "callspan"))
    return cache / f"{name}-{hashlib.sha256(recipe.read_bytes()).hexdigest()[:12]}"


def make(wanted: Path, build_in: Callable[[Path], Path]) -> None:
    """Makes it, unless it is there, by a function that is given a directory and returns what it has made in it."""
    if wanted.exists():
        return
    wanted.parent.mkdir(parents=True, exist_ok=True)
    # Built beside its place and moved there: an interrupted build, or two at once, leave no half of one.
    with tempfile.TemporaryDirectory(dir=wanted.parent, prefix="building-") as directory:
        made = build_in(Path(directory))
        try:
            made.replace(wanted)
        except OSError:  # somebody else's directory has come first
            if not wanted.exists():
                raise
