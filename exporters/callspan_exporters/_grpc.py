"""OTLP over gRPC: the same bytes by another way. Imported only where gRPC is configured, for grpc takes a while."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from callspan_exporters import _grpc_calls  # isort: skip  # before gRPC
import grpc
from google.rpc.error_details_pb2 import RetryInfo

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import frame_request
from callspan_exporters._http import OTLP_ADVICE, Advice
from callspan_exporters._otlp_http import partial, unless_unreadable
from callspan_exporters._outcome import Outcome, Verdict

# The first channel imports these otherwise, in a sender's thread: see _http.
IMPORTED_FOR_SENDERS: Final = tuple(map(importlib.import_module, ("grpc.experimental", "grpc._channel")))

_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_RETRY_INFO: Final = "google.rpc.retryinfo-bin"

_REJECTED: Final = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DATA_LOSS})
_RETRIED: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNKNOWN,
    }
)
_OF_OURS: Final = "CLIENT:"
_OF_KEYS: Final = frozenset({grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED})
_OPTIONS: Final = (
    ("grpc.max_send_message_length", -1),
    # We wait ourselves; by default a channel refuses for up to two minutes to look whether the server is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class GrpcTransport:
    """Calls ``TraceService/Export`` with stored bytes."""

    def __init__(
        self,
        target: str,
        metadata: Mapping[str, str],
        compression: str,
        credentials: grpc.ChannelCredentials | None,
        *,
        options: Sequence[tuple[str, Any]] = (),
        advice: Advice = OTLP_ADVICE,
    ) -> None:
        """Prepare the channel; nothing is connected yet.

        Args:
            target: host and port.
            metadata: sent with each call.
            compression: ``gzip``, ``deflate`` or ``none``.
            credentials: for TLS; None is without.
            options: of the channel, before ours.
            advice: what may mend what goes wrong.
        """
        compressions = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
        chosen = compressions.get(compression, grpc.Compression.NoCompression)
        all_options = [*options, *_OPTIONS]
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options=all_options, compression=chosen)
        else:
            self._channel = grpc.secure_channel(target, credentials, options=all_options, compression=chosen)
        self._advice = advice
        self._metadata = tuple((key.lower(), value) for key, value in metadata.items())
        self._export: Any = self._channel.unary_unary(_EXPORT)

    def send(self, spans: Sequence[EncodedSpan], timeout_s: float) -> Outcome:
        """Make one call."""
        try:
            answer = self._call(frame_request(spans), timeout_s)
        except grpc.FutureCancelledError:
            return Outcome(Verdict.RETRY, "interrupted by a fork")
        except grpc.RpcError as error:
            return unless_unreadable(_failure(error, self._advice), spans)
        except ValueError:
            # Not what it says: that would be the metadata, and thereby a key.
            return Outcome(Verdict.HELD, "a header that gRPC does not allow", reached=False, fix=self._advice.key)
        return partial(answer)

    def _call(self, request: bytes, timeout_s: float) -> bytes:
        if _grpc_calls.can_be_cancelled():
            return _grpc_calls.made(lambda: self._export.future(request, timeout=timeout_s, metadata=self._metadata))
        return self._export(request, timeout=timeout_s, metadata=self._metadata)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _failure(error: Any, advice: Advice) -> Outcome:
    code: grpc.StatusCode = error.code()
    details: str = error.details() or ""
    reason = f"gRPC {code.name}: {details}" if details else f"gRPC {code.name}"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:
        if _OF_OURS in details:  # the answer, not the request: a message is only sent to what was taken
            return Outcome(Verdict.DELIVERED)
        return Outcome(Verdict.TOO_LARGE, reason)
    if code in _REJECTED:
        return Outcome(Verdict.REJECTED, reason)
    if code not in _RETRIED:
        fix = advice.key if code in _OF_KEYS else advice.endpoint if code is grpc.StatusCode.UNIMPLEMENTED else ""
        return Outcome(Verdict.HELD, reason, fix=fix)
    if code is grpc.StatusCode.UNAVAILABLE and "onnect" in details:
        return Outcome(Verdict.RETRY, _short(details), reached=False, fix=advice.endpoint)
    reached = code is not grpc.StatusCode.DEADLINE_EXCEEDED
    return Outcome(Verdict.RETRY, reason, reached=reached, retry_after_s=_retry_after_s(error))


def _short(details: str) -> str:
    """Return what people can use of gRPC's account of every address it tried."""
    return "connection refused" if "onnection refused" in details else details.rpartition("; ")[2]


def _retry_after_s(error: Any) -> float | None:
    for key, value in error.trailing_metadata() or ():
        if key == _RETRY_INFO:
            delay = RetryInfo.FromString(value).retry_delay
            return delay.seconds + delay.nanos / 1e9
    return None


def channel_credentials(
    certificate: str | None, client_key: str | None, client_certificate: str | None
) -> grpc.ChannelCredentials:
    """Return credentials for TLS by the files that hold them.

    Raises:
        OSError: one cannot be read.
    """
    return grpc.ssl_channel_credentials(_content(certificate), _content(client_key), _content(client_certificate))


def _content(path: str | None) -> bytes | None:
    return Path(path).read_bytes() if path is not None else None
