"""What all presets are made of.

``OTEL_EXPORTER_OTLP_TIMEOUT`` holds for them too. The other ``OTEL_EXPORTER_OTLP_*`` are the ``otlp`` destination's:
its headers may be a key for somebody else, and the certificate of a collector would be the only one that is trusted.
Whom presets trust is the system's to say, by ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``.
"""

import base64
import sys
from collections.abc import Callable, Mapping
from typing import Final

from callspan_exporters._address import digest
from callspan_exporters._http import Advice
from callspan_exporters._rewriting import Rewriting
from callspan_exporters._variables import SettingError
from callspan_exporters.otlp import HTTP, OTLPDestination, timeout_of_environment

_SHOWN_OF_DIGEST: Final = 8
_TRACES: Final = "/v1/traces"

OfCall = Callable[[Mapping[str, str]], OTLPDestination]


def preset(
    kind: str,
    endpoint: str,
    headers: Mapping[str, str],
    *,
    account: str,
    address_variable: str,
    key_variable: str,
    protocol: str = HTTP,
    max_batch_size: int = sys.maxsize,
    rewriting: Rewriting | None = None,
    of_call: OfCall | None = None,
) -> OTLPDestination:
    """Return a vendor's destination.

    Args:
        kind: its name in ``CALLSPAN_DESTINATIONS``.
        endpoint: the URL that is posted to.
        headers: those with a value are sent.
        account: what decides in whose account spans land, no secret in it.
        address_variable: says where the vendor is.
        key_variable: holds the key.
        protocol: HTTP or gRPC.
        max_batch_size: how many spans the vendor takes at once.
        rewriting: what the vendor does not read from the conventions' attributes.
        of_call: makes the destination of a call with a credential of its own.

    Raises:
        SettingError: a header cannot be sent.
    """
    for value in headers.values():
        in_header(value, key_variable)
    return OTLPDestination(
        endpoint=endpoint,
        protocol=protocol,
        headers={header: value for header, value in headers.items() if value},
        compression="gzip",
        timeout_s=timeout_of_environment(),
        kind=kind,
        account=account,
        max_batch_size=max_batch_size,
        rewriting=rewriting,
        advice=Advice(
            endpoint=f"{address_variable} says where {kind} is",
            key=f"{key_variable} holds the key",
            certificate="SSL_CERT_FILE names what is trusted",
        ),
        of_call=of_call,
    )


def traces(base: str) -> str:
    """Return where spans are posted to, below a base address that may be that already."""
    return base if base.endswith(_TRACES) else f"{base.rstrip('/')}{_TRACES}"


def basic(user: str, password: str) -> str:
    """Return what an ``Authorization`` header of Basic authentication holds."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def in_header(value: str, variable: str) -> str:
    """Return what a header can hold.

    Raises:
        SettingError: it is not that.
    """
    if not value.isascii() or not value.isprintable():
        raise SettingError(f"{variable} goes into a header of HTTP: use plain ASCII, without line breaks")
    return value


def bearer(token: str) -> str:
    """Return what an ``Authorization`` header with a token holds; nothing where there is none."""
    return f"Bearer {token}" if token else ""


def account_of(*secrets: str, project: str = "") -> str:
    """Return what names an account where people and files may see it.

    Args:
        secrets: what decides whose it is; none where there is no key.
        project: in it, which is shown as it is.
    """
    shown = f"~{digest(*secrets)[:_SHOWN_OF_DIGEST]}" if any(secrets) else ""
    return f"{shown} {project}".strip()


def same_address_or_own_key(given: str, ours: str, key: str, *, address_name: str, key_name: str) -> None:
    """See that a key of ours goes to no address that a call names.

    Args:
        given: the address that the call names, empty where it names none.
        ours: that of the environment.
        key: what the call has, empty where it has none.
        address_name: what LiteLLM calls the address.
        key_name: what LiteLLM calls the key.

    Raises:
        SettingError: the call names another address and no key for it.
    """
    if given and given.rstrip("/") != ours.rstrip("/") and not key:
        raise SettingError(f"{address_name} names another address: it takes {key_name} as well, for ours stays here")
