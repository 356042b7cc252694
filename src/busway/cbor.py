"""CBOR to plain values, by cbor2, with what we add to it: limits, arrays, tags. Knows no payloads.

cbor2 is imported at the first value that needs it, so that a program that sends only bytes never pays for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from busway import bounds
from busway.arrays import FIRST_TAG, LAST_TAG, SHAPE_HEAD, SHAPE_TAG, SMALL, Grid, cut, decode_array, placed

if TYPE_CHECKING:
    import datetime

DEPTH_MAX = 128
"""Deepest nesting of lists, maps and tags in one value. cbor2 overruns the C stack at some thousands."""

INTEGER_SIZE_MAX = 1024
"""Largest integer taken from the wire, in bytes: arithmetic on longer ones could take seconds."""

TAG_DURATION = 1002

_TAG_BIGNUM = 2
_TAG_NEGATIVE_BIGNUM = 3
_TAG_STRING_REFERENCE = 25
_TAG_SHARED_REFERENCE = 29
_TAG_REGULAR_EXPRESSION = 35
_TAG_MIME = 36


class Cbor:
    """cbor2, imported, with what we add to it."""

    def __init__(self) -> None:
        import cbor2

        self.dumps = cbor2.dumps
        self.error = cbor2.CBORError
        self.tag = cbor2.CBORTag
        self._loads = cbor2.loads
        self._semantic: dict[int, Callable[[Any, bool], Any]] = {
            _TAG_BIGNUM: lambda value, _: _bignum(value),
            _TAG_NEGATIVE_BIGNUM: lambda value, _: -1 - _bignum(value),
            _TAG_STRING_REFERENCE: _refuse_reference,
            _TAG_SHARED_REFERENCE: _refuse_reference,
            _TAG_REGULAR_EXPRESSION: lambda value, _: cbor2.CBORTag(_TAG_REGULAR_EXPRESSION, value),
            _TAG_MIME: lambda value, _: cbor2.CBORTag(_TAG_MIME, value),
            TAG_DURATION: lambda value, _: _duration(value),
        }
        for tag in range(FIRST_TAG, LAST_TAG + 1):
            self._semantic[tag] = partial(self._array, tag)
        self._semantic[SHAPE_TAG] = _refuse_uncut
        # cbor2.loads ignores what follows the value, and its CBORDecoder, which could tell, takes thrice as
        # long. So the payload is read as the first of two items; if the second is not ours, something
        # followed.
        self._mark = os.urandom(8)
        self._mark_item = b"\x48" + self._mark
        self._refuse_old()

    def _array(self, tag: int, value: Any, _immutable: bool) -> Any:
        found = decode_array(tag, value)
        return self.tag(tag, value) if found is None else found

    def _grid(self, grids: list[Grid], value: Any, _immutable: bool) -> Any:
        found = placed(grids, value)
        return self.tag(SHAPE_TAG, value) if found is None else found.value()

    def _refuse_old(self) -> None:
        try:
            self._read(b"\xf6", DEPTH_MAX, [], texts=True)
        except TypeError as error:
            raise ImportError(f"Busway needs cbor2 6.1 or later: {error}") from error

    def loads(self, payload: bytes, grids: list[Grid] | None) -> Any:
        """The value of a payload in which placeholders stand for these arrays; None: they are still in it, if
        there are any, which is found out by reading it, since most have none.
        """
        if len(payload) > bounds.ITEMS_MAX:  # every item takes a byte at least
            return self._loads_checked(payload, grids)
        try:
            value, mark = self._read(b"\x82" + payload + self._mark_item, DEPTH_MAX + 1, grids, texts=True)
        except Exception:  # noqa: BLE001 - also of keys that are no texts, which are looked at first
            return self._loads_checked(payload, grids)
        return value if mark == self._mark else self._loads_checked(payload, grids)

    def _loads_checked(self, payload: bytes, grids: list[Grid] | None) -> Any:
        if grids is None:
            payload = cut(payload, grids := [])
        end = bounds.check(payload)
        value = self._read(payload, DEPTH_MAX, grids)  # raises what is wrong with the payload itself
        if end < 0:
            raise ValueError("it is malformed")
        if end < len(payload):
            raise ValueError("there are more bytes after the value")
        return value

    def _read(self, payload: bytes, depth_max: int, grids: list[Grid] | None, *, texts: bool = False) -> Any:
        """The first item; `texts` to refuse keys and members of sets that are neither texts nor bytes."""
        semantic = self._semantic
        if grids is not None:
            semantic = {**semantic, SHAPE_TAG: partial(self._grid, grids)}
        return self._loads(
            payload,
            semantic_decoders=semantic,
            max_depth=depth_max,
            allow_duplicate_keys=False,
            strict_hashable_types=texts,
        )


_cbor: Cbor | None = None


def load_cbor() -> Cbor:
    """The only one, made now if it was not needed before."""
    global _cbor
    if _cbor is None:
        _cbor = Cbor()
    return _cbor


def loads(payload: bytes | memoryview, grids: list[Grid] | None = None) -> Any:
    """The value of a payload, in which placeholders may stand for arrays (arrays.py). Raises ValueError and
    whatever cbor2 raises.
    """
    if grids is None and type(payload) is bytes and len(payload) <= SMALL and payload[:2] != SHAPE_HEAD:
        return (_cbor or load_cbor()).loads(payload, None)
    grids = [*(grids or ())]
    body = cut(payload, grids)
    if len(grids) == 1 and (alone := placed(grids, body[3:])):
        return alone.value()  # without cbor2
    return (_cbor or load_cbor()).loads(body, grids)


def _bignum(value: Any) -> int:
    if type(value) is not bytes:
        raise ValueError("the digits of a large integer must be bytes")
    if len(value) > INTEGER_SIZE_MAX:
        raise ValueError(f"an integer of {len(value)} bytes; at most {INTEGER_SIZE_MAX} are taken")
    return int.from_bytes(value, "big")


def _duration(value: Any) -> datetime.timedelta:
    """RFC 9581: a map of seconds (key 1) and a fraction, here in microseconds (key -6)."""
    if not isinstance(value, Mapping) or not {1} <= set(value) <= {1, -6}:
        raise ValueError("a duration must be seconds, and at most microseconds")
    if any(type(part) is not int for part in value.values()):
        raise ValueError("the seconds of a duration must be whole numbers")
    import datetime  # cbor2 has it by now

    return datetime.timedelta(seconds=value[1], microseconds=value.get(-6, 0))


def _refuse_uncut(_value: Any, _immutable: bool) -> Any:
    raise LookupError  # there is an array to be cut out


def _refuse_reference(_value: Any, _immutable: bool) -> Any:
    raise ValueError("references between parts of a value are not taken")
