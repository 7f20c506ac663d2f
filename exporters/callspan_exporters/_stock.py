"""Stock processors with stock OTLP exporters: what they are set to, so that one of ours can take their place.

Their settings are private attributes, which versions of the SDK keep in different places. What cannot be found, or
cannot be carried over, leaves the stock processor where it is.
"""

# ruff: noqa: SLF001  that is what this module is about
# pyright: reportPrivateUsage=false

import os
from collections.abc import Iterable
from typing import Any, Final, cast
from urllib.parse import urlsplit

from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from callspan_exporters.otlp import GRPC, HTTP, OTLPDestination

# By name, and exactly: a subclass does something that ours does not. Importing them to compare would cost.
_HTTP_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http.trace_exporter.OTLPSpanExporter"
_GRPC_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter.OTLPSpanExporter"
_OUR_HEADERS: Final = frozenset({"content-type", "user-agent", "content-encoding"})
_SESSION_HEADERS: Final = _OUR_HEADERS | {"accept-encoding", "accept", "connection"}


class NotCarriedOverError(Exception):
    """A stock exporter has a setting that ours has no counterpart for. Says which."""


def stock_exporter(processor: SpanProcessor) -> Any:
    """Return the stock OTLP exporter that a stock processor sends to, None where either is something else."""
    if type(processor) not in (BatchSpanProcessor, SimpleSpanProcessor):
        return None
    exporter: Any = getattr(processor, "span_exporter", None)
    return exporter if is_stock(exporter) else None


def is_stock(exporter: Any) -> bool:
    """Tell whether an exporter is exactly a stock OTLP exporter, by HTTP or gRPC."""
    return _name(exporter) in (_HTTP_EXPORTER, _GRPC_EXPORTER)


def destination_of(exporter: Any) -> OTLPDestination:
    """Return a destination with a stock exporter's settings.

    Raises:
        NotCarriedOverError: there is one that ours has no counterpart for, or one is not where it used to be.
    """
    try:
        return _of_grpc(exporter) if _name(exporter) == _GRPC_EXPORTER else _of_http(exporter)
    except (AttributeError, TypeError, ValueError) as error:
        raise NotCarriedOverError(f"this version keeps its settings elsewhere: {error}") from error


def _name(exporter: Any) -> str:
    return f"{type(exporter).__module__}.{type(exporter).__qualname__}"


def _of_http(exporter: Any) -> OTLPDestination:
    # Recent versions keep these in a client, which has a transport, older ones in the exporter itself.
    client: Any = getattr(exporter, "_client", exporter)
    session: Any = getattr(client, "_transport", exporter)._session
    headers: dict[str, str] = dict(client._headers)
    _check_session(session, headers)
    if client is exporter:
        verify, own = exporter._certificate_file, exporter._client_cert
    else:
        verify, own = session.verify, session.cert
    if verify is False:
        raise NotCarriedOverError("it does not verify certificates")
    files = cast("tuple[str | None, ...]", own if isinstance(own, tuple) else (own, None))
    return OTLPDestination(
        endpoint=exporter._endpoint,
        protocol=HTTP,
        headers={name: value for name, value in headers.items() if name.lower() not in _OUR_HEADERS},
        compression=_compression(exporter._compression),
        timeout_s=float(client._timeout),
        certificate=verify if isinstance(verify, str) else _trusted_by_requests(),
        client_certificate=files[0],
        client_key=files[1],
    )


def _check_session(session: Any, headers: Iterable[str]) -> None:
    """Refuse a session that somebody has prepared, with an authentication or an adapter of their own."""
    known = _SESSION_HEADERS.union(header.lower() for header in headers)
    if (
        f"{type(session).__module__}.{type(session).__qualname__}" != "requests.sessions.Session"
        or session.auth is not None
        or session.proxies
        or session.params
        or any(session.hooks.values())
        or any(type(adapter).__module__ != "requests.adapters" for adapter in session.adapters.values())
        or not known.issuperset(header.lower() for header in session.headers)
    ):
        raise NotCarriedOverError("it has a requests session of its own")


def _trusted_by_requests() -> str | None:
    """Return what requests trusts and httpx does not know of."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or None


def _of_grpc(exporter: Any) -> OTLPDestination:
    target: str = exporter._endpoint
    insecure: bool = exporter._insecure
    target = urlsplit(target).netloc if "://" in target else target
    headers: Any = exporter._headers or ()
    return OTLPDestination(
        endpoint=f"{'http' if insecure else 'https'}://{target}",
        protocol=GRPC,
        headers={str(key): str(value) for key, value in headers if key.lower() != "user-agent"},
        compression=_compression(exporter._compression),
        timeout_s=float(exporter._timeout),
        credentials=None if insecure else exporter._credentials,
        channel_options=tuple(getattr(exporter, "_channel_options", None) or ()),
    )


def _compression(compression: Any) -> str:
    """Return the name of a compression, of gRPC's or of the HTTP exporter's enumeration."""
    name = str(getattr(compression, "name", None) or "none").lower()
    return name if name in ("gzip", "deflate") else "none"
