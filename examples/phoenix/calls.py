"""A conversation with an assistant that looks the weather up, and a call that fails.

`python examples/phoenix` runs it and shows it. It asks no model unless OPENAI_API_KEY is set (OPENAI_BASE_URL says
where): LiteLLM then makes the answers up itself.
"""

import asyncio
import json
import os
import uuid
from typing import Any

# LiteLLM downloads its price list when it is imported; the list it ships with will do for a script this short.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
import openai
from opentelemetry import trace

import callspan

MODEL = "openai/gpt-4o-mini"
USER = "ada"
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
tracer = trace.get_tracer(__name__)


def made_up(**answer: object) -> dict[str, Any]:
    """LiteLLM's own ways of answering without a provider, where there is none to ask."""
    return {} if KEY else answer


def weather(city: str) -> str:
    """The tool. Its span is ours: Phoenix knows tools by these names, which are OpenTelemetry's."""
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "weather", "gen_ai.tool.call.arguments": city}
    with tracer.start_as_current_span("execute_tool weather", attributes=tool) as span:
        found = f"12 degrees and rain in {city}"
        span.set_attribute("gen_ai.tool.call.result", found)
        return found


async def ask_with_a_tool(router: litellm.Router, messages: list[Any]) -> str:
    """A turn in which the model asks for a tool, by a Router: two calls."""
    mock = made_up(mock_response="", mock_tool_calls=[TOOL_CALL])
    asked = (await router.acompletion("assistant", messages, tools=[WEATHER], **mock)).choices[0].message
    if not asked.tool_calls:
        return asked.content
    messages.append({"role": "assistant", "tool_calls": [call.model_dump() for call in asked.tool_calls]})
    for call in asked.tool_calls:
        found = weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": found})
    mock = made_up(mock_response="Oslo has 12 degrees and rain.")
    answer = await router.acompletion("assistant", messages, **mock)
    return answer.choices[0].message.content


async def ask_streaming(_: litellm.Router, messages: list[Any]) -> str:
    """A turn that is read piece by piece."""
    pieces = await litellm.acompletion(MODEL, messages, stream=True, **made_up(mock_response="Yes, a large one."))
    return "".join([piece.choices[0].delta.content or "" async for piece in pieces])


async def converse(router: litellm.Router) -> None:
    """Two turns of one session, each a trace with a span of ours above its calls."""
    messages: list[Any] = [{"role": "system", "content": "You know the weather. Be brief."}]
    turns = {"What is the weather in Oslo?": ask_with_a_tool, "Do I need an umbrella?": ask_streaming}
    for question, ask in turns.items():
        messages.append({"role": "user", "content": question})
        # The names by which Phoenix knows what such a span is, what went in and what came out.
        turn = {"openinference.span.kind": "AGENT", "input.value": question, "user.id": USER}
        with tracer.start_as_current_span("turn", attributes=turn) as span:
            answer = await ask(router, messages)
            span.set_attribute("output.value", answer)
        messages.append({"role": "assistant", "content": answer})
        print(f"{question} {answer}")


async def fail() -> None:
    """A call that fails."""
    try:
        mock = made_up(mock_response="litellm.RateLimitError")
        messages = [{"role": "user", "content": "Anyone there?"}]
        await litellm.acompletion("openai/no-such-model", messages, max_retries=0, **mock)
    except openai.OpenAIError as error:  # the base class of LiteLLM's own errors
        print("Anyone there?", type(error).__name__)


async def main() -> None:
    """All of them, and out."""
    router = litellm.Router(model_list=[{"model_name": "assistant", "litellm_params": {"model": MODEL}}])
    with callspan.context(user_id=USER, tags=["example"], metadata={"plan": "pro"}):
        with callspan.context(session_id=f"weather-{uuid.uuid4().hex[:8]}"):
            await converse(router)
        await fail()


if __name__ == "__main__":
    litellm.suppress_debug_info = True  # no advertisement of LiteLLM's after the failure
    asyncio.run(main())
