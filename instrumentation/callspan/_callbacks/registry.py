"""The callbacks that there are, asked at every call and changed seldom."""

import threading
from collections.abc import Callable
from typing import Any

from callspan._callbacks.callback import Callback


class Registry:
    """Registered callbacks, in the order in which they were registered.

    Reading takes no lock: what is read is replaced as a whole. It happens at each call, and in finalizers.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: tuple[Callback, ...] = ()
        self._told: dict[str, tuple[Callback, ...]] = {}

    @property
    def all(self) -> tuple[Callback, ...]:
        """Every callback."""
        return self._all

    def told_of(self, moment: str) -> tuple[Callback, ...]:
        """Those in this process that are told of ``moment``, which is any hook but ``end``.

        A durable callback is fed by the spool and not among them.
        """
        return self._told.get(moment, ())

    def add(self, callback: Callback) -> list[Callback]:
        """Add a callback; one with the same function, or the same name and home, is replaced.

        Returns:
            What it replaces.

        Raises:
            ValueError: another function has the name.
        """
        with self._lock:
            kept = [other for other in self._all if not _is_again(other, callback)]
            if any(other.name == callback.name for other in kept):
                raise ValueError(
                    f"callback {callback.name}: another function has this name; give one of them name='...'"
                )
            replaced = [other for other in self._all if other not in kept]
            self._replace((*kept, callback))
            return replaced

    def remove(self, function_or_name: Callable[[Any], Any] | str) -> Callback | None:
        """Remove a callback; returns it, or ``None`` where there is none such."""
        with self._lock:
            found = next((one for one in self._all if function_or_name in (one.name, one.function)), None)
            if found is not None:
                self._replace(tuple(one for one in self._all if one is not found))
            return found

    def _replace(self, callbacks: tuple[Callback, ...]) -> None:
        self._all = callbacks
        present = [callback for callback in callbacks if callback.delivery != "durable"]
        moments = ("start", "first_chunk", "success", "failure", "cancelled", "abandoned")
        told = {moment: tuple(one for one in present if one.is_told_of(moment)) for moment in moments}
        self._told = {moment: those for moment, those in told.items() if those}


def _is_again(known: Callback, new: Callback) -> bool:
    # A notebook's cell that is run again defines its function anew.
    return known.function == new.function or (known.name == new.name and _home(known) == _home(new) is not None)


def _home(callback: Callback) -> tuple[str, str] | None:
    qualified = getattr(callback.function, "__qualname__", None)
    return None if qualified is None else (str(getattr(callback.function, "__module__", "")), qualified)


registry = Registry()
"""This process's."""
