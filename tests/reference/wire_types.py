"""The types of docs/protocol.md section 1 for the library `construct`, and means to note what was read where.

Knows single fields: no frames, no heads, no kinds. `tests.reference.wire` puts these together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import construct as c  # type: ignore[import-untyped]

TEXT_SIZE_MAX = 64
"""Longest text8: of a bus, a label, a name, in UTF-8 bytes."""

MALFORMED = 9
_UNKNOWN_ALIAS = 11
_U32_MAX = 0xFFFFFFFF
_VARINT_SIZE_MAX = 5


class Refused(c.ConstructError):  # type: ignore[misc]
    """A frame breaks the format.

    Attributes:
        code: the error of section 8 that ends the link.
        expected: what should have stood there, for people.
        short: the frame merely ended too early; more bytes might have made it good.
    """

    def __init__(self, code: int, expected: str, *, short: bool = False) -> None:
        super().__init__(expected)
        self.code = code
        self.expected = expected
        self.short = short


@dataclass(slots=True)
class Read:
    """One field that was read: where it stands in the parsed bytes, and what it holds."""

    offset: int
    length: int
    name: str
    value: Any


@dataclass(slots=True)
class Trace:
    """Notes of parsing, where it is given one: the fields read, in order, and the one at which it failed."""

    reads: list[Read] = field(default_factory=list)
    failed_name: str = ""
    failed_offset: int = 0

    def fail(self, name: str, offset: int) -> None:
        if not self.failed_name:  # the innermost field comes first and says the most
            self.failed_name, self.failed_offset = name, offset


def malformed(expected: str) -> NoReturn:
    raise Refused(MALFORMED, expected)


class Sized(c.Construct):  # type: ignore[misc]
    """Takes bytes, and says what they are when there are too few."""

    def _take(self, stream: Any, count: int, what: str, code: int = MALFORMED) -> bytes:
        data: bytes = stream.read(count)
        if len(data) < count:
            raise Refused(code, f"{what}; {len(data)} of {count} bytes left", short=True)
        return data


class _Varint(Sized):
    """Seven bits to a byte, least significant first; below 2^32, at most 5 bytes, padding allowed."""

    def __init__(self, least: int = 0) -> None:
        super().__init__()
        self.least = least

    def _parse(self, stream: Any, context: Any, path: str) -> int:
        value = 0
        for index in range(_VARINT_SIZE_MAX):
            byte = self._take(stream, 1, "a varint")[0]
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                return self._checked(value)
        return malformed("a varint of at most 5 bytes")

    def _checked(self, value: int) -> int:
        if value > _U32_MAX:
            malformed("a varint below 2^32")
        if value < self.least:
            malformed(f"a varint of {self.least} or more")
        return value

    def _build(self, obj: int, stream: Any, context: Any, path: str) -> int:
        if not self.least <= obj <= _U32_MAX:
            raise c.IntegerError(f"expected {self.least} to 2^32 - 1, got {obj}", path=path)
        rest = obj
        while rest > 0x7F:
            stream.write(bytes([rest & 0x7F | 0x80]))
            rest >>= 7
        stream.write(bytes([rest]))
        return obj


class Bytes(Sized):
    """Exactly `size` bytes."""

    def __init__(self, size: int, what: str) -> None:
        super().__init__()
        self.size, self.what = size, what

    def _parse(self, stream: Any, context: Any, path: str) -> bytes:
        return self._take(stream, self.size, self.what)

    def _build(self, obj: bytes, stream: Any, context: Any, path: str) -> bytes:
        if len(obj) != self.size:
            raise c.StreamError(f"expected {self.size} bytes, got {len(obj)}", path=path)
        stream.write(obj)
        return obj


class _Uint(Sized):
    """u8, u16, u32: most significant byte first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def _parse(self, stream: Any, context: Any, path: str) -> int:
        return int.from_bytes(self._take(stream, self.size, f"a u{8 * self.size}"), "big")

    def _build(self, obj: int, stream: Any, context: Any, path: str) -> int:
        stream.write(obj.to_bytes(self.size, "big"))
        return obj


class _Text8(Sized):
    """A length of 0 to 64 in one byte, then as many bytes of UTF-8."""

    def _parse(self, stream: Any, context: Any, path: str) -> str:
        size = self._take(stream, 1, "the length of a text")[0]
        if size > TEXT_SIZE_MAX:
            malformed(f"a text of at most {TEXT_SIZE_MAX} bytes, not {size}")
        data = self._take(stream, size, f"a text of {size} bytes")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            return malformed(f"UTF-8 ({error.reason} at byte {error.start} of the text)")

    def _build(self, obj: str, stream: Any, context: Any, path: str) -> str:
        data = obj.encode()
        if len(data) > TEXT_SIZE_MAX:
            raise c.StringError(f"expected at most {TEXT_SIZE_MAX} bytes, got {len(data)}", path=path)
        stream.write(bytes([len(data)]) + data)
        return obj


class _Text(Sized):
    """1 to 64 bytes of UTF-8, up to the end."""

    def _parse(self, stream: Any, context: Any, path: str) -> str:
        data = stream.read()
        if not 1 <= len(data) <= TEXT_SIZE_MAX:
            malformed(f"a text of 1 to {TEXT_SIZE_MAX} bytes, not {len(data)}")
        try:
            return str(data.decode())
        except UnicodeDecodeError as error:
            return malformed(f"UTF-8 ({error.reason} at byte {error.start} of the text)")

    def _build(self, obj: str, stream: Any, context: Any, path: str) -> str:
        stream.write(obj.encode())
        return obj


class _Alias(c.Construct):  # type: ignore[misc]
    """Section 5.1. Value: {"number": int, "id": bytes if bound here, else None}: 16 of an endpoint or type,
    20 of a node, of which the numbers 1 and 2 cannot be bound.
    """

    def __init__(self, id: Any, first: int = 1) -> None:
        super().__init__()
        self.id, self.first = id, first

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        id = None
        start = stream.tell()
        number = Varint._parse(stream, context, path)
        if number == 0 and stream.tell() == start + 1:  # a padded zero is no mark
            number = Varint._parse(stream, context, path)
            if number < self.first:
                raise Refused(_UNKNOWN_ALIAS, f"an alias from {self.first} up to be bound")
            id = self.id._parse(stream, context, path)
        if number == 0:
            raise Refused(_UNKNOWN_ALIAS, "an alias from 1 up")
        return c.Container(number=number, id=id)

    def _build(self, obj: Mapping[str, Any], stream: Any, context: Any, path: str) -> Any:
        if obj.get("id") is not None:
            stream.write(b"\x00")
        Varint._build(obj["number"], stream, context, path)
        if obj.get("id") is not None:
            self.id._build(obj["id"], stream, context, path)
        return obj


class UntilEnd(c.Subconstruct):  # type: ignore[misc]
    """Items up to the end of the stream. construct's GreedyRange would take a broken item for the end."""

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        items = c.ListContainer()
        while _left(stream):
            items.append(self.subcon._parsereport(stream, context, path))
        return items

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        for item in obj or ():
            self.subcon._build(item, stream, context, path)
        return obj


class Within(Sized):
    """As many bytes as a length in front of them says, and `subcon` must use them up.

    (construct's Prefixed, with the errors that the protocol gives.)
    """

    def __init__(self, length: Any, subcon: Any, what: str) -> None:
        super().__init__()
        self.prefixed, self.length, self.subcon, self.what = c.Prefixed(length, subcon), length, subcon, what

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        count = self.length._parsereport(stream, context, path)
        start = stream.tell()
        try:
            data = self._take(stream, count, f"{count} bytes of {self.what}")
            return self._inside(c.core.BytesIOWithOffsets(data, stream, start), context, path)
        except Refused:
            trace = context._params.get("trace")
            if trace is not None:
                trace.fail(self.what, start)
            raise

    def _inside(self, stream: Any, context: Any, path: str) -> Any:
        try:
            value = self.subcon._parsereport(stream, context, path)
        except Refused as refused:
            refused.short = False  # its length says that no more bytes belong to it
            raise
        if _left(stream):
            malformed(f"the end of {self.what}, not {_left(stream)} more bytes")
        return value

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        return self.prefixed._build(obj, stream, context, path)


class _End(c.Construct):  # type: ignore[misc]
    """The frame ends here. (construct's Terminated, with the error that the protocol gives.)"""

    def __init__(self) -> None:
        super().__init__()
        self.flagbuildnone = True

    def _parse(self, stream: Any, context: Any, path: str) -> None:
        extra = _left(stream)
        if extra:
            trace = context._params.get("trace")
            if trace is not None:
                trace.fail("end of the frame", stream.tell())
            malformed(f"the end of the frame, not {extra} more bytes")

    def _build(self, obj: object, stream: Any, context: Any, path: str) -> None:
        return None


class Marked(c.Subconstruct):  # type: ignore[misc]
    """A field that a Trace notes; `check` may refuse what was read by raising Refused."""

    def __init__(self, label: str, subcon: Any, check: Callable[[Any], None] | None = None) -> None:
        super().__init__(subcon)
        self.label, self.check = label, check

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        trace = context._params.get("trace")
        start = stream.tell()
        try:
            value = self.subcon._parsereport(stream, context, path)
            if self.check is not None:
                self.check(value)
        except Refused:
            if trace is not None:
                trace.fail(self.label, start)
            raise
        if trace is not None:
            trace.reads.append(Read(start, stream.tell() - start, self.label, value))
        return value


def _left(stream: Any) -> int:
    """Bytes between the position and the end, which a BytesIO can tell without reading."""
    here = stream.tell()
    size: int = stream.seek(0, 2) - here
    stream.seek(here)
    return size


def marked(name: str, subcon: Any, check: Callable[[Any], None] | None = None) -> Any:
    return name / Marked(name, subcon, check)


def optional(name: str, condition: Callable[[Any], bool], subcon: Any) -> Any:
    return name / c.Default(c.If(condition, Marked(name, subcon)), None)


Varint = _Varint()
Count = _Varint(least=1)
U8, U16, U32 = _Uint(1), _Uint(2), _Uint(4)
Uuid = Bytes(16, "a uuid of 16 bytes")
Text = _Text()
Text8 = _Text8()
Rest = c.GreedyBytes
Alias = _Alias(Uuid)
Node = _Alias(Bytes(20, "a node id of 16 bytes and an incarnation of 4"), 3)
End = _End()
