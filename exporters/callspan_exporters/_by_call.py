"""Spans whose calls carry a credential of their own: whose they are, and the way to that account."""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry.proto.trace.v1 import trace_pb2

from callspan import semconv
from callspan_exporters._credentials import Credentials
from callspan_exporters._outcome import OF_CALL, Destination, Transport
from callspan_exporters._spool import StoredSpan
from callspan_exporters._variables import SettingError

_logger = logging.getLogger(__name__)

_MOST_DESTINATIONS: Final = 1024
_MOST_WAYS: Final = 64  # connections to accounts that are kept open

OWN: Final = ""
"""Stands for the destination's own account among the digests."""


class AccountOfCall:
    """A destination for the spans of calls with one credential, under the name that they wait by."""

    of_call: Final = None

    def __init__(self, destination: Destination, identity: str) -> None:
        self._destination = destination
        self._identity = identity

    @property
    def identity(self) -> str:
        return self._identity

    @property
    def timeout_s(self) -> float:
        return self._destination.timeout_s

    @property
    def component_type(self) -> str:
        return self._destination.component_type

    def connect(self) -> Transport:
        return self._destination.connect()

    def force_flush(self, timeout_s: float) -> bool:
        return self._destination.force_flush(timeout_s)

    def shutdown(self) -> None:
        self._destination.shutdown()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._destination, name)


class ByCall:
    """Tells the spans of one destination apart by the credential of their call. Used by one thread at a time."""

    def __init__(self, destination: Destination, credentials: Credentials) -> None:
        """Open nothing yet.

        Args:
            destination: has a ``kind`` and an ``of_call``, where it can tell accounts apart.
            credentials: those that are known.
        """
        self._destination = destination
        self._credentials = credentials
        of_call: Callable[[Mapping[str, str]], Destination] | None = getattr(destination, "of_call", None)
        self._of_call = of_call
        # PostHog has two ways in, and one kind of key.
        self._kind = str(getattr(destination, "kind", "")).partition("-")[0]
        self._key = f"{semconv.CALLSPAN_CREDENTIAL_PREFIX}{self._kind}"
        self._needle = self._key.encode()
        self._ways: OrderedDict[str, Transport] = OrderedDict()
        # By digest, which stands for all that they are made of; one that was not enough once may be completed later.
        self._destinations: dict[str, Destination] = {}
        self._said: set[str] = set()

    @property
    def applies(self) -> bool:
        """Whether the destination tells accounts apart."""
        return self._of_call is not None

    def grouped(self, batch: Sequence[StoredSpan]) -> dict[str, list[StoredSpan]]:
        """Return spans by the digests of their credentials, those of the destination's own account first."""
        groups: dict[str, list[StoredSpan]] = {OWN: []}
        for span in batch:
            groups.setdefault(self._digest_of(span), []).append(span)
        return {digest: spans for digest, spans in groups.items() if spans}

    def destination(self, digest: str) -> Destination | None:
        """Return where the spans of a credential go, None where this process does not know it, or it is not enough."""
        if (known := self._destinations.get(digest)) is not None:
            return known
        values = self._credentials.find(self._kind, digest)
        if values is None or self._of_call is None:
            return None
        try:
            made = AccountOfCall(self._of_call(values), self.identity(digest))
        except SettingError as error:
            if digest not in self._said:
                self._said.add(digest)
                _logger.warning("%s: calls carry a credential that is not enough: %s", self.identity(digest), error)
        except Exception as error:  # noqa: BLE001  somebody else's kind
            _logger.debug("%s failed: %s", self.identity(digest), type(error).__name__)
        else:
            if len(self._destinations) >= _MOST_DESTINATIONS:
                self._destinations.clear()
            self._destinations[digest] = made
            return made
        return None

    def identity(self, digest: str) -> str:
        """Return what names the account of a credential on disk and to people."""
        return f"{self._destination.identity}{OF_CALL}{digest}"

    def has_address_of(self, account: Destination) -> bool:
        """Tell whether an account is where the destination is."""
        return _host(account) == _host(self._destination)

    def known(self) -> list[str]:
        """Return the digests of the credentials that this process knows for the destination."""
        return self._credentials.known(self._kind) if self.applies else []

    def connect(self, digest: str, destination: Destination) -> Transport:
        """Return a way to an account, the one from before if there is one.

        Raises:
            Exception: what is configured cannot work.
        """
        way = self._ways.pop(digest, None)
        self._ways[digest] = way = destination.connect() if way is None else way
        while len(self._ways) > _MOST_WAYS:
            self._ways.popitem(last=False)[1].close()
        return way

    def close(self) -> None:
        """Close all ways."""
        while self._ways:
            self._ways.popitem()[1].close()

    def abandon(self) -> list[Transport]:
        """Forget all ways without closing them, as a forked child has to; they are the parent's."""
        ways, self._ways = list(self._ways.values()), OrderedDict()
        return ways

    def _digest_of(self, span: StoredSpan) -> str:
        if self._needle not in span.encoded.span:  # nearly always: nothing is decoded for it
            return OWN
        try:
            attributes = trace_pb2.Span.FromString(span.encoded.span).attributes
        except Exception:  # noqa: BLE001  whatever is wrong with it, its destination will say
            return OWN
        return next((each.value.string_value for each in attributes if each.key == self._key), OWN)


def _host(destination: Destination) -> str:
    return urlsplit(str(getattr(destination, "endpoint", "") or getattr(destination, "host", ""))).netloc
