"""What LiteLLM's coroutine for callbacks does at once, and what is left of it where it waits, is done once."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

import callspan
from callspan._litellm.placed import Placing
from callspan._tracer import TracerSource


class LoggingObject:
    """Stands for a call of LiteLLM's."""


@pytest.fixture(autouse=True)
def _instrumented(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CALLSPAN_DESTINATIONS", "none")
    callspan.instrument()
    yield
    callspan.uninstrument()


async def hand_over(steps: list[str], *, waits: int = 0, fails: bool = False) -> str:
    """As `_client_async_logging_helper`, should it come to wait for anything."""
    steps.append("begun")
    for _ in range(waits):
        await asyncio.sleep(0.01)
    if fails:
        raise ValueError("no loopback for you")
    steps.append("done")
    return "value"


def wrapped(steps: list[str], **options: Any) -> Coroutine[Any, Any, str]:
    async def helper(_logging_obj: object) -> str:
        return await hand_over(steps, **options)

    return Placing("background", TracerSource()).wrap_handing_over(helper, None, (LoggingObject(),), {})


@pytest.mark.parametrize("waits", [0, 1, 3])
def test_whoever_awaits_it_has_its_value(waits: int) -> None:
    steps: list[str] = []

    async def main() -> str:
        return await asyncio.create_task(wrapped(steps, waits=waits))

    assert asyncio.run(main()) == "value"
    assert steps == ["begun", "done"]


@pytest.mark.parametrize("waits", [0, 2])
def test_whoever_awaits_it_has_its_error(waits: int) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="no loopback"):
            await wrapped([], waits=waits, fails=True)

    asyncio.run(main())


@pytest.mark.parametrize("waits", [0, 2])
def test_it_is_done_where_the_loop_ends_at_once(waits: int) -> None:
    """And nobody is told that it was never awaited."""
    steps: list[str] = []

    async def main() -> None:
        task = asyncio.create_task(wrapped(steps, waits=waits))
        task.add_done_callback(lambda _: None)

    asyncio.run(main())
    assert callspan.force_flush()
    assert steps == ["begun", "done"]


def test_it_goes_on_where_the_wait_for_it_is_cancelled() -> None:
    steps: list[str] = []

    async def main() -> None:
        task = asyncio.create_task(wrapped(steps, waits=3))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert callspan.force_flush()
    assert steps == ["begun", "done"]


def test_without_a_loop_it_is_left_to_whoever_starts_one() -> None:
    steps: list[str] = []
    coroutine = wrapped(steps, waits=1)
    assert not steps
    assert asyncio.run(coroutine) == "value"
