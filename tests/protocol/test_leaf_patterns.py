"""What leaves publish, as those get it who have subscribed by a pattern."""

from __future__ import annotations

from typing import Any

from busway.protocol import Limits, Node, Receiver, codes
from busway.protocol.messaging import leaf_casts
from tests.protocol.nets import LOCALNET, Mesh, chain
from tests.protocol.test_publishing_patterns import got, id_of, knows_names, publish, subscribe


def routed(letters: str = "abc", **options: Any) -> tuple[Mesh, Node]:
    """Routers in a row, and a leaf of the first."""
    net = chain(letters)
    leaf = net.leaf("l", letters[0], **options)
    net.pump()
    knows_names(leaf)
    return net, leaf


def found(net: Mesh, letter: str, receiver: Receiver) -> list[tuple[bytes, str, bytes, int, int]]:
    return [(m.source[:1], m.name, m.payload, m.seq, m.missed) for m in net.drain(net[letter], receiver)]


def test_its_router_makes_the_copies_in_its_name() -> None:
    net, leaf = routed()
    far, near = subscribe(net["c"], "lab/*"), subscribe(net["a"], "**")
    named = subscribe(net["c"], "lab/x")
    own = subscribe(leaf, "lab/**")
    sibling = net.leaf("m", "c")
    theirs = subscribe(sibling, "*/x")
    net.pump()
    for number, name in enumerate(("lab/x", "lab/y", "lab/x", "hall")):
        publish(net, leaf, name, b"%d" % number)
        net.pump()
    assert found(net, "c", far) == [
        (b"l", "lab/x", b"0", 1, 0),
        (b"l", "lab/y", b"1", 2, 0),
        (b"l", "lab/x", b"2", 3, 0),
    ]
    assert [name for _, name, _, _, _ in found(net, "a", near)] == ["lab/x", "lab/y", "lab/x", "hall"]
    assert got(net, net["c"], named) == [("lab/x", b"0"), ("lab/x", b"2")]
    assert got(net, sibling, theirs) == [("lab/x", b"0"), ("lab/x", b"2")]
    assert [name for name, _ in got(net, leaf, own)] == ["lab/x", "lab/y", "lab/x"]


def test_the_name_is_said_once_and_a_burst_reaches_all() -> None:
    net, leaf = routed()
    far, named = subscribe(net["c"], "lab/*"), subscribe(net["a"], "lab/x")
    net.pump()
    for number in range(3):
        publish(net, leaf, "lab/x", b"%d" % number)
    net.pump()
    [cable] = [each for each in net.cables if leaf in (each.a.host, each.b.host)]
    connection = cable.a if cable.a.host is leaf else cable.b
    publish(net, leaf, "lab/x", b"3")
    publish(net, leaf, "lab/x", b"4")
    assert [item.options for item in connection.broadcasts.items[connection.broadcasts.head :]] != []
    before = connection.bytes_out
    net.pump()
    assert connection.bytes_out - before < 2 * 10  # without a name
    for number in range(5, 60):
        publish(net, leaf, "lab/x", b"%d" % number)
    net.pump()
    wanted = [("lab/x", b"%d" % number) for number in range(60)]
    assert got(net, net["c"], far) == got(net, net["a"], named) == wanted


def test_a_name_is_said_though_something_else_has_given_its_endpoint_a_number() -> None:
    net, leaf = routed()
    leaf.send(id_of("lab/x"), b"", net.now, ttl_ms=1000)  # who has it?
    net.advance(10_000)
    far = subscribe(net["c"], "lab/*")
    net.pump()
    for number in range(2):
        publish(net, leaf, "lab/x", b"%d" % number)
        net.pump()
    assert got(net, net["c"], far) == [("lab/x", b"0"), ("lab/x", b"1")]


def test_a_name_is_said_again_where_its_endpoint_has_another_number() -> None:
    net = chain("b")
    net.add("a", limits=Limits(aliases_max=8))
    net.join("ab")
    leaf = net.leaf("l", "a")
    knows_names(leaf)
    far = subscribe(net["b"], "lab/*")
    net.pump()
    for turn in range(2):
        for number in range(20):
            publish(net, leaf, f"lab/{number}", b"%d" % turn)
        net.pump()
    assert got(net, net["b"], far) == [
        (f"lab/{number}", b"%d" % turn) for turn in (0, 1) for number in range(20)
    ]


def test_what_nobody_wanted_is_wanted_when_a_pattern_comes() -> None:
    net, leaf = routed()
    for number in range(3):
        publish(net, leaf, "lab/x", b"%d" % number)
        net.pump()
    far = subscribe(net["c"], "lab/*")
    net.pump()
    publish(net, leaf, "lab/x", b"3")
    net.pump()
    assert got(net, net["c"], far) == [("lab/x", b"3")]
    net["c"].deregister(far, net.now)
    net.pump()
    publish(net, leaf, "lab/x", b"4")
    net.pump()
    publish(net, leaf, "lab/x", b"5")
    net.pump()
    mine = subscribe(net["a"], "*/x")
    net.pump()
    publish(net, leaf, "lab/x", b"6", format=codes.TYPED_AS_ENDPOINT)
    net.pump()
    [message] = net.drain(net["a"], mine)
    assert (message.format, message.type_id) == (codes.TYPED, id_of("lab/x"))


def test_at_another_router_it_goes_on() -> None:
    net, leaf = routed()
    far, near = subscribe(net["b"], "lab/*"), subscribe(net["a"], "lab/*")
    net.pump()
    for number in range(5):
        publish(net, leaf, "lab/x", b"%d" % number)
    net.pump()
    net.cables[-1].cut()
    net.pump()
    net.link(leaf, net["c"], realm=LOCALNET)
    net.pump()
    for number in range(5, 8):
        publish(net, leaf, "lab/x", b"%d" % number)
    net.pump()
    for letter, receiver in (("b", far), ("a", near)):
        messages = found(net, letter, receiver)
        assert [payload for _, _, payload, _, _ in messages] == [b"%d" % number for number in range(8)]
        assert sum(missed for _, _, _, _, missed in messages) == 0
    net.cables[-1].cut()
    net.pump()
    net.link(leaf, net["a"], realm=LOCALNET)
    net.pump()
    publish(net, leaf, "lab/x", b"8")
    net.pump()
    assert [payload for _, _, payload, _, _ in found(net, "b", far)] == [b"8"]


def test_retained_values_of_leaves_reach_who_is_there() -> None:
    net, leaf = routed()
    far = subscribe(net["c"], "lab/*")
    net.pump()
    leaf.retain(id_of("lab/x"), b"1", net.now)
    leaf.retain(id_of("lab/x"), b"2", net.now, priority=codes.URGENT)
    net.pump()
    assert got(net, net["c"], far)[-1] == ("lab/x", b"2")


def test_full_links_are_waited_for_as_ever() -> None:
    net, leaf = routed("a")
    receiver = subscribe(net["a"], "lab/*")
    subscribe(leaf, "lab/x", policy=codes.LATEST)  # else there would be nobody else whom it is for
    net.pump()
    net.cables[-1].block(leaf)
    token = 0
    while not token:
        token = publish(net, leaf, "lab/x", bytes(16384), patience_ms=500)
    net.advance(500)
    assert net.outcomes(leaf, token)
    assert publish(net, leaf, "lab/x", b"more", patience_ms=500, priority=codes.URGENT) == 0
    assert publish(net, leaf, "lab/x", b"last", patience_ms=500) == 0
    net.cables[-1].block(leaf, False)
    net.pump()
    assert ("lab/x", b"last") in got(net, net["a"], receiver)


def test_a_link_that_waits_for_room_goes_on() -> None:
    net, leaf = routed("a")
    receiver = subscribe(net["a"], "lab/*")
    net.pump()
    net.cables[-1].block(leaf)
    token = 0
    while not token:
        token = publish(net, leaf, "lab/x", bytes(16384), patience_ms=-1)
    net.cables[-1].block(leaf, False)
    net.pump()
    assert net.outcomes(leaf, token)
    assert got(net, net["a"], receiver)


def test_names_of_leaves_are_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(leaf_casts, "_NAMES_MAX", 8)
    net, leaf = routed("a")
    receiver = subscribe(net["a"], "lab/*")
    net.pump()
    for number in range(20):
        publish(net, leaf, f"lab/{number}")
        net.pump()
    assert len(got(net, net["a"], receiver)) == 20
    [names] = net["a"].origin.leaf_casts._names.values()
    [link] = net["a"].origin.leaf_casts._names
    link.aliases.ids = [b"", *list(names)[-4:]]
    publish(net, leaf, "lab/another")
    net.pump()
    assert len(names) == 5
    net.cables[-1].cut()
    assert net["a"].origin.leaf_casts._names == {}


def test_so_many_roots_are_remembered(monkeypatch: Any) -> None:
    net, leaf = routed()
    far = subscribe(net["c"], "*/x"), subscribe(net["c"], "lab/*")
    net.pump()
    monkeypatch.setattr(codes, "ENTRIES_MAX", 1)
    for number in range(3):
        publish(net, leaf, "lab/x", b"%d" % number)
    net.pump()
    for receiver in far:
        assert len(got(net, net["c"], receiver)) == 3
    assert len(net["c"].receiving.roots) == 1
