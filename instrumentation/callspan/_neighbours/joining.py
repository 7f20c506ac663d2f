"""The official GenAI instrumentations that are installed are switched on with ours, and off again."""

import os
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from opentelemetry.trace import TracerProvider

from callspan._guard import report

_MODULES: Final = ("opentelemetry.instrumentation.genai.", "opentelemetry.instrumentation.google_genai")
"""Where opentelemetry-python-genai has them: by module, since others use the same names of entry points."""


class Joined:
    """The instrumentations that we have switched on."""

    def __init__(self) -> None:
        self._on: list[Any] = []

    def switch_on(self, provider: TracerProvider | None) -> None:
        """Switch on whatever is installed, not disabled, and not on yet. One that fails is reported."""
        for entry_point in _installed():
            try:
                instrumentor = entry_point.load()()
                if not instrumentor.is_instrumented_by_opentelemetry:
                    instrumentor.instrument(**({} if provider is None else {"tracer_provider": provider}))
                    if instrumentor.is_instrumented_by_opentelemetry:  # not, where its library is missing
                        self._on.append(instrumentor)
            except Exception:  # noqa: BLE001  # theirs, and the application's start must not fail for it
                report(f"switching on {entry_point.value}")

    def switch_off(self) -> None:
        """Switch off what we have switched on."""
        while self._on:
            self._on.pop().uninstrument()


def anything_installed() -> bool:
    """Whether there is one to switch on."""
    return any(_installed())


def _installed() -> Iterator[EntryPoint]:
    disabled = {name.strip() for name in os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")}
    if "*" in disabled:
        return
    for entry_point in entry_points(group="opentelemetry_instrumentor"):
        if entry_point.module.startswith(_MODULES) and entry_point.name not in disabled:
            yield entry_point
