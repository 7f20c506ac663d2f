"""Addresses as people and files may see them: without what may be a key in them."""

import hashlib
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

_LONGEST_WORD: Final = 15
_URL: Final = re.compile(r"\w+://[^\s'\"<>]+")


def address_without_secrets(endpoint: str) -> str:
    """Return an endpoint without user information, query, and segments of its path that may be keys.

    Args:
        endpoint: an URL, or host and port.

    Raises:
        ValueError: it is neither.
    """
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    scheme = f"{parts.scheme}://" if parts.scheme else ""
    return f"{scheme}{host_of(parts)}{'/'.join(_without_key(segment) for segment in parts.path.split('/'))}"


def address_or_none(endpoint: str) -> str:
    """Return the same, and for what is no address a text that says so."""
    try:
        return address_without_secrets(endpoint)
    except ValueError:
        return "(no address)"


def without_secrets(text: str) -> str:
    """Return what an error says, without what may be a key in the URLs that HTTP clients name in theirs."""
    return _URL.sub(lambda url: address_or_none(url[0]), text)


def host_of(parts: SplitResult) -> str:
    """Return host and port of an URL, without user and password."""
    return parts.netloc.rpartition("@")[2]


def digest(*secrets: str) -> str:
    """Return what names a credential where it must not be itself: on disk, in a log, on a span.

    Args:
        secrets: what it is made of, in an order that is always the same.
    """
    return hashlib.sha256("\0".join(secrets).encode()).hexdigest()[:16]


def _without_key(segment: str) -> str:
    """Return a segment of a path, or what stands for it where it may be a key: some backends have theirs there."""
    if len(segment) <= _LONGEST_WORD:
        return segment
    return f"~{hashlib.sha256(segment.encode()).hexdigest()[:8]}"
