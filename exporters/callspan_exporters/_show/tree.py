"""Traces as trees in a terminal: a line for a span, beneath it what happened when, and the spans it led to."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from opentelemetry.sdk.resources import SERVICE_NAME
from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from callspan import semconv
from callspan_exporters._show import labels
from callspan_exporters._show.traces import EventView, SpanView, Trace

_GUIDE_WIDTH: Final = 4
# What stands to the right of a name: duration, outcome, tokens and cost.
_FIGURES_WIDTH: Final = 47
_MAX_NAME_WIDTH: Final = 60

_STYLES: Final = {
    semconv.OUTCOME_SUCCESS: "green",
    semconv.OUTCOME_FAILURE: "red",
    semconv.OUTCOME_CANCELLED: "yellow",
    semconv.OUTCOME_ABANDONED: "magenta",
    "error": "red",
}
_EVENT_STYLES: Final = {
    semconv.EVENT_FAILURE: "red",
    semconv.EVENT_EXCEPTION: "red",
    semconv.EVENT_CANCELLED: "yellow",
    semconv.EVENT_ABANDONED: "magenta",
    semconv.EVENT_RETRY: "yellow",
    semconv.EVENT_FALLBACK: "yellow",
}


def trace_tree(trace: Trace, width: int) -> Tree:
    """Return a trace to be printed.

    Args:
        trace: what to print.
        width: how many columns there are, so that the figures stand below each other where there is room.
    """
    tree = Tree(_header(trace), guide_style="dim")
    widest = max((_GUIDE_WIDTH * depth + len(_title(span)) for span, depth in _walk(trace)), default=0)
    names = min(widest, max(width - _FIGURES_WIDTH, 0), _MAX_NAME_WIDTH)
    for root in trace.roots:
        _add(tree, root, 1, names)
    return tree


def _walk(trace: Trace) -> Iterator[tuple[SpanView, int]]:
    todo = [(span, 1) for span in trace.roots]
    while todo:
        span, depth = todo.pop()
        yield span, depth
        todo += [(child, depth + 1) for child in span.children]


def _add(tree: Tree, span: SpanView, depth: int, names: int) -> None:
    """Add a span, and beneath it its events and children in the order of time. As deep as `traces.MAX_DEPTH`."""
    branch = tree.add(_span(span, names - _GUIDE_WIDTH * depth, is_root=depth == 1))
    offsets = {id(event): labels.offset(event.time_ns - span.start_ns) for event in span.events}
    column = max((len(offset) for offset in offsets.values()), default=0)
    moments = [*span.events, *span.children]
    for moment in sorted(
        moments, key=lambda moment: moment.start_ns if isinstance(moment, SpanView) else moment.time_ns
    ):
        if isinstance(moment, SpanView):
            _add(branch, moment, depth + 1, names)
        else:
            branch.add(_event(moment, offsets[id(moment)].rjust(column), span.status_message))


def _header(trace: Trace) -> Text:
    services = dict.fromkeys(labels.text(root.origin.resource, SERVICE_NAME) for root in trace.roots)
    header = Text(f"{trace.trace_id or 'without id'}", style="bold cyan")
    parts = [_local_time(trace.start_ns), *services, labels.duration(trace.end_ns - trace.start_ns)]
    return header.append("".join(f"  {part}" for part in parts if part), style="not bold default")


def _local_time(time_ns: int) -> str:
    if not time_ns:
        return "at an unknown time"
    try:
        return f"{datetime.fromtimestamp(time_ns / 1e9, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):  # a time that no calendar has
        return "at an unknown time"


def _title(span: SpanView) -> str:
    attempt = labels.number(span.attributes, semconv.CALLSPAN_ATTEMPT_NUMBER)
    title = labels.shortened(span.name, 200) or "(no name)"
    return title if attempt is None else f"#{attempt:g} {title}"


def _span(span: SpanView, name_width: int, *, is_root: bool) -> Group:
    outcome = labels.outcome(span.attributes, span.status)
    style = _STYLES.get(outcome, "")
    line = Text(_title(span).ljust(name_width), style="bold")
    figures = (
        (labels.duration(span.end_ns - span.start_ns).rjust(7), "not bold"),
        (outcome.ljust(9), f"not bold {style}"),
        (labels.tokens(span.attributes), "not bold"),
        (labels.cost(span.attributes), "not bold cyan"),
    )
    for figure, figure_style in figures:
        if figure:
            line.append("  ").append(figure, style=figure_style)
    line.rstrip()
    return Group(line, *_notes(span, is_root=is_root))


def _notes(span: SpanView, *, is_root: bool) -> Iterator[Text]:
    """Yield the lines below a span's own: why it stands where it stands, details, its error, what was said."""
    if is_root and span.parent_id and span.parent_in_spool:
        yield Text(f"continued from span {span.parent_id}", style="dim italic")
    elif is_root and span.parent_id:
        where = "in another process, " if span.parent_is_remote else ""
        yield Text(f"under span {span.parent_id}, {where}not in the spool", style="dim italic")
    for refusal in span.refusals:
        told = f"{labels.shortened(refusal.destination, 200)}: {labels.shortened(refusal.reason, 400)}"
        yield Text(f"refused by {told}", style="bold red")
    if details := labels.details(span.attributes, span.name):
        yield Text(details, style="dim")
    kind = labels.text(span.attributes, semconv.ERROR_TYPE)
    error = labels.shortened(span.status_message, 1000)
    if kind or error:
        yield Text(": ".join(filter(None, [kind if kind not in error else "", error])), style="red")
    for key, meaning in labels.CONTENT.items():
        if key in span.attributes:
            said = labels.content(span.attributes[key])
            yield Text(f"{meaning}: {said}", style="dim", no_wrap=True, overflow="ellipsis")


def _event(event: EventView, offset: str, told: str) -> Text:
    """Return the line of an event.

    Args:
        event: what happened.
        offset: how long after the start of its span.
        told: the error message that the span shows already.
    """
    line = Text(offset, style="dim").append("  ")
    line.append(labels.shortened(event.name, 200), style=f"not dim {_EVENT_STYLES.get(event.name, 'default')}")
    without = [semconv.EXCEPTION_STACKTRACE]
    message = event.attributes.get(semconv.EXCEPTION_MESSAGE)
    if isinstance(message, str) and message in told:
        without.append(semconv.EXCEPTION_MESSAGE)
    if more := labels.event_attributes(event.attributes, without=without):
        line.append(f"  {more}")
    return line
