"""The OTLP destination: an OpenTelemetry Collector, or any backend that speaks its protocol.

Configured by ``OTEL_EXPORTER_OTLP_*`` as https://opentelemetry.io/docs/specs/otel/protocol/exporter/ says.
"""

import importlib
import logging
import os
import ssl
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.util.re import parse_env_headers

from callspan_exporters._address import address_without_secrets, host_of
from callspan_exporters._http import OTLP_ADVICE, Advice
from callspan_exporters._otlp_http import OtlpHttpTransport
from callspan_exporters._outcome import Transport
from callspan_exporters._rewriting import Rewriting

_logger = logging.getLogger(__name__)

HTTP: Final = "http/protobuf"
GRPC: Final = "grpc"
_DEFAULT_ENDPOINTS: Final = {HTTP: "http://localhost:4318", GRPC: "http://localhost:4317"}
_TRACES_PATH: Final = "v1/traces"
_DEFAULT_TIMEOUT_S: Final = 10.0
_LEAST_MILLISECONDS: Final = 1000.0
_COMPRESSIONS: Final = ("none", "gzip", "deflate")


@dataclass(frozen=True, slots=True)
class OTLPDestination:
    """Where spans go by OTLP, and how.

    Attributes:
        endpoint: for HTTP the URL that is posted to, as it is; for gRPC an URL of host and port.
        protocol: ``http/protobuf`` or ``grpc``.
        headers: sent with each request, such as keys; never stored, shown or logged.
        compression: ``none``, ``gzip`` or ``deflate``.
        timeout_s: how long one request may take, in seconds.
        certificate: file of the trusted certificates, None for the usual ones.
        client_certificate: file of our own certificate, where the endpoint asks for one.
        client_key: file of its key.
        credentials: a ``grpc.ChannelCredentials`` instead of the three files.
        channel_options: further options of the gRPC channel.
        kind: the name of the kind of destination, which its identity begins with.
        account: what distinguishes it from others at the same address, such as the digest of a key; no secret.
        max_batch_size: how many spans it takes at once.
        rewriting: what is added to spans for it, None where they are sent as they are stored.
        advice: what may mend what goes wrong, by the names of its settings.
        of_call: makes of the credential that one call has, by LiteLLM's names, the destination for that call's spans;
            None where a call cannot have one.
    """

    endpoint: str
    protocol: str = HTTP
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    compression: str = "none"
    timeout_s: float = _DEFAULT_TIMEOUT_S
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    credentials: Any = field(default=None, repr=False)
    channel_options: tuple[tuple[str, Any], ...] = ()
    kind: str = "otlp"
    account: str = ""
    max_batch_size: int = sys.maxsize
    rewriting: Rewriting | None = None
    advice: Advice = OTLP_ADVICE
    of_call: "Callable[[Mapping[str, str]], OTLPDestination] | None" = None

    def __post_init__(self) -> None:
        if self.protocol == GRPC:
            # Here, not in the sender's thread, which may be that of a forked child with somebody's import lock.
            importlib.import_module("callspan_exporters._grpc")

    @classmethod
    def from_environment(cls) -> "OTLPDestination":
        """Return the destination that the environment names. What it says wrongly is warned of and defaulted."""
        protocol = _protocol()
        return cls(
            endpoint=_endpoint(protocol),
            protocol=protocol,
            headers=parse_env_headers(_variable("HEADERS") or "", liberal=True),
            compression=_compression(),
            timeout_s=timeout_of_environment(),
            certificate=_variable("CERTIFICATE"),
            client_certificate=_variable("CLIENT_CERTIFICATE"),
            client_key=_variable("CLIENT_KEY"),
        )

    @property
    def identity(self) -> str:
        """What names it on disk and to people: the address without what may be secret in it."""
        if self.protocol == GRPC:
            parts = urlsplit(self.endpoint)
            address = f"{'grpc' if parts.scheme == 'http' else 'grpcs'}://{host_of(parts)}"
        else:
            address = address_without_secrets(self.endpoint)
        return f"{self.kind} {address} {self.account}".rstrip()

    @property
    def component_type(self) -> str:
        """What the conventions call an exporter like this."""
        return "otlp_grpc_span_exporter" if self.protocol == GRPC else "otlp_http_span_exporter"

    def force_flush(self, timeout_s: float) -> bool:  # noqa: ARG002
        """Do nothing: what was acknowledged has arrived."""
        return True

    def shutdown(self) -> None:
        """Do nothing: connections are the transport's."""

    def connect(self) -> Transport:
        """Return a way to it. Reads the certificates.

        Raises:
            OSError: a certificate cannot be read.
            ssl.SSLError: a certificate is none.
        """
        transport = self._plain_transport()
        return transport if self.rewriting is None else self.rewriting.before(transport)

    def _plain_transport(self) -> Transport:
        secure = urlsplit(self.endpoint).scheme == "https"
        if self.protocol == GRPC:
            from callspan_exporters._grpc import GrpcTransport  # noqa: PLC0415

            return GrpcTransport(
                urlsplit(self.endpoint).netloc,
                self.headers,
                self.compression,
                self._grpc_credentials() if secure else None,
                options=self.channel_options,
                advice=self.advice,
            )
        verify = self._tls_context() if secure else False
        return OtlpHttpTransport(self.endpoint, self.headers, self.compression, verify, self.advice)

    def _tls_context(self) -> ssl.SSLContext | bool:
        if self.certificate is None and self.client_certificate is None:
            return True
        for file in (self.certificate, self.client_certificate, self.client_key):
            if file is not None:
                Path(file).read_bytes()  # an error of ssl does not say which one is missing
        context = ssl.create_default_context(cafile=self.certificate)
        if self.client_certificate is not None:
            context.load_cert_chain(self.client_certificate, self.client_key)
        return context

    def _grpc_credentials(self) -> Any:
        if self.credentials is not None:
            return self.credentials
        from callspan_exporters._grpc import channel_credentials  # noqa: PLC0415

        return channel_credentials(self.certificate, self.client_key, self.client_certificate)


def endpoint_is_explicit() -> bool:
    """Tell whether the environment names an OTLP endpoint for traces."""
    return _variable("ENDPOINT") is not None


def _named(name: str) -> tuple[str, str | None]:
    """Return the variable for traces, or else the one for all signals, and its value.

    An empty one is unset, as the specification has it.
    """
    for variable in (f"OTEL_EXPORTER_OTLP_TRACES_{name}", f"OTEL_EXPORTER_OTLP_{name}"):
        if value := os.environ.get(variable, "").strip():
            return variable, value
    return f"OTEL_EXPORTER_OTLP_{name}", None


def _variable(name: str) -> str | None:
    return _named(name)[1]


def _protocol() -> str:
    variable, value = _named("PROTOCOL")
    protocol = (value or HTTP).lower()
    if protocol in _DEFAULT_ENDPOINTS:
        return protocol
    _logger.warning("%s=%r is not known here: %s is used, %s is the other", variable, protocol, HTTP, GRPC)
    return HTTP


def _endpoint(protocol: str) -> str:
    if protocol == GRPC:
        endpoint = _variable("ENDPOINT") or _DEFAULT_ENDPOINTS[GRPC]
        insecure = (_variable("INSECURE") or "").lower() == "true"
        # The scheme decides where there is one.
        return endpoint if "://" in endpoint else f"{'http' if insecure else 'https'}://{endpoint}"
    specific = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
    base = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip() or _DEFAULT_ENDPOINTS[HTTP]
    return specific or f"{base.rstrip('/')}/{_TRACES_PATH}"


def _compression() -> str:
    variable, value = _named("COMPRESSION")
    compression = (value or "none").lower()
    if compression in _COMPRESSIONS:
        return compression
    _logger.warning("%s=%r is not known: one of %s is", variable, compression, ", ".join(_COMPRESSIONS))
    return "none"


def timeout_of_environment() -> float:
    """Return how long ``OTEL_EXPORTER_OTLP_TIMEOUT`` lets a request take, in seconds.

    The specification has milliseconds, and OpenTelemetry's own exporters for Python read seconds. Both are in use, and
    nobody means a request to take less than a second, or more than a quarter of an hour.
    """
    variable, text = _named("TIMEOUT")
    try:
        value = float(text) if text is not None else _DEFAULT_TIMEOUT_S
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        _logger.warning("%s=%r is no time: %g seconds are used", variable, text, _DEFAULT_TIMEOUT_S)
        return _DEFAULT_TIMEOUT_S
    return value / 1000 if value >= _LEAST_MILLISECONDS else value
