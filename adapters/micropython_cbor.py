"""CBOR (RFC 8949) for boards: `dumps` and `loads` as cbor2's, for None, bool, int, float, bytes, str,
list and dict.

Knows payloads only. Runs on CPython and MicroPython alike.
"""

from struct import pack, unpack

DEPTH_MAX = 16
"""Deepest nesting of lists and maps, either way."""


def dumps(value: object) -> bytes:
    """The shortest CBOR of a value. Raises TypeError for a type that does not travel, ValueError for one
    nested deeper than DEPTH_MAX or an integer of more than 64 bytes.
    """
    out = bytearray()
    _write(out, value, DEPTH_MAX)
    return bytes(out)


def _head(out: bytearray, major: int, value: int) -> None:
    """Writes the head of an item."""
    if value < 24:
        out.append(major | value)
        return
    size = 1
    code = 24
    while value >> (size << 3):
        size <<= 1
        code += 1
    out.append(major | code)
    out.extend(value.to_bytes(size, "big"))


def _write(out: bytearray, value: object, depth: int) -> None:
    if value is None:
        out.append(0xF6)
    elif value is True or value is False:
        out.append(0xF5 if value else 0xF4)
    elif isinstance(value, int):
        _write_int(out, value)
    elif isinstance(value, float):
        out.append(0xFB)
        out.extend(pack(">d", value))
    elif isinstance(value, str):
        raw = value.encode()
        _head(out, 0x60, len(raw))
        out.extend(raw)
    elif isinstance(value, (bytes, bytearray, memoryview)):
        if isinstance(value, memoryview):
            value = bytes(value)  # its items may be wider than a byte
        _head(out, 0x40, len(value))
        out.extend(value)
    else:
        _write_container(out, value, depth)


def _write_container(out: bytearray, value: object, depth: int) -> None:
    if not depth:
        raise ValueError("a value is nested deeper than %d" % DEPTH_MAX)
    if isinstance(value, (list, tuple)):
        _head(out, 0x80, len(value))
        for item in value:
            _write(out, item, depth - 1)
    elif isinstance(value, dict):
        _head(out, 0xA0, len(value))
        for key in value:
            _write(out, key, depth - 1)
            _write(out, value[key], depth - 1)
    else:
        raise TypeError("a payload is None, bool, int, float, bytes, str, list or dict, not %r" % type(value))


def _write_int(out: bytearray, value: int) -> None:
    major = 0
    if value < 0:
        major = 0x20
        value = -1 - value
    if value < 0x10000000000000000:
        _head(out, major, value)
        return
    from busway.adapters.micropython_cbor_rare import _write_big

    _write_big(out, major, value)


def loads(data: bytes) -> object:
    """The value of CBOR bytes, all of them. Raises ValueError for what is not CBOR, or of a kind that
    boards do not know (tags other than integers, undefined).
    """
    try:
        value, pos = _read(data, 0, DEPTH_MAX)
    except (IndexError, TypeError, UnicodeError):
        raise ValueError("not CBOR: cut short, or a text or key that cannot be") from None
    if pos != len(data):
        raise ValueError("bytes behind the value")
    return value


def _argument(data: bytes, pos: int, info: int) -> "tuple[int, int]":
    """The number in the head, and where it ends."""
    if info < 24:
        return info, pos
    if info > 27:
        raise ValueError("a head that is no length: %d" % info)
    stop = pos + (1 << (info - 24))
    if stop > len(data):
        raise ValueError("cut short")
    value = 0
    for at in range(pos, stop):
        value = value << 8 | data[at]
    return value, stop


def _read(data: bytes, pos: int, depth: int) -> "tuple[object, int]":
    """The item at `pos`, and where it ends."""
    info = data[pos]
    major = info >> 5
    info &= 31
    pos += 1
    if major == 7:
        return _simple(data, pos, info)
    if info == 31 and 2 <= major <= 5:
        if major > 3:
            return _container(data, pos, major, -1, depth)
        return _rare(data, pos, major, 0)
    value, pos = _argument(data, pos, info)
    if major == 0:
        return value, pos
    if major == 1:
        return -1 - value, pos
    if major == 6:
        return _rare(data, pos, 6, value)
    if value > len(data) - pos:  # every item takes a byte at least: nothing is made larger than what came
        raise ValueError("cut short")
    if major <= 3:
        raw = bytes(data[pos : pos + value])
        return (raw if major == 2 else raw.decode()), pos + value
    return _container(data, pos, major, value, depth)


def _container(data: bytes, pos: int, major: int, count: int, depth: int) -> "tuple[object, int]":
    """A list or map of `count` items, -1: up to the break."""
    if not depth:
        raise ValueError("nested deeper than %d" % DEPTH_MAX)
    items: "list[object]" = []
    table: "dict[object, object]" = {}
    while count:
        if count < 0 and data[pos] == 0xFF:
            return (items if major == 4 else table), pos + 1
        count -= 1
        item, pos = _read(data, pos, depth - 1)
        if major == 4:
            items.append(item)
            continue
        if item in table:
            raise ValueError("a key twice")
        table[item], pos = _read(data, pos, depth - 1)
    return (items if major == 4 else table), pos


def _simple(data: bytes, pos: int, info: int) -> "tuple[object, int]":
    if 20 <= info <= 22:
        return (False, True, None)[info - 20], pos
    if info == 27 and pos + 8 <= len(data):
        return unpack(">d", data[pos : pos + 8])[0], pos + 8
    return _rare(data, pos, 7, info)


def _rare(data: bytes, pos: int, major: int, value: int) -> "tuple[object, int]":
    from busway.adapters.micropython_cbor_rare import _read_rare

    return _read_rare(data, pos, major, value)
