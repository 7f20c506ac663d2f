"""A kind of destination as somebody else would write one: spans as lines of JSON, to an API with a key."""

import json
from collections.abc import Sequence

from callspan_exporters.destination import (
    Advice,
    EncodedSpan,
    HttpClient,
    Outcome,
    Transport,
    Verdict,
    address_without_secrets,
    decode_span,
    required,
    required_url,
)

ADVICE = Advice(endpoint="EXAMPLE_URL says where it is", key="EXAMPLE_KEY holds the key")


class ExampleDestination:
    timeout_s = 10.0
    component_type = "example_destination"

    def __init__(self, url: str, key: str) -> None:
        self.identity = f"example {address_without_secrets(url)}"
        self._url = f"{url}/spans"
        self._key = key

    @classmethod
    def from_environment(cls) -> "ExampleDestination":
        return cls(required_url("EXAMPLE_URL", what="where it is"), required("EXAMPLE_KEY", what="the key"))

    def connect(self) -> Transport:
        return ExampleTransport(self._url, self._key)

    def force_flush(self, timeout_s: float) -> bool:
        return True

    def shutdown(self) -> None:
        pass


class ExampleTransport:
    def __init__(self, url: str, key: str) -> None:
        headers = {"authorization": f"Bearer {key}"}
        self._client = HttpClient(url, headers, content_type="application/x-ndjson", advice=ADVICE)

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
        try:
            body = "\n".join(map(as_json, spans))
        except Exception as error:  # noqa: BLE001  whatever is wrong with it is so for good
            return Outcome(Verdict.REJECTED, f"a span that cannot be read: {type(error).__name__}")
        return self._client.post(body.encode(), timeout_s)

    def close(self) -> None:
        self._client.close()


def as_json(encoded: EncodedSpan) -> str:
    span = decode_span(encoded)
    assert span.context is not None
    return json.dumps({"id": f"{span.context.span_id:016x}", "name": span.name, **dict(span.attributes or {})})
