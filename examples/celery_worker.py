"""A Celery worker whose tasks call a model, in forked processes as in production.

    pip install -e '.[litellm]' celery
    celery --workdir examples -A celery_worker worker --concurrency 2 --loglevel INFO

    python examples/celery_worker.py  # in another terminal: two questions for the worker
    callspan show

callspan.instrument() stands where the application is made. Processes that are forked later, as Celery's are, need no
call of their own in `worker_process_init`, as OpenTelemetry's batch processor does.

The broker is a folder, which needs no server; CELERY_BROKER_URL names another, such as redis://localhost. With
`pip install opentelemetry-instrumentation-celery` and `opentelemetry-instrument --` in front of both commands, a task's
calls are in the trace of whoever sent it. No model is asked unless OPENAI_API_KEY is set.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

# LiteLLM downloads its price list when it is imported; the list it ships with will do.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm
from celery import Celery, signals

import callspan

BROKER = os.environ.get("CELERY_BROKER_URL", "filesystem://")
FOLDER = Path(tempfile.gettempdir()) / "callspan-celery"
MADE_UP: dict[str, Any] = {} if os.environ.get("OPENAI_API_KEY") else {"mock_response": "A span is one call."}

app = Celery("celery_worker", broker=BROKER)
if BROKER == "filesystem://":
    FOLDER.mkdir(exist_ok=True)
    app.conf.broker_transport_options = {
        "data_folder_in": FOLDER,
        "data_folder_out": FOLDER,
        "control_folder": FOLDER / "control",
    }

callspan.instrument()


@signals.worker_process_shutdown.connect
def flush(**_: object) -> None:
    """Send what is pending before a process of the worker goes; without this, the next one sends it.

    Celery ends its processes without Python's own hooks at exit.
    """
    callspan.force_flush(timeout=5.0)


@app.task(acks_late=True, reject_on_worker_lost=True)  # a task whose process is killed is done again
def answer(question: str, user: str) -> str:
    """Ask the model."""
    with callspan.context(user_id=user):
        said = litellm.completion("openai/gpt-4o-mini", messages=[{"role": "user", "content": question}], **MADE_UP)
    return said.choices[0].message.content


if __name__ == "__main__":
    answer.delay("What is a span?", user="ada")
    answer.delay("What is a trace?", user="bob")
