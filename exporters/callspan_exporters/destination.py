"""What a destination is, for those who write one.

A destination says what names it and opens a way to itself; the way sends spans and says what became of them. All the
rest is callspan's: the spool, batching, when to send again, splitting, the account, what people are told::

    class MyDestination:
        identity = "mine https://example.com"
        timeout_s = 10.0
        component_type = "my_destination"

        def connect(self) -> Transport:
            return MyTransport()

        def force_flush(self, timeout_s: float) -> bool:
            return True

        def shutdown(self) -> None: ...


    class MyTransport:
        def __init__(self) -> None:
            headers = {"authorization": f"Bearer {key}"}
            self._client = HttpClient("https://example.com/spans", headers, content_type="application/json")

        def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
            return self._client.post(as_json(decode_span(span) for span in spans), timeout_s)

        def close(self) -> None:
            self._client.close()

``callspan.instrument(destinations=[MyDestination()])`` sends to it. A package that has an entry point of the group
``callspan_destination``, whose value returns the destination as the environment configures it, adds a name to
``CALLSPAN_DESTINATIONS``::

    [project.entry-points.callspan_destination]
    mine = "mypackage:MyDestination.from_environment"

What cannot work as it is configured it says by raising :class:`SettingError`. :mod:`callspan_exporters.conformance`
tests whether a destination keeps the promises that its users are made.
"""

from callspan_exporters._address import address_without_secrets, digest, without_secrets
from callspan_exporters._decoding import decode_span
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._http import Advice, HttpClient
from callspan_exporters._outcome import Destination, Outcome, Transport, Verdict
from callspan_exporters._rewriting import Rewriting, SpanView, viewed
from callspan_exporters._variables import SettingError, required, required_url, variable

__all__ = [
    "Advice",
    "Destination",
    "EncodedSpan",
    "HttpClient",
    "Outcome",
    "Rewriting",
    "SettingError",
    "SpanView",
    "Transport",
    "Verdict",
    "address_without_secrets",
    "decode_span",
    "digest",
    "required",
    "required_url",
    "variable",
    "viewed",
    "without_secrets",
]
