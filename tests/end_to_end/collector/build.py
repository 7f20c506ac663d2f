"""Builds the Collector of manifest.yaml with the official builder, into a cache outside the clone.

    python tests/end_to_end/collector/build.py

Prints where it is. Needs Go and a module proxy; takes a few minutes the first time and nothing after that. Where there
is Java, with Maven, it fetches the Kafka of kafka.xml as well.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]  # as pytest has it

from end_to_end.collector.cache import make, place  # noqa: E402

CORE = "go.opentelemetry.io/collector/otelcol"
MANIFEST = Path(__file__).with_name("manifest.yaml")
KAFKA = Path(__file__).with_name("kafka.xml")


def cached() -> Path:
    """Where the Collector of this manifest is once it is built."""
    return place("collector", MANIFEST) / "otelcol"


def cached_kafka() -> Path:
    """Where the jars of Kafka are once they are fetched."""
    return place("kafka", KAFKA) / "jars"


def build() -> Path:
    """Builds the Collector unless it is there already."""
    make(cached(), _build_in)
    return cached()


def fetch_kafka() -> Path:
    """Fetches Kafka unless it is there already."""
    make(cached_kafka(), _fetch_into)
    return cached_kafka()


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
    replaced = re.findall(r"^  - (\S+) => (\S+) (\S+)$", manifest, re.MULTILINE)
    _run(sources, "go", "mod", "init", "otelcol-callspan")
    _run(sources, "go", "mod", "edit", *(f"-require={module}" for module in [f"{CORE}@v{version}", *modules]))
    _run(sources, "go", "mod", "edit", *(f"-replace={old}={new}@{at}" for old, new, at in replaced))
    collector = directory / "otelcol"
    flags = ("-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags=-s -w")
    _run(sources, "go", "build", *flags, "-o", str(collector), ".")
    return collector


def _fetch_into(directory: Path) -> Path:
    shutil.copy(KAFKA, directory / "pom.xml")
    _run(directory, "mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={directory / 'jars'}")
    return directory / "jars"


def _run(directory: Path, *command: str) -> None:
    environment = {**os.environ, "GOBIN": str(directory), "CGO_ENABLED": "0"}
    subprocess.run(command, cwd=directory, env=environment, check=True, stdout=sys.stderr)


if __name__ == "__main__":
    if not cached().exists() and not shutil.which("go"):
        sys.exit("building the Collector needs Go: https://go.dev/doc/install")
    if not cached_kafka().exists() and not (shutil.which("mvn") and shutil.which("java")):
        print("no Kafka: fetching it needs Java and Maven", file=sys.stderr)  # noqa: T201
    else:
        fetch_kafka()
    print(build())  # noqa: T201
