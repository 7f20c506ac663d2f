"""A callback as it was registered, and what is wrong with one that cannot be."""

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, cast, get_args

from callspan import semconv
from callspan._guard import report

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Delivery = Literal["blocking", "background", "durable"]
Hook = Literal["start", "first_chunk", "success", "failure", "cancelled", "abandoned", "end"]

HOOK_START: Final = "start"
HOOK_FIRST_CHUNK: Final = "first_chunk"
HOOK_END: Final = "end"
_OUTCOMES: Final = frozenset(
    {semconv.OUTCOME_SUCCESS, semconv.OUTCOME_FAILURE, semconv.OUTCOME_CANCELLED, semconv.OUTCOME_ABANDONED}
)
_DELIVERIES: Final = get_args(Delivery)
_HOOKS: Final = get_args(Hook)


@dataclass(frozen=True, slots=True, eq=False)
class Callback:
    """A registered callback.

    Attributes:
        function: what is called with the record; for ``awaits`` it returns a coroutine.
        name: what spans, messages and the spool call it.
        delivery: the guarantee.
        hooks: the moments it is told of; ``end`` stands for all four outcomes.
        filter: says of a record whether the callback is to be told; ``None`` where it always is.
        timeout: how long a run may take, in seconds; ``None`` where that is not limited.
        router_calls: whether it is told of a Router's call as a whole too, besides its attempts.
        awaits: whether ``function`` is a coroutine function.
    """

    function: Callable[[Any], Any]
    name: str
    delivery: Delivery
    hooks: frozenset[str]
    filter: Callable[[Any], object] | None
    timeout: float | None
    router_calls: bool
    awaits: bool

    def is_told_of(self, moment: str) -> bool:
        """Whether it wants to know of ``moment``, which is any hook but ``end``."""
        return moment in self.hooks or (HOOK_END in self.hooks and moment in _OUTCOMES)

    def wants(self, record: object) -> bool:
        """Whether the filter lets a record pass. One that raises does: to tell too much is better than to be silent."""
        if self.filter is None:
            return True
        try:
            return bool(self.filter(record))
        except Exception:  # noqa: BLE001  # theirs
            report(f"the filter of callback {self.name}")
            return True


def new_callback(
    function: Callable[[Any], Any],
    *,
    delivery: str,
    hooks: str | Iterable[str],
    filter: Callable[[Any], object] | None,  # noqa: A002  # the public name
    name: str | None,
    timeout: float | None,
    router_calls: bool,
) -> Callback:
    """Make a callback of what the user registers.

    Raises:
        TypeError: ``function`` or ``filter`` cannot be called with one argument, or a setting is of the wrong type.
        ValueError: a setting has no such value, or a durable callback no name that a later process would give it too.
    """
    described = name if isinstance(name, str) and name else _name_of(function)
    _check_callable(function, described)
    if not _is_delivery(delivery):
        raise ValueError(f"callback {described}: delivery={delivery!r}: there are {_listed(_DELIVERIES)}")
    chosen = _checked_hooks(hooks, described)
    if filter is not None:
        _check_takes_one(filter, f"filter of callback {described}")
    if name is not None and (not isinstance(name, str) or not name.strip()):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"callback {described}: name={name!r} is not a text")
    if timeout is not None:
        _check_timeout(timeout, described)
    if delivery == "durable":
        _check_durable(function, name, chosen, described)
    return Callback(
        function, described, delivery, chosen, filter, timeout, bool(router_calls), is_coroutine_function(function)
    )  # fmt: skip


def _is_delivery(value: str) -> "TypeIs[Delivery]":
    return value in _DELIVERIES


def is_coroutine_function(function: Any) -> bool:
    """Whether calling ``function`` gives a coroutine; also a callable object, or one behind ``functools.partial``."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004  # what it is, not whether


def _check_callable(function: object, described: str) -> None:
    if callable(function):
        if inspect.isclass(function):
            raise TypeError(f"{described} is a class; register an instance that can be called, or a method of one")
        _check_takes_one(function, f"callback {described}")
        return
    if any(hasattr(function, hook) for hook in ("async_log_success_event", "log_success_event")):
        raise TypeError(
            f"{described} is a LiteLLM logger: register it with LiteLLM (litellm.callbacks = [...]), whose callbacks "
            "callspan runs too; callspan.litellm_callback(logger, delivery='blocking') sets its delivery"
        )
    raise TypeError(f"{described} cannot be called: register a function, a coroutine function or a callable object")


def _check_takes_one(function: Callable[..., Any], what: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions do not tell
        return
    try:
        signature.bind(None)
    except TypeError:
        raise TypeError(
            f"{what} has the signature {signature}, but is called with one argument, the record of the call"
        ) from None


def _checked_hooks(hooks: str | Iterable[str], described: str) -> frozenset[str]:
    chosen = frozenset([hooks] if isinstance(hooks, str) else hooks)
    unknown = sorted(str(hook) for hook in chosen if hook not in _HOOKS)
    if unknown or not chosen:
        what = f"hooks={', '.join(unknown)}" if unknown else "hooks is empty"
        raise ValueError(f"callback {described}: {what}: there are {_listed(_HOOKS)}")
    return chosen


def _check_timeout(timeout: object, described: str) -> None:
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"callback {described}: timeout={timeout!r} is not a number of seconds")
    if not math.isfinite(timeout) or timeout <= 0:
        raise ValueError(f"callback {described}: timeout={timeout!r}: give seconds above 0, or None for no limit")


def _check_durable(function: object, name: str | None, hooks: frozenset[str], described: str) -> None:
    early = sorted(hooks & {HOOK_START, HOOK_FIRST_CHUNK})
    if early:
        raise ValueError(
            f"callback {described}: a durable callback is fed with calls that have ended; it is not told of "
            f"{_listed(early)}"
        )
    if name is None and not _is_stable(described, function):
        raise ValueError(
            f"callback {described}: a durable callback needs a name that a later process gives it too, and no other "
            "program gives to another: name='...'"
        )


def _is_stable(described: str, function: object) -> bool:
    return "<" not in described and not described.startswith("__main__.") and hasattr(function, "__qualname__")


def _name_of(function: object) -> str:
    inner: Any = function
    while not hasattr(inner, "__qualname__") and hasattr(inner, "func"):  # functools.partial
        inner = inner.func
    kind: Any = inner if hasattr(inner, "__qualname__") else cast("Any", type(inner))
    return f"{kind.__module__}.{kind.__qualname__}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
