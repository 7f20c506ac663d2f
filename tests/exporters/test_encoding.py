"""The bytes that the spool keeps: read back, they are what the official encoder writes."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from callspan_exporters._encoded import EncodedSpan
from callspan_exporters._encoding import encode_resource, encode_scope, encode_span, frame_request

CONTEXT = SpanContext(1, 2, is_remote=False)


def encoded(span: ReadableSpan) -> EncodedSpan:
    return EncodedSpan(encode_resource(span.resource), encode_scope(span.instrumentation_scope), encode_span(span))


def request(spans) -> ExportTraceServiceRequest:
    return ExportTraceServiceRequest.FromString(frame_request(encoded(span) for span in spans))


def official(span: ReadableSpan) -> ExportTraceServiceRequest:
    """Return the official encoder's request, with the trace flags where ``trace.proto`` wants them and it has none."""
    message = encode_spans([span])
    written = message.resource_spans[0].scope_spans[0].spans[0]
    written.flags |= span.context.trace_flags
    for written_link, link in zip(written.links, span.links, strict=True):
        written_link.flags |= link.context.trace_flags
    return message


def canonical(message) -> bytes:
    """Return a message so that equal ones are equal even where they hold NaN."""
    return message.SerializeToString(deterministic=True)


def read(**parts) -> Span:
    return Span.FromString(encode_span(ReadableSpan(**{"name": "n", "context": CONTEXT, **parts})))


def read_value(value: object) -> AnyValue:
    (attribute,) = read(attributes={"key": value}).attributes
    assert attribute.key == "key"
    return attribute.value


def official_knows_none() -> bool:
    """Whether the installed official encoder writes None: that of 1.40 drops whatever holds it."""
    span = ReadableSpan("n", CONTEXT, attributes={"a": None})
    return bool(encode_spans([span]).resource_spans[0].scope_spans[0].spans[0].attributes)


INT64 = st.integers(-(2**63), 2**63 - 1)
# The SDK of 1.40 reads bytes as text, and makes None of those that are not.
BINARY = st.binary() if official_knows_none() else st.text().map(str.encode)
SCALARS = st.one_of(st.booleans(), INT64, st.floats(), st.text(), BINARY)
NONE = st.none() if official_knows_none() else st.nothing()
VALUES = st.recursive(
    SCALARS | NONE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=8,
)
PLAIN_ATTRIBUTES = st.dictionaries(st.text(), VALUES, max_size=6)
BOUNDED_ATTRIBUTES = st.builds(
    BoundedAttributes,
    maxlen=st.none() | st.integers(0, 3),
    attributes=st.dictionaries(st.text(min_size=1), SCALARS | st.lists(st.text(), max_size=3), max_size=5),
)
ATTRIBUTES = st.none() | PLAIN_ATTRIBUTES | BOUNDED_ATTRIBUTES
TIMES = st.integers(0, 2**64 - 1)
TRACE_STATES = st.sampled_from([None, TraceState(), TraceState([("a", "1"), ("vendor@b", "x y")])])
CONTEXTS = st.builds(
    SpanContext,
    trace_id=st.integers(0, 2**128 - 1),
    span_id=st.integers(0, 2**64 - 1),
    is_remote=st.booleans(),
    trace_flags=st.integers(0, 255).map(TraceFlags),
    trace_state=TRACE_STATES,
)
EVENTS = st.lists(st.builds(Event, name=st.text(), attributes=ATTRIBUTES, timestamp=TIMES), max_size=3)
LINKS = st.lists(st.builds(Link, context=CONTEXTS, attributes=ATTRIBUTES), max_size=3)


def bounded(lists):
    return lists | st.builds(BoundedList.from_seq, st.integers(1, 2), lists)


STATUSES = st.one_of(
    st.sampled_from([None, Status(), Status(StatusCode.OK)]),
    st.builds(Status, st.just(StatusCode.ERROR), st.none() | st.text()),
)
RESOURCES = st.builds(
    Resource,
    st.dictionaries(st.text(min_size=1), SCALARS | st.lists(st.text(), max_size=2), max_size=4),
    st.none() | st.text(),
)
SCOPES = st.none() | st.builds(
    InstrumentationScope,
    st.text(),
    st.none() | st.text(),
    st.none() | st.text(),
    st.none() | st.dictionaries(st.text(min_size=1), SCALARS, max_size=3),
)
SPANS = st.builds(
    ReadableSpan,
    name=st.text(),
    context=CONTEXTS,
    parent=st.none() | CONTEXTS,
    resource=RESOURCES,
    attributes=ATTRIBUTES,
    events=bounded(EVENTS),
    links=bounded(LINKS),
    kind=st.sampled_from(SpanKind),
    status=STATUSES,
    start_time=st.none() | TIMES,
    end_time=st.none() | TIMES,
    instrumentation_scope=SCOPES,
)


@settings(max_examples=300, deadline=None)
@given(SPANS)
def test_any_span_reads_as_the_official_encoders(span):
    """Whatever a span holds, a reader sees what the official encoder would have sent, and the trace flags."""
    assert canonical(request([span])) == canonical(official(span))


@settings(deadline=None)
@given(PLAIN_ATTRIBUTES, PLAIN_ATTRIBUTES)
def test_spans_that_the_sdk_made_read_as_the_official_encoders(at_start, later):
    """What the installed SDK makes of a user's attributes is written as the official encoder writes it."""
    provider = TracerProvider(resource=Resource({"service.name": "s"}), shutdown_on_exit=False)
    span = provider.get_tracer("t", "1", "https://schema", {"k": 1}).start_span("n", attributes=at_start)
    span.set_attributes(later)
    span.add_event("e", at_start)
    span.record_exception(ValueError("no"))
    span.end()
    assert canonical(request([span])) == canonical(official(span))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=12))
def test_a_request_groups_by_resource_then_scope_and_keeps_the_order(origins):
    """Spans of many origins are framed into the groups and the order of the official encoder."""
    resources = [Resource({"r": number}) for number in range(3)]
    scopes = [None, InstrumentationScope("a"), InstrumentationScope("b", "2")]
    spans = [
        ReadableSpan(f"{index}", CONTEXT, resource=resources[resource], instrumentation_scope=scopes[scope])
        for index, (resource, scope) in enumerate(origins)
    ]
    assert canonical(request(spans)) == canonical(encode_spans(spans))


@pytest.mark.parametrize(("flags", "written"), [(0, 0x00), (1, 0x01), (0xFF, 0xFF), (0x1FF, 0xFF)])
def test_trace_flags_are_written_beside_what_is_known_of_remoteness(flags, written):
    """A span has its own flags and a link those of the linked span, in eight bits that touch none of the others."""
    own = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(flags))
    other = SpanContext(3, 4, is_remote=True, trace_flags=TraceFlags(flags))
    assert read(context=own, parent=other).flags == 0x300 | written
    assert read(context=own, links=[Link(other), Link(CONTEXT)]).flags == 0x100 | written
    assert [link.flags for link in read(links=[Link(other), Link(own)]).links] == [0x300 | written, 0x100 | written]


def test_no_spans_make_an_empty_request():
    """An empty batch is an empty message, not an error."""
    assert frame_request([]) == b""


@pytest.mark.parametrize("length", [0, 1, 127, 128, 2047, 2048, 16383, 16384, 1_000_000])
def test_lengths_around_every_size_of_their_prefix_read_back(length):
    """Text is read back whole also where its length, or that of a message around it, takes another byte."""
    for size in range(max(0, length - 20), length + 1):
        span = ReadableSpan("n" * size, CONTEXT, attributes={"a": "x" * size, "b": ["y" * size]})
        assert canonical(request([span])) == canonical(encode_spans([span]))


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        ("cut \ud83d", "cut \N{REPLACEMENT CHARACTER}"),
        ("\ude00 back", "\N{REPLACEMENT CHARACTER} back"),
        ("\udcff", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_halves_of_surrogate_pairs_are_repaired_wherever_text_stands(text, repaired):
    """Text that is not Unicode, which the official encoder raises for, is kept but for the broken character."""
    span = read(
        name=text,
        attributes={text: text, "list": [text], "map": {text: text}},
        events=[Event(text, {text: text}, 1)],
        links=[Link(CONTEXT, {text: text})],
        status=Status(StatusCode.ERROR, text),
    )
    assert span.name == span.events[0].name == span.status.message == repaired
    for attribute in (span.attributes[0], span.events[0].attributes[0], span.links[0].attributes[0]):
        assert (attribute.key, attribute.value.string_value) == (repaired, repaired)
    assert span.attributes[1].value.array_value.values[0].string_value == repaired
    assert span.attributes[2].value.kvlist_value.values[0].key == repaired


@given(st.integers(min_value=2**63) | st.integers(max_value=-(2**63) - 1))
def test_an_integer_too_large_for_otlp_keeps_its_digits(number):
    """A number that 64 bits cannot hold, which the official encoder drops, is kept as text."""
    assert read_value(number).string_value == str(number)
    assert read_value([number]).array_value.values[0].string_value == str(number)


def test_an_integer_too_large_even_to_print_is_kept_in_base_sixteen():
    """A number with more digits than Python agrees to write is neither an error nor lost."""
    assert read_value(1 << (sys.get_int_max_str_digits() * 4)).string_value.startswith("0x1000")


def test_values_that_otlp_does_not_know_become_text():
    """What no attribute can hold is kept as its str(), and does not touch the attributes beside it."""
    span = read(attributes={"before": 1, "set": {1}, "type": int, "after": 2})
    assert [attribute.key for attribute in span.attributes] == ["before", "set", "type", "after"]
    assert span.attributes[1].value.string_value == "{1}"
    assert span.attributes[2].value.string_value == "<class 'int'>"


class Unprintable:
    def __str__(self):
        raise RuntimeError("no")


class Hostile(dict):
    def items(self):
        raise RuntimeError("no")


@pytest.mark.parametrize("value", [Unprintable(), [Unprintable()], {"k": Unprintable()}])
def test_values_that_refuse_to_be_text_do_not_raise(value):
    """A value whose own methods raise costs no more than that value."""
    assert "Unprintable" in str(read_value(value))


def test_a_mapping_that_raises_becomes_text():
    """A mapping that cannot be walked is kept as what it prints."""
    assert read_value(Hostile(a=1)).string_value == "{'a': 1}"


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"k": inner}], ids=["list", "dict"])
@pytest.mark.parametrize("levels", [40, 5000])
def test_nesting_too_deep_for_readers_becomes_text(wrap, levels):
    """A value nested beyond what protobuf readers accept does not cost its whole request."""
    value = "bottom"
    for _ in range(levels):
        value = wrap(value)
    message = request([ReadableSpan("n", CONTEXT, attributes={"deep": value, "k": 1})])
    assert message.resource_spans[0].scope_spans[0].spans[0].attributes[1].value.int_value == 1


def test_a_list_that_holds_itself_ends():
    """A value without an end is written up to the deepest level."""
    endless = []
    endless.append(endless)
    assert read_value(endless).HasField("array_value")


def test_a_span_with_broken_parts_keeps_the_rest(caplog):
    """A part that cannot be written is left out, said in the log without its value, and the rest is kept."""
    span = read(name="kept", context=SpanContext(2**130, 1, is_remote=False), links=[None], attributes={"k": "secret"})
    assert span.name == "kept"
    assert span.attributes[0].value.string_value == "secret"
    assert not span.trace_id
    assert not span.links
    assert "without its identity" in caplog.text
    assert "without its links" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("context", [None, CONTEXT])
def test_a_span_made_of_the_wrong_types_does_not_raise(context):
    """No span raises, whatever it was made of by hand."""
    span = read(
        name=5, context=context, parent="p", attributes={5: 5, None: None}, events=[5], links="l", kind="k", status="s"
    )
    assert span.name == "5"
    assert [attribute.key for attribute in span.attributes] == ["5", "None"]


@pytest.mark.parametrize(("time", "written"), [(-1, 0), (2**64, 2**64 - 1), (1.5, 1), (None, 0)])
def test_times_out_of_range_are_written_as_the_nearest(time, written):
    """A time that 64 bits of nanoseconds since 1970 cannot tell is not an error."""
    span = read(start_time=time, end_time=time, events=[Event("e", timestamp=time or 0)])
    assert span.start_time_unix_nano == span.end_time_unix_nano == span.events[0].time_unix_nano == written


def test_keys_made_up_by_the_program_do_not_grow_the_memory():
    """Attribute keys that never come again are not kept for ever."""
    from callspan_exporters import _wire  # noqa: PLC0415  looks at what is private to it

    for number in range(3 * _wire._MAX_HEADS):
        read_value_key = f"key.{number}"
        encode_span(ReadableSpan("n", CONTEXT, attributes={read_value_key: "v", "again": 1}))
    assert len(_wire._text_heads) <= _wire._MAX_HEADS
    assert len(_wire._value_heads) <= _wire._MAX_HEADS
