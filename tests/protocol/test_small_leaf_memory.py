"""The leaf for small boards when the heap is full: nothing is half done.

Not run on the compiled core, which appends to a list without asking it.
"""

from __future__ import annotations

from typing import Any

import pytest

from busway.adapters.micropython_where import where
from busway.protocol import codes, events

from .leaves import LeafNet
from .pairs import F
from .test_small_leaf import holding
from .test_small_leaf_selectors import ask, got, outcomes, serve


class NoRoom(list[Any]):
    """A list when the heap is full."""

    def append(self, item: object) -> None:
        raise MemoryError


def test_without_memory_nothing_is_half_sent_and_the_link_ends_in_the_end() -> None:
    net = LeafNet("m")
    holding(net)
    net.leaf._pending = NoRoom()
    with pytest.raises(MemoryError):
        net.leaf.request(F, b"never", net.now)
    assert not net.leaf._items
    net.leaf._pending = []
    token = net.leaf.request(F, b"asked", net.now)
    net.settle()
    net.leaf.take_events()
    connection = net.cord.connection
    net.leaf._events = NoRoom()
    for _ in range(2):  # the link's end finds no memory either
        with pytest.raises(MemoryError):
            connection.cut_off(net.now, codes.TOO_LARGE, "out of memory")
        assert net.leaf.link is connection
    net.leaf._events = []
    connection.cut_off(net.now, codes.TOO_LARGE, "out of memory")
    outcome, closed = net.leaf.take_events()
    assert (outcome.token, outcome.code) == (token, codes.LOST_AFTER_SENDING)
    assert (closed.kind, closed.code) == (events.LINK_CLOSED, codes.TOO_LARGE)
    assert net.leaf.link is None
    assert not net.leaf._pending


class LittleRoom(list[Any]):
    """A list in a heap with room for so many more."""

    room = 0

    def append(self, item: object) -> None:
        self.room -= 1
        if self.room < 0:
            raise MemoryError
        super().append(item)


@pytest.mark.parametrize("back", [True, False])
@pytest.mark.parametrize("room", [0, 1, 2])
def test_without_memory_for_all_copies_there_are_none(room: int, back: bool) -> None:
    """The message waits as before, for another link, or until its time is over."""
    net = LeafNet()
    receivers = [serve(net, net.router, number, "renderer") for number in range(3)]
    ask(net, where("renderer"))  # whom it means is known then
    assert sum(got(net, *receivers)) == 1
    leaf = net.leaf
    leaf.take_events()
    leaf._pending = pending = LittleRoom()
    pending.room = 1 + room
    with pytest.raises(MemoryError):
        ask(net, where("renderer"), codes.SEND, "all")
    [item] = leaf._items
    assert leaf._pending == [item]
    pending.room = 100
    net.cord.connection.cut_off(net.now, codes.TOO_LARGE, "out of memory")  # as a board's loop does then
    if back:
        net.plug(leaf, net.router)
    net.settle()
    net.pass_time(3_000)
    verdicts = [(event.status, event.left) for event in outcomes(net, item.id)]
    if back:
        assert got(net, *receivers) == [1, 1, 1]
        assert verdicts == [(events.ACCEPTED, left) for left in (2, 1, 0)]
    else:
        assert verdicts == [(events.UNDELIVERED, 0)]
    assert leaf._pending == leaf._items == []
