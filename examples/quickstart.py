"""A short script of the kind that loses its callbacks: a Router, ``asyncio.run``, gone in a second.

    pip install -e '.[litellm]'
    opentelemetry-instrument python examples/quickstart.py
    callspan show

It asks no model unless OPENAI_API_KEY is set (OPENAI_BASE_URL says where): LiteLLM then makes the answers up itself.
The shape is that of https://github.com/BerriAI/litellm/issues/8842.
"""

import asyncio
import os

# LiteLLM downloads its price list when it is imported; the list it ships with will do for a script this short.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
import openai

MODEL = "openai/gpt-4o-mini"
KEY = os.environ.get("OPENAI_API_KEY")
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}


def ask(question: str) -> dict[str, object]:
    """The messages of a call that asks ``question``."""
    return {"messages": [{"role": "user", "content": question}]}


def made_up(**answer: object) -> dict[str, object]:
    """LiteLLM's own ways of answering without a provider, where there is none to ask."""
    return {} if KEY else answer


def call_synchronously() -> None:
    """A plain call."""
    answer = litellm.completion(MODEL, **ask("Say hello."), **made_up(mock_response="Hello!"))
    print("sync:  ", answer.choices[0].message.content)


async def call_asynchronously(router: litellm.Router) -> None:
    """A call through a Router, which may make several attempts."""
    answer = await router.acompletion("assistant", **ask("What is a span?"))
    print("async: ", answer.choices[0].message.content)


async def stream(router: litellm.Router) -> None:
    """A call that is read piece by piece."""
    pieces = await router.acompletion("assistant", **ask("Count to three."), stream=True)
    print("stream:", "".join([piece.choices[0].delta.content or "" async for piece in pieces]))


async def call_a_tool() -> None:
    """A call in which the model asks for a tool."""
    mock = made_up(mock_response="", mock_tool_calls=[TOOL_CALL])
    answer = await litellm.acompletion(MODEL, **ask("What is the weather in Oslo?"), tools=[WEATHER], **mock)
    print("tool:  ", [call.function.name for call in answer.choices[0].message.tool_calls or ()])


async def fail() -> None:
    """A call that fails."""
    try:
        mock = made_up(mock_response="litellm.RateLimitError")
        await litellm.acompletion("openai/no-such-model", **ask("Anyone there?"), max_retries=0, **mock)
    except openai.OpenAIError as error:  # the base class of LiteLLM's own errors
        print("error: ", type(error).__name__)


async def main() -> None:
    """All of them, and out."""
    deployment = {"model": MODEL, **made_up(mock_response="One span is one call, from its start to its end.")}
    router = litellm.Router(model_list=[{"model_name": "assistant", "litellm_params": deployment}])
    await call_asynchronously(router)
    await stream(router)
    await call_a_tool()
    await fail()


if __name__ == "__main__":
    litellm.suppress_debug_info = True  # no advertisement of LiteLLM's after the failure
    call_synchronously()
    asyncio.run(main())
