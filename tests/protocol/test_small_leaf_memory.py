"""The leaf for small boards when the heap is full: nothing is half done.

Not run on the compiled core, which appends to a list without asking it.
"""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import codes, events

from .leaves import LeafNet
from .pairs import F
from .test_small_leaf import holding


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
