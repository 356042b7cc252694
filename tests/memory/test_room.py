"""Arrays of a registry: payloads are put together around them, once, and what is not like that is copied."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy
import pytest

from busway.arrays import grid_of
from busway.memory.large import Large
from busway.memory.registry import Registry
from busway.memory.room import MARGIN
from tests.memory.test_region import no_descriptor_more
from tests.rigs.processes import output_of
from tests.rigs.tree import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memfd and seals are Linux's")

Pieces = Sequence[bytes | memoryview]


def pixels(registry: Registry | None = None, number: int = 7) -> Any:
    array = (registry or Registry()).array((100, 1000))
    array[:] = number
    return array


def data_of(array: Any) -> memoryview:
    grid = grid_of(array)
    assert grid is not None
    return grid.data


def sent(ours: Large, theirs: Large, pieces: Pieces) -> memoryview:
    """The payload as the other side sees it."""
    joined = ours.join(pieces)
    assert joined is not None
    assert joined.readonly
    found = ours.put(joined)
    assert found is not None
    view = theirs.look(*found)
    assert view == joined
    return view


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((1080, 1920, 3), "u1"), (70_000, "f8"), ([3, 5, 7], ">u2"), ((9,), "?"), ((8, 8), "c16"), ((), "i4")],
)
def test_it_is_an_array_like_others(shape: Any, dtype: str) -> None:
    array = Registry().array(shape, dtype)
    wanted = numpy.zeros(shape, dtype)
    assert (array.shape, array.dtype) == (wanted.shape, wanted.dtype)
    assert array.flags.carray  # contiguous, aligned, and writable
    array[...] = 1
    assert (array == 1).all()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (((3,), "O"), TypeError),
        (((3,), "S5"), TypeError),
        (((3,), [("a", "u1")]), TypeError),
        (((3,), "u1", 7), TypeError),
        (("three",), TypeError),
        ((2.5,), TypeError),
        ((None,), TypeError),
        ((0,), ValueError),
        (((3, 0),), ValueError),
        (((3, -1),), ValueError),
        ((1 << 41,), ValueError),
        ((1 << 20,), MemoryError),
    ],
)
def test_it_says_what_is_wrong(words: Any, error: type[Exception]) -> None:
    registry = Registry(1 << 20)
    with pytest.raises(error):
        registry.array(*words)
    assert registry.size == 0


@pytest.mark.parametrize("behind", [b"", b"tail", bytes(MARGIN)])
@pytest.mark.parametrize("before", [b"", b"head", bytes(MARGIN)])
def test_what_else_a_payload_has_is_put_around_it(before: bytes, behind: bytes) -> None:
    ours, theirs = Large(1 << 22), Large(1 << 22)
    array = pixels()
    view = sent(ours, theirs, [before[:2], before[2:], data_of(array), behind])
    assert bytes(view) == before + b"\7" * 100_000 + behind
    array[0, 0] = 8
    assert view[len(before)] == 8
    assert ours.pool.count == 0


def test_a_second_payload_is_copied_and_the_first_stays_as_it_is() -> None:
    ours, theirs = Large(1 << 22), Large(1 << 22)
    array = pixels()
    elements = bytes(data_of(array))
    first = sent(ours, theirs, [b"head 1", data_of(array), b"tail"])
    again = sent(ours, theirs, [b"head 1", data_of(array), b"tail"])
    assert ours.pool.count == 0
    others: list[Pieces] = [
        [b"head 2", data_of(array), b"tail"],
        [data_of(array), b"more"],
        [b"1", data_of(array)],
    ]
    views = [sent(ours, theirs, pieces) for pieces in others]
    assert ours.pool.count == 2  # the last has the same before it, as far as that goes
    assert bytes(first) == bytes(again) == b"head 1" + elements + b"tail"
    assert [bytes(view) for view in views] == [
        b"head 2" + elements + b"tail", elements + b"more", b"1" + elements
    ]  # fmt: skip


@pytest.mark.parametrize("rows", [(0, 99), (1, 100), (5, 70)])
def test_of_a_part_nothing_is_written_where_other_elements_are(rows: tuple[int, int]) -> None:
    ours, theirs = Large(1 << 22), Large(1 << 22)
    array = pixels()
    part = array[slice(*rows)]
    view = sent(ours, theirs, [b"head", data_of(part), b"tail"])
    assert (array == 7).all()
    assert bytes(view) == b"head" + b"\7" * part.size + b"tail"
    assert ours.pool.count == 1
    sent(ours, theirs, [b"head", data_of(array), b"tail"])
    assert ours.pool.count == 1


@pytest.mark.parametrize("pieces", [(MARGIN + 1, 0), (0, MARGIN + 1)])
def test_more_than_there_is_room_for_is_copied(pieces: tuple[int, int]) -> None:
    ours, theirs = Large(1 << 22), Large(1 << 22)
    array = pixels()
    before, behind = map(bytes, pieces)
    assert bytes(sent(ours, theirs, [before, data_of(array), behind])) == before + b"\7" * 100_000 + behind
    assert ours.pool.count == 1


def test_two_in_one_payload_are_copied() -> None:
    ours, theirs = Large(1 << 22), Large(1 << 22)
    one, two = pixels(number=1), pixels(number=2)
    view = sent(ours, theirs, [b"head", data_of(one), b"between", data_of(two)])
    assert bytes(view) == b"head" + b"\1" * 100_000 + b"between" + b"\2" * 100_000
    assert ours.pool.count == 1
    sent(ours, theirs, [b"another", data_of(one)])
    assert ours.pool.count == 1


def test_it_comes_back_when_nobody_has_it() -> None:
    with no_descriptor_more():
        registry, ours, theirs = Registry(), Large(1 << 22), Large(1 << 22)
        view = sent(ours, theirs, [b"head", data_of(pixels(registry, 1))])
        other = sent(ours, theirs, [b"HEAD", data_of(pixels(registry, 2))])
        assert (bytes(view[:5]), bytes(other[:5])) == (b"head\1", b"HEAD\2")
        assert (registry.size, registry.held) == (2 << 17, 2)
        del view, other
        gc.collect()
        view = sent(ours, theirs, [b"again", data_of(pixels(registry, 3))])
        assert bytes(view[:6]) == b"again\3"
        assert (registry.size, registry.held) == (2 << 17, 1)
        del view, registry, ours, theirs


def test_of_threads_that_send_one_at_once_each_sends_what_it_sends() -> None:
    ours, theirs = Large(1 << 24), Large(1 << 24)
    for _ in range(50):
        array = pixels()
        found: dict[int, memoryview] = {}
        at_once = threading.Barrier(4)

        def send(number: int, array: Any = array, found: Any = found, at_once: Any = at_once) -> None:
            at_once.wait()
            found[number] = sent(ours, theirs, [b"head %d" % number, data_of(array)])

        threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {number: bytes(view[:7]) for number, view in found.items()} == {
            number: b"head %d\7" % number for number in range(4)
        }


FORKED = """
import os
from busway.memory.large import Large
from busway.memory.registry import Registry
from tests.memory.test_room import data_of, pixels, sent
array = pixels()
if os.fork() == 0:
    ours, theirs = Large(1 << 22), Large(1 << 22)
    print(bytes(sent(ours, theirs, [b"child", data_of(array)])[:6]), ours.pool.count, flush=True)
    os._exit(0)
os.wait()
ours, theirs = Large(1 << 22), Large(1 << 22)
print(bytes(sent(ours, theirs, [b"parent", data_of(array)])[:7]), ours.pool.count)
"""


def test_a_forked_child_writes_nothing_around_what_is_its_parents() -> None:
    words = [sys.executable, "-c", FORKED]
    assert output_of(words, cwd=ROOT).splitlines() == [r"b'child\x07' 1", r"b'parent\x07' 0"]
