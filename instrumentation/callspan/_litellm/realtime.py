"""Realtime sessions: one span for the whole, its turns as events, and the sum of what they used.

LiteLLM relays a session between the WebSockets of its caller and of the provider, and sees each event that the
provider sends. How a session ended it tells nobody but its caller, by the code that it closes their WebSocket with.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from callspan import semconv
from callspan._events import emit
from callspan._failure import Failure
from callspan._guard import guarded
from callspan._invocation import Attributes, Invocation, current_invocation
from callspan._litellm.response import finish_reasons
from callspan._litellm.stream_results import reckoned_cost
from callspan._litellm.untyped import as_mapping, read
from callspan._litellm.usage import usage_attributes
from callspan._redaction import redact

_SESSIONS: Final = frozenset({"session.created", "session.updated"})
_REALTIME: Final = "response.done"
_RESPONSES: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})
_TELLING: Final = (*_SESSIONS, _REALTIME, *_RESPONSES)
"""Types of events that say something of a session; the others, most of them pieces of sound, are not looked into."""

_UNEVENTFUL: Final = frozenset({1000, 1001, 1005})
"""Codes by which a WebSocket is closed that has done its work (https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1)."""

Args = tuple[Any, ...]
Kwargs = Mapping[str, Any]


def wrap_backend_event(wrapped: Callable[..., Any], _instance: object, args: Args, kwargs: Kwargs) -> Any:
    """Wrapper of a method that is given each event of the provider's as its first argument."""
    invocation = current_invocation()
    if invocation is not None:
        _note(invocation, args[0] if args else next(iter(kwargs.values()), None))
    return wrapped(*args, **kwargs)


def wrap_close(wrapped: Callable[..., Awaitable[Any]], _instance: object, args: Args, kwargs: Kwargs) -> Awaitable[Any]:
    """Wrapper of Starlette's ``WebSocket.close(code, reason)``."""
    invocation = current_invocation()
    if invocation is not None:
        given = {**dict(zip(("code", "reason"), args, strict=False)), **kwargs}
        _note_close(invocation, given.get("code"), given.get("reason"))
    return wrapped(*args, **kwargs)


@guarded
def _note_close(invocation: Invocation, code: object, reason: object) -> None:
    if not isinstance(code, int) or code in _UNEVENTFUL:
        return
    failure = Failure(str(code), redact(str(reason or ""), invocation.private))
    failed: Invocation | None = invocation
    while failed is not None:  # a Router's call fails with its attempt
        failed.failure, failed = failure, failed.parent


@guarded
def _note(invocation: Invocation, message: object) -> None:
    event = _telling(message)
    if event is None:
        return
    if event["type"] in _SESSIONS:
        session = event.get("session")
        _keep_text(invocation.late_attributes, semconv.GEN_AI_RESPONSE_MODEL, read(session, "model"))
        _keep_text(invocation.late_attributes, semconv.GEN_AI_CONVERSATION_ID, read(session, "id"))
    else:
        _note_turn(invocation, event)


def _telling(message: object) -> Mapping[str, Any] | None:
    if isinstance(message, bytes):
        message = message.decode()
    if isinstance(message, str):
        message = json.loads(message) if any(kind in message for kind in _TELLING) else None
    event = as_mapping(message)
    return event if event is not None and event.get("type") in _TELLING else None


def _note_turn(invocation: Invocation, event: Mapping[str, Any]) -> None:
    response = as_mapping(event.get("response")) or {}
    used = usage_attributes(response.get("usage"))
    cost = _cost(invocation, event) if used else {}
    known = invocation.late_attributes
    for key, amount in (used | (cost or {})).items():
        before: Any = known.get(key, 0)
        known[key] = before + amount if not isinstance(amount, str) else amount
    turns: Any = known.get(semconv.CALLSPAN_TURNS, 0)
    known[semconv.CALLSPAN_TURNS] = turns + 1
    turn: Attributes = {semconv.CALLSPAN_TURN_NUMBER: turns + 1, **used, **(cost or {})}
    _keep_text(turn, semconv.GEN_AI_RESPONSE_ID, response.get("id"))
    _keep_text(known, semconv.GEN_AI_RESPONSE_MODEL, response.get("model"))
    details = response.get("status_details")
    reasons = finish_reasons(response) or (read(details, "reason"),)
    if isinstance(reasons[0], str):
        turn[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = reasons
    if response.get("status") == "failed":
        error = response.get("error") or read(details, "error")
        turn[semconv.ERROR_TYPE] = str(read(error, "code") or read(error, "type") or "failed")
    emit(invocation.span, semconv.EVENT_TURN, turn)


@guarded
def _cost(invocation: Invocation, event: Mapping[str, Any]) -> Attributes:
    from litellm import ResponsesAPIResponse  # noqa: PLC0415  # a call is under way, so it is imported
    from litellm.cost_calculator import RealtimeAPITokenUsageProcessor as Processor  # noqa: PLC0415

    if event["type"] != _REALTIME:
        return reckoned_cost(invocation.subject, ResponsesAPIResponse(**event["response"])) or {}
    model = invocation.late_attributes.get(semconv.GEN_AI_RESPONSE_MODEL)
    results: Any = [{"type": "session.created", "session": {"model": model}}, event]
    usage = Processor.collect_and_combine_usage_from_realtime_stream_results(results)
    return reckoned_cost(invocation.subject, Processor.create_logging_realtime_object(usage, results)) or {}


def _keep_text(attributes: Attributes, key: str, value: object) -> None:
    if isinstance(value, str) and value:
        attributes[key] = value
