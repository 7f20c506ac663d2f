"""An OTLP/HTTP receiver that keeps only what identifies a span, for loads of which no test could hold every span."""

from collections import Counter
from collections.abc import Sequence

from google.protobuf.message import DecodeError

from loopback.otlp_behaviours import Accept, HttpBehaviour
from loopback.otlp_inbox import ReceivedRequest, ReceivedSpan
from loopback.otlp_receiver import OtlpReceiver, _Handler


class _CountingHandler(_Handler):
    def do_POST(self) -> None:  # noqa: N802 - the name http.server calls
        try:
            super().do_POST()
        except DecodeError:  # the bytes of two requests in one, say
            self.server.owner.malformed += 1  # type: ignore[attr-defined]
            self.reply(400, b"", {})


class CountingOtlpReceiver(OtlpReceiver):
    """The OTLP/HTTP receiver, with `spans` left empty.

    Attributes:
        names: how often it took a span of each name.
        ids: the span ids it took; as many as names, where each name is that of one span.
        services: how many spans it took of each `service.name`.
        malformed: how many requests were no OTLP, and were answered with 400.
    """

    handler = _CountingHandler

    def __init__(self, default: HttpBehaviour = Accept()) -> None:  # noqa: B008 - frozen
        super().__init__(default)
        self.names: Counter[str] = Counter()
        self.ids: set[bytes] = set()
        self.services: Counter[str] = Counter()
        self.malformed = 0

    @property
    def duplicates(self) -> int:
        """How many spans it took that it had taken before."""
        return self.names.total() - len(self.names)

    def wait_for_names(self, count: int, timeout: float = 10.0) -> bool:
        """Waits until it has taken spans of so many names."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.names) >= count, timeout)

    def record(self, request: ReceivedRequest, taken: Sequence[ReceivedSpan] = ()) -> None:
        """Counts what would be kept otherwise."""
        names = [received.span.name for received in taken]
        ids = [received.span.span_id for received in taken]
        services = Counter(_service(received) for received in taken)
        with self._changed:
            self.names.update(names)
            self.ids.update(ids)
            self.services.update(services)
        super().record(request)


def _service(received: ReceivedSpan) -> str:
    for attribute in received.resource.attributes:
        if attribute.key == "service.name":
            return attribute.value.string_value
    return ""
