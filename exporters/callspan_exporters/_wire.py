"""Protobuf wire format, as far as OTLP traces need it: lengths, text, and attributes.

Written for speed, since every ended span goes through here while the application waits: the attribute values are
dispatched on their exact type, lengths are looked up instead of computed, and the part of an attribute that its key
decides is kept from one span to the next. Field numbers are those of ``opentelemetry/proto/common/v1/common.proto``
(https://github.com/open-telemetry/opentelemetry-proto); the format is
https://protobuf.dev/programming-guides/encoding/.
"""

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any, Final

_SMALL: Final = 2048
_MAX_HEAD: Final = 256
_MAX_HEADS: Final = 4096
_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1
_UINT64_MASK: Final = (1 << 64) - 1

# Protobuf readers, the official one among them, refuse a whole request that nests deeper than 100 messages. A mapping
# costs three of them a level and an attribute starts at the sixth, so this stays below with room for a gateway's
# wrapping.
MAX_DEPTH: Final = 24


def _varint(value: int) -> bytes:
    """Return a non-negative integer as a base-128 varint."""
    septets = bytearray()
    while value > 0x7F:  # noqa: PLR2004  seven bits to a byte is what a varint is
        septets.append(value & 0x7F | 0x80)
        value >>= 7
    septets.append(value)
    return bytes(septets)


_VARINTS: Final = [_varint(value) for value in range(_SMALL)]


def varint(value: int) -> bytes:
    """Return a non-negative integer as a base-128 varint, from a table where it is small."""
    return _VARINTS[value] if value < _SMALL else _varint(value)


def delimited(tag: bytes, body: bytes) -> bytes:
    """Return a length-delimited field: a message, text or bytes."""
    size = len(body)
    return tag + (_VARINTS[size] if size < _SMALL else _varint(size)) + body


def utf8(text: object) -> bytes:
    """Return text as the UTF-8 that protobuf demands, whatever is given.

    Halves of surrogate pairs are not Unicode text, and the official encoder raises for them. Here two halves that
    belong together (as left by a JSON reader, or a stream cut between them) become the character they mean, and a lone
    half becomes U+FFFD. What is not a string becomes its ``str()``.
    """
    if not isinstance(text, str):
        text = as_text(text)
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return str.encode(text, "utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def as_text(value: object) -> str:
    """Return ``str(value)``, or the name of its type where that raises."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a user's __str__ may raise anything, and a span must not be lost for it
        return f"<{type(value).__name__}>"


_double: Final = Struct("<Bd").pack


def _none(_value: None, _depth: int = 0) -> bytes:
    return b""


def _bool(value: bool, _depth: int = 0) -> bytes:
    return b"\x10\x01" if value else b"\x10\x00"


def _int(value: int, _depth: int = 0) -> bytes:
    if 0 <= value < _SMALL:
        return b"\x18" + _VARINTS[value]
    if _INT64_MIN <= value <= _INT64_MAX:
        return b"\x18" + _varint(value & _UINT64_MASK)
    try:
        return _str(str(value))
    except ValueError:  # more digits than sys.set_int_max_str_digits() lets str() write
        return _str(hex(value))


def _float(value: float, _depth: int = 0) -> bytes:
    return _double(0x21, value)


def _str(value: str, _depth: int = 0) -> bytes:
    try:
        data = value.encode()
    except UnicodeEncodeError:
        data = utf8(value)
    size = len(data)
    return b"\x0a" + (_VARINTS[size] if size < _SMALL else _varint(size)) + data


def _bytes(value: bytes, _depth: int = 0) -> bytes:
    return delimited(b"\x3a", value)


def _sequence(value: Sequence[Any], depth: int = 0) -> bytes:
    if depth >= MAX_DEPTH:
        return _str(as_text(value))
    values = [delimited(b"\x0a", any_value(item, depth + 1)) for item in value]
    return delimited(b"\x2a", b"".join(values))


def _mapping(value: Mapping[Any, Any], depth: int = 0) -> bytes:
    if depth >= MAX_DEPTH:
        return _str(as_text(value))
    return delimited(b"\x32", attributes(b"\x0a", value, depth + 1))


def _other(value: object, depth: int = 0) -> bytes:  # noqa: PLR0911  one for each type there is
    """Encode what is none of the exact types: subclasses in the official encoder's order, the rest as text."""
    if isinstance(value, str):
        return _str(str.__str__(value))
    if isinstance(value, int):
        return _int(int.__index__(value))
    if isinstance(value, float):
        return _float(float.__float__(value))
    if isinstance(value, bytes):
        return _bytes(bytes(value))
    if isinstance(value, Sequence):
        return _sequence(value, depth)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, Mapping):
        return _mapping(value, depth)  # pyright: ignore[reportUnknownArgumentType]
    return _str(as_text(value))


_ENCODERS: Final[dict[type, Callable[..., bytes]]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    bytes: _bytes,
    tuple: _sequence,
    list: _sequence,
    dict: _mapping,
}


def any_value(value: object, depth: int = 0) -> bytes:
    """Return the fields of an ``AnyValue``; never raises, and what has no place in one becomes its ``str()``.

    Integers that 64 bits cannot hold, which the official encoder drops, become their digits.

    Args:
        value: whatever an attribute holds.
        depth: how many sequences and mappings it is in; beyond `MAX_DEPTH` they become text.
    """
    try:
        return _ENCODERS.get(type(value), _other)(value, depth)
    except Exception:  # noqa: BLE001  a value's own methods may raise anything, and a span must not be lost for it
        return _str(as_text(value))


# Keyed by field tag, attribute key and size, since the few keys there are come with few sizes.
_Heads = dict[tuple[bytes, str, int], bytes]
_text_heads: _Heads = {}
_value_heads: _Heads = {}


def _head(heads: _Heads, tag: bytes, key: Any, size: int) -> bytes:
    """Return all of an attribute but its last ``size`` bytes, and remember it where it is likely to come again.

    Args:
        heads: `_text_heads` where the text of a string follows, `_value_heads` where a whole ``AnyValue`` does.
        tag: of the field that the attribute is.
        key: of the attribute.
        size: of what follows, in bytes.
    """
    text = b"\x0a" + varint(size) if heads is _text_heads else b""
    start = delimited(b"\x0a", utf8(key)) + b"\x12" + varint(len(text) + size) + text
    head = tag + varint(len(start) + size) + start
    if type(key) is str and len(head) + size < _MAX_HEAD:
        if len(heads) >= _MAX_HEADS:  # whoever makes up keys as it goes must not grow this for ever
            heads.clear()
        heads[tag, key, size] = head
    return head


def attributes(tag: bytes, values: Mapping[Any, Any], depth: int = 0) -> bytes:
    """Return attributes as repeated ``KeyValue`` fields; never raises for what they hold.

    Args:
        tag: of the field that each of them is.
        values: the attributes, cheapest as a dictionary.
        depth: how many sequences and mappings they are in.
    """
    parts: list[bytes] = []
    value: object
    for key, value in values.items():
        heads = _value_heads
        try:
            if type(value) is str:
                body = value.encode()
                heads = _text_heads
            else:
                body = _ENCODERS.get(type(value), _other)(value, depth)
        except Exception:  # noqa: BLE001  lone surrogates, or a value whose own methods raise: see any_value
            body = _str(as_text(value))
        size = len(body)
        parts.append(heads.get((tag, key, size)) or _head(heads, tag, key, size))
        parts.append(body)
    return b"".join(parts)
