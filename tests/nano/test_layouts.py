"""Types of messages that lie in memory as they are."""

from __future__ import annotations

import ctypes
from typing import Annotated, Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway import nano
from busway.nano import layouts
from busway.nano.codecs import carried
from tests.nano.lab import Celsius, Frame, Point, Table


class All(nano.Layout):
    """One of each."""

    a: nano.i8
    b: nano.i16
    c: nano.i32
    d: nano.i64
    e: nano.u8
    f: nano.u16
    g: nano.u32
    h: nano.u64
    i: nano.f32
    j: nano.f64
    k: nano.boolean
    tag: Annotated[bytes, nano.fixed(5)]


def whole(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    low = -(1 << bits - 1) if signed else 0
    return st.integers(low, low + (1 << bits) - 1)


@given(
    st.tuples(
        *(whole(bits, signed=True) for bits in (8, 16, 32, 64)),
        *(whole(bits, signed=False) for bits in (8, 16, 32, 64)),
        *(st.floats(width=32, allow_nan=False), st.floats(allow_nan=False), st.booleans()),
        st.binary(min_size=5, max_size=5),
    )
)
def test_what_was_put_in_comes_out(values: tuple[Any, ...]) -> None:
    how = carried(All, "msgspec", {})
    found = how.decode(memoryview(how.encode(All(*values))))
    assert found.values() == values
    assert (found.a, found.h, found.tag) == (values[0], values[7], values[11])
    assert found == All(*values)
    assert hash(found) == hash(All(*values))
    assert All.layout.size == 15 + 15 + 4 + 8 + 1 + 5


def test_fields_are_given_in_order_or_by_name() -> None:
    assert Celsius(7, 21.5) == Celsius(sensor=7, value=21.5) == Celsius(7, value=21.5)
    assert repr(Celsius(7, 21.5)) == "Celsius(sensor=7, value=21.5)"
    assert Celsius(7, 21.5) != Celsius(8, 21.5)
    assert Celsius(7, 21.5) != "Celsius"


@pytest.mark.parametrize(
    ("arguments", "named", "said"),
    [
        ((7,), {}, "takes sensor, value"),
        ((7,), {"sensor": 3}, "needs value"),
        ((7, 1.0), {"other": 3}, "takes sensor, value"),
        ((1, 2, 3), {}, "takes sensor, value"),
    ],
)
def test_fields_that_are_none_are_refused(
    arguments: tuple[Any, ...], named: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        Celsius(*arguments, **named)


def test_values_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^Celsius\.sensor: .*, got 70000$"):
        Celsius(70_000, 1.0)

    class Small(nano.Layout):
        number: nano.u8
        value: nano.f32

    with pytest.raises(ValueError, match=r"^test_.*Small\.value: .*, got 1e\+300$"):
        Small(1, 1e300)


def test_bytes_that_are_too_long_are_refused_and_not_cut_off() -> None:
    class Tagged(nano.Layout):
        number: nano.u8
        tag: Annotated[bytes, nano.fixed(4)]

    assert Tagged(1, b"abc").tag == b"abc\0"
    assert Tagged(1, b"abcd").tag == b"abcd"
    with pytest.raises(ValueError, match=r"Tagged\.tag has 4 bytes at most, not 5$"):
        Tagged(1, b"abcde")


def test_annotations_that_say_no_size_are_refused() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.value must be annotated with nano\.u16"):

        class Wrong(nano.Layout):
            value: int


def test_a_field_of_bytes_has_one_at_least() -> None:
    with pytest.raises(ValueError, match="at least one"):
        nano.fixed(0)


def test_layouts_below_layouts_have_all_fields() -> None:
    class More(Celsius):
        place: nano.u32

    assert More.fields == ("sensor", "value", "place")
    assert More(1, 2.0, 3).place == 3


def test_a_layout_without_fields_is_refused() -> None:
    class Empty(nano.Layout):
        pass

    with pytest.raises(TypeError, match="has no fields"):
        layouts.check(Empty)


@pytest.mark.parametrize("kind", [Celsius, Point])
def test_bytes_of_another_size_are_refused(kind: Any) -> None:
    with pytest.raises(ValueError, match="bytes, not 3"):
        carried(kind, "msgspec", {}).decode(bytearray(3))


def test_arrays_are_brought_to_their_type_and_shape() -> None:
    frame = Frame([[1, 2, 3, 4], [5, 6, 7, 8]])
    assert frame.array.dtype == numpy.uint8
    assert frame.array.shape == (2, 4)
    with pytest.raises(ValueError, match="reshape"):
        Frame([1, 2, 3])
    with pytest.raises(ValueError, match="reshape"):
        Table([(1.0, 2)])


def test_an_array_has_one_open_side() -> None:
    class Open(nano.Array):
        shape = (-1, -1)

    with pytest.raises(TypeError, match="more than one -1"):
        layouts.check(Open)


class Inner(ctypes.Structure):
    _fields_ = (("a", ctypes.c_uint8), ("b", ctypes.c_double))


class Outer(ctypes.Structure):
    _fields_ = (("inner", Inner), ("more", Inner * 3), ("raw", ctypes.c_uint16 * 4))


class Other(ctypes.Structure):
    _fields_ = (("inner", Inner), ("raw", ctypes.c_uint16 * 4), ("more", Inner * 3))


def test_texts_say_the_layout() -> None:
    assert layouts.text_of(Celsius) == "layout <Hd sensor,value"
    assert layouts.text_of(Frame) == "array |u1 (-1, 4)"
    assert layouts.text_of(Table) == "array [('x', '<f4'), ('n', '<i4')] (3,)"
    assert layouts.text_of(Point) == "ctypes {x@0:4:c_int4,y@4:4:c_int4}8"
    long, other = layouts.text_of(Outer), layouts.text_of(Other)
    assert long != other
    assert len(long) < 120
    assert "sha256:" in long


def test_ctypes_lie_where_they_are() -> None:
    how = carried(Point, "msgspec", {})
    memory = bytearray(how.encode(Point(3, -4)))
    found = how.decode(memory)
    memory[0] = 5
    assert (found.x, found.y) == (5, -4)
