"""One request by HTTP, and what its answer means, for every destination that is spoken to by it.

https://opentelemetry.io/docs/specs/otlp/#otlphttp-response says which answers may be retried; those of other APIs mean
the same, unless a destination says otherwise.
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
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Final

# httpx imports these at its first request. A sender's first request may be in a thread of a forked child, where an
# import lock that another thread held at the fork is never released.
import certifi
import httpcore
import httpx

from callspan_exporters._address import address_or_none
from callspan_exporters._deadline import Deadline
from callspan_exporters._outcome import Outcome, Verdict

IMPORTED_FOR_SENDERS: Final = (certifi, httpcore, encodings.idna)

_RETRIED: Final = frozenset({408, 425, 429, 502, 503, 504})
_REJECTED: Final = frozenset({400, 422})
_TOO_LARGE: Final = 413

_MAX_RETRY_AFTER_S: Final = 3600.0
_MAX_ANSWER: Final = 1 << 20  # bytes
_FASTEST: Final = 1  # of the levels of compression: the others cost far more than they save

_COMPRESSIONS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "gzip": lambda body: gzip.compress(body, _FASTEST),
    "deflate": lambda body: zlib.compress(body, _FASTEST),
}
_EITHER_HEADER: Final = 32 + zlib.MAX_WBITS  # gzip's or zlib's, whichever is there


@dataclass(frozen=True, slots=True)
class Advice:
    """What people are told to look at when a destination does not take spans, by the names of its settings.

    Attributes:
        endpoint: where nobody answers, or somebody else does.
        key: where a key is missing, wrong or not allowed to.
        certificate: where the other side's certificate is not trusted.
    """

    endpoint: str = "Is a collector listening there? OTEL_EXPORTER_OTLP_ENDPOINT says where"
    key: str = "OTEL_EXPORTER_OTLP_HEADERS holds the key"
    certificate: str = "OTEL_EXPORTER_OTLP_CERTIFICATE names what is trusted"

    def on(self, status: int) -> str:
        """Return what to look at for a status of HTTP."""
        if status in (401, 403, 407):
            return self.key
        return self.endpoint if status in (404, 405) or 300 <= status < 400 else ""  # noqa: PLR2004


OTLP_ADVICE: Final = Advice()


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


def _arrived(_body: bytes) -> Outcome:
    return Outcome(Verdict.DELIVERED)


class HttpClient:
    """Posts to one URL over kept-alive connections. Used by one thread at a time."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        content_type: str,
        compression: str = "none",
        verify: ssl.SSLContext | bool = True,
        advice: Advice = OTLP_ADVICE,
        accepted: Callable[[bytes], Outcome] = _arrived,
    ) -> None:
        """Prepare the client; nothing is connected yet.

        Args:
            url: to post to, as it is. A redirect is not followed, so that keys go nowhere else.
            headers: sent with each request.
            content_type: of what is posted.
            compression: ``gzip``, ``deflate`` or ``none``.
            verify: trusted certificates and our own.
            advice: what may mend what goes wrong.
            accepted: what the body of a 2xx answer means, of which it is given the first megabyte.
        """
        self._url = url
        self._compress = _COMPRESSIONS.get(compression)
        self._advice = advice
        self._accepted = accepted
        # No other encoding: an answer is read as far as it is of use, and httpx unpacks whole what was packed.
        fixed = {"content-type": content_type, "user-agent": "callspan", "accept-encoding": "gzip"}
        if self._compress is not None:
            fixed["content-encoding"] = compression
        self._deadline = Deadline()
        self._client = httpx.Client(headers={**fixed, **headers}, verify=verify, follow_redirects=False)

    def post(self, body: bytes, timeout_s: float, headers: Mapping[str, str] | None = None) -> Outcome:
        """Post one body. Never raises for what the other side does.

        Args:
            body: not compressed yet.
            timeout_s: bounds the connecting, and then all that is written and read as a whole.
            headers: of this request alone.
        """
        try:
            content = self._compress(body) if self._compress is not None else body
            extensions = dict(self._deadline.begin(timeout_s))
            request = self._client.build_request(
                "POST", self._url, content=content, timeout=timeout_s, headers=headers, extensions=extensions
            )
            with _not_ours.quiet(), contextlib.closing(self._client.send(request, stream=True)) as response:
                return self._outcome(response)
        except httpx.ConnectTimeout:
            return Outcome(Verdict.RETRY, "no connection in time", reached=False, fix=self._advice.endpoint)
        except httpx.TimeoutException:
            return Outcome(Verdict.RETRY, "no answer in time", reached=False)
        except httpx.LocalProtocolError:
            # Not what it says: that would be the header, and thereby a key.
            return Outcome(Verdict.HELD, "a header that HTTP does not allow", reached=False, fix=self._advice.key)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            return Outcome(Verdict.HELD, described(error), reached=False, fix=self._advice.endpoint)
        except (httpx.HTTPError, OSError) as error:
            return self._interrupted(error)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _outcome(self, response: httpx.Response) -> Outcome:
        status = response.status_code
        reason = f"HTTP {status} {response.reason_phrase}".rstrip()
        if response.is_success:
            if _is_page(response):
                return Outcome(Verdict.HELD, f"{reason}, but with a web page", fix=self._advice.endpoint)
            return self._accepted(_read(response))
        if status == _TOO_LARGE:
            return Outcome(Verdict.TOO_LARGE, reason)
        if status in _REJECTED:
            return Outcome(Verdict.REJECTED, reason)
        if response.has_redirect_location:
            reason += f", to {address_or_none(response.headers['location'])}"
        retry_after_s = _retry_after_s(response.headers.get("retry-after"))
        verdict = Verdict.RETRY if status in _RETRIED else Verdict.HELD
        return Outcome(verdict, reason, retry_after_s=retry_after_s, fix=self._advice.on(status))

    def _interrupted(self, error: Exception) -> Outcome:
        cause = _cause(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = f"its certificate is not trusted: {cause.verify_message}"
            return Outcome(Verdict.HELD, reason, reached=False, fix=self._advice.certificate)
        if isinstance(cause, ssl.SSLError):
            return Outcome(Verdict.HELD, f"no TLS with it: {described(error)}", reached=False)
        # A connection that breaks may be one that was kept alive too long: another attempt may be all it takes.
        down = isinstance(error, httpx.ConnectError)
        return Outcome(Verdict.RETRY, described(error), reached=not down, fix=self._advice.endpoint if down else "")


def _is_page(response: httpx.Response) -> bool:
    """Tell whether somebody answers who is no API: a login page, a proxy, a web application that takes every path."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/html"


def _read(response: httpx.Response) -> bytes:
    """Return the body, as far as an answer to us can reach: a megabyte, unpacked."""
    packed = response.headers.get("content-encoding", "identity").strip().lower()
    if packed not in ("identity", "gzip", "deflate"):
        return b""  # it was not asked for, and what it says of a request that succeeded is not worth more
    body = b""
    for part in response.iter_raw():
        body += part
        if len(body) > _MAX_ANSWER:
            break
    return body if packed == "identity" else _unpacked(body)


def _unpacked(body: bytes) -> bytes:
    try:
        return zlib.decompressobj(_EITHER_HEADER).decompress(body, _MAX_ANSWER)
    except zlib.error:
        return b""


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
