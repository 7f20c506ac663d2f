"""A callback of each delivery, and what each has done by when.

    pip install -e '.[litellm]'
    python examples/callbacks.py

No model is asked: LiteLLM makes the answer up. See instrumentation/callbacks.md for what each delivery guarantees.
"""

import asyncio
import os

# LiteLLM downloads its price list when it is imported; the list it ships with will do for a script this short.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm

import callspan

callspan.instrument()


@callspan.callback(delivery="blocking", timeout=2.0)
async def audit(call: callspan.LiveCallRecord) -> None:
    """Has run before the caller has the answer."""
    print("audit:    ", call.outcome, call.request["messages"][0]["content"])


@callspan.callback
async def analytics(call: callspan.LiveCallRecord) -> None:
    """Runs after the call, and is done before asyncio.run() has closed the loop."""
    await asyncio.sleep(0.1)
    print("analytics:", call.request_model, f"{call.duration:.3f} s")


@callspan.callback(delivery="durable", name="ledger")
def bill(call: callspan.CallRecord) -> None:
    """Is fed from the spool: had this process been killed, the next one would run it."""
    print("ledger:   ", call.span_id, call.input_tokens, call.output_tokens, call.cost, call.metadata["customer"])


async def main() -> None:
    """Make one call."""
    answer = await litellm.acompletion(
        "openai/gpt-4o-mini",
        messages=[{"role": "user", "content": "Say hello."}],
        mock_response="Hello!",
        metadata={"customer": "c-1"},
    )
    print("answer:   ", answer.choices[0].message.content)


asyncio.run(main())
print("end of main")
