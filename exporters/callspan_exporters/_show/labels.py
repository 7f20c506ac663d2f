"""Figures and text as people read them, and nothing a terminal would obey."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Final, cast

from callspan import semconv
from callspan_exporters._show.traces import Attributes, Value

_MILLISECOND: Final = 1_000_000
_SECOND: Final = 1_000_000_000
_MINUTE: Final = 60 * _SECOND

CONTENT: Final = {
    semconv.GEN_AI_SYSTEM_INSTRUCTIONS: "system",
    semconv.GEN_AI_INPUT_MESSAGES: "in",
    semconv.GEN_AI_OUTPUT_MESSAGES: "out",
    semconv.GEN_AI_TOOL_DEFINITIONS: "tools",
}

_TOKEN_KINDS: Final = {
    semconv.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: "tokens from cache",
    semconv.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS: "tokens to cache",
    semconv.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS: "tokens of reasoning",
}
_CONTENT_LENGTH: Final = 160


def printable(text: str) -> str:
    """Return text with everything escaped that could move a cursor, change a colour, or reverse a line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shortened(text: str, length: int) -> str:
    """Return printable text of at most about ``length`` characters, on one line."""
    line = " ".join(text[: 4 * length].split())
    if len(line) <= length and len(text) <= 4 * length:
        return printable(line)
    return printable(line[: length - 1]) + "..."


def duration(nanoseconds: int) -> str:
    """Return how long something took, in the unit that shows three digits or so."""
    if nanoseconds < 0:
        return "?"
    if nanoseconds < 10 * _MILLISECOND:
        return f"{nanoseconds / _MILLISECOND:.1f} ms"
    if nanoseconds < _SECOND:
        return f"{nanoseconds / _MILLISECOND:.0f} ms"
    if nanoseconds < _MINUTE:
        return f"{nanoseconds / _SECOND:.2f} s"
    return f"{nanoseconds // _MINUTE} min {nanoseconds % _MINUTE // _SECOND:02} s"


def offset(nanoseconds: int) -> str:
    """Return when something happened after a start; before it where clocks disagree."""
    return f"-{duration(-nanoseconds)}" if nanoseconds < 0 else f"+{duration(nanoseconds)}"


def number(attributes: Attributes, key: str) -> float | None:
    """Return an attribute if it is a number that can be shown."""
    value = attributes.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def text(attributes: Attributes, key: str) -> str:
    """Return an attribute if it is text, printable; else the empty string."""
    value = attributes.get(key)
    return shortened(value, 200) if isinstance(value, str) else ""


def tokens(attributes: Attributes) -> str:
    """Return what went in and out of a model, if the span says so."""
    sent = number(attributes, semconv.GEN_AI_USAGE_INPUT_TOKENS)
    received = number(attributes, semconv.GEN_AI_USAGE_OUTPUT_TOKENS)
    if sent is None and received is None:
        return ""
    about = "~" if attributes.get(semconv.CALLSPAN_USAGE_ESTIMATED) is True else ""
    if received is None:
        return f"{about}{sent:.15g} tokens"
    return f"{about}{'' if sent is None else f'{sent:.15g} '}-> {received:.15g} tokens"


def cost(attributes: Attributes) -> str:
    """Return what the call cost, if the span says so."""
    amount = number(attributes, semconv.CALLSPAN_COST_AMOUNT)
    if amount is None:
        return ""
    currency = text(attributes, semconv.CALLSPAN_COST_CURRENCY) or "USD"
    places = 2 if abs(amount) >= 1 else 4 if abs(amount) >= 0.01 else 6  # noqa: PLR2004  dollars, cents, less
    figure = f"{amount:.{places}f}"
    if amount and not float(figure):
        figure = f"{amount:.1g}"
    return f"${figure}" if currency == "USD" else f"{figure} {currency}"


def outcome(attributes: Attributes, status: str) -> str:
    """Return how a span ended: in callspan's words, else what its status says."""
    return text(attributes, semconv.CALLSPAN_OUTCOME) or ("error" if status == "error" else "")


def details(attributes: Attributes, name: str) -> str:
    """Return what else is worth knowing of a call at a glance, leaving out what its name says already."""
    models = [text(attributes, semconv.GEN_AI_REQUEST_MODEL), text(attributes, semconv.GEN_AI_RESPONSE_MODEL)]
    group = text(attributes, semconv.LITELLM_MODEL_GROUP)
    named = [part for part in dict.fromkeys([group, *models]) if part and part not in name]
    reasons = attributes.get(semconv.GEN_AI_RESPONSE_FINISH_REASONS)
    found = [text(attributes, semconv.GEN_AI_PROVIDER_NAME), *named]
    if isinstance(reasons, list):
        found += [shortened(str(reason), 40) for reason in reasons[:4]]
    first_chunk = number(attributes, semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK)
    if first_chunk is not None and abs(first_chunk) < _MINUTE:
        found.append(f"first chunk after {duration(round(first_chunk * _SECOND))}")
    for key, meaning in _TOKEN_KINDS.items():
        if count := number(attributes, key):
            found.append(f"{count:.15g} {meaning}")
    if attributes.get(semconv.LITELLM_CACHE_HIT) is True:
        found.append("answered from cache")
    return ", ".join(part for part in found if part)


def content(value: Value) -> str:
    """Return messages in the conventions' JSON schema as one line of who said what, anything else as it is."""
    parsed: object = value
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return shortened(value, _CONTENT_LENGTH)
    if not isinstance(parsed, list):
        return shortened(str(value), _CONTENT_LENGTH)
    said = [_message(message) for message in cast("list[object]", parsed)[:50]]
    return shortened(" | ".join(said), _CONTENT_LENGTH)


def _message(message: object) -> str:
    """Return one message, part of one, or tool, as far as it has the shape of one."""
    if not isinstance(message, Mapping):
        return str(message)
    fields = cast("Mapping[str, object]", message)
    role = fields.get("role")
    parts = fields.get("parts")
    if isinstance(parts, list):
        said = " ".join(_message(part) for part in cast("list[object]", parts))
        return f"{role}: {said}" if role else said
    return str(next((fields[key] for key in ("content", "name", "response", "type") if fields.get(key)), dict(fields)))


def event_attributes(attributes: Attributes, *, without: Sequence[str] = ()) -> str:
    """Return the attributes of an event as ``key=value``, each shortened."""
    return " ".join(
        f"{shortened(key, 80)}={shortened(str(value), 80)}" for key, value in attributes.items() if key not in without
    )
