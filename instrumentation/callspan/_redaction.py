"""Keeps credentials and unasked-for content out of text that others wrote: exception messages and tracebacks."""

import re
from collections.abc import Iterable
from typing import Final

_REDACTED: Final = "[redacted]"

# A value shorter than this is no credential and no prompt worth the name; replacing it everywhere would garble text.
_SHORTEST: Final = 6

_CREDENTIALS: Final = re.compile(
    r"""
      (?P<scheme>\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}
    | (?P<name>["']?(?:authorization|proxy-authorization|[\w-]*api[-_]?key|x-goog-api-key|secret[-_]?access[-_]?key
        |session[-_]?token|access[-_]?token)["']?\s*[:=]\s*["']?)(?:(?:bearer|basic)\s+)?[^\s"',;}&)\[]{4,}
    | \b(?:sk|pk|rk|gsk|xai|hf|phc|phx|lsv2|ls__)[-_][A-Za-z0-9*_-]{8,}
    | \bAKIA[0-9A-Z]{12,} | \bAIza[0-9A-Za-z_-]{20,} | \beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9._-]{10,}
    """,
    re.IGNORECASE | re.VERBOSE,
)


def redact(text: str, private: Iterable[str] = ()) -> str:
    """Return ``text`` without credentials and without the ``private`` values.

    Args:
        text: what a library or a provider wrote.
        private: exact values that must not appear: the call's own keys and, unless content is captured, its prompts.
            The longest go first, so that a value inside another leaves no remainder.
    """
    for value in sorted({value for value in private if len(value) >= _SHORTEST}, key=len, reverse=True):
        # repr() is how values appear inside other libraries' messages
        for form in (value, repr(value)[1:-1]):
            text = text.replace(form, _REDACTED)
    return _CREDENTIALS.sub(lambda m: f"{m['scheme'] or m['name'] or ''}{_REDACTED}", text)
