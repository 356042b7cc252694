"""Last values that were lost on their way, or are no more, or were there already: after the last change each
subscriber has those that there are, and was not sent others for it.
"""

from __future__ import annotations

import pytest

from busway.protocol import Node, Receiver
from busway.protocol.wire.messages import Frame
from tests.protocol.nets import LOCALNET, Mesh, chain
from tests.protocol.pairs import Net
from tests.protocol.test_publishing_patterns import id_of, knows_names, subscribe


def mesh(*pairs: str) -> Mesh:
    net = Mesh()
    for letter in sorted(set("".join(pairs))):
        net.add(letter)
        knows_names(net[letter])
    for pair in pairs:
        net.join(pair)
    net.pump()
    return net


def line(letters: str = "abc") -> Mesh:
    net = chain(letters)
    knows_names(*[net[letter] for letter in letters])
    return net


def retain(net: Net, node: Node, name: str, payload: bytes, realm: int = LOCALNET) -> None:
    node.retain(id_of(name), payload, net.now, realm=realm)


def came(net: Net, node: Node, receiver: Receiver) -> list[tuple[str, bytes]]:
    return [(message.name, message.payload) for message in net.drain(node, receiver)]


def anew(net: Net, node: Node, wanted: str, realm: int = LOCALNET) -> list[tuple[str, bytes]]:
    """What another receiver gets."""
    receiver = subscribe(node, wanted, realm)
    found = came(net, node, receiver)
    node.deregister(receiver, net.now)
    return found


def lose_copies(node: Node) -> list[Frame]:
    """What is published no longer gets past a node. Returns what does not."""
    lost: list[Frame] = []
    node.forwarder.spread = lambda link, root, source, frame, *rest: lost.append(frame)  # type: ignore[assignment, method-assign]
    return lost


@pytest.mark.parametrize("wanted", ["lab/x", "lab/*"])
def test_a_value_that_dies_with_a_router_comes_by_another_way(wanted: str) -> None:
    net = mesh("ab", "bc", "ad", "dc")
    receiver = subscribe(net["c"], wanted)
    net.pump()
    retain(net, net["a"], "lab/x", b"0")
    net.advance(20_000)
    assert len(came(net, net["c"], receiver)) == 1
    hop = net.see("c", "a").hop
    used = "b" if hop in (net.cable["bc"].a, net.cable["bc"].b) else "d"
    net.cable[used + "c"].block(net[used])
    retain(net, net["a"], "lab/x", b"1")
    net.pump()
    net.advance(60_000, pump=False)
    assert came(net, net["c"], receiver) == []
    for pair in ("a" + used, used + "c"):
        net.cable[pair].cut()
    net.advance(30_000)
    assert came(net, net["c"], receiver) == [("lab/x", b"1")]


def test_a_value_that_dies_with_a_link_far_away_comes_by_another_way() -> None:
    """Both ways cost the same, so that the publisher's stays as it is."""
    net = mesh("ax", "xb", "xd", "by", "dy", "yc")
    receiver = subscribe(net["c"], "lab/*")
    net.pump()
    retain(net, net["a"], "lab/x", b"0")
    net.advance(20_000)
    assert len(came(net, net["c"], receiver)) == 1
    hop = net.see("y", "a").hop
    used = "by" if hop in (net.cable["by"].a, net.cable["by"].b) else "dy"
    net.cable[used].block(net[used[0]])
    retain(net, net["a"], "lab/x", b"1")
    net.pump()
    net.advance(60_000, pump=False)
    assert came(net, net["c"], receiver) == []
    net.cable[used].cut()
    net.advance(30_000)
    assert came(net, net["c"], receiver) == [("lab/x", b"1")]


def test_a_word_that_a_value_is_no_more_is_made_good_for_as_well() -> None:
    net = line()
    receivers = [subscribe(net["c"], wanted) for wanted in ("lab/x", "lab/*")]
    net.pump()
    for name in ("lab/x", "lab/y"):
        retain(net, net["a"], name, b"1")
    net.pump()
    net.advance(20_000)
    lost = lose_copies(net["b"])
    net["a"].clear(id_of("lab/x"), net.now)
    net.advance(5000)
    assert len(lost) == 2
    assert anew(net, net["c"], "lab/x") == []
    assert anew(net, net["c"], "lab/*") == [("lab/y", b"1")]
    for receiver, count in zip(receivers, (1, 2), strict=True):
        assert len(came(net, net["c"], receiver)) == count


def test_one_that_was_kept_for_a_moment_only_is_no_more_either() -> None:
    net = line()
    receiver = subscribe(net["c"], "lab/*")
    net.pump()
    retain(net, net["a"], "lab/x", b"1")
    net.pump()
    lose_copies(net["b"])
    net["a"].clear(id_of("lab/x"), net.now)
    net.advance(5000)
    assert len(came(net, net["c"], receiver)) == 1
    assert anew(net, net["c"], "lab/*") == []


def test_who_comes_back_is_asked_and_not_sent_what_it_has() -> None:
    net = line("ab")
    receivers = [subscribe(net["b"], wanted) for wanted in ("lab/*", "lab/0")]
    for number in range(20):
        retain(net, net["a"], f"lab/{number}", bytes(16384))
    net.pump()
    net.advance(10_000)
    assert len(came(net, net["b"], receivers[0])) == 20
    net.cables[-1].cut()
    net.advance(10_000)
    retain(net, net["a"], "lab/new", b"1")
    net["a"].clear(id_of("lab/1"), net.now)
    net.join("ab")
    net.pump()
    link = net.cables[-1].a
    assert link.bytes_in + link.bytes_out < 2000
    assert came(net, net["b"], receivers[0]) == [("lab/new", b"1")]
    net.advance(30_000)
    assert len(anew(net, net["b"], "lab/*")) == 20
    assert len(came(net, net["b"], receivers[1])) == 1


def test_who_has_closed_while_it_was_away_gets_all_of_them() -> None:
    net = line("ab")
    first = subscribe(net["b"], "lab/*")
    retain(net, net["a"], "lab/x", b"1")
    net.pump()
    net.advance(10_000)
    net.cables[-1].cut()
    net.advance(10_000)
    net["b"].deregister(first, net.now)
    second = subscribe(net["b"], "lab/*")
    net.join("ab")
    net.pump()
    assert came(net, net["b"], second) == [("lab/x", b"1")]


def test_what_stands_still_is_asked_about_once() -> None:
    net = line()
    subscribe(net["c"], "lab/*")
    for number in range(10):
        retain(net, net["a"], f"lab/{number}", b"1")
    net.pump()
    net.advance(10_000)
    before = net.cable["bc"].a.bytes_out + net.cable["bc"].a.bytes_in
    subscribe(net["b"], "other")  # a change
    net.advance(1000)
    told = net.cable["bc"].a.bytes_out + net.cable["bc"].a.bytes_in
    net.advance(5000)
    assert net.cable["bc"].a.bytes_out + net.cable["bc"].a.bytes_in == told > before


def test_what_is_published_again_and_again_is_not_asked_about() -> None:
    net = line()
    receiver = subscribe(net["c"], "lab/x")
    net.pump()
    for number in range(20):
        retain(net, net["a"], "lab/x", b"%d" % number)
        net.advance(1000)
        assert net["a"].origin.retained._asked == {}
        assert len(came(net, net["c"], receiver)) == 1
