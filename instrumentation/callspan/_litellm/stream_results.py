"""The whole response of a stream, as LiteLLM puts it together for its own logging when the stream ends.

Taking LiteLLM's result costs nothing a chunk and repeats no work; and it has usage even where the provider sent none,
reckoned by LiteLLM, without asking the provider for anything the caller did not ask for.
"""

import logging
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from callspan import semconv
from callspan._guard import guarded
from callspan._invocation import Attributes
from callspan._litellm.response import cost_attributes, hidden_attributes, response_attributes
from callspan._litellm.untyped import as_items, as_mapping, read

_logger = logging.getLogger("callspan")


@dataclass(frozen=True, slots=True)
class StreamResult:
    """What a stream amounts to.

    Attributes:
        response: the response that its chunks make up.
        usage_estimated: whether its token counts are reckoned from the text, the provider having sent none.
    """

    response: Any
    usage_estimated: bool = False


_results: "weakref.WeakKeyDictionary[object, StreamResult]" = weakref.WeakKeyDictionary()
"""LiteLLM's logging object of a call -> what its stream amounts to."""


def wrap_stream_chunk_builder(
    wrapped: Callable[..., Any], _instance: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Any:
    """Wrapper of ``litellm.stream_chunk_builder`` that remembers its result for the stream it belongs to."""
    response = wrapped(*args, **kwargs)
    _remember(response, args[0] if args else kwargs.get("chunks"), kwargs)
    return response


@guarded
def _remember(response: Any, chunks: object, kwargs: Mapping[str, Any]) -> None:
    logging_obj = kwargs.get("logging_obj")
    if logging_obj is None or response is None:
        return
    estimated = not any(read(chunk, "usage") is not None for chunk in as_items(chunks))
    usage = read(response, "usage")
    if estimated and not (read(usage, "prompt_tokens") and read(usage, "total_tokens")):
        response = _with_estimated_usage(response, kwargs.get("messages"))
    _results[logging_obj] = StreamResult(response, estimated)


def _with_estimated_usage(response: Any, messages: object) -> Any:
    # LiteLLM 1.106 takes a usage of zero, which it has put on the last chunk itself, for the provider's word; some say
    # that there was no prompt where they cannot count it.
    try:
        usage = _estimated_usage(response, messages)
    except Exception:  # LiteLLM does not count all that providers take: a refusal among the messages, say
        _logger.debug("LiteLLM cannot count the tokens of a stream; its usage is not known", exc_info=True)
        usage = None
    copy = response.model_copy(update={"usage": usage})
    # With the cost that goes with the usage of zero; without it, LiteLLM reckons it anew.
    copy._hidden_params = {**(read(response, "_hidden_params") or {}), "response_cost": None}  # noqa: SLF001
    return copy


def _estimated_usage(response: object, messages: object) -> Any:
    import litellm  # noqa: PLC0415  # a call is under way, so it is imported; we never import it first

    text = "".join(
        str(read(read(choice, "message"), "content") or read(choice, "text") or "")
        for choice in as_items(read(response, "choices"))
    )
    model = str(read(response, "model") or "")
    count_tokens: Callable[..., int] = litellm.token_counter  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    counted = count_tokens(model=model, messages=messages) if messages else 0
    written = count_tokens(model=model, text=text, count_response_tokens=True)
    return litellm.Usage(prompt_tokens=counted, completion_tokens=written, total_tokens=counted + written)


def stream_result(stream: object, logging_obj: object) -> StreamResult | None:
    """What a stream that has ended amounts to, or ``None`` if LiteLLM put nothing together.

    Args:
        stream: the stream.
        logging_obj: LiteLLM's logging object of the call, if it is known; some streams do not lead to it.
    """
    completed = read(stream, "completed_response")  # Responses API: the provider sends the whole response itself
    if completed is not None:
        return StreamResult(read(completed, "response") or completed)
    owner = _logging_obj(stream, logging_obj)
    return None if owner is None else _results.pop(owner, None)


def stream_attributes(result: StreamResult, stream: object, logging_obj: object) -> Attributes:
    """Attributes of a stream's response, with the cost, which LiteLLM itself only knows once its callbacks have run."""
    attributes = response_attributes(result.response)
    owner = _logging_obj(stream, logging_obj)
    unknown = result.usage_estimated and read(result.response, "usage") is None  # what is not known is not free
    if semconv.CALLSPAN_COST_AMOUNT not in attributes and owner is not None and not unknown:
        attributes.update(_cost_of_stream(owner, result.response, attributes) or {})
    # The stream's own cost, if any, was put there before there was anything to pay for.
    hidden = dict(as_mapping(read(stream, "_hidden_params")) or {}, response_cost=None)
    given = hidden_attributes(hidden)
    attributes.update({key: value for key, value in given.items() if key not in attributes})
    if result.usage_estimated and semconv.GEN_AI_USAGE_INPUT_TOKENS in attributes:
        attributes[semconv.CALLSPAN_USAGE_ESTIMATED] = True
    return attributes


@guarded
def _cost_of_stream(owner: Any, response: object, attributes: Attributes) -> Attributes:
    cost = reckoned_cost(owner, response) or {}
    if cost.get(semconv.CALLSPAN_COST_AMOUNT) or as_mapping(response) is None:
        return cost
    # LiteLLM reads no usage in Google's shape, where there is nothing but that; it takes the counts in its own.
    import litellm  # noqa: PLC0415  # a call is under way, so it is imported; we never import it first

    sent: Any = attributes.get(semconv.GEN_AI_USAGE_INPUT_TOKENS, 0)
    received: Any = attributes.get(semconv.GEN_AI_USAGE_OUTPUT_TOKENS, 0)
    cached = {"cached_tokens": attributes.get(semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, 0)}
    usage = litellm.Usage(
        prompt_tokens=sent, completion_tokens=received, total_tokens=sent + received, prompt_tokens_details=cached
    )
    return reckoned_cost(owner, litellm.ModelResponse(model=read(owner, "model"), usage=usage)) or {}


@guarded
def reckoned_cost(logging_obj: Any, response: object) -> Attributes:
    """The cost of a response, which LiteLLM is asked for where it has not said it yet."""
    # Private until LiteLLM 1.106.
    calculate = read(logging_obj, "response_cost_calculator") or read(logging_obj, "_response_cost_calculator")
    return cost_attributes(calculate(result=response))


def _logging_obj(stream: object, known: object) -> Any:
    return read(stream, "logging_obj") or known
