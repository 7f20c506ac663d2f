"""examples/phoenix as its user sees it: a real Phoenix, its page in Chromium, and in it the calls."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from end_to_end.phoenix import example, page
from end_to_end.phoenix.page import looking
from loopback.openai_api import Answer, Fail, OpenAIUpstream, ToolCall
from loopback.processes import run_python

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext


REQUIRED = os.environ.get("CALLSPAN_REQUIRE_PHOENIX") == "1"
HELLO = """
    import litellm
    litellm.completion("openai/gpt-4o-mini", [{"role": "user", "content": "Say hello."}])
"""
EACH_KIND = """
    import os
    import litellm
    import callspan

    base = os.environ["OPENAI_BASE_URL"]
    messages = [{"role": "user", "content": "Say hello."}]
    with callspan.context(metadata={"plan": "pro"}, tags=["beta"]):
        assistant = {"model_name": "assistant", "litellm_params": {"model": "gpt-4o-mini"}}
        litellm.Router([assistant]).completion("assistant", messages)
    litellm.embedding("openai/text-embedding-3-small", input=["One.", "Two."])
    litellm.image_generation(model="openai/gpt-image-1", prompt="A loop.")
    litellm.moderation(model="openai/omni-moderation-latest", input="Fine words.")
    cohere = {"api_key": "co-loopback", "api_base": base.replace("/v1", "/v2/rerank")}
    litellm.rerank(model="cohere/rerank-v3.5", query="Which?", documents=["a", "b"], **cohere)
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the example, which has run its calls and stays, tells its user to look."""
    missing = example.absent() or page.absent()
    if missing:
        (pytest.fail if REQUIRED else pytest.skip)(missing)
    with example.phoenix_example(tmp_path_factory.mktemp("phoenix")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator["BrowserContext"]:
    with page.chromium() as running:
        yield running


@pytest.fixture(scope="module")
def asked(address: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A project with the same calls, answered by a provider."""
    tool = ToolCall("weather", {"city": "Bergen"})
    with OpenAIUpstream() as provider:
        provider.behave(
            Answer(tool_calls=(tool,), prompt_tokens=31, completion_tokens=12),
            Answer("Bergen has rain.", prompt_tokens=57, completion_tokens=6, cached_tokens=20, reasoning_tokens=2),
            Answer("A large one.", prompt_tokens=70, completion_tokens=5, always_send_usage=True),
            Fail(429, "Slow down."),
        )
        told = {
            **example.told(address, "asked"),
            "OPENAI_BASE_URL": provider.base_url,
            "CALLSPAN_SPOOL_DIR": str(tmp_path_factory.mktemp("spool")),
        }
        run_python(example.CALLS, env=told, auto_instrument=True)
    return "asked"


def test_the_example_shows_the_calls_it_made_without_a_key(address: str, browser: "BrowserContext", tmp_path: Path):
    with looking(browser, tmp_path) as phoenix:
        phoenix.page.goto(address)
        phoenix.wait_for_rows(
            {"status": "ERROR", "kind": "llm", "name": "chat no-such-model", "input": "Anyone there?", "user": "ada"},
            {"status": "UNSET", "kind": "agent", "input": "Do I need an umbrella?", "output": "Yes, a large one."},
            {"input": "What is the weather in Oslo?", "output": "Oslo has 12 degrees and rain.", "user": "ada"},
        )
        assert "RateLimitError" in phoenix.rows[0]["error"]


def test_a_trace_has_each_call_once_with_its_tokens(
    address: str, browser: "BrowserContext", asked: str, tmp_path: Path
):
    with looking(browser, tmp_path) as phoenix:
        phoenix.open_project(address, asked)
        phoenix.wait_for_rows(
            {"name": "chat no-such-model", "cumulative tokens": "0", "cumulative cost": "--"},
            {"name": "turn", "cumulative tokens": "75", "cumulative cost": "<$0.01"},
            {"name": "turn", "cumulative tokens": "106", "cumulative cost": "<$0.01"},
        )
        phoenix.open_row("What is the weather in Oslo?")
        phoenix.wait_for_tree(
            ("turn",),
            ("Router.acompletion assistant",),
            ("chat gpt-4o-mini", "43"),
            ("execute_tool weather",),
            ("Router.acompletion assistant",),
            ("chat gpt-4o-mini", "63"),
        )


def test_a_call_shows_its_messages_its_model_and_its_tokens(
    address: str, browser: "BrowserContext", asked: str, tmp_path: Path
):
    with looking(browser, tmp_path) as phoenix:
        phoenix.open_project(address, asked)
        phoenix.open_row("What is the weather in Oslo?")
        phoenix.choose("chat gpt-4o-mini", nth=1)
        phoenix.wait_for_section("Input", "gpt-4o-mini", "You know the weather. Be brief.")
        phoenix.wait_for_section("Input", "What is the weather in Oslo?", "12 degrees and rain in Bergen")
        phoenix.wait_for_section("Output", "Bergen has rain.")
        used = {"Tokens and cost": "57 prompt → 6 completion", "Input": "37", "Cache read": "20", "Reasoning": "2"}
        phoenix.wait_for_usage({**used, "Output": "4"})


def test_a_tool_that_the_model_asks_for_is_in_its_answer(
    address: str, browser: "BrowserContext", asked: str, tmp_path: Path
):
    with looking(browser, tmp_path) as phoenix:
        phoenix.open_project(address, asked)
        phoenix.open_row("What is the weather in Oslo?")
        phoenix.choose("chat gpt-4o-mini", nth=0)
        phoenix.wait_for_section("Input", "1 tool")
        phoenix.wait_for_section("Output", "1 tool call", "weather", "Bergen")


def test_a_call_that_is_asked_for_alone_has_its_question_and_its_answer_in_the_list(
    address: str, browser: "BrowserContext", tmp_path: Path
):
    with OpenAIUpstream(Answer("Hello to you.", prompt_tokens=1234, completion_tokens=8)) as provider:
        told = {**example.told(address, "alone"), "OPENAI_BASE_URL": provider.base_url}
        run_python(HELLO, env=told, auto_instrument=True)
        told = {**example.told_by_otlp(address, "by OTLP"), "OPENAI_BASE_URL": provider.base_url}
        run_python(HELLO, env=told, auto_instrument=True)
    call = {"kind": "llm", "name": "chat gpt-4o-mini", "cumulative tokens": "1,242", "cumulative cost": "<$0.01"}
    with looking(browser, tmp_path) as phoenix:
        phoenix.open_project(address, "alone")
        phoenix.wait_for_rows({**call, "input": "Say hello.", "output": "Hello to you."})
        phoenix.open_project(address, "by OTLP")
        phoenix.wait_for_rows(call)


def test_each_kind_of_call_is_shown_as_what_it_is(address: str, browser: "BrowserContext", tmp_path: Path):
    with OpenAIUpstream() as provider:
        told = {**example.told(address, "kinds"), "OPENAI_BASE_URL": provider.base_url}
        run_python(EACH_KIND, env=told, auto_instrument=True)
    with looking(browser, tmp_path) as phoenix:
        phoenix.open_project(address, "kinds")
        phoenix.wait_for_rows(
            {"kind": "reranker", "name": "rerank rerank-v3.5", "input": "Which?"},
            {"kind": "guardrail", "name": "moderation omni-moderation-latest", "input": "Fine words."},
            {"kind": "llm", "name": "image_generation gpt-image-1", "input": "A loop.", "cumulative tokens": "18"},
            {"kind": "embedding", "name": "embeddings text-embedding-3-small", "input": "One. Two.", "output": "--"},
            {"kind": "chain", "name": "Router.completion assistant", "cumulative tokens": "18"},
        )
        phoenix.open_row("Router.completion assistant")
        phoenix.choose("chat gpt-4o-mini")
        phoenix.wait_for_section("Metadata", "plan", "pro")


def test_a_session_is_a_conversation(address: str, browser: "BrowserContext", asked: str, tmp_path: Path):
    with looking(browser, tmp_path) as phoenix:
        phoenix.open_project(address, asked)
        phoenix.open_tab("Sessions")
        said = {"first input": "What is the weather in Oslo?", "last output": "A large one.", "user": "ada"}
        phoenix.wait_for_rows({**said, "total traces": "2", "total tokens": "181"})
        phoenix.open_row("weather-")
        turns = phoenix.page.get_by_role("dialog")
        turns.get_by_text("Turn 02").wait_for()
        said = ("What is the weather in Oslo?", "Bergen has rain.", "Do I need an umbrella?", "A large one.")
        for text in said:
            turns.get_by_text(text).last.wait_for()
        seen = turns.inner_text()
        assert [seen.rindex(text) for text in said] == sorted(seen.rindex(text) for text in said)
