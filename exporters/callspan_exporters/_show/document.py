"""Traces as JSON, for ``callspan show --json``.

The document is a list of traces, newest first::

    [{"trace_id": "4bf9…", "start": "2026-08-01T12:00:00.123456789Z", "start_time_unix_nano": 1785585600123456789,
      "duration_ns": 412000000,
      "spans": [{"name": "chat gpt-4o-mini", "trace_id": …, "span_id": …, "parent_span_id": … or null,
                 "parent_in_spool": true, "parent_is_remote": false, "kind": "client",
                 "start": …, "start_time_unix_nano": …, "end": …, "end_time_unix_nano": …, "duration_ns": …,
                 "status": "unset" | "ok" | "error", "status_message": "",
                 "attributes": {…}, "resource": {…}, "scope": {"name": …, "version": …},
                 "events": [{"name": …, "time": …, "time_unix_nano": …, "offset_ns": …, "attributes": {…}}],
                 "links": [{"trace_id": …, "span_id": …, "attributes": {…}}],
                 "refusals": [{"destination": …, "reason": …}],
                 "children": [ …spans… ]}]}]

Attributes are whole. Bytes are base64 text, and floats that JSON has no number for are ``"NaN"``, ``"Infinity"`` and
``"-Infinity"``, as in protobuf's own JSON (https://protobuf.dev/programming-guides/json/). Keys may be added; none goes
or changes its meaning.
"""

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from callspan_exporters._show.traces import Attributes, EventView, SpanView, Trace, Value


def write_json(traces: Iterable[Trace]) -> Iterator[str]:
    """Yield the document piece by piece, a trace at a time.

    It is ASCII without control characters, so that no terminal and no encoding can change what it says.
    """
    opening = "[\n"
    for trace in traces:
        yield opening + json.dumps(_trace(trace), indent=1, allow_nan=False).replace("\x7f", "\\u007f")
        opening = ",\n"
    yield "\n]\n" if opening == ",\n" else "[]\n"


def _trace(trace: Trace) -> dict[str, object]:
    return {
        "trace_id": trace.trace_id,
        "start": _iso(trace.start_ns),
        "start_time_unix_nano": trace.start_ns,
        "duration_ns": trace.end_ns - trace.start_ns,
        "spans": [_span(span) for span in trace.roots],
    }


def _span(span: SpanView) -> dict[str, object]:
    return {
        "name": span.name,
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_id or None,
        "parent_in_spool": span.parent_in_spool,
        "parent_is_remote": span.parent_is_remote,
        "kind": span.kind,
        "start": _iso(span.start_ns),
        "start_time_unix_nano": span.start_ns,
        "end": _iso(span.end_ns),
        "end_time_unix_nano": span.end_ns,
        "duration_ns": span.end_ns - span.start_ns,
        "status": span.status,
        "status_message": span.status_message,
        "attributes": _attributes(span.attributes),
        "resource": _attributes(span.origin.resource),
        "scope": {"name": span.origin.scope_name, "version": span.origin.scope_version},
        "events": [_event(event, span.start_ns) for event in span.events],
        "links": [
            {"trace_id": link.trace_id, "span_id": link.span_id, "attributes": _attributes(link.attributes)}
            for link in span.links
        ],
        "refusals": [{"destination": refusal.destination, "reason": refusal.reason} for refusal in span.refusals],
        "children": [_span(child) for child in span.children],
    }


def _event(event: EventView, start_ns: int) -> dict[str, object]:
    return {
        "name": event.name,
        "time": _iso(event.time_ns),
        "time_unix_nano": event.time_ns,
        "offset_ns": event.time_ns - start_ns,
        "attributes": _attributes(event.attributes),
    }


def _attributes(attributes: Attributes) -> dict[str, object]:
    return {key: plain(value) for key, value in attributes.items()}


def plain(value: Value) -> object:
    """Return an attribute value as JSON can hold it."""
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return _attributes(value)
    return value


def _iso(time_ns: int) -> str | None:
    """Return a time as ISO 8601 in UTC to the nanosecond, which ``datetime`` cannot hold; None for no time."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    if not time_ns:
        return None
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):  # after the year 9999
        return None
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"
