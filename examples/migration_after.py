"""After: callspan tells PostHog and LangSmith, by the same variables. migration_before.py is the program as it was.

    pip install -e '.[litellm]'
    POSTHOG_API_KEY=phc_... LANGSMITH_API_KEY=lsv2_... LANGSMITH_PROJECT=bot python examples/migration_after.py
    callspan status

What is new: callspan.instrument() in the place of LiteLLM's callbacks. With both, each call would be told twice.
Metadata land where they did. Prompts and answers, which LiteLLM's loggers always send, are sent where the variable
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=SPAN_ONLY asks for them. And all six calls arrive: LiteLLM's loggers
lose what is still in their queues when asyncio.run() ends. No model is asked unless OPENAI_API_KEY is set.
"""

import asyncio
import os

# LiteLLM downloads its price list when it is imported; the list it ships with will do for a script this short.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
import openai

import callspan

callspan.instrument(destinations=["posthog", "langsmith"])  # or CALLSPAN_DESTINATIONS=posthog,langsmith

WHO = {"user_id": "ada", "session_id": "s-1", "plan": "pro"}


def ask(question: str, mock_response: str = "One span is one call.", **more: object) -> dict[str, object]:
    """Make the arguments of a call."""
    made_up = {} if os.environ.get("OPENAI_API_KEY") else {"mock_response": mock_response}
    messages = [{"role": "user", "content": question}]
    return {"model": "openai/gpt-4o-mini", "messages": messages, "metadata": WHO, **made_up, **more}


async def main() -> None:
    """Make three calls at once, a streamed one, and one that fails."""
    await asyncio.gather(*(litellm.acompletion(**ask(f"Question {number}?")) for number in range(3)))
    stream = await litellm.acompletion(**ask("Count to three.", stream=True))
    print("".join([piece.choices[0].delta.content or "" async for piece in stream]))
    try:
        await litellm.acompletion(
            **ask("Anyone?", "litellm.RateLimitError", model="openai/no-such-model", max_retries=0)
        )
    except openai.OpenAIError as error:
        print(type(error).__name__)


if __name__ == "__main__":
    litellm.suppress_debug_info = True  # no advertisement of LiteLLM's after the failure
    litellm.completion(**ask("Say hello."))
    asyncio.run(main())
