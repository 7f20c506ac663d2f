"""Events as the bytes of a request, none of them larger than PostHog takes."""

import base64
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

from callspan_exporters._posthog.events import Event

LARGEST_EVENT: Final = 900 << 10
"""Bytes of an event; PostHog refuses a megabyte, and its own SDKs stop here."""
LARGEST_BODY: Final = 18 << 20
"""Bytes of a request; PostHog refuses twenty megabytes."""

_SHORTER: Final = (65_536, 8_192, 1_024)  # characters that texts are cut to, one after the other
_LONGEST_PROPERTY: Final = 8_192  # characters that are left of a property which is still too large then


def body_of(api_key: str, events: Iterable[bytes]) -> bytes:
    """Return a request of events that are encoded already."""
    return b'{"api_key":%b,"batch":[%b]}' % (encoded(api_key), b",".join(events))


def encoded_event(event: Event) -> bytes:
    """Return an event in JSON. Of one that is too large, texts are cut, with a mark that says so."""
    whole = encoded(event)
    if len(whole) <= LARGEST_EVENT:
        return whole
    cut = whole
    for properties in _smaller(event["properties"]):
        cut = encoded({**event, "properties": {**properties, "callspan.cut_from_bytes": len(whole)}})
        if len(cut) <= LARGEST_EVENT:
            break
    return cut


def _smaller(properties: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for longest in _SHORTER:
        yield _changed(properties, lambda text, longest=longest: _shortened(text, longest))
    texts = {name: encoded(value).decode() for name, value in properties.items()}
    yield {
        name: value if len(texts[name]) <= _LONGEST_PROPERTY else _shortened(texts[name], _LONGEST_PROPERTY)
        for name, value in properties.items()
    }


def encoded(value: Any) -> bytes:
    """Return a value in JSON, whatever is in it."""
    try:
        text = _encode(value)
    except ValueError:  # infinities and the like, of which JSON has none
        text = _encode(_changed(value, _same))
    return text.encode("utf-8", "replace")


def _other(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


_encode: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_other).encode


def _same(text: str) -> str:
    return text


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}[cut: {len(text) - longest} characters more]"


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with all texts in it changed, and with numbers that JSON does not have as texts."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _changed(item, change) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_changed(item, change) for item in cast("list[Any]", value)]
    return value
