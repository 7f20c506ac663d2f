"""PostHog's capture API on loopback: takes batches of events as the real one does, and misbehaves as it is told to.

What is checked and answered is what PostHog's capture service does with ``/batch/``: a key, events with names, distinct
ids, UUIDs and times that are some, a megabyte for an event and twenty for a request. Over the quota it answers 200.
"""

import contextlib
import gzip
import json
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from loopback.otlp_behaviours import Accept, Delay, Hang, LoseAck, Reset, Status, TooLargeAbove
from loopback.server import Handler, LoopbackServer

__all__ = [
    "Accept",
    "CapturedEvent",
    "Delay",
    "Hang",
    "LoseAck",
    "PostHogApi",
    "QuotaLimited",
    "RefuseEvents",
    "Reset",
    "Status",
    "TooLargeAbove",
]

_LARGEST_EVENT: Final = 1_000_000  # what its Kafka takes
_LARGEST_REQUEST: Final = 20 << 20
_DEEPEST: Final = 127  # levels, which Rust's serde reads
_NAMES: Final = frozenset({"$ai_generation", "$ai_embedding", "$ai_span", "$ai_trace"})

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class QuotaLimited:
    """Takes nothing and answers 200, naming what the project has no quota left for."""

    resources: tuple[str, ...] = ("events",)


@dataclass(frozen=True, slots=True)
class RefuseEvents:
    """Answers 400 to a request in which there is such an event; takes the others."""

    refused: Callable[["CapturedEvent"], bool]


Behaviour = Accept | Status | QuotaLimited | RefuseEvents | TooLargeAbove | Delay | Hang | Reset | LoseAck


@dataclass(frozen=True, slots=True)
class CapturedEvent:
    """An event as it came, with the key of the project that it came for."""

    api_key: str
    event: str
    distinct_id: str
    properties: Json
    timestamp: str | None
    uuid: str | None

    @property
    def identity(self) -> tuple[object, ...]:
        """What PostHog tells events apart by: its table is sorted by this, and keeps one row of each."""
        day = self.timestamp and datetime.fromisoformat(self.timestamp).astimezone(UTC).date()
        return self.api_key, day, self.event, self.distinct_id, self.uuid


@dataclass(frozen=True, slots=True)
class CapturedRequest:
    """A request; `size` as it came over the wire, `status` as answered, None where nothing was."""

    path: str
    headers: Mapping[str, str]
    size: int
    event_count: int
    status: int | None


class RefusedError(Exception):
    """The request is none that PostHog takes."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(slots=True)
class _Incoming:
    path: str
    headers: Mapping[str, str]
    size: int
    body_size: int = 0
    events: list[CapturedEvent] = field(default_factory=list)

    def answered(self, status: int | None) -> CapturedRequest:
        return CapturedRequest(self.path, self.headers, self.size, len(self.events), status)


class _Handler(Handler):
    def do_POST(self) -> None:  # noqa: N802 - the name http.server calls
        self._api: PostHogApi = self.server.owner  # type: ignore[assignment]
        wire = self.read_body()
        self._incoming = _Incoming(self.path, {name.lower(): value for name, value in self.headers.items()}, len(wire))
        try:
            body = gzip.decompress(wire) if self.headers.get("Content-Encoding") == "gzip" else wire
            self._incoming.body_size = len(body)
            self._incoming.events = _events(self.path, body)
        except RefusedError as error:
            self._api.complaints.append(str(error))
            self._answer(error.status, {"error": str(error)})
            return
        with contextlib.suppress(ConnectionError):
            self._obey(self._api.next_behaviour())

    def _obey(self, behaviour: Behaviour) -> None:
        match behaviour:
            case Status(code, headers, body):
                self._api.record(self._incoming.answered(code), [])
                self.reply(code, body, {"Content-Type": "application/json", **headers})
            case QuotaLimited(resources):
                self._answer(200, {"status": "Ok", "quota_limited": list(resources)})
            case RefuseEvents(refused) if any(map(refused, self._incoming.events)):
                self._answer(400, {"error": "invalid event could not be processed"})
            case TooLargeAbove(limit) if self._incoming.body_size > limit:
                self._answer(413, {"error": "maximum event size exceeded"})
            case Hang() | Reset() | LoseAck():
                self.close_connection = True
                self._api.record(
                    self._incoming.answered(None), self._incoming.events if isinstance(behaviour, LoseAck) else []
                )
                self.pause(behaviour.seconds)
                self.drop(reset=isinstance(behaviour, Reset))
            case Delay(seconds):
                self.pause(seconds)
                self._take()
            case _:
                self._take()

    def _take(self) -> None:
        self._api.record(self._incoming.answered(200), self._incoming.events)
        self.reply(200, b'{"status":"Ok"}', {"Content-Type": "application/json"})

    def _answer(self, status: int, payload: Json) -> None:
        self._api.record(self._incoming.answered(status), [])
        self.reply(status, json.dumps(payload).encode(), {"Content-Type": "application/json"})


def _events(path: str, body: bytes) -> list[CapturedEvent]:
    if path.rstrip("/") != "/batch":
        raise RefusedError(404, f"{path} is no path of the capture API")
    if len(body) > _LARGEST_REQUEST:
        raise RefusedError(413, f"a request of {len(body)} bytes")
    try:
        request = json.loads(body, parse_constant=_no_json)
    except ValueError as error:
        raise RefusedError(400, f"failed to parse request: {error}") from None
    if _depth(request) > _DEEPEST:
        raise RefusedError(400, "failed to parse request: recursion limit exceeded")
    key = request.get("api_key")
    if not key or not isinstance(key, str) or not key.isascii():
        raise RefusedError(401, "event submitted without an api_key")
    batch = request.get("batch")
    if not isinstance(batch, list) or not batch:
        raise RefusedError(400, "request holds no event")
    return [_event(key, event) for event in batch]


def _depth(value: Any) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if items is None else 1 + max(map(_depth, items), default=0)


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _event(key: str, event: Json) -> CapturedEvent:
    if event.get("event") not in _NAMES:
        raise RefusedError(400, f"{event.get('event')!r} is no event of LLM analytics")
    properties = event.get("properties") or {}
    distinct_id = event.get("distinct_id") or properties.get("distinct_id")
    if not isinstance(distinct_id, str):
        raise RefusedError(400, "event submitted without a distinct_id")
    if not properties.get("$ai_trace_id"):
        raise RefusedError(400, "event submitted without a trace")
    try:
        if event.get("uuid") is not None:
            uuid.UUID(event["uuid"])
        if event.get("timestamp") is not None:
            datetime.fromisoformat(event["timestamp"])
    except ValueError as error:
        raise RefusedError(400, str(error)) from None
    size = len(json.dumps(event, ensure_ascii=False).encode())
    if size > _LARGEST_EVENT:
        raise RefusedError(413, f"maximum event size exceeded: {size} bytes")
    return CapturedEvent(key, event["event"], distinct_id, properties, event.get("timestamp"), event.get("uuid"))


class PostHogApi(LoopbackServer):
    """PostHog on loopback.

    Attributes:
        default: what it does with a request that nothing else was said about.
        events: the events it took, in order, those sent twice twice.
        requests: every request that came, whatever was answered.
        complaints: what was wrong with requests that the real one would not take either.
    """

    handler = _Handler

    def __init__(self, default: Behaviour = Accept()) -> None:  # noqa: B008 - frozen
        super().__init__()
        self.default = default
        self.events: list[CapturedEvent] = []
        self.requests: list[CapturedRequest] = []
        self.complaints: list[str] = []
        self._queued: deque[Behaviour] = deque()

    @property
    def host(self) -> str:
        """What POSTHOG_API_URL is set to."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def counted(self) -> list[CapturedEvent]:
        """The events that PostHog shows: of what it was sent twice, one."""
        return list({event.identity: event for event in self.events}.values())

    def behave(self, *behaviours: Behaviour) -> None:
        """Queues what to do with the next requests, one each; after them it is the default again."""
        with self.changed:
            self._queued.extend(behaviours)

    def next_behaviour(self) -> Behaviour:
        """Says what to do with the request that has come."""
        with self.changed:
            return self._queued.popleft() if self._queued else self.default

    def wait_for(self, events: int, timeout: float = 10.0) -> list[CapturedEvent]:
        """Waits until it has taken so many events and returns those it has; there may be fewer after the timeout."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.events) >= events, timeout)
            return list(self.events)

    def wait_for_requests(self, count: int, timeout: float = 10.0) -> bool:
        """Waits until so many requests have been dealt with."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.requests) >= count, timeout)

    def record(self, request: CapturedRequest, taken: list[CapturedEvent]) -> None:
        """Keeps what is to be known about a request, and the events taken from it, before it is answered."""
        with self.changed:
            self.requests.append(request)
            self.events.extend(taken)
            self.changed.notify_all()
