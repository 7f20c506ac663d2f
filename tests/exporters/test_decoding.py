"""Spans read back from the bytes that the spool keeps: what the SDK made is what an exporter is given."""

import json
import struct
import warnings
from collections.abc import Mapping
from functools import singledispatch

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace.status import Status

from callspan_exporters._decoding import decode_span
from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import encode_resource, encode_scope, encode_span

CONTEXT = SpanContext(1, 2, is_remote=False)

# What the installed SDK keeps of attributes: that of 1.40 knows no mappings, reads bytes as text, and wants sequences
# of one type.
KEEPS_ALL = "a" in BoundedAttributes(attributes={"a": {"b": 1}})
# Flags that the SDK passes on from a recorded parent, so that the parent's are the span's.
PASSED_ON = [1, 3] if hasattr(TraceFlags, "RANDOM_TRACE_ID") else [1]

SCALARS = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text()
SEQUENCES = st.one_of(*(st.lists(items, max_size=4) for items in (st.booleans(), st.floats(), st.text() | st.none())))
EVERYTHING = st.recursive(
    SCALARS | st.binary() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)
ATTRIBUTES = st.dictionaries(st.text(min_size=1), SCALARS | SEQUENCES | (EVERYTHING if KEEPS_ALL else st.nothing()))
TRACE_IDS = st.integers(1, 2**128 - 1)
SPAN_IDS = st.integers(1, 2**64 - 1)
TIMES = st.integers(0, 2**64 - 1)
TRACE_STATES = st.sampled_from([None, TraceState([("a", "1"), ("vendor@b", " x y"), ("0t@s", "!~")])])
PARENTS = st.builds(
    SpanContext,
    trace_id=TRACE_IDS,
    span_id=SPAN_IDS,
    is_remote=st.booleans(),
    trace_flags=st.sampled_from(PASSED_ON).map(TraceFlags),
    trace_state=TRACE_STATES,
)
# Without trace state, which OTLP as it is written has not for links.
LINKED = st.builds(
    SpanContext,
    trace_id=TRACE_IDS,
    span_id=SPAN_IDS,
    is_remote=st.booleans(),
    trace_flags=st.integers(0, 255).map(TraceFlags),
)
LIMITS = st.just(SpanLimits()) | st.builds(
    SpanLimits,
    max_span_attributes=st.integers(0, 3),
    max_event_attributes=st.integers(0, 2),
    max_link_attributes=st.integers(0, 2),
    max_events=st.integers(0, 2),
    max_links=st.integers(0, 2),
)
FINITE = st.dictionaries(st.text(min_size=1), st.text() | st.integers(0, 9) | st.lists(st.text()), max_size=3)
SCOPES = st.tuples(st.text(min_size=1), st.none() | st.text(), st.none() | st.text(), st.none() | FINITE)


class Ids(IdGenerator):
    """Ids that Hypothesis draws."""

    def __init__(self, trace_id, span_id):
        self.trace_id = trace_id
        self.span_id = span_id

    def generate_trace_id(self):
        return self.trace_id

    def generate_span_id(self):
        return self.span_id


class Ended(SpanProcessor):
    """Keeps what the SDK hands to processors when a span ends."""

    def on_end(self, span):
        self.span = span


@st.composite
def spans(draw) -> ReadableSpan:
    """A span as the SDK hands it over, after all that a program may have done to it."""
    resource = Resource(draw(FINITE), draw(st.none() | st.text()))
    ids = Ids(draw(TRACE_IDS), draw(SPAN_IDS))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False, span_limits=draw(LIMITS), id_generator=ids)
    ended = Ended()
    provider.add_span_processor(ended)
    parent = draw(st.none() | PARENTS)
    span = provider.get_tracer(*draw(SCOPES)).start_span(
        draw(st.text()),
        set_span_in_context(NonRecordingSpan(parent)) if parent else None,
        draw(st.sampled_from(SpanKind)),
        draw(ATTRIBUTES),
        draw(st.lists(st.builds(Link, LINKED, ATTRIBUTES), max_size=3)),
        draw(TIMES),
    )
    span.set_attributes(draw(ATTRIBUTES))
    for name, attributes, time in draw(st.lists(st.tuples(st.text(), st.none() | ATTRIBUTES, TIMES), max_size=3)):
        span.add_event(name, attributes, time)
    if draw(st.booleans()):
        span.record_exception(ValueError("no"))
    code = draw(st.sampled_from(StatusCode))
    span.set_status(code, draw(st.none() | st.text(min_size=1)) if code is StatusCode.ERROR else None)
    span.end(draw(TIMES))
    return ended.span


def encoded(span: ReadableSpan) -> EncodedSpan:
    return EncodedSpan(encode_resource(span.resource), encode_scope(span.instrumentation_scope), encode_span(span))


def read_back(**parts) -> ReadableSpan:
    return decode_span(encoded(ReadableSpan(**{"name": "n", "context": CONTEXT, **parts})))


@singledispatch
def exact(value):
    """Return a value so that equal ones are of equal types, keep their order, and may be NaN."""
    return type(value), value


@exact.register
def _(value: float):
    return float, struct.pack("<d", value)


@exact.register
def _(value: Mapping):
    return type(value), [(key, exact(item)) for key, item in value.items()]


@exact.register(tuple)
@exact.register(list)
def _(value):
    return type(value), [exact(item) for item in value]


@exact.register
def _(value: Event):
    return value.name, value.timestamp, exact(value.attributes), value.dropped_attributes


@exact.register
def _(value: Link):
    return exact(value.context), exact(value.attributes), value.dropped_attributes


@exact.register
def _(value: Status):
    return value.status_code, value.description, value.is_ok, value.is_unset


@exact.register
def _(value: SpanContext):
    return [*tuple(value)[:4], list(value.trace_state.items()), value.is_valid]


def properties(span: ReadableSpan) -> dict[str, object]:
    """Return all that can be asked of a span, whatever the installed SDK knows."""
    names = {name for name, of_class in vars(ReadableSpan).items() if isinstance(of_class, property)}
    assert {"attributes", "events", "links", "status", "dropped_links"} <= names
    known = {name: exact(getattr(span, name)) for name in names - {"instrumentation_info"}}
    return {**known, "get_span_context": exact(span.get_span_context()), "json": as_json(span)}


def as_json(span: ReadableSpan) -> object:
    try:
        # Text: what is read back of JSON may hold NaN.
        return span.to_json()
    except TypeError as error:  # the SDK's own cannot write bytes
        return str(error)


@settings(max_examples=200, deadline=None)
@given(spans())
def test_a_span_that_the_sdk_made_reads_back_as_it_was(span):
    """All that an exporter can ask of a span, it is told as if it had been given the span itself."""
    read = decode_span(encoded(span))
    assert properties(read) == properties(span)
    assert read.resource.to_json() == span.resource.to_json()
    assert hash(read.resource) == hash(span.resource)
    assert hash(read.instrumentation_scope) == hash(span.instrumentation_scope)
    assert read.instrumentation_scope.to_json() == span.instrumentation_scope.to_json()


@settings(deadline=None)
@given(spans())
def test_a_span_that_was_read_back_is_encoded_as_it_was(span):
    """Decoding loses nothing that the bytes hold."""
    bytes_ = encoded(span)
    assert encoded(decode_span(bytes_)) == bytes_


def test_what_was_dropped_is_counted_everywhere():
    """The limits that the SDK kept to are told of spans, events and links alike."""
    limits = SpanLimits(max_span_attributes=1, max_event_attributes=1, max_link_attributes=1, max_events=1, max_links=1)
    provider = TracerProvider(shutdown_on_exit=False, span_limits=limits)
    ended = Ended()
    provider.add_span_processor(ended)
    two, three = {"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}
    links = [Link(CONTEXT, two), Link(CONTEXT, three)]
    span = provider.get_tracer("t").start_span("n", attributes={**three, "d": 4}, links=links)
    for attributes in ({}, {}, three):
        span.add_event("e", attributes)
    span.end()
    read = decode_span(encoded(ended.span))
    assert (read.dropped_attributes, read.dropped_events, read.dropped_links) == (3, 2, 1)
    assert (read.events[0].dropped_attributes, read.links[0].dropped_attributes) == (2, 2)


def test_resources_and_scopes_are_shared():
    """Exporters that group spans by resource and scope find as many as there were."""
    made = [
        read_back(resource=Resource({"r": r}), instrumentation_scope=InstrumentationScope(s))
        for r in "ab"
        for s in "xy"
    ]
    again = read_back(resource=Resource({"r": "b"}), instrumentation_scope=InstrumentationScope("y"))
    assert again.resource is made[3].resource
    assert again.instrumentation_scope is made[3].instrumentation_scope
    assert len({span.resource for span in made}) == len({span.instrumentation_scope for span in made}) == 2


def test_attributes_cannot_be_changed():
    """What the SDK keeps from being changed after the end stays so: a resource is shared."""
    span = read_back(attributes={"a": 1}, events=[Event("e", {"a": 1})], links=[Link(CONTEXT, {"a": 1})])
    for attributes in (span.attributes, span.events[0].attributes, span.links[0].attributes, span.resource.attributes):
        with pytest.raises(TypeError):
            attributes["a"] = 2


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (2**63, "9223372036854775808"),
        ("cut \ud83d", "cut \N{REPLACEMENT CHARACTER}"),
        (type("Text", (str,), {})("text"), "text"),
        (type("Number", (int,), {})(7), 7),
        ({1}, "{1}"),
        (int, "<class 'int'>"),
    ],
)
def test_values_that_otlp_cannot_hold_read_back_as_they_were_written(value, read):
    """A value that was repaired, or became text, reads back as that."""
    span = read_back(attributes={"key": value}, events=[Event("e", {"key": value})])
    assert exact(span.attributes["key"]) == exact(span.events[0].attributes["key"]) == exact(read)


def test_what_otlp_cannot_tell_from_nothing_reads_back_as_nothing():
    """A span made by hand without the parts that the SDK always gives one reads back with empty ones."""
    span = read_back(status=None, instrumentation_scope=None, attributes=None, events=[Event("e")])
    assert exact(span.status) == exact(Status())
    assert span.instrumentation_scope == InstrumentationScope("", "")
    assert (dict(span.attributes), dict(span.events[0].attributes)) == ({}, {})
    assert (span.start_time, span.end_time) == (0, 0)
    assert read_back(status=Status(StatusCode.ERROR, "")).status.description is None
    assert read_back(instrumentation_scope=InstrumentationScope("a")).instrumentation_scope.version == ""


def test_a_span_without_ids_has_no_context():
    """A span that had no context is given none, and so has no parent's trace either."""
    read = read_back(context=None)
    assert read.context is None
    assert read.get_span_context() is None
    assert json.loads(read.to_json())["context"] is None


def test_the_trace_state_of_a_link_is_read_where_somebody_wrote_it():
    """A link's trace state is told where the bytes hold it, which neither our encoder nor the official one writes."""
    state = TraceState([("a", "1")])
    link = Link(SpanContext(3, 4, is_remote=True, trace_state=state))
    assert read_back(links=[link]).links[0].context.trace_state == {}
    message = SpanMessage(links=[SpanMessage.Link(trace_id=b"3" * 16, span_id=b"4" * 8, trace_state=state.to_header())])
    assert decode_span(EncodedSpan(b"", b"", message.SerializeToString())).links[0].context.trace_state == state


def test_kinds_and_status_codes_of_a_later_protocol_read_as_the_default():
    """A number that has no meaning yet does not cost the span."""
    message = SpanMessage(name="n", kind=77, status={"code": 77})
    span = decode_span(EncodedSpan(b"", b"", message.SerializeToString()))
    assert (span.name, span.kind, span.status.status_code) == ("n", SpanKind.INTERNAL, StatusCode.UNSET)


@pytest.mark.parametrize("damage", [b"\xff", b"\x0a\x7f", b"\x0a\x03\x0a\x01"])
@pytest.mark.parametrize("part", ["resource", "scope", "span"])
def test_bytes_that_are_no_otlp_raise(part, damage):
    """Whoever asks for a span out of other bytes is told so, by one type of error."""
    if part == "span":
        damage = damage.replace(b"\x0a\x03", b"\x4a\x03")  # there the first field is no message
    with pytest.raises(DecodeError):
        decode_span(EncodedSpan(**{"resource": b"", "scope": b"", "span": b"", part: damage}))


def test_decoding_warns_of_nothing():
    """Nothing deprecated is used: a program that makes errors of warnings would lose its spans."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_back().name == "n"
