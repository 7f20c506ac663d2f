"""Reading the variables that a destination is configured by, and saying what is wrong with them."""

import os
from urllib.parse import urlsplit


class SettingError(ValueError):
    """A destination cannot be used as it is configured. Says in one sentence which setting, and what mends it."""


def variable(*names: str, default: str = "") -> str:
    """Return the value of the first of some environment variables that is set to anything, without spaces around it.

    Args:
        names: in the order in which they count.
        default: where none is set.
    """
    for name in names:
        if value := os.environ.get(name, "").strip():
            return value
    return default


def required(*names: str, what: str) -> str:
    """Return the same, where there is no default.

    Args:
        names: in the order in which they count.
        what: it holds, for people: ``the API key of the project``.

    Raises:
        SettingError: none of them is set.
    """
    value = variable(*names)
    if not value:
        raise SettingError(f"{' or '.join(names)} is not set: it holds {what}")
    return value


def required_url(*names: str, default: str = "", what: str = "the address") -> str:
    """Return an URL without a slash at its end.

    Args:
        names: in the order in which they count.
        default: where none is set; nothing where one has to be.
        what: it holds, for people.

    Raises:
        SettingError: there is none, or what there is, is no URL of HTTP.
    """
    url = variable(*names, default=default) or required(*names, what=what)
    if not is_url(url):  # not its value, which may hold a key
        raise SettingError(f"{' or '.join(names)} is no URL: it holds {what}, such as https://host:port")
    return url.rstrip("/")


def is_url(text: str) -> bool:
    """Tell whether a text is an URL of HTTP."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
