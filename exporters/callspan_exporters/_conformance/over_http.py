"""The promises of a destination that is spoken to by HTTP."""

import email.utils
import gzip
import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import ClassVar, Final

import pytest

from callspan_exporters._conformance.answers import Answer, Endless, Raw, Reply, Silence, bomb
from callspan_exporters._conformance.connection import Backend, ConnectionConformance
from callspan_exporters._conformance.delivering import delivered_around
from callspan_exporters._conformance.expecting import (
    KEEPING,
    NOT_LOSING,
    bounded_memory,
    expect,
    expect_outcome,
    in_time,
)
from callspan_exporters._conformance.server import Request, Server
from callspan_exporters._conformance.spans import some_spans
from callspan_exporters._outcome import Outcome, Verdict

_TIMEOUT_S: Final = 20.0
_MOST_MEMORY: Final = 64 << 20
_PAGE: Final = Reply(200, {"content-type": "text/html; charset=utf-8"}, b"<!doctype html><title>Log in</title>")
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_TOO_LARGE: Final = 413
_WITH_A_TIME: Final = (429, 503)

_WRONG_ANSWERS: Final = {
    "text": Reply(200, {"content-type": "text/plain"}, b"OK"),
    "an image": Reply(200, {"content-type": "image/png"}, b"\x89PNG\r\n\x1a\n" + bytes(64)),
    "torn JSON": Reply(200, {"content-type": "application/json"}, b'{"status": '),
    "JSON of another kind": Reply(200, {"content-type": "application/json"}, b'[null, 1, "x", {"errors": 7}]'),
    "JSON within JSON": Reply(200, {"content-type": "application/json"}, b"[" * 200_000),
    "no text at all": Reply(200, {"content-type": "application/json"}, bytes(range(256))),
    "gzip": Reply(200, {"content-encoding": "gzip"}, gzip.compress(b"{}")),
    "no gzip": Reply(200, {"content-encoding": "gzip"}, b"plain"),
    "an unknown coding": Reply(200, {"content-encoding": "x-unheard-of"}, b"\x00\x01"),
    "a coding that was not asked for": Reply(200, {"content-encoding": "br"}, b"\x0b\x02\x80{}\x03"),
    "a length that is none": Reply(200, {"content-length": "many"}),
    "two lengths": Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"),
    "a body that is cut off": Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"),
    "a chunk that is cut off": Raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"),
    "a head that is cut off": Raw(b"HTTP/1.1 200 OK\r\ncontent-le"),
    "a status that is none": Raw(b"HTTP/1.1 2000 OK\r\n\r\n"),
    "a body that is reset": Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{", reset=True),
}
_LARGE_ANSWERS: Final = {
    "an endless answer": Endless(bytes(1 << 16)),
    "an endless answer in JSON": Endless(b'"x",' * (1 << 14), b"[", headers={"content-type": "application/json"}),
    "an endless answer to what is refused": Endless(b"no " * (1 << 14), status=400),
    "an endless answer by an error": Endless(b"no " * (1 << 14), status=500),
    "a gzip bomb": bomb(),
    "endless headers": Raw(b"HTTP/1.1 200 OK\r\n" + b"x-filler: 0123456789\r\n" * 500_000),
}
_SLOW_ANSWERS: Final = {
    "silence": Silence(),
    "headers byte by byte": Raw(b"HTTP/1.1 200 OK\r\n", then=b"x-filler: 0123456789\r\n", pause_s=0.05),
    "one line byte by byte": Raw(b"HTTP/1.1 200 OK\r\nx: ", then=b"0123456789", pause_s=0.05),
    "a body byte by byte": Endless(b" ", pause_s=0.05),
    "a body that does not come": Raw(
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n", then=b" ", pause_s=60
    ),
    "progress without end": Raw(then=b"HTTP/1.1 102 Processing\r\n\r\n", pause_s=0.005),
    "an error byte by byte": Endless(b" ", status=500, pause_s=0.05),
    "a refusal byte by byte": Endless(b" ", status=400, pause_s=0.05),
}


class DestinationConformance(ConnectionConformance):
    """What is promised of a destination that is spoken to by HTTP. See :mod:`callspan_exporters.conformance`."""

    success: ClassVar[Answer] = Reply(200, {"content-type": "application/json"}, b"{}")
    """What is answered to a request whose spans were all taken."""

    taken: ClassVar[frozenset[int]] = frozenset(range(200, 300))
    """The statuses that mean so; 409, where that is what is said to spans that were sent before."""

    refused: ClassVar[frozenset[int]] = frozenset({400, 422})
    """The statuses after which spans may be given up. After every other one they are kept."""

    def ids(self, request: Request) -> list[str]:
        """Return the ids of the spans in a request: what the destination knows them by if they come again.

        What it raises has the server answer that it does not understand the request.
        """
        raise NotImplementedError

    @contextmanager
    def backend(self) -> Generator[Backend, None, None]:
        """Run a server that takes spans."""
        with Server(self.success, self.ids) as server:
            yield _Backend(self, server)

    def answered(self, answer: Answer, timeout_s: float = _TIMEOUT_S) -> Outcome:
        """Return what becomes of spans that are sent once and answered so."""
        with Server(answer) as server:
            return self.sent(server.url, timeout_s=timeout_s)

    def test_every_status(self) -> None:
        """Nothing is lost that could still be sent: spans are given up only where the status says that it is them."""
        wrong: list[str] = []
        with Server(self.success) as server, self.connected(server.url) as transport:
            for status in range(200, 600):
                server.answer(Reply(status, body=b"no" if status >= 300 else b""))  # noqa: PLR2004
                outcome = in_time(f"send() with status {status}", lambda: transport.send(some_spans(1), _TIMEOUT_S))
                server.forget()
                if outcome.verdict not in self._allowed(status):
                    wrong.append(f"{status}: {outcome.verdict.name}")
                elif outcome.verdict in KEEPING:
                    expect(outcome.reason, f"status {status}: the outcome gives people no reason")
        expect(not wrong, f"spans are lost or sent for ever by {', '.join(wrong)}")

    def _allowed(self, status: int) -> frozenset[Verdict]:
        if status in self.taken:
            return frozenset({Verdict.DELIVERED})
        if status == _TOO_LARGE:
            return frozenset({Verdict.TOO_LARGE})
        return KEEPING | {Verdict.REJECTED} if status in self.refused else KEEPING

    @pytest.mark.parametrize("status", _WITH_A_TIME)
    def test_when_to_come_again(self, status: int) -> None:
        """Of `Retry-After` both kinds are heeded, and nonsense does no harm."""
        for value, least, most in (
            ("7", 7.0, 7.0),
            (email.utils.formatdate(time.time() + 90, usegmt=True), 20.0, 91.0),
        ):
            outcome = self.answered(Reply(status, {"retry-after": value}))
            expect_outcome(f"status {status}", outcome, frozenset({Verdict.RETRY}))
            seconds = outcome.retry_after_s
            heeded = seconds is not None and least <= seconds <= most
            expect(heeded, f"status {status} with Retry-After: {value}: retry_after_s={seconds}")
        for nonsense in ("soon", "nan", "-1", "1e400", "Wed, 99 Foo 2015 07:28:00 GMT", ""):
            seconds = self.answered(Reply(status, {"retry-after": nonsense})).retry_after_s
            harmless = seconds is None or (seconds >= 0 and math.isfinite(seconds))
            expect(harmless, f"Retry-After: {nonsense}: retry_after_s={seconds}")

    def test_redirects_are_not_followed(self) -> None:
        """Neither spans nor keys go to another host than was configured."""
        with Server(self.success) as elsewhere:
            for status in _REDIRECTS:
                location = elsewhere.url.replace("127.0.0.1", "localhost") + "/elsewhere"
                outcome = self.answered(Reply(status, {"location": location}))
                expect_outcome(f"status {status} to another host", outcome, KEEPING)
            expect(not elsewhere.requests, "a redirect to another host was followed")

    def test_a_web_page(self) -> None:
        """It is somebody else who answers, and who has taken nothing."""
        expect_outcome("a web page with status 200", self.answered(_PAGE), KEEPING)

    @pytest.mark.parametrize("name", _WRONG_ANSWERS)
    def test_an_answer_that_is_wrong(self, name: str) -> None:
        """Spans are not given up for what is wrong with an answer."""
        expect_outcome(name, self.answered(_WRONG_ANSWERS[name]), NOT_LOSING)

    @pytest.mark.parametrize("name", _LARGE_ANSWERS)
    def test_an_answer_larger_than_memory(self, name: str) -> None:
        """It is read as far as it is of use."""
        allowed = NOT_LOSING | {Verdict.REJECTED} if "refused" in name else NOT_LOSING
        with bounded_memory(name, _MOST_MEMORY):
            outcome = self.answered(_LARGE_ANSWERS[name], 5.0)
        expect_outcome(name, outcome, allowed)

    @pytest.mark.parametrize("name", _SLOW_ANSWERS)
    def test_an_answer_that_does_not_end(self, name: str) -> None:
        """It is waited for as long as a request may take."""
        allowed = NOT_LOSING | {Verdict.REJECTED} if "refusal" in name else NOT_LOSING
        expect_outcome(name, self.answered(_SLOW_ANSWERS[name], 0.5), allowed)

    def test_keys_that_come_back(self) -> None:
        """An answer may quote the key that it refuses; people are not shown it."""
        quoted = " ".join(self.secrets).encode()
        body = b'{"error": "invalid key: %b", "detail": "%b"}' % (quoted, quoted)
        for status in (200, 207, 400, 401, 403, 422, 500):
            outcome = self.answered(Reply(status, {"content-type": "application/json"}, body))
            self.shows_no_secret(f"the reason for status {status}", outcome.reason + outcome.fix)

    def test_one_connection_after_failures(self) -> None:
        """What has failed in every way delivers when it can."""
        failures = (Raw(reset=True), Reply(500), _PAGE, *_WRONG_ANSWERS.values(), Reply(429), Raw(), Reply(302))
        with Server(self.success) as server, self.connected(server.url) as transport:
            server.answer(*failures)
            while len(server.requests) < len(failures):
                in_time("send()", lambda: transport.send(some_spans(1), _TIMEOUT_S))
            outcome = in_time("send() after failures", lambda: transport.send(some_spans(1), _TIMEOUT_S))
            expect_outcome("send() after failures", outcome, frozenset({Verdict.DELIVERED}))

    def test_a_bad_span_among_good_ones(self) -> None:
        """All of the good ones arrive, in spite of failures on the way."""
        spans = some_spans(9)
        with Server(self.success, self.ids) as server:
            server.answer(Reply(503), Raw(reset=True), Reply(413), Reply(401))
            left = delivered_around(self.destination(server.url), spans)
            arrived = {one for request in server.taken() for one in self.ids(request)}
        expect(not left, f"still waiting: {left}")
        expect(len(arrived) == len(spans), f"{len(arrived)} of {len(spans)} good spans arrived")


class _Backend:
    def __init__(self, test: DestinationConformance, server: Server) -> None:
        self._test = test
        self._server = server

    @property
    def url(self) -> str:
        return self._server.url

    def ids(self) -> list[str]:
        return [one for request in self._server.taken() for one in self._test.ids(request)]
