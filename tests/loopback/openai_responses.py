"""The JSON of OpenAI's /v1/responses, whole and as streamed events."""

from collections.abc import Iterator
from typing import Any

from loopback.openai_answers import CREATED, Event, Json, event
from loopback.openai_behaviours import Answer, Fail


def response(number: int, body: Json, answer: Answer) -> Json:
    """The answer of /v1/responses."""
    usage = {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": answer.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": answer.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
        "total_tokens": answer.prompt_tokens + answer.completion_tokens,
    }
    return {**_frame(number, body, answer, "completed"), "output": _items(number, answer), "usage": usage}


def response_stream(number: int, body: Json, answer: Answer) -> list[Event]:
    """The events of a streamed /v1/responses."""
    started = _frame(number, body, answer, "in_progress")
    payloads: list[Json] = [
        {"type": "response.created", "response": started},
        {"type": "response.in_progress", "response": started},
    ]
    for index, item in enumerate(_items(number, answer)):
        begun = {**item, "status": "in_progress", **({"content": []} if "content" in item else {"arguments": ""})}
        payloads.append({"type": "response.output_item.added", "output_index": index, "item": begun})
        steps = _message_steps(item, answer) if "content" in item else _call_steps(item)
        payloads.extend({"item_id": item["id"], "output_index": index, **step} for step in steps)
        payloads.append({"type": "response.output_item.done", "output_index": index, "item": item})
    payloads.append({"type": "response.completed", "response": response(number, body, answer)})
    return [
        event({**payload, "sequence_number": place}, payload["type"], piece=payload["type"].endswith(".delta"))
        for place, payload in enumerate(payloads)
    ]


def response_error(fail: Fail) -> Event:
    """The event by which a streamed response fails."""
    return event({"type": "error", "code": fail.code, "message": fail.message, "param": None}, "error")


def _frame(number: int, body: Json, answer: Answer, status: str) -> Json:
    return {
        "id": f"resp_loopback_{number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "model": answer.model or body.get("model", "unknown"),
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "usage": None,
    }


def _items(number: int, answer: Answer) -> list[Json]:
    if not answer.tool_calls:
        item = {"id": f"msg_loopback_{number}", "type": "message", "status": "completed", "role": "assistant"}
        return [{**item, "content": [_text_part(answer.text)]}]
    return [
        {
            "id": f"fc_loopback_{number}_{index}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"{call.id}_{index}",
            "name": call.name,
            "arguments": call.arguments_json,
        }
        for index, call in enumerate(answer.tool_calls)
    ]


def _text_part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _message_steps(item: Json, answer: Answer) -> Iterator[dict[str, Any]]:
    at = {"content_index": 0}
    yield {"type": "response.content_part.added", **at, "part": _text_part("")}
    for piece in answer.pieces:
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": answer.text, "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": item["content"][0]}


def _call_steps(item: Json) -> Iterator[dict[str, Any]]:
    arguments = item["arguments"]
    for piece in (arguments[: len(arguments) // 2], arguments[len(arguments) // 2 :]):
        yield {"type": "response.function_call_arguments.delta", "delta": piece}
    yield {"type": "response.function_call_arguments.done", "arguments": arguments, "name": item["name"]}
