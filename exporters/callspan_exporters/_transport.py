"""OTLP over HTTP: one request of stored bytes, and what its answer means.

https://opentelemetry.io/docs/specs/otlp/#otlphttp-response says which answers may be retried.
"""

import contextlib
import email.utils
import encodings.idna
import gzip
import logging
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Final

# httpx imports these at its first request. A sender's first request may be in a thread of a forked child, where an
# import lock that another thread held at the fork is never released.
import certifi
import httpcore
import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import frame_request
from callspan_exporters._outcome import Outcome, Verdict

IMPORTED_FOR_SENDERS: Final = (certifi, httpcore, encodings.idna)

_RETRIED: Final = frozenset({408, 429, 502, 503, 504})
_REJECTED: Final = frozenset({400, 422})
_TOO_LARGE: Final = 413

# What people are told to look at, by the variables that most have set.
CHECK_ENDPOINT: Final = "Is a collector listening there? OTEL_EXPORTER_OTLP_ENDPOINT says where"
CHECK_HEADERS: Final = "OTEL_EXPORTER_OTLP_HEADERS holds the key"
_FIXES: Final = {401: CHECK_HEADERS, 403: CHECK_HEADERS, 404: CHECK_ENDPOINT, 405: CHECK_ENDPOINT}

_MAX_RETRY_AFTER_S: Final = 3600.0
_FASTEST: Final = 1  # of the levels of compression: the others cost far more than they save

_COMPRESSIONS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": lambda body: gzip.compress(body, _FASTEST),
    "deflate": lambda body: zlib.compress(body, _FASTEST),
}


class _NotOurs(logging.Filter):
    """Keeps our own requests out of the application's log, where httpx reports each one as information."""

    def __init__(self) -> None:
        super().__init__()
        self._here = threading.local()

    @contextlib.contextmanager
    def quiet(self) -> Generator[None, None, None]:
        """Let nothing through that this thread logs meanwhile."""
        self._here.ours = True
        try:
            yield
        finally:
            self._here.ours = False

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002  # which thread it is from is enough
        """Let a record through, unless it is ours."""
        return not getattr(self._here, "ours", False)


_not_ours = _NotOurs()
logging.getLogger("httpx").addFilter(_not_ours)


class HttpTransport:
    """Posts batches to one URL over kept-alive connections."""

    def __init__(self, url: str, headers: Mapping[str, str], compression: str, verify: ssl.SSLContext | bool) -> None:
        """Prepare the client; nothing is connected yet.

        Args:
            url: to post to, as it is.
            headers: sent with each request.
            compression: ``gzip``, ``deflate`` or ``none``.
            verify: trusted certificates and our own.
        """
        self._url = url
        self._compress = _COMPRESSIONS.get(compression)
        fixed = {"content-type": "application/x-protobuf", "user-agent": "callspan"}
        if self._compress is not None:
            fixed["content-encoding"] = compression
        self._client = httpx.Client(headers={**fixed, **headers}, verify=verify, follow_redirects=False)

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
        """Post one batch.

        ``timeout_s`` bounds the connecting, each write and read, and the body as a whole: who sends headers byte by
        byte can take longer, in a thread that nobody waits for beyond a flush's time.
        """
        deadline = time.monotonic() + timeout_s
        try:
            body = frame_request(spans)
            content = self._compress(body) if self._compress is not None else body
            with (
                _not_ours.quiet(),
                self._client.stream("POST", self._url, content=content, timeout=timeout_s) as response,
            ):
                return _outcome(response, _read(response, deadline))
        except httpx.ConnectTimeout:
            return Outcome(Verdict.RETRY, "no connection in time", reached=False, fix=CHECK_ENDPOINT)
        except httpx.TimeoutException:
            return Outcome(Verdict.RETRY, "no answer in time", reached=False)
        except httpx.LocalProtocolError:
            # Not what it says: that would be the header, and thereby a key.
            return Outcome(Verdict.HELD, "a header that HTTP does not allow", reached=False, fix=CHECK_HEADERS)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            return Outcome(Verdict.HELD, described(error), reached=False, fix=CHECK_ENDPOINT)
        except (httpx.HTTPError, OSError) as error:
            return _interrupted(error)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _interrupted(error: Exception) -> Outcome:
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = f"its certificate is not trusted: {cause.verify_message}"
        return Outcome(Verdict.HELD, reason, reached=False, fix="OTEL_EXPORTER_OTLP_CERTIFICATE names what is trusted")
    if isinstance(cause, ssl.SSLError):
        return Outcome(Verdict.HELD, f"no TLS with it: {described(error)}", reached=False)
    # A connection that breaks may be one that was kept alive too long: another attempt may be all it takes.
    down = isinstance(error, httpx.ConnectError)
    return Outcome(Verdict.RETRY, described(error), reached=not down, fix=CHECK_ENDPOINT if down else "")


def _read(response: httpx.Response, deadline: float) -> bytes:
    """Return the body, as far as an answer to us can reach: a megabyte, until the deadline."""
    body = b""
    for part in response.iter_bytes():
        body += part
        if len(body) > 1 << 20:
            break
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the answer took too long")
    return body


def _outcome(response: httpx.Response, body: bytes) -> Outcome:
    status = response.status_code
    reason = f"HTTP {status} {response.reason_phrase}".rstrip()
    if response.is_success:
        return _delivered(body)
    if status == _TOO_LARGE:
        return Outcome(Verdict.TOO_LARGE, reason)
    if status in _REJECTED:
        return Outcome(Verdict.REJECTED, reason)
    retry_after_s = _retry_after_s(response.headers.get("retry-after"))
    verdict = Verdict.RETRY if status in _RETRIED else Verdict.HELD
    return Outcome(verdict, reason, retry_after_s=retry_after_s, fix=_FIXES.get(status, ""))


def _delivered(body: bytes) -> Outcome:
    return partial(body) if body else Outcome(Verdict.DELIVERED)


def partial(body: bytes) -> Outcome:
    """Return the outcome of a request that an ``ExportTraceServiceResponse`` answered."""
    try:
        success = ExportTraceServiceResponse.FromString(body).partial_success
    except Exception:  # noqa: BLE001  some answer with JSON or text; it arrived all the same
        return Outcome(Verdict.DELIVERED)
    return Outcome(Verdict.DELIVERED, success.error_message, refused=max(0, success.rejected_spans))


def _retry_after_s(value: str | None) -> float | None:
    """Return the seconds in a ``Retry-After`` header, which holds a number of them or a date (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(0.0, seconds), _MAX_RETRY_AFTER_S) if seconds == seconds else None  # noqa: PLR0124  not a number


def described(error: Exception) -> str:
    """Return what went wrong, in few words."""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return cause.reason.replace("_", " ").lower()
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower() + (f": {cause.filename}" if cause.filename else "")
    return str(cause) or type(cause).__name__


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or error.__context__ or error
    return error
