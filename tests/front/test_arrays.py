"""Arrays with a shape: what is sent as an array of numpy arrives as one, and is not copied on the way."""

import array
import ctypes
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import cbor2
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from numpy.typing import NDArray

from busway import arrays, bounds
from busway.messages import message
from busway.payloads import CBOR, RAW, TYPED, PayloadError, decode, encode, encode_pieces, plain

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "arrays.json").read_text())
DTYPES = ["?", "u1", "i1", "<u2", ">i2", "<i4", ">u4", "<i8", ">u8"]
DTYPES += ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<c8", ">c8", "<c16", ">c16"]


def trip(value: object) -> Any:
    payload, format, type_id = encode(value, b"")
    assert type(payload) is bytes
    return decode(payload, format, type_id, b"", None)


def same(found: Any, sent: Any) -> bool:
    assert type(found) is numpy.ndarray
    assert (found.dtype, found.shape) == (sent.dtype, sent.shape)
    assert found.flags.aligned
    assert not found.flags.writeable
    return numpy.ascontiguousarray(sent).tobytes() == found.tobytes()


@given(
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: of_numpy.arrays(dtype, of_numpy.array_shapes(min_dims=0, max_dims=5, min_side=0))
    )
)
def test_every_array_arrives_with_its_elements_type_and_shape(sent: Any) -> None:
    assert same(trip(sent), sent)
    assert same(trip({"frame": [sent], "number": 3})["frame"][0], sent)
    assert same(trip(sent.T), sent.T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1024,), (30, 40), (2, 3, 200), (1, 70_000), (3, 1, 1, 1, 1, 1, 500)])
@pytest.mark.parametrize("before", [0, 1, 7])
def test_elements_of_large_arrays_are_aligned_wherever_they_stand(
    dtype: str, shape: tuple[int, ...], before: int
) -> None:
    sent = numpy.ones(shape, dtype)
    payload = encode([b"." * before, sent, sent], b"")[0]
    at = payload.find(sent.tobytes())
    assert at % arrays.ALIGNMENT == 0
    found = decode(payload, CBOR, b"", b"", None)
    assert same(found[1], sent)
    assert same(found[2], sent)


@given(st.integers(0, 15), st.integers(1, 6), st.integers(1024, 1 << 20))
def test_any_head_can_be_widened_by_any_number_of_bytes(at: int, dimensions: int, size: int) -> None:
    shape = (*(1,) * (dimensions - 1), size)
    head = arrays.Grid(64, 0, shape, memoryview(bytes(size))).head(at)
    assert (at + len(head)) % arrays.ALIGNMENT == 0
    assert cbor2.loads(head + bytes(size)).value[0] == shape


class Subclass(numpy.ndarray[Any, Any]):
    pass


def test_what_is_in_pieces_in_memory_or_a_subclass_arrives_whole() -> None:
    sent = numpy.arange(24, dtype="<i4").reshape(4, 6)
    row = sent[1]
    spread = numpy.broadcast_to(row[2], (5,))
    for view in (
        sent[::2, 1::2],
        sent.T,
        sent[::-1],
        numpy.asfortranarray(sent),
        row[::2],
        row[::-1],
        spread,
    ):
        assert same(trip(view), view)
    assert same(trip(sent.view(Subclass)), sent)


def test_views_of_several_dimensions_need_no_numpy_to_be_sent() -> None:
    assert same(
        trip(memoryview(b"abcdef").cast("B", [2, 3])), numpy.frombuffer(b"abcdef", "u1").reshape(2, 3)
    )
    assert same(trip([memoryview(b"\x00\x01").cast("?", [2, 1])])[0], numpy.array([[False], [True]]))
    whole = memoryview(array.array("h", range(6)).tobytes()).cast("h", [3, 2])
    assert same(trip(whole[::2]), numpy.array([[0, 1], [4, 5]], "h"))
    assert same(
        trip([((ctypes.c_double * 2) * 1).from_buffer_copy(array.array("d", [1.5, 2.5]))])[0],
        numpy.array([[1.5, 2.5]]),
    )


# Nothing is copied --------------------


@pytest.mark.parametrize("view", [bytes, lambda payload: memoryview(bytearray(payload))])
def test_what_arrives_is_a_view_of_the_payload(view: Any) -> None:
    frame = numpy.arange(100_000, dtype="u2").reshape(100, 1000)
    for value in (frame, {"frame": frame, "more": [frame, "x"]}, [frame] * 3):
        payload = view(encode(value, b"")[0])
        begin = numpy.frombuffer(payload, "u1").ctypes.data
        found = decode(payload, CBOR, b"", b"", None)
        members = (
            [found]
            if value is frame
            else [found["frame"], found["more"][0]]
            if type(found) is dict
            else found
        )
        for member in members:
            assert same(member, frame)
            assert begin < member.ctypes.data < begin + len(payload)


def test_what_is_sent_is_lent_until_it_is_joined() -> None:
    frame = numpy.zeros((300, 400), "u1")
    lent = (ctypes.c_char * 3).from_buffer(bytearray(b"abc"))
    for value, count in ((frame, 2), ({"a": frame, "b": [frame]}, 6)):
        pieces, format, type_id = encode_pieces(value, b"")
        assert (len(pieces), format, type_id) == (count, CBOR, b"")
        assert b"".join(pieces) == encode(value, b"")[0]
        views = [piece for piece in pieces if type(piece) is memoryview]
        assert all(numpy.shares_memory(numpy.asarray(piece), frame) for piece in views)
    for raw in (bytearray(b"abc"), memoryview(lent).cast("B"), b"abc"):
        ((piece,), format, _) = encode_pieces(raw, b"")
        assert (format, piece) == (RAW, b"abc")
    assert encode_pieces(memoryview(b"a.b.c")[::2], b"")[0] == [b"abc"]


def test_truth_values_stay_what_was_checked_in_memory_that_others_change() -> None:
    """numpy trusts them to be 0 or 1, and says nothing of what it does with others."""
    sent = numpy.ones(5000, "?")
    payload = bytearray(encode(["before", sent], b"")[0])
    found = decode(memoryview(payload).toreadonly(), CBOR, b"", b"", None)[1]
    payload[-5000:] = b"\xff" * 5000
    assert same(found, sent)
    assert numpy.count_nonzero(found) == 5000


def test_large_values_without_arrays_and_those_behind_many_items_are_read_as_they_are() -> None:
    frame = numpy.arange(3)
    many = list(range(3000))
    filler = b"." * 70_000
    values: list[Any] = [
        [many, filler, frame],
        [many, filler],
        [filler, many, b"\xd8\x28", frame],
        [[]] * 70_000,
    ]
    for value in values:
        payload = encode(value, b"")[0]
        for sent in (payload, memoryview(payload)):
            found = decode(sent, CBOR, b"", b"", None)
            assert repr(found) == repr(value)


def test_more_items_than_are_taken_are_refused_without_looking_for_arrays_in_them() -> None:
    array_of_one = bytes.fromhex("d828 82 81 01 d840 41 01")
    count = bounds.ITEMS_MAX + 10
    payload = b"\x9a" + (count + 1).to_bytes(4, "big") + bytes(count) + array_of_one
    with pytest.raises(PayloadError, match="more than 1,048,576 items"):
        decode(payload, CBOR, b"", b"", None)


# The wire --------------------


@pytest.mark.parametrize("vector", VECTORS["arrays"], ids=lambda vector: vector["hex"][:24])
def test_vectors(vector: dict[str, Any]) -> None:
    payload = bytes.fromhex(vector["hex"])
    wanted: Any = [complex(*number) if type(number) is list else number for number in vector["numbers"]]
    found: Any = None
    for sent in (payload, memoryview(payload)):
        found = decode(sent, CBOR, b"", b"", None)
        if vector["shape"] is None:
            assert found == array.array(found.typecode, wanted)
        else:
            dtype = numpy.dtype(vector["dtype"])
            assert same(found, numpy.array(wanted, dtype).reshape(vector["shape"]))
    if vector["written"]:
        assert encode(found, b"") == (payload, CBOR, b"")
    assert decode(b"\x81" + payload, CBOR, b"", b"", None)[0].tobytes() == found.tobytes()


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["why"])
@pytest.mark.parametrize("library", [True, False])
def test_arrays_that_are_none_are_errors(
    vector: dict[str, str], library: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not library:
        monkeypatch.setitem(sys.modules, "numpy", None)
    for payload in (bytes.fromhex(vector["hex"]), b"\x81" + bytes.fromhex(vector["hex"])):
        with pytest.raises(PayloadError, match="an array of"):
            decode(memoryview(payload), CBOR, b"", b"", None)


@pytest.mark.parametrize("vector", VECTORS["left"], ids=lambda vector: vector["why"])
def test_what_is_no_array_of_ours_stays_a_tag(vector: dict[str, str]) -> None:
    payload = bytes.fromhex(vector["hex"])
    for sent in (payload, b"\x82" + payload + bytes.fromhex("d828 82 80 d840 41 01")):
        found = decode(sent, CBOR, b"", b"", None)
        assert isinstance(found if sent is payload else found[0], cbor2.CBORTag)


@given(st.data())
def test_whatever_is_cut_or_changed_is_read_or_refused(data: st.DataObject) -> None:
    value = [{"a": numpy.zeros((2, 3), ">f4")}, numpy.array([True]), numpy.array([1j])]
    payload = bytearray(encode(value, b"")[0])
    for _ in range(data.draw(st.integers(0, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    sent = bytes(payload[: data.draw(st.integers(0, len(payload)))])
    results: list[object] = []
    for form in (sent, memoryview(sent)):
        try:
            results.append(repr(decode(form, CBOR, b"", b"", None)))
        except PayloadError as error:
            results.append((error.reason, error.payload))
    assert results[0] == results[1]


def test_the_same_array_twice_and_a_tag_beside_it() -> None:
    frame = numpy.array([1, 2], "u1")
    sent = cbor2.CBORTag(40, [[2], cbor2.CBORTag(64, b"\x01\x02")])
    found = trip([frame, frame, sent])
    assert [same(member, frame) for member in found] == [True] * 3
    with pytest.raises(ValueError, match=r"nobody could read it.*shape \(3,\)"):
        encode([frame, cbor2.CBORTag(40, [[3], cbor2.CBORTag(64, b"\x01\x02")])], b"")
    with pytest.raises(PayloadError, match="more bytes after the value"):
        decode(encode(frame, b"")[0] + b"\x00", CBOR, b"", b"", None)
    with pytest.raises(PayloadError, match="tag 40 as a key"):
        decode(b"\xa1" + encode(frame, b"")[0] + b"\x00", CBOR, b"", b"", None)


# Without numpy --------------------


def test_without_numpy_arrays_are_those_of_python(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = [numpy.arange(6, dtype=dtype).reshape(2, 3) for dtype in ("u1", ">i4", "<f8", "<f2")]
    payloads = [encode(value, b"")[0] for value in sent]
    flat = [encode(numpy.arange(3, dtype=dtype), b"")[0] for dtype in ("u1", ">i4", "<f8", "<f2")]
    other = [numpy.array([[True, False]]), numpy.array([True]), numpy.array([1 + 2j]), numpy.zeros((0, 2))]
    others = [encode(value, b"")[0] for value in [*other, numpy.array(7), numpy.zeros(0, "?")]]
    monkeypatch.setitem(sys.modules, "numpy", None)
    for payload in payloads:
        found = decode(payload, CBOR, b"", b"", None)
        assert type(found) is memoryview
        assert found.readonly
        assert found.shape == (2, 3)
        assert found.tolist() == [[0, 1, 2], [3, 4, 5]]  # type: ignore[comparison-overlap]
    assert [decode(payload, CBOR, b"", b"", None) for payload in flat] == [
        array.array(code, range(3)) for code in "Bidf"
    ]
    truths, truth, number, nothing, single, no_truths = (
        decode(sent, CBOR, b"", b"", None) for sent in others
    )
    assert (truths.format, truths.tolist(), truth.tolist()) == ("?", [[True, False]], [True])
    assert number.tolist() == [[1.0, 2.0]]
    assert nothing == array.array("d")
    assert (single.shape, single[()]) == ((), 7)
    assert list(no_truths) == []
    assert decode(encode(memoryview(b"abcd").cast("B", [2, 2]), b"")[0], CBOR, b"", b"", None).shape == (2, 2)


# Fields of message types --------------------


@message(name="lab/frame")
@dataclasses.dataclass
class Frame:
    number: int
    pixels: numpy.ndarray[Any, Any]
    depth: NDArray[numpy.float32] | None = None
    counts: array.array | None = None  # type: ignore[type-arg]
    more: Any = None


def test_fields_may_be_arrays_of_numpy() -> None:
    pixels = numpy.zeros((20, 30, 3), "u1")
    depth = numpy.ones((20, 30), ">f4")
    payload, format, type_id = encode(Frame(3, pixels, depth, more=[depth]), b"")
    assert format == TYPED
    found = decode(memoryview(payload), format, type_id, b"", (Frame,))
    assert (type(found), found.number) == (Frame, 3)
    assert same(found.pixels, pixels)
    assert same(found.depth, depth)
    assert same(found.more[0], depth)
    assert same(plain(Frame(3, pixels))["pixels"], pixels)


def test_arrays_of_python_and_of_numpy_fit_each_other_where_they_can() -> None:
    found = trip(Frame(1, array.array("d", [1, 2]), counts=numpy.array([1, 2], ">i4")))  # type: ignore[arg-type]
    assert found.pixels.tolist() == [1, 2]
    assert found.counts == array.array("i", [1, 2])
    for misfit in (numpy.zeros((1, 1)), numpy.zeros(1, "f2"), [1]):
        with pytest.raises(TypeError, match=r"Frame\.counts: .*expected"):
            encode(Frame(1, numpy.zeros(1), counts=misfit), b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Frame\.depth: .*expected an array of float32, got one of float64"):
        encode(Frame(1, numpy.zeros(1), numpy.zeros(1)), b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Frame\.pixels: .*expected .*ndarray, got list"):
        encode(Frame(1, [1]), b"")  # type: ignore[arg-type]
