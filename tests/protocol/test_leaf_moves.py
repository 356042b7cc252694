"""A leaf that moves to another router, which still knows a nearer way to it."""

from __future__ import annotations

import pytest

from busway.protocol import codes
from busway.protocol.routing.advertising import adverts
from busway.protocol.wire.fields import frame
from tests.rigs.effort import effort

from .nets import ANYCAST, SELF, USERSPACE, Mesh, chain
from .pairs import E, F, G


def moved(count: int = 1) -> Mesh:
    """z was a's leaf on one machine, and is b's beyond it now; b has not heard yet that it has left a."""
    net = chain("ab", realm=USERSPACE)
    leaf = net.leaf("z", "a", realm=USERSPACE)
    net.pump()
    for number in range(count):
        leaf.register(E if not number else b"%016d" % number, ANYCAST, codes.LOCALNET)
    net.pump()
    net.cable["ab"].block(net["a"])
    net.cable["za"].cut()
    net.join("zb")
    net.pump()
    assert net.hop("b", "z") == "a"
    return net


def settle(net: Mesh) -> None:
    net.cable["ab"].block(net["a"], False)
    net.pump()
    assert net.hop("b", "z") == "z"
    net.advance(2 * codes.BELIEF_MS)


def test_what_it_told_its_new_router_counts_once_that_leads_to_it() -> None:
    net = moved()
    net["z"].register(F, ANYCAST, codes.LOCALNET)
    net.pump()
    assert net.holders("b", F) == ""
    settle(net)
    assert [net.holders(letter, uuid) for letter in "ab" for uuid in (E, F)] == ["z"] * 4
    net["z"].register(G, ANYCAST, codes.LOCALNET)
    net.pump()
    assert net.holders("a", G) == "z"


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_so_much_of_it_is_kept_and_no_more() -> None:
    net = moved(8000)
    kept = adverts(net.cable["zb"].b).kept
    assert 0 < sum(map(len, kept)) <= 131072
    settle(net)
    assert net.holders("b", E) == "z"


def test_frames_of_next_to_nothing_that_wait_cost_little() -> None:
    net = moved()
    connection = net.cable["zb"].b
    empty = frame(bytes((codes.DIRECTORY, 2)) + SELF + b"\0\1")
    assert effort(lambda: connection.receive_data(empty * 6000, net.now)) < 3
    assert connection.state == codes.OPEN
    assert len(adverts(connection).kept) < 3000, "each takes more than its bytes"
