"""MLflow's tracking server: https://mlflow.org/docs/latest/genai/tracing/opentelemetry/.

It reads the conventions' attributes, ``user.id`` and ``session.id`` itself (``mlflow/tracing/otel/translation``), but
for the cost, which it would reckon by its own list. Measured with MLflow 3.17.
"""

from collections.abc import Mapping
from typing import Final

from opentelemetry.util.types import AttributeValue

from callspan_exporters._presets import reading
from callspan_exporters._presets.building import account_of, basic, bearer, preset, traces
from callspan_exporters._rewriting import Rewriting, SpanView
from callspan_exporters._variables import required, required_url, variable
from callspan_exporters.otlp import OTLPDestination

_URI: Final = "MLFLOW_TRACKING_URI"
_EXPERIMENT: Final = "MLFLOW_EXPERIMENT_ID"
_TOKEN: Final = "MLFLOW_TRACKING_TOKEN"  # noqa: S105  the variable's name
_TYPES: Final[Mapping[str, str]] = {
    reading.CHAIN: "CHAIN",
    reading.GUARDRAIL: "GUARDRAIL",
    reading.LLM: "LLM",
    reading.RERANK: "RERANKER",
}
_READ_ITSELF: Final = ("chat", "text_completion", "generate_content")


def mlflow() -> OTLPDestination:
    """Return an MLflow server as ``MLFLOW_*`` configure it.

    Raises:
        SettingError: a variable is missing or wrong.
    """
    uri = required_url(_URI, what="the address of a tracking server")
    experiment = required(_EXPERIMENT, what="the id of the experiment, which a server takes no trace without")
    user, token = variable("MLFLOW_TRACKING_USERNAME"), variable(_TOKEN)
    password = variable("MLFLOW_TRACKING_PASSWORD")
    return preset(
        "mlflow",
        traces(uri),
        {
            "x-mlflow-experiment-id": experiment,
            "Authorization": basic(user, password) if user else bearer(token),
        },
        account=account_of(*filter(None, (user, "" if user else token)), project=experiment),
        address_variable=_URI,
        key_variable=_TOKEN,
        rewriting=Rewriting(of_span=attributes_of),
    )


def attributes_of(view: SpanView) -> Mapping[str, AttributeValue | None]:
    """Return the cost, and the type of spans whose operation MLflow does not know."""
    cost = reading.dollars(view)
    known = reading.text(view, "gen_ai.operation.name") in _READ_ITSELF
    return {
        "mlflow.llm.cost": None if cost is None else reading.as_json({"total_cost": cost}),
        "mlflow.spanType": None if known else _TYPES.get(reading.kind_of(view)),
    }
