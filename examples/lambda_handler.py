"""An AWS Lambda function that calls a model, and whose spans have arrived when it returns.

    pip install -e '.[litellm]'
    python examples/lambda_handler.py  # as Lambda would, once
    CALLSPAN_SPOOL_DIR=/tmp/callspan callspan show

Lambda freezes the process between invocations: what a thread was about to send waits until the next one, or for ever.
So each invocation flushes before it returns. What cannot be sent in that time stays on disk, and the next invocation
in the same environment sends it.

The function's handler is `lambda_handler.handler`, and its environment variables are:

- CALLSPAN_SPOOL_DIR=/tmp/callspan: /tmp is the only place that a function can write to
- OTEL_EXPORTER_OTLP_ENDPOINT=https://...: where the spans go
- OTEL_SERVICE_NAME=...

/tmp ends with the environment. For a guarantee that outlives it, mount a volume (EFS) and have `callspan drain` run
there, or point the endpoint to a collector in the same network. The same holds for other hosts that freeze or take
away a process without a word, such as Cloud Run with CPU only during requests.

No model is asked unless OPENAI_API_KEY is set: LiteLLM then makes the answer up itself.
"""

import os
from typing import Any

os.environ.setdefault("CALLSPAN_SPOOL_DIR", "/tmp/callspan")  # noqa: S108  of this function alone
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no download at every cold start

import litellm

import callspan

FLUSH_S = 2.0

callspan.instrument()  # once for an environment, at its cold start


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer a question: ``{"question": "..."}``."""
    made_up = {} if os.environ.get("OPENAI_API_KEY") else {"mock_response": "Forty-two."}
    try:
        answer = litellm.completion(
            "openai/gpt-4o-mini", messages=[{"role": "user", "content": event["question"]}], **made_up
        )
        return {"statusCode": 200, "body": answer.choices[0].message.content}
    finally:
        # Also when the call failed; and never longer than the invocation may last.
        callspan.force_flush(timeout=min(FLUSH_S, context.get_remaining_time_in_millis() / 1000 - 0.1))


class _Once:
    """The part of Lambda's context that the handler looks at."""

    def get_remaining_time_in_millis(self) -> int:
        """Say how much of three seconds is left, as far as it matters here."""
        return 3000


if __name__ == "__main__":
    print(handler({"question": "What is the answer?"}, _Once()))
