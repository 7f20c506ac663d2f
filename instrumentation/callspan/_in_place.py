"""Wrapping a function for those who hold the function itself.

``from litellm import acompletion`` before :func:`callspan.instrument`, a method bound to its Router before that, and
``litellm.main.completion`` as LiteLLM's own modules at import, leave references that no attribute assignment reaches.
What every reference shares is the function object, so its code is swapped for one that calls the wrapper; the wrapper
calls a twin that has the old code. Nothing else about the function changes: name, signature, defaults, closure,
attributes and identity stay. This is done only to functions that can be held that way; see
:mod:`callspan._patches`.
"""

import inspect
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import Any, Final

import wrapt

Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], Mapping[str, Any]], Any]
"""What wrapt calls instead of a function that it wraps: with that function, its instance, and the arguments."""

_TARGET: Final = "callspan in-place wrapper"


def wrap_in_place(function: FunctionType, wrapper: Wrapper) -> Callable[[], None]:
    """Make every holder of ``function`` call ``wrapper``.

    Args:
        function: a plain function or coroutine function written in Python.
        wrapper: called as wrapt calls it, with the twin as ``wrapped``.

    Returns:
        What puts the very same code object back, unless somebody else has changed it since.
    """
    original = function.__code__
    twin = FunctionType(original, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    twin.__kwdefaults__ = function.__kwdefaults__
    twin.__qualname__ = function.__qualname__
    twin.__dict__.update(function.__dict__)
    replacement = _calling(wrapt.FunctionWrapper(twin, wrapper), original)
    # The signature is read from the code, unless the function says otherwise.
    says_signature = hasattr(function, "__wrapped__") or hasattr(function, "__signature__")
    if not says_signature:
        function.__signature__ = inspect.signature(twin)  # pyright: ignore[reportFunctionMemberAccess]
    function.__code__ = replacement

    def restore() -> None:
        if function.__code__ is replacement:
            function.__code__ = original
            if not says_signature:
                del function.__signature__  # pyright: ignore[reportFunctionMemberAccess]

    return restore


def _calling(target: Callable[..., Any], original: CodeType) -> CodeType:
    """Code that calls ``target``, fit to stand in for ``original``.

    Python lets code be swapped only for code with as many free variables; and as the function's globals are not ours,
    the target travels among the code's constants, in place of a string put there for it.
    """
    cells = "".join(f"        {name}\n" for name in original.co_freevars)
    keyword, wait = ("async def", "await ") if original.co_flags & inspect.CO_COROUTINE else ("def", "")
    source = (
        f"def enclosing({', '.join(original.co_freevars)}):\n"
        f"    {keyword} standin(*args, **kwargs):\n"
        f"        target = {_TARGET!r}\n"
        f"        return {wait}target(*args, **kwargs)\n"
        f"{cells}"  # never reached: it makes the compiler take the names as free variables
        "    return standin\n"
    )
    namespace: dict[str, Any] = {}
    exec(_compile(source, original), namespace)  # noqa: S102  # the source is made of the names of variables only
    template: CodeType = namespace["enclosing"](*(None for _ in original.co_freevars)).__code__
    constants = tuple(target if constant == _TARGET else constant for constant in template.co_consts)
    return template.replace(co_consts=constants, co_name=original.co_name, co_qualname=original.co_qualname)


def _compile(source: str, original: CodeType) -> CodeType:
    return compile(source, f"<callspan wrapper of {original.co_qualname}>", "exec")
