"""Callbacks that are registered with LiteLLM: which delivery each is to have."""

import weakref
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeVar, get_args

from callspan._litellm.untyped import as_items

LoggerDelivery = Literal["background", "blocking"]

L = TypeVar("L")

_LISTS: Final = (
    "callbacks",
    "success_callback",
    "failure_callback",
    "_async_success_callback",
    "_async_failure_callback",
)
_LISTS_OF_CALL: Final = (
    "dynamic_success_callbacks",
    "dynamic_async_success_callbacks",
    "dynamic_failure_callbacks",
    "dynamic_async_failure_callbacks",
)

_chosen: "weakref.WeakKeyDictionary[Any, LoggerDelivery]" = weakref.WeakKeyDictionary()


def litellm_callback(logger: L, *, delivery: LoggerDelivery = "blocking") -> L:
    """Choose the delivery of one callback that is registered with LiteLLM.

        >>> litellm.callbacks = [callspan.litellm_callback(AuditLogger(), delivery="blocking")]

    A call's handler of LiteLLM's runs its callbacks one after another, so all callbacks of a call wait with the one.

    Args:
        logger: a ``CustomLogger``, or a function.
        delivery: ``blocking``: done before a call returns; ``background``: after it.

    Returns:
        The logger.

    Raises:
        ValueError: there is no such delivery.
        TypeError: ``logger`` is a name, or something else that cannot be told apart from others like it.
    """
    check_delivery(delivery, "delivery")
    try:
        _chosen[logger] = delivery
    except TypeError:
        raise TypeError(
            f"logger={logger!r} cannot have a delivery of its own: give the logger itself, or choose for all by "
            "callspan.instrument(litellm_callbacks=...)"
        ) from None
    return logger


def check_delivery(delivery: object, setting: str) -> None:
    """See that LiteLLM's callbacks can have a delivery.

    Raises:
        ValueError: they cannot.
    """
    if delivery not in get_args(LoggerDelivery):
        raise ValueError(
            f"{setting}={delivery!r}: callbacks registered with LiteLLM can be "
            f"{' or '.join(map(repr, get_args(LoggerDelivery)))}; callspan's own can be durable too"
        )


def any_chosen() -> bool:
    """Whether a callback has a delivery of its own."""
    return bool(_chosen)


def delivery_of(call: object, default: LoggerDelivery) -> LoggerDelivery:
    """The delivery of a call's callbacks: ``blocking`` as soon as one of them is.

    Args:
        call: LiteLLM's logging object of the call.
        default: what those have for which none was chosen.
    """
    deliveries = {_of(logger, default) for logger in callbacks_of(call)}
    return "blocking" if "blocking" in deliveries or (not deliveries and default == "blocking") else "background"


def _of(logger: object, default: LoggerDelivery) -> LoggerDelivery:
    try:
        return _chosen.get(logger, default)
    except TypeError:  # a name
        return default


def callbacks_of(call: object) -> Iterator[Any]:
    """Whatever is registered with LiteLLM, for all calls or for this one."""
    import litellm  # noqa: PLC0415  # a call is under way, so it is imported; we never import it first

    for name in _LISTS:
        yield from as_items(getattr(litellm, name, None))
    for name in _LISTS_OF_CALL:
        yield from as_items(getattr(call, name, None))
