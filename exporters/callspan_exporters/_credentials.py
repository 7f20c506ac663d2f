"""Credentials that single calls carry: in memory only, by the digest that stands for them on spans and on disk.

LiteLLM's users give a call the key of whom it is made for (``langfuse_public_key``, ``posthog_api_key``). The span has
the digest in an attribute, ``callspan.credential.<kind of destination>``, and the key is known to processes that have
made such a call.
"""

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span
from opentelemetry.trace import get_current_span

from callspan import semconv

_MOST: Final = 10_000
"""Credentials that are remembered, the ones used last."""


class Credentials:
    """What this process knows. Safe to use from any thread; a forked child knows what its parent did."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], Mapping[str, str]] = OrderedDict()
        self.after_fork_in_child()

    def remember(self, kind: str, digest: str, values: Mapping[str, str]) -> None:
        """Know a credential from now on.

        Args:
            kind: of destination that it is for, such as ``langfuse``.
            digest: what stands for it.
            values: it, by the names that LiteLLM has for its parts.
        """
        with self._lock:
            self._known[kind, digest] = dict(values)
            self._known.move_to_end((kind, digest))
            if len(self._known) > _MOST:
                self._known.popitem(last=False)

    def find(self, kind: str, digest: str) -> Mapping[str, str] | None:
        """Return a credential, None where this process does not know it."""
        return self._known.get((kind, digest))

    def known(self, kind: str) -> list[str]:
        """Return the digests of all that are known for a kind of destination."""
        with self._lock:
            return [digest for of, digest in self._known if of == kind]

    def __bool__(self) -> bool:
        return bool(self._known)

    def after_fork_in_child(self) -> None:
        """Begin with a lock that nobody holds."""
        self._lock = threading.Lock()


credentials: Final = Credentials()
os.register_at_fork(after_in_child=credentials.after_fork_in_child)


def inherit(span: Span, parent_context: Context | None) -> None:
    """Have a span go where the call goes that it is part of, whoever starts it. Never raises.

    Args:
        span: that has just started.
        parent_context: it was started in.
    """
    if not credentials:  # in nearly all programs, and then it costs nothing
        return
    with contextlib.suppress(Exception):  # a span of somebody else's
        parent: Any = get_current_span(parent_context)
        own = span.attributes or {}
        for key, value in parent.attributes.copy().items():
            if key.startswith(semconv.CALLSPAN_CREDENTIAL_PREFIX) and key not in own:
                span.set_attribute(key, value)
