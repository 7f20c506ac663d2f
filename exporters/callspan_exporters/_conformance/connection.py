"""The promises of every destination, whatever it speaks."""

import functools
import math
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final, Protocol

import pytest

from callspan_exporters._conformance.answers import Answer, Raw, Silence
from callspan_exporters._conformance.child import Found, in_another_process
from callspan_exporters._conformance.delivering import delivered
from callspan_exporters._conformance.expecting import KEEPING, expect, expect_outcome, in_time
from callspan_exporters._conformance.server import Server
from callspan_exporters._conformance.spans import UNREADABLE, some_spans
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._outcome import Destination, Outcome, Transport, Verdict

_SEND_S: Final = 1.0
_NOBODY: Final = "http://127.0.0.1:9"
_LONGEST_IDENTITY: Final = 300
_REFUSING: Final = frozenset({Verdict.REJECTED, Verdict.DELIVERED})


class Backend(Protocol):
    """A server that takes spans."""

    @property
    def url(self) -> str: ...

    def ids(self) -> list[str]:
        """Return the ids of the spans it took, in the order in which they came, those that came twice twice."""
        ...


class ConnectionConformance:
    """What is promised of a destination that speaks something else than HTTP: the first half of all promises."""

    secrets: ClassVar[Sequence[str]] = ()
    """What ``destination`` uses as keys: people and files see none of it."""

    def destination(self, url: str) -> Destination:
        """Return a new destination that sends to an URL, ``http://127.0.0.1:port``. Called in other processes too."""
        raise NotImplementedError

    @contextmanager
    def backend(self) -> Generator[Backend, None, None]:
        """Run a server that takes spans, for as long as the ``with`` block runs."""
        raise NotImplementedError
        yield

    @pytest.fixture(autouse=True)
    def _without_proxies(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")

    @contextmanager
    def connected(self, url: str) -> Generator[Transport, None, None]:
        """Connect a new destination, and close it after the ``with`` block."""
        destination = self.destination(url)
        transport = in_time("connect()", destination.connect)
        try:
            yield transport
        finally:
            in_time("close()", transport.close)
            in_time("shutdown()", destination.shutdown)

    def sent(self, url: str, spans: Sequence[EncodedSpan] | None = None, timeout_s: float = _SEND_S) -> Outcome:
        """Return what becomes of spans that are sent once."""
        batch = some_spans(2) if spans is None else spans
        with self.connected(url) as transport:
            return in_time("send()", lambda: transport.send(batch, timeout_s))

    def shows_no_secret(self, what: str, text: str) -> None:
        """Fail where a text has a key in it."""
        expect(not any(secret in text for secret in self.secrets), f"a key is shown by {what}")

    def test_its_attributes(self) -> None:
        """It has a name of one line, a time that a request may take, and a kind."""
        destination = self.destination(_NOBODY)
        identity, timeout_s, kind = destination.identity, destination.timeout_s, destination.component_type
        expect(identity.strip() == identity != "", f"identity={identity!r} names nothing")
        expect(identity.isprintable(), f"identity={identity!r} is not one line of text")
        expect(len(identity) <= _LONGEST_IDENTITY, f"identity has {len(identity)} characters")
        expect(timeout_s > 0 and math.isfinite(timeout_s), f"timeout_s={timeout_s!r} is no time for a request")
        expect(kind.strip() == kind != "", f"component_type={kind!r} names nothing")

    def test_its_identity(self) -> None:
        """What is stored for it finds it again: each instance, in each process, and no other address."""
        one, again, other = (self.destination(f"http://127.0.0.1:{port}").identity for port in (9, 9, 11))
        expect(one == again, f"two instances for one address have two identities: {one!r}, {again!r}")
        expect(one != other, f"two addresses have one identity: {one!r}")

    def test_its_identity_in_another_process(self) -> None:
        """What one process leaves is sent by another."""
        here, found = _elsewhere(type(self))
        expect(here == found.identity, f"another process has another identity: {here!r}, {found.identity!r}")

    def test_keys_are_not_shown(self) -> None:
        """Identities are on disk and in logs; of a `repr`, too, nobody knows where it ends."""
        destination = self.destination(_NOBODY)
        self.shows_no_secret("identity", destination.identity)
        self.shows_no_secret("repr()", repr(destination))

    def test_spans_arrive(self) -> None:
        """A batch is sent, each span in it under an id of its own."""
        with self.backend() as backend:
            expect_outcome("a backend that takes spans", self.sent(backend.url, some_spans(5), 20.0), _ONLY_DELIVERED)
            ids = backend.ids()
        expect(len(set(ids)) == len(ids) == 5, f"5 spans arrived by these ids: {ids}")  # noqa: PLR2004

    def test_the_same_span_has_the_same_id(self) -> None:
        """What is sent again after a lost answer is told from what is new."""
        spans = some_spans(3)
        with self.backend() as backend:
            self.sent(backend.url, spans, 20.0)
            first = backend.ids()
            self.sent(backend.url, spans, 20.0)
            second = backend.ids()[len(first) :]
        expect(sorted(first) == sorted(second), f"spans that are sent again have other ids: {first}, then {second}")

    def test_a_thread_imports_nothing(self) -> None:
        """Import before: a forked child's thread would wait for ever for a lock that a thread of its parent held."""
        _, found = _elsewhere(type(self))
        expect(found.sent == "DELIVERED", f"in a process of its own: {found.sent}")
        expect(not found.imported, f"connect() or send() imports {', '.join(found.imported)}")

    def test_a_forked_child_connects_anew(self) -> None:
        """Its parent has connected, and sent."""
        _, found = _elsewhere(type(self))
        expect(found.forked == "DELIVERED", f"in a forked child: {found.forked}")

    def test_nobody_listens(self) -> None:
        """Spans wait for somebody who does."""
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        outcome = expect_outcome("connection refused", self.sent(f"http://127.0.0.1:{port}"), KEEPING)
        self.shows_no_secret("the reason", outcome.reason + outcome.fix)

    @pytest.mark.parametrize("answer", [Raw(reset=True, at_once=True), Raw(at_once=True)], ids=["reset", "closed"])
    def test_a_connection_that_breaks(self, answer: Answer) -> None:
        """Spans wait for one that does not."""
        with Server(answer) as server:
            expect_outcome("a broken connection", self.sent(server.url), KEEPING)

    @pytest.mark.parametrize(
        "answer", [Raw(b"220 mail.example.com ESMTP\r\n", at_once=True), Raw(bytes(range(256)) * 64, at_once=True)]
    )
    def test_somebody_else_listens(self, answer: Answer) -> None:
        """Spans wait for who was meant."""
        with Server(answer) as server:
            expect_outcome("no protocol of ours", self.sent(server.url), KEEPING)

    def test_nobody_answers(self) -> None:
        """A request takes as long as it may, and no longer."""
        with Server(Silence(at_once=True)) as server:
            expect_outcome("no answer", self.sent(server.url), KEEPING)

    def test_no_tls(self) -> None:
        """Who speaks no TLS, or breaks it, is sent nothing."""
        for answer in (Raw(at_once=True, reset=True), Raw(b"\x15\x03\x03\x00\x02\x02\x28", at_once=True), Raw()):
            with Server(answer) as server:
                outcome = self.sent(server.url.replace("http://", "https://"))
                expect_outcome("no TLS", outcome, KEEPING)
                expect(not server.requests, "a request was sent without TLS to an https:// address")

    def test_a_span_that_cannot_be_read(self) -> None:
        """It is given up, and is not sent for ever, so that others are not held up by it."""
        with self.backend() as backend:
            expect_outcome("a span that cannot be read", self.sent(backend.url, [UNREADABLE], 20.0), _REFUSING)
            good = some_spans(2)
            whole = frozenset({Verdict.REJECTED, Verdict.TOO_LARGE, Verdict.DELIVERED})
            mixed = self.sent(backend.url, [good[0], UNREADABLE, good[1]], 20.0)
            expect_outcome("a batch with a span that cannot be read", mixed, whole)

    def test_closing_twice(self) -> None:
        """Closing is harmless, also where nothing was sent."""
        transport = in_time("connect()", self.destination(_NOBODY).connect)
        in_time("close()", transport.close)
        in_time("close() for the second time", transport.close)

    def test_flush_and_shutdown(self) -> None:
        """Neither raises nor hangs, also where nobody listens."""
        destination = self.destination(_NOBODY)
        flushed = in_time("force_flush()", lambda: destination.force_flush(_SEND_S))
        expect(flushed in (True, False), f"force_flush() returned {flushed!r}, and must return a bool")
        in_time("shutdown()", destination.shutdown)
        in_time("shutdown() for the second time", destination.shutdown)

    def test_all_is_delivered(self, tmp_path: Path) -> None:
        """From the spool, in batches, by callspan's own sender, and nothing is left."""
        with self.backend() as backend:
            left = delivered(self.destination(backend.url), tmp_path / "spool", some_spans(25), batch=10)
            ids = backend.ids()
        expect(not left, f"still waiting: {left}")
        expect(len(set(ids)) == len(ids) == 25, f"25 spans arrived by {len(set(ids))} ids, {len(ids)} times")  # noqa: PLR2004


@functools.cache
def _elsewhere(test: type[ConnectionConformance]) -> tuple[str, Found]:
    """Return what the destination is called here, and what was found of it in a process of its own."""
    instance = test()
    with instance.backend() as backend:
        return instance.destination(backend.url).identity, in_another_process(test, backend.url)


_ONLY_DELIVERED: Final = frozenset({Verdict.DELIVERED})
