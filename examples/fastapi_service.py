"""A FastAPI service: each call is in the trace of the request that led to it, with the user who sent that.

    pip install -e '.[litellm]' fastapi uvicorn
    uvicorn --app-dir examples fastapi_service:app

    curl localhost:8000/chat -H 'x-user: ada' --json '{"question": "What is a span?"}'
    curl localhost:8000/stream -H 'x-user: ada' --json '{"question": "Count to three."}'
    callspan show

Under gunicorn, whether with --preload or without, there is nothing to add for the workers it forks:

    gunicorn --chdir examples fastapi_service:app --workers 2 --worker-class asgi  # gunicorn's own, from 24 on
    gunicorn --chdir examples fastapi_service:app --workers 2 --worker-class uvicorn_worker.UvicornWorker

The spans of the requests are FastAPI's own from 0.165 on; before, `pip install opentelemetry-instrumentation-fastapi`
and put `opentelemetry-instrument` in front of the command. No model is asked unless OPENAI_API_KEY is set.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any

# LiteLLM downloads its price list when it is imported; the list it ships with will do.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

import callspan

MADE_UP: dict[str, Any] = {} if os.environ.get("OPENAI_API_KEY") else {"mock_response": "One, two, three."}

callspan.instrument()


class Question(BaseModel):
    """What is asked for."""

    question: str


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Send what is pending before the server goes: what is left goes with whoever runs next on this disk."""
    yield
    await callspan.aflush(timeout=5.0)


class SayWhoAsks:
    """Have every call that a request leads to, to the end of its answer, say whose request it is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        user = Headers(scope=scope).get("x-user") if scope["type"] == "http" else None
        with callspan.context(user_id=user):
            await self.app(scope, receive, send)


app = FastAPI(lifespan=lifespan)
app.add_middleware(SayWhoAsks)


async def ask(question: str, **how: object) -> Any:
    """Call the model."""
    messages = [{"role": "user", "content": question}]
    return await litellm.acompletion("openai/gpt-4o-mini", messages=messages, **MADE_UP, **how)


@app.post("/chat")
async def chat(asked: Question) -> dict[str, str]:
    """Answer when the whole answer is there."""
    answer = await ask(asked.question)
    return {"answer": answer.choices[0].message.content}


@app.post("/stream")
async def stream(asked: Question) -> StreamingResponse:
    """Answer piece by piece. The call ends with the stream; for a client that goes away, as `cancelled`."""
    pieces = await ask(asked.question, stream=True)
    texts = (piece.choices[0].delta.content or "" async for piece in pieces)
    return StreamingResponse(texts, media_type="text/plain")
