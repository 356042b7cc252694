"""How messages become bytes and come back: msgspec, CBOR, pickle, two functions, or as they lie in memory."""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from busway.nano import layouts

Named = str
_TEXTS = ("msgspec", "cbor", "pickle")
_VALUES = (bool, int, float, str, bytes, list, dict, type(None))  # what msgspec reads without being told


class Codec(NamedTuple):
    """Two functions of your own: for protobuf, `Codec(Reading.SerializeToString, Reading.FromString)`."""

    encode: Callable[[Any], bytes]
    """From a message to bytes."""
    decode: Callable[[bytes], Any]
    """And back."""
    name: str = "own"
    """Its name in a file, which does not take messages that were written by a codec of another name."""


class Carried(NamedTuple):
    """How one type of message is carried."""

    encode: Callable[[Any], bytes]
    decode: Callable[[Any], Any]
    as_view: bool  # whether it is decoded from the bus's own memory
    text: str  # says the layout


def as_it_is(message: bytes) -> bytes:
    """Encodes bytes. Who encodes many looks for it, and does not call it."""
    return message


def carried(kind: Any, default: Codec | Named, own: Mapping[Any, Codec | Named]) -> Carried:
    """How messages of a type are carried.

    Args:
        kind: the type.
        default: for types that do not lie in memory as they are: "msgspec", "cbor", "pickle", or a `Codec`.
        own: the same for single types.

    Raises:
        TypeError: a type that this codec cannot carry.
        ValueError: no such codec.
    """
    chosen = own.get(kind)
    if chosen is None:
        if kind is bytes:
            return Carried(as_it_is, bytes, False, "bytes")
        if layouts.lies_in_memory(kind):
            layouts.check(kind)
            return _in_memory(kind)
        chosen = default
    if isinstance(chosen, Codec):
        return Carried(chosen.encode, chosen.decode, False, f"codec {chosen.name}")
    if chosen == "msgspec":
        return _msgspec(kind)
    if chosen == "cbor":
        return _cbor(kind)
    if chosen == "pickle":
        return Carried(lambda message: pickle.dumps(message, 5), pickle.loads, False, "pickle")
    raise ValueError(f"a codec is one of {', '.join(map(repr, _TEXTS))} or a nano.Codec, got {chosen!r}")


def _in_memory(kind: Any) -> Carried:
    text = layouts.text_of(kind)
    if issubclass(kind, layouts.Layout):
        return Carried(lambda message: bytes(message.data), kind.at, True, text)
    if issubclass(kind, layouts.Array):
        return Carried(lambda message: message.array.tobytes(), kind.at, True, text)
    size = ctypes.sizeof(kind)

    def decode(data: Any) -> Any:
        if len(data) != size:
            raise ValueError(f"{kind.__qualname__} has {size} bytes, not {len(data)}")
        return kind.from_buffer(data)

    return Carried(bytes, decode, True, text)


def _unknown(kind: Any) -> type | None:
    """A class within a type that msgspec neither reads nor writes."""
    from msgspec import inspect

    seen: set[int] = set()
    left: list[Any] = [inspect.type_info(kind)]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, inspect.CustomType) and not any(issubclass(each, one.cls) for each in _VALUES):
            return one.cls
        if isinstance(one, (inspect.Type, inspect.Field)):
            left += [getattr(one, name) for name in one.__struct_fields__]
        elif isinstance(one, tuple):
            left += one
    return None


def _check_known(kind: Any) -> None:
    import msgspec

    msgspec.msgpack.Decoder(kind)  # says what it cannot carry
    if (found := _unknown(kind)) is not None:
        raise TypeError(
            f"msgspec does not know the class {found.__qualname__}: make it a dataclass or a Struct, or give "
            'the type a codec of its own, as in codecs={...: "pickle"}'
        )


def _msgspec(kind: Any) -> Carried:
    import msgspec

    _check_known(kind)
    encode = msgspec.msgpack.Encoder().encode
    return Carried(encode, msgspec.msgpack.Decoder(kind).decode, False, "msgspec")


def _cbor(kind: Any) -> Carried:
    import cbor2
    import msgspec

    from busway.convert import CBOR_NATIVE

    _check_known(kind)

    def encode(message: Any) -> bytes:
        return cbor2.dumps(msgspec.to_builtins(message, builtin_types=CBOR_NATIVE))

    def decode(data: bytes) -> Any:
        return msgspec.convert(cbor2.loads(data), kind, builtin_types=CBOR_NATIVE)

    return Carried(encode, decode, False, "cbor")
