"""Each public entry point of LiteLLM, called once."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import litellm

MESSAGES = [{"role": "user", "content": "Say hello to the loopback."}]
CHAT = {"model": "openai/gpt-4o-mini", "messages": MESSAGES}

ARGUMENTS: dict[str, dict[str, Any]] = {
    "completion": CHAT,
    "text_completion": {"model": "openai/gpt-3.5-turbo-instruct", "prompt": "Say hello."},
    "embedding": {"model": "openai/text-embedding-3-small", "input": ["hello"]},
    "responses": {"model": "openai/gpt-4o-mini", "input": "Say hello."},
}
NAMES = [prefix + name for name in ARGUMENTS for prefix in ("", "a")]


def arguments(name: str) -> dict[str, Any]:
    """Arguments that the entry point takes."""
    return dict(ARGUMENTS[name if name in ARGUMENTS else name.removeprefix("a")])


def make(function: Callable[..., Any], *positional: Any, **changes: Any) -> Any:
    """Call an entry point, synchronous or not, and read its stream if it returns one."""

    async def awaited() -> Any:
        result = function(*positional, **changes)
        result = await result if inspect.isawaitable(result) else result
        return [chunk async for chunk in result] if changes.get("stream") else result

    if inspect.iscoroutinefunction(function):
        return asyncio.run(awaited())
    result = function(*positional, **changes)
    return list(result) if changes.get("stream") else result


def router(*, retries: int = 0, **options: Any) -> litellm.Router:
    """A Router with one group, ``small``, that falls back to another, ``large``."""
    return litellm.Router(
        model_list=[
            {"model_name": "small", "litellm_params": {"model": "openai/gpt-4o-mini"}, "model_info": {"id": "one"}},
            {"model_name": "large", "litellm_params": {"model": "openai/gpt-4o"}, "model_info": {"id": "two"}},
        ],
        **{"fallbacks": [{"small": ["large"]}], **options},
        num_retries=retries,
        retry_after=0,
        disable_cooldowns=True,
    )
