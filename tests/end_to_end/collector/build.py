"""Builds the Collector of manifest.yaml with the official builder, into a cache outside the clone.

    python tests/end_to_end/collector/build.py

Prints where it is. Needs Go and a module proxy; takes a few minutes the first time and nothing after that.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CORE = "go.opentelemetry.io/collector/otelcol"
MANIFEST = Path(__file__).with_name("manifest.yaml")


def cached() -> Path:
    """Where the Collector of this manifest is once it is built."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    cache = Path(os.environ.get("CALLSPAN_CACHE_DIR") or Path(home, "callspan"))
    return cache / f"collector-{hashlib.sha256(MANIFEST.read_bytes()).hexdigest()[:12]}" / "otelcol"


def build() -> Path:
    """Builds it unless it is there already."""
    collector = cached()
    if not collector.exists():
        collector.parent.mkdir(parents=True, exist_ok=True)
        # Built beside its place and moved there: an interrupted build, or two at once, leave no half of one.
        with tempfile.TemporaryDirectory(dir=collector.parent, prefix="building-") as directory:
            _build_in(Path(directory)).replace(collector)
    return collector


def _build_in(directory: Path) -> Path:
    manifest = MANIFEST.read_text()
    [version] = re.findall(r"^  version: (\S+)$", manifest, re.MULTILINE)
    sources = directory / "sources"
    complete = directory / "manifest.yaml"
    complete.write_text(manifest.replace("dist:\n", f"dist:\n  output_path: {sources}\n", 1))
    _run(directory, "go", "install", f"go.opentelemetry.io/collector/cmd/builder@v{version}")
    _run(directory, str(directory / "builder"), "--config", str(complete), "--skip-get-modules", "--skip-compilation")
    # What the builder left out would run `go mod tidy`, which also asks for the modules that only the tests of our
    # modules need, and not every module proxy has those. `go build` asks for what it builds.
    modules = [line.replace(" ", "@") for line in re.findall(r"gomod: (.+)$", manifest, re.MULTILINE)]
    _run(sources, "go", "mod", "init", "otelcol-callspan")
    _run(sources, "go", "mod", "edit", *(f"-require={module}" for module in [f"{CORE}@v{version}", *modules]))
    replaced = re.findall(r"^  - (\S+) => (\S+) (\S+)$", manifest, re.MULTILINE)
    _run(sources, "go", "mod", "edit", *(f"-replace={old}={new}@{at}" for old, new, at in replaced))
    collector = directory / "otelcol"
    flags = ("-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags=-s -w")
    _run(sources, "go", "build", *flags, "-o", str(collector), ".")
    return collector


def _run(directory: Path, *command: str) -> None:
    environment = {**os.environ, "GOBIN": str(directory), "CGO_ENABLED": "0"}
    subprocess.run(command, cwd=directory, env=environment, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    if not cached().exists() and not shutil.which("go"):
        sys.exit("building the Collector needs Go: https://go.dev/doc/install")
    print(build())  # noqa: T201
