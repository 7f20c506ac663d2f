"""Whatever answers come: what can still be sent is kept and sent, what cannot is counted, and it is said once."""

import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from callspan_exporters import OTLPDestination
from callspan_exporters._conformance.answers import Endless, Raw, Silence, bomb
from callspan_exporters._conformance.spans import some_spans
from callspan_exporters._spool import Account, read_accounts
from callspan_exporters.conformance import Answer, Reply, Server
from callspan_exporters.destination import Outcome, Verdict
from callspan_exporters.otlp import GRPC
from loopback.driven import Driven, driven
from loopback.kinds import ALL, BY_NAME, SECRET, Kind
from loopback.otlp_grpc_receiver import GrpcStatus, OtlpGrpcReceiver, PartialSuccess

COUNT = 4
_PAGE = Reply(200, {"content-type": "text/html"}, b"<!doctype html><h1>It works!</h1>")

HELD: dict[str, Answer] = {
    "HTTP 401": Reply(401, {"content-type": "application/json"}, b'{"error": "invalid key"}'),
    "HTTP 403": Reply(403, {"content-type": "text/html"}, b"<h1>Forbidden</h1>"),
    "HTTP 404": Reply(404, {"content-type": "text/html"}, b"<h1>Not Found</h1>"),
    "HTTP 405": Reply(405),
    "HTTP 407": Reply(407),
    "HTTP 500": Reply(500, {"content-type": "text/html"}, b"<h1>Internal Server Error</h1>"),
    "HTTP 500 ": Endless(b"no " * 9999, status=500),
    "with a web page": _PAGE,
}
RETRIED: dict[str, Answer] = {
    "HTTP 408": Reply(408),
    "HTTP 429": Reply(429, {"retry-after": "0"}),
    "HTTP 502": Reply(502, {"content-type": "text/html"}, b"<h1>Bad Gateway</h1>"),
    "HTTP 503": Reply(503, {"content-encoding": "gzip"}, b"no gzip"),
    "HTTP 504": Reply(504, {"content-type": "text/html"}, b"<h1>Gateway Timeout</h1>"),
    "reset": Raw(reset=True),
    "closed": Raw(),
    "cut off": Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{"),
    "no HTTP": Raw(b"220 mail.example.com ESMTP\r\n"),
    "headers without end": Raw(b"HTTP/1.1 200 OK\r\n" + b"x-filler: 0123456789\r\n" * 100_000),
    "headers byte by byte": Raw(b"HTTP/1.1 200 OK\r\n", then=b"x: y\r\n", pause_s=0.05),
    "silence": Silence(),
}
TAKEN: dict[str, Answer] = {
    "another kind of content": Reply(200, {"content-type": "image/png"}, b"\x89PNG\r\n"),
    "JSON of another kind": Reply(202, {"content-type": "application/json"}, b"[[[]]]"),
    "gzip": Reply(200, {"content-encoding": "gzip", "content-type": "application/json"}, gzip.compress(b"{}")),
    "no gzip": Reply(200, {"content-encoding": "gzip"}, b"{}"),
    "an unknown coding": Reply(200, {"content-encoding": "x-unheard-of"}, b"{}"),
    "no content": Reply(204),
    "an answer without end": Endless(bytes(1 << 16)),
    "a gzip bomb": bomb(),
}


@dataclass
class Scene:
    """A program that sends to a server which answers as it is told."""

    kind: Kind
    server: Server
    program: Driven
    spool: Path
    stored: int = 0

    def end_spans(self, count: int, prefix: str) -> None:
        self.program.do(f"spans({count}, {prefix!r})")
        self.stored += count

    def flush(self, milliseconds: int) -> bool:
        return self.program.do(f"answer = provider.force_flush({milliseconds})")

    @property
    def account(self) -> Account:
        (account,) = read_accounts(self.spool)
        assert account.accepted == account.delivered + account.rejected + account.expired + account.pending
        assert account.offered == account.accepted == self.stored
        return account

    @property
    def names(self) -> Counter[str]:
        return Counter(name for request in self.server.taken() for name in self.kind.names(request))


@pytest.fixture(params=ALL, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def scene(kind: Kind, spool_dir: Path) -> Iterator[Scene]:
    with Server(kind.success) as server:
        env = {
            **kind.env(server.url),
            "CALLSPAN_DESTINATIONS": kind.name,
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
            "OTEL_BSP_EXPORT_TIMEOUT": "1000",
        }
        with driven(env=env) as program:
            yield Scene(kind, server, program, spool_dir)


def fail_and_heal(scene: Scene, what: str, answer: Answer) -> None:
    """Has spans answered badly and sees that they are kept, then well and sees that they have arrived."""
    good, scene.server.default = scene.server.default, answer
    before = scene.account.delivered if scene.stored else 0
    asked = len(scene.server.requests)
    scene.end_spans(COUNT, what)
    assert not scene.flush(500), what
    assert scene.server.wait_for_requests(asked + 1, 30.0), what
    assert (scene.account.pending, scene.account.rejected) == (COUNT, 0), what
    scene.server.default = good
    assert scene.flush(30_000), what
    assert (scene.account.pending, scene.account.delivered) == (0, before + COUNT), what
    assert all(scene.names[f"{what}{number}"] == 1 for number in range(COUNT)), what


def test_what_somebody_has_to_mend(scene: Scene) -> None:
    """One warning when it begins, which says why, and one when it is well; no key in either."""
    for what, answer in HELD.items():
        fail_and_heal(scene, what, answer)
    scene.program.end()
    said = scene.program.warnings
    assert len(said) == 2 * len(HELD), said
    for what, begun, ended in zip(HELD, said[::2], said[1::2], strict=True):
        assert f"{COUNT} wait" in begun
        assert what.strip() in begun
        assert "takes spans again" in ended
    assert SECRET not in "".join(scene.program.said)


def test_what_mends_itself(scene: Scene) -> None:
    """Nothing is said of it while it is short, and nothing is lost."""
    for what, answer in RETRIED.items():
        fail_and_heal(scene, what, answer)
    scene.program.end()
    assert scene.program.said == []


def test_odd_answers_by_which_spans_were_taken(scene: Scene) -> None:
    """They are delivered, once, in bounded memory."""
    peak = "import resource; answer = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss"
    before = scene.program.do(peak)
    for what, answer in TAKEN.items():
        scene.server.default = answer
        scene.end_spans(COUNT, what)
        assert scene.flush(30_000), what
        assert all(scene.names[f"{what}{number}"] == 1 for number in range(COUNT)), what
        scene.server.forget()
    assert scene.account.delivered == COUNT * len(TAKEN)
    assert scene.program.do(peak) - before < 100_000  # kilobytes
    scene.program.end()
    assert scene.program.said == []


def test_redirects_to_another_host(scene: Scene) -> None:
    """Neither spans nor keys go there."""
    with Server() as elsewhere:
        location = elsewhere.url.replace("127.0.0.1", "localhost")
        for status in (301, 302, 303, 307, 308):
            fail_and_heal(scene, f"{status} ", Reply(status, {"location": f"{location}/{SECRET}"}))
        assert elsewhere.requests == []
    scene.program.end()
    assert len(scene.program.warnings) == 10
    assert SECRET not in "".join(scene.program.said)


def test_what_is_too_large_goes_in_parts(scene: Scene) -> None:
    """413 to a batch, and none to its halves."""
    scene.server.answer(Reply(413, {"content-type": "text/html"}, b"<h1>Request Entity Too Large</h1>"))
    scene.end_spans(COUNT, "large ")
    assert scene.flush(30_000)
    assert (scene.account.delivered, scene.account.rejected) == (COUNT, 0)
    assert scene.names == Counter(f"large {number}" for number in range(COUNT))
    assert len(scene.server.requests) == 3


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_refused_for_good(scene: Scene, status: int) -> None:
    """Each span is refused by itself, counted and shown, and the next ones are sent; it is said once."""
    good, scene.server.default = scene.server.default, Reply(status, body=b"never")
    scene.end_spans(COUNT, "refused ")
    assert scene.flush(30_000)
    assert (scene.account.delivered, scene.account.rejected, scene.account.pending) == (0, COUNT, 0)
    scene.server.default = good
    scene.end_spans(COUNT, "good ")
    assert scene.flush(30_000)
    assert (scene.account.delivered, scene.account.rejected, scene.account.pending) == (COUNT, COUNT, 0)
    scene.program.end()
    (said,) = scene.program.said
    assert f"HTTP {status}" in said


@pytest.mark.parametrize("kind", [BY_NAME["otlp"], BY_NAME["posthog"]], ids=lambda kind: kind.name)
def test_bad_answers_until_the_process_ends(kind: Kind, scene: Scene, spool_dir: Path) -> None:
    """What nobody mended in time is sent by the next process, and the exit says so in one line."""
    scene.server.default = Reply(401)
    scene.end_spans(COUNT, "left ")
    assert scene.program.end() == 0
    assert sum("callspan: kept 4 spans" in line for line in scene.program.said) == 1
    scene.server.default = kind.success
    env = {**kind.env(scene.server.url), "CALLSPAN_DESTINATIONS": kind.name}
    with driven(env=env):
        pass
    assert (scene.account.pending, scene.account.delivered) == (0, COUNT)


def sent_by_grpc(receiver: OtlpGrpcReceiver) -> Outcome:
    transport = OTLPDestination(receiver.endpoint, protocol=GRPC).connect()
    try:
        return transport.send(some_spans(2), 20.0)
    finally:
        transport.close()


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_of_grpc(otlp_grpc_receiver: OtlpGrpcReceiver, code: grpc.StatusCode) -> None:
    """Spans are given up only where the status says that it is them."""
    otlp_grpc_receiver.behave(GrpcStatus(code, "whatever"))
    outcome = sent_by_grpc(otlp_grpc_receiver)
    of_the_spans = code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DATA_LOSS)
    assert outcome.verdict in ({Verdict.REJECTED} if of_the_spans else {Verdict.RETRY, Verdict.HELD})
    assert code.name in outcome.reason


def test_an_answer_of_grpc_that_is_too_large(otlp_grpc_receiver: OtlpGrpcReceiver) -> None:
    """It is not read, and what was taken is not sent again in parts."""
    otlp_grpc_receiver.behave(PartialSuccess(0, "x" * (5 << 20)))
    assert sent_by_grpc(otlp_grpc_receiver).verdict is Verdict.DELIVERED
    assert len(otlp_grpc_receiver.spans) == 2
