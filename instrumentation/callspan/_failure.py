"""What a span says of an exception."""

import traceback
from collections.abc import Iterable
from dataclasses import dataclass

from opentelemetry.util.types import AttributeValue

from callspan import semconv
from callspan._redaction import redact

_LARGEST_MESSAGE = 4096
"""Characters of a message that are kept; some providers answer an error with a whole page of HTML."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as the conventions describe it, without credentials or unasked-for content.

    Attributes:
        error_type: value of ``error.type``: the exception's qualified name.
        message: its message.
        stacktrace: its traceback with those of its causes, as Python prints it.
        status_code: the HTTP status that the provider answered, if it did.
    """

    error_type: str
    message: str
    stacktrace: str | None = None
    status_code: int | None = None

    @property
    def span_attributes(self) -> dict[str, AttributeValue]:
        """Attributes for the span."""
        attributes: dict[str, AttributeValue] = {semconv.ERROR_TYPE: self.error_type}
        if self.status_code is not None:
            attributes[semconv.HTTP_RESPONSE_STATUS_CODE] = self.status_code
        return attributes

    @property
    def exception_attributes(self) -> dict[str, AttributeValue]:
        """Attributes for the ``exception`` event."""
        attributes: dict[str, AttributeValue] = {
            semconv.EXCEPTION_TYPE: self.error_type,
            semconv.EXCEPTION_MESSAGE: self.message,
        }
        if self.stacktrace is not None:
            attributes[semconv.EXCEPTION_STACKTRACE] = self.stacktrace
        return attributes


def describe_exception(error: BaseException, private: Iterable[str] = ()) -> Failure:
    """Describe ``error``; ``private`` values and anything that looks like a credential are redacted."""
    private = tuple(private)
    stacktrace = "".join(traceback.format_exception(error))
    return Failure(
        error_type=qualified_name(type(error)),
        message=redact(str(error)[:_LARGEST_MESSAGE], private),
        stacktrace=redact(stacktrace, private),
        status_code=_status_of(error),
    )


def _status_of(error: BaseException) -> int | None:
    # LiteLLM's own errors and the providers' say it themselves; those of the HTTP client, by their response.
    for owner in (error, getattr(error, "response", None)):
        status = getattr(owner, "status_code", None)
        if isinstance(status, int) and not isinstance(status, bool):
            return status
    return None


def qualified_name(exception_type: type[BaseException]) -> str:
    """The name for ``error.type`` and ``exception.type``: with its module, unless that is ``builtins``."""
    if exception_type.__module__ == "builtins":
        return exception_type.__qualname__
    return f"{exception_type.__module__}.{exception_type.__qualname__}"
