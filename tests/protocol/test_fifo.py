"""A queue that never reorders, never loses, and lets go of what was taken."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol.fifo import Fifo


def test_items_come_out_in_the_order_they_went_in() -> None:
    fifo = Fifo()
    fifo.push(1)
    fifo.push(2)
    assert (len(fifo), fifo.peek()) == (2, 1)
    assert [fifo.pop(), fifo.pop()] == [1, 2]
    assert len(fifo) == 0
    with pytest.raises(IndexError):
        fifo.pop()


def test_its_list_is_empty_exactly_when_the_queue_is() -> None:
    # The hot paths look at `items` and not at the length.
    fifo = Fifo()
    for count in range(1, 200):
        for item in range(count):
            fifo.push(item)
        for _ in range(count):
            assert fifo.items
            fifo.pop()
        assert not fifo.items


def test_a_queue_that_is_never_empty_does_not_grow() -> None:
    fifo = Fifo()
    for item in range(10):
        fifo.push(item)
    for item in range(10, 10_000):
        fifo.push(item)
        assert fifo.pop() == item - 10
        assert len(fifo.items) < 200
    assert len(fifo) == 10


def test_what_was_popped_is_let_go() -> None:
    fifo = Fifo()
    fifo.push("a")
    fifo.push("b")
    fifo.pop()
    assert fifo.items == [None, "b"]


def test_the_last_one_can_be_taken_from_the_end() -> None:
    fifo = Fifo()
    for item in "abc":
        fifo.push(item)
    fifo.pop()
    assert fifo.pop_last() == "c"
    assert fifo.pop_last() == "b"
    assert (len(fifo), fifo.items) == (0, [])


def test_remove_takes_one_out_of_the_middle_and_ignores_what_is_not_there() -> None:
    fifo = Fifo()
    for item in "abcb":
        fifo.push(item)
    fifo.pop()
    fifo.remove("a")
    fifo.remove("b")
    assert fifo.drain() == ["c", "b"]


def test_drain_gives_all_and_leaves_nothing() -> None:
    fifo = Fifo()
    assert fifo.drain() == []
    for item in range(5):
        fifo.push(item)
    fifo.pop()
    assert fifo.drain() == [1, 2, 3, 4]
    assert (len(fifo), fifo.items) == (0, [])


def test_many_that_were_popped_are_let_go() -> None:
    fifo = Fifo()
    for item in range(200):
        fifo.push(item)
    assert fifo.pop_many(50) == list(range(50))
    assert fifo.items[:51] == [None] * 50 + [50]
    assert fifo.pop_many(60) == list(range(50, 110))
    assert fifo.items == list(range(110, 200))
    assert fifo.pop_many(90) == list(range(110, 200))
    assert fifo.items == []


@given(
    st.lists(
        st.sampled_from(["push", "push", "push", "push", "pop", "pop_many", "remove", "drain"]), max_size=400
    )
)
def test_behaves_as_a_deque(steps: list[str]) -> None:
    fifo, model = Fifo(), deque[int]()
    for number, step in enumerate(steps * 3):
        if step == "push":
            fifo.push(number)
            model.append(number)
        elif step == "pop" and model:
            assert fifo.pop() == model.popleft()
        elif step == "pop_many" and model:
            count = 1 + number % len(model)
            assert fifo.pop_many(count) == [model.popleft() for _ in range(count)]
        elif step == "remove" and model:
            middle = model[len(model) // 2]
            fifo.remove(middle)
            model.remove(middle)
        elif step == "drain" and number % 50 == 0:
            assert fifo.drain() == list(model)
            model.clear()
        assert len(fifo) == len(model)
        assert bool(fifo.items) == bool(model)
        if model:
            assert fifo.peek() == model[0]
