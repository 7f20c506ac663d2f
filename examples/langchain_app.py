"""A LangChain chain over LiteLLM: the call of each run is a span, whichever way the chain is run.

    pip install -e '.[litellm]' langchain-litellm
    python examples/langchain_app.py
    callspan show

ChatLiteLLM calls LiteLLM, and so there is nothing to add to the chain: no callback handler of LangChain's. To have the
chain's own steps around the calls as well, `pip install -e '.[langchain]' langchain`: tokens are still counted once.
No model is asked unless OPENAI_API_KEY is set: LiteLLM then makes the answers up itself.
"""

import asyncio
import os

# LiteLLM downloads its price list when it is imported; the list it ships with will do for a script this short.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_litellm import ChatLiteLLM

import callspan

MADE_UP = {} if os.environ.get("OPENAI_API_KEY") else {"mock_response": "One span is one call."}

callspan.instrument()

prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "What is {what}?")])
model = ChatLiteLLM(model="openai/gpt-4o-mini", model_kwargs=MADE_UP)
chain = prompt | model | StrOutputParser()


async def main() -> None:
    """Run the chain in the ways it can be run, for two users."""
    with callspan.context(user_id="ada", session_id="s-1"):
        print("invoke:", chain.invoke({"what": "a span"}))
        print("stream:", "".join(chain.stream({"what": "a trace"})))
    with callspan.context(user_id="bob", session_id="s-2"):
        print("ainvoke:", await chain.ainvoke({"what": "a resource"}))
        print("abatch:", await chain.abatch([{"what": "an event"}, {"what": "a link"}]))
        print("astream:", "".join([piece async for piece in chain.astream({"what": "an attribute"})]))


if __name__ == "__main__":
    asyncio.run(main())
