"""User code inside a Router: what chooses a deployment, changes the settings, or asks a model first."""

import asyncio
from collections.abc import Callable
from typing import Any

import litellm
import pytest
from litellm.types.router import CustomRoutingStrategyBase, Deployment, LiteLLM_Params

from instrumentation import calls
from instrumentation.conftest import Spans, events
from loopback.openai_api import Fail, OpenAIUpstream

LARGE = {"model_name": "large", "litellm_params": {"model": "openai/gpt-4o"}, "model_info": {"id": "two"}}

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


class AlwaysLarge(CustomRoutingStrategyBase):
    """A user's strategy, which does something of its own before it chooses."""

    def __init__(self, before: Callable[[], Any] = lambda: None) -> None:
        self.before = before

    def get_available_deployment(self, *_args: Any, **_kwargs: Any) -> Any:
        self.before()
        return LARGE

    async def async_get_available_deployment(self, *_args: Any, **_kwargs: Any) -> Any:
        asked = self.before()
        if asked is not None:
            await asked
        return LARGE


def register(router: litellm.Router, strategy: CustomRoutingStrategyBase) -> None:
    """As each LiteLLM has it: ``set_custom_routing_strategy`` until 1.107, and deprecated since."""
    (getattr(router, "register_plugin", None) or router.set_custom_routing_strategy)(strategy)


def call(router: litellm.Router, *, asynchronous: bool) -> None:
    function = router.acompletion if asynchronous else router.completion
    calls.make(function, model="small", messages=calls.MESSAGES, max_retries=0)


@both
def test_a_users_strategy_gives_one_call_with_its_attempts(
    asynchronous: bool, spans: Spans, upstream: OpenAIUpstream
) -> None:
    """What a registered strategy chooses, and chooses again after a failure, are attempts of the one call."""
    upstream.behave(Fail(500))
    router = calls.router(retries=1)
    register(router, AlwaysLarge())
    call(router, asynchronous=asynchronous)
    (made,) = spans.roots()
    first, second = (span for span in spans() if span.parent is not None)
    assert made.name == f"Router.{'a' * asynchronous}completion small"
    assert {first.parent.span_id, second.parent.span_id} == {made.context.span_id}
    assert [span.attributes["callspan.attempt.number"] for span in (first, second)] == [1, 2]
    assert [span.attributes["callspan.outcome"] for span in (first, second)] == ["failure", "success"]
    assert {span.attributes["gen_ai.request.model"] for span in (first, second)} == {"gpt-4o"}
    assert "litellm.retry" in events(made)


@both
def test_a_router_changed_as_it_runs_gives_one_call_with_its_attempts(
    asynchronous: bool, spans: Spans, upstream: OpenAIUpstream
) -> None:
    """Settings and deployments that are applied later are served by the same call, and observers change nothing."""
    api = pytest.importorskip("litellm.router_api", reason="this LiteLLM's Router has no apply() and observe()")
    upstream.behave(Fail(500))
    router = calls.router()
    added = Deployment(model_name="added", litellm_params=LiteLLM_Params(model="openai/gpt-4.1"))
    router.apply(api.ChangeSet(settings={"num_retries": 1}, upsert=[added]))
    router.observe()
    function = router.acompletion if asynchronous else router.completion
    calls.make(function, model="added", messages=calls.MESSAGES, max_retries=0)
    (made,) = spans.roots()
    attempts = [span for span in spans() if span.parent is not None]
    assert {span.parent.span_id for span in attempts} == {made.context.span_id}
    assert [span.attributes["callspan.outcome"] for span in attempts] == ["failure", "success"]
    assert {span.attributes["gen_ai.request.model"] for span in attempts} == {"gpt-4.1"}


@both
def test_a_model_that_a_strategy_asks_is_in_the_trace_but_no_attempt(asynchronous: bool, spans: Spans) -> None:
    """A strategy may ask a model which deployment to take: the Router has not tried anything by that."""
    ask = litellm.acompletion if asynchronous else litellm.completion
    router = calls.router()
    register(router, AlwaysLarge(lambda: ask("openai/gpt-4.1", calls.MESSAGES) if asynchronous else _drop(ask)))
    call(router, asynchronous=asynchronous)
    asked, attempt, made = spans()
    assert {asked.parent.span_id, attempt.parent.span_id} == {made.context.span_id}
    assert asked.attributes["gen_ai.request.model"] == "gpt-4.1"
    assert "callspan.attempt.number" not in asked.attributes
    assert attempt.attributes["callspan.attempt.number"] == 1
    assert not {"litellm.retry", "litellm.fallback"} & set(events(made))


def _drop(ask: Callable[..., Any]) -> None:
    ask("openai/gpt-4.1", calls.MESSAGES)


def test_a_router_call_that_a_strategy_makes_is_a_call_of_its_own(spans: Spans) -> None:
    """A strategy may ask by the very Router, as LiteLLM's own classifiers do: the attempts stay apart."""
    router = calls.router()
    asked: list[Any] = []

    def ask() -> Any:
        if not asked:
            asked.append(router.acompletion(model="large", messages=calls.MESSAGES))
            return asked[0]
        return None

    register(router, AlwaysLarge(ask))
    asyncio.run(router.acompletion(model="small", messages=calls.MESSAGES))
    inner_attempt, inner, attempt, outer = spans()
    assert [span.name for span in (inner, outer)] == ["Router.acompletion large", "Router.acompletion small"]
    assert inner.parent.span_id == attempt.parent.span_id == outer.context.span_id
    assert inner_attempt.parent.span_id == inner.context.span_id
    assert [span.attributes["callspan.attempt.number"] for span in (inner_attempt, attempt)] == [1, 1]
    assert not {"litellm.retry", "litellm.fallback"} & set(events(outer))
