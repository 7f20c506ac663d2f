"""Whatever delivers ended spans, found by its entry points: the two packages share no code but names."""

from importlib.metadata import entry_points
from typing import Final

from callspan._guard import guarded

_GROUP: Final = "callspan_delivery"


@guarded
def call_delivery(name: str, *arguments: object) -> object:
    """Tell what delivers spans, if anything is installed that does.

    Args:
        name: ``connect``, with the tracer provider and the list of destinations, or ``None`` for either, when callspan
            is switched on; ``disconnect`` when it is switched off; ``add_callback``, with a name and what deals with
            one stored span, and ``remove_callback``, with the name; ``watch``, with what is to be told of each span as
            it starts and as it has ended, or ``None`` twice; ``spend_exit_budget``, with the seconds that the exit has
            been held up; ``remember_credential``, with a kind of destination, the digest that stands for a key on
            spans, and the key by LiteLLM's names for its parts.
        arguments: what goes with it.

    Returns:
        The answer; ``None`` where there was none.
    """
    answer: object = None
    for entry_point in entry_points(group=_GROUP, name=name):
        answer = entry_point.load()(*arguments)
    return answer
