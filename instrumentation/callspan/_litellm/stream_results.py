"""The whole response of a stream, as LiteLLM puts it together for its own logging when the stream ends.

Taking LiteLLM's result costs nothing a chunk and repeats no work; and it has usage even where the provider sent none,
reckoned by LiteLLM, without asking the provider for anything the caller did not ask for.
"""

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from callspan import semconv
from callspan._guard import guarded
from callspan._litellm.response import Attributes, cost_attributes, response_attributes
from callspan._litellm.untyped import read

_responses: "weakref.WeakKeyDictionary[object, object]" = weakref.WeakKeyDictionary()
"""LiteLLM's logging object of a call -> the response built from its chunks."""


def wrap_stream_chunk_builder(
    wrapped: Callable[..., Any], _instance: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Wrapper of ``litellm.stream_chunk_builder`` that remembers its result for the stream it belongs to."""
    response = wrapped(*args, **kwargs)
    _remember(kwargs.get("logging_obj"), response)
    return response


@guarded
def _remember(logging_obj: object, response: object) -> None:
    if logging_obj is not None and response is not None:
        _responses[logging_obj] = response


def whole_response(stream: Any) -> object | None:
    """The response that a stream which has ended amounts to, or ``None`` if LiteLLM made none."""
    completed = read(stream, "completed_response")  # Responses API
    if completed is not None:
        return read(completed, "response") or completed
    logging_obj = _logging_obj(stream)
    return _responses.pop(logging_obj, None) if logging_obj is not None else None


def stream_attributes(stream: Any, response: object) -> Attributes:
    """Attributes of ``response``, with the cost, which LiteLLM itself only knows once its callbacks have run."""
    attributes = response_attributes(response)
    hidden = read(stream, "_hidden_params")
    if hidden is not None:
        given = response_attributes({"_hidden_params": hidden})
        attributes.update({key: value for key, value in given.items() if key not in attributes})
    logging_obj = _logging_obj(stream)
    if semconv.CALLSPAN_COST_AMOUNT not in attributes and logging_obj is not None:
        attributes.update(cost_attributes(logging_obj.response_cost_calculator(result=response)))
    if semconv.GEN_AI_USAGE_INPUT_TOKENS in attributes and not _usage_reported(stream):
        attributes[semconv.CALLSPAN_USAGE_ESTIMATED] = True
    return attributes


def _logging_obj(stream: Any) -> Any:
    """LiteLLM's logging object of a stream; a text completion's stream has it one level down."""
    found = read(stream, "logging_obj")
    return found if found is not None else read(read(stream, "completion_stream"), "logging_obj")


def _usage_reported(stream: Any) -> bool:
    if read(stream, "completed_response") is not None:
        return True
    chunks = read(stream, "chunks")
    if chunks is None:
        chunks = read(read(stream, "completion_stream"), "chunks")
    return any(read(chunk, "usage") is not None for chunk in chunks or ())
