"""What OpenAI's other endpoints answer with, and Anthropic's, Cohere's, Google's and Mistral's: images, files, ..."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any

from loopback.openai_answers import CREATED, Event, Json
from loopback.openai_behaviours import Answer

PIXEL = base64.b64encode(b"\x89PNG one pixel " * 64).decode()
AUDIO = b"ID3 loopback audio " * 64


def image(_path: str, body: Json, answer: Answer) -> Json:
    """An image, as a URL unless base64 was asked for."""
    data = {"b64_json": PIXEL} if body.get("response_format") == "b64_json" else {"url": "https://images.test/1.png"}
    usage = {"input_tokens": answer.prompt_tokens, "output_tokens": answer.completion_tokens, "total_tokens": 18}
    usage["input_tokens_details"] = {"text_tokens": answer.prompt_tokens, "image_tokens": 0}
    return {"created": CREATED, "data": [data], "usage": usage}


def transcription(_path: str, _body: Json, answer: Answer) -> Json:
    """A transcript with tokens."""
    usage = {"type": "tokens", "input_tokens": answer.prompt_tokens, "output_tokens": answer.completion_tokens}
    usage["input_token_details"] = {"text_tokens": 0, "audio_tokens": answer.prompt_tokens}
    return {"text": answer.text, "usage": {**usage, "total_tokens": 18}}


def transcript_stream(_number: int, body: Json, answer: Answer) -> list[Event]:
    """The same as it is streamed."""
    pieces = [({"type": "transcript.text.delta", "delta": piece}, True) for piece in answer.pieces]
    done = ({"type": "transcript.text.done", **transcription("", body, answer)}, False)
    return [Event(f"data: {json.dumps(event)}\n\n".encode(), is_piece) for event, is_piece in (*pieces, done)]


def moderation(_path: str, body: Json, _answer: Answer) -> Json:
    """Nothing flagged."""
    result = {"flagged": False, "categories": {"violence": False}, "category_scores": {"violence": 0.01}}
    return {"id": "modr-loopback", "model": body.get("model") or "omni-moderation-latest", "results": [result]}


def rerank(_path: str, body: Json, answer: Answer) -> Json:
    """The documents as they came."""
    results = [{"index": index, "relevance_score": 0.9} for index, _ in enumerate(body["documents"])]
    tokens = {"input_tokens": answer.prompt_tokens, "output_tokens": 0}
    return {
        "id": "rerank-loopback",
        "results": results,
        "meta": {"billed_units": {"search_units": 1}, "tokens": tokens},
    }


def file(path: str, body: Json, _answer: Answer) -> Json:
    """One file, or all there are."""
    one = {"id": "file-1", "object": "file", "bytes": 3, "created_at": CREATED, "filename": "a.jsonl"}
    one |= {"purpose": "batch", "status": "processed"}
    return {"object": "list", "data": [one], "has_more": False} if path.endswith("/files") and not body else one


def batch(_path: str, _body: Json, _answer: Answer) -> Json:
    """A batch that has begun."""
    ids = {"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1"}
    return {**ids, "completion_window": "24h", "status": "validating", "created_at": CREATED}


def fine_tuning(_path: str, _body: Json, _answer: Answer) -> Json:
    """No job."""
    return {"object": "list", "data": [], "has_more": False}


def assistants(path: str, _body: Json, _answer: Answer) -> Json:
    """An assistant, a thread, a message or a run."""
    if path.endswith("/messages"):
        text = {"type": "text", "text": {"value": "hello", "annotations": []}}
        ids = {"id": "msg_1", "object": "thread.message", "created_at": CREATED, "thread_id": "thread_1"}
        return {**ids, "role": "user", "content": [text], "metadata": {}, "status": "completed", "attachments": []}
    if path.endswith("/threads"):
        return {"id": "thread_1", "object": "thread", "created_at": CREATED, "metadata": {}}
    return {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}


def message(_path: str, body: Json, answer: Answer) -> Json:
    """Anthropic's whole answer."""
    usage = {"input_tokens": answer.prompt_tokens - answer.cached_tokens, "output_tokens": answer.completion_tokens}
    usage |= {"cache_read_input_tokens": answer.cached_tokens, "cache_creation_input_tokens": 0}
    text = [{"type": "text", "text": answer.text}]
    ids = {"id": "msg_loopback", "type": "message", "role": "assistant", "model": body.get("model")}
    return {**ids, "content": text, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}


def message_stream(number: int, body: Json, answer: Answer) -> list[Event]:
    """The same as Anthropic streams it."""
    whole = message("", body, answer)
    start = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    events: list[tuple[Json, bool]] = [
        ({"type": "message_start", "message": start}, False),
        ({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}, False),
        *(
            ({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}, True)
            for piece in answer.pieces
        ),
        ({"type": "content_block_stop", "index": 0}, False),
        (
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": answer.completion_tokens},
            },
            False,
        ),
        ({"type": "message_stop"}, False),
    ]
    return [
        Event(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode(), is_piece) for event, is_piece in events
    ]


def content(_path: str, _body: Json, answer: Answer) -> Json:
    """Google's whole answer."""
    usage = {"promptTokenCount": answer.prompt_tokens, "candidatesTokenCount": answer.completion_tokens}
    usage["totalTokenCount"] = answer.prompt_tokens + answer.completion_tokens
    candidate = {"content": {"role": "model", "parts": [{"text": answer.text}]}, "finishReason": "STOP", "index": 0}
    ids = {"responseId": "google-loopback", "modelVersion": "gemini-2.5-flash"}
    return {**ids, "candidates": [candidate], "usageMetadata": usage}


def content_stream(answer: Answer) -> list[bytes]:
    """The same as Google streams it."""
    whole = content("", {}, answer)
    events: list[Json] = []
    for piece in answer.pieces:
        candidate = {"content": {"role": "model", "parts": [{"text": piece}]}, "index": 0}
        events.append({**whole, "candidates": [candidate], "usageMetadata": {}})
    events[-1]["candidates"][0]["finishReason"] = "STOP"
    events[-1]["usageMetadata"] = whole["usageMetadata"]
    return [b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events]


def ocr(_path: str, body: Json, _answer: Answer) -> Json:
    """Mistral's: one page."""
    page = {"index": 0, "markdown": "# Hello from loopback.", "images": [], "dimensions": None}
    return {"pages": [page], "model": body.get("model"), "usage_info": {"pages_processed": 1, "doc_size_bytes": 9}}


_ENDPOINTS: list[tuple[str, Callable[[str, Json, Answer], Json]]] = [
    (r"/v1/images/(generations|edits|variations)", image),
    (r"/v1/audio/(transcriptions|translations)", transcription),
    (r"/v1/moderations", moderation),
    (r"(/v\d)*/rerank", rerank),
    (r"/v1/files(/[\w-]+)?", file),
    (r"/v1/batches(/[\w-]+)?(/cancel)?", batch),
    (r"/v1/fine_tuning/jobs.*", fine_tuning),
    (r"/v1/(assistants|threads).*", assistants),
    (r"(/v1)?/messages", message),
    (r"(/v1beta)?/models/[^/]+:generateContent", content),
    (r"(/v1)?/ocr", ocr),
]


def answer_of(path: str) -> Callable[[str, Json, Answer], Json] | None:
    """What answers at ``path`` with JSON, if something does."""
    return next((make for pattern, make in _ENDPOINTS if re.fullmatch(pattern, path)), None)


def fields_of_form(body: bytes) -> dict[str, Any]:
    """The short text fields of a multipart form."""
    found = re.findall(rb'name="(\w+)"\r\n\r\n(.*?)\r\n--', body, re.DOTALL)
    return {name.decode(): value.decode(errors="replace") for name, value in found}
