"""The last messages of a node that is gone before those who pass them on have told of it."""

from __future__ import annotations

import pytest

from busway.protocol import Receiver, codes
from busway.protocol.routing.advertising import adverts
from busway.protocol.wire.fields import varint

from .helpers import assert_settled
from .nets import (
    BROADCAST,
    GLOBAL,
    LOCALNET,
    UNICAST,
    Liar,
    Mesh,
    alias,
    bind,
    chain,
    key,
    message,
    retract,
    routes,
    stranger,
    u16,
    update,
)
from .pairs import E
from .test_fabric import Fabric

THREE = [b"0", b"1", b"2"]
SEVEN = varint(7)


def visited(letters: str) -> tuple[Mesh, Receiver]:
    """A chain, and node "a" beside its first, which has had no chance to tell the others of it."""
    net = chain(letters)
    receiver = net[letters[-1]].register(E, UNICAST)
    net.pump()
    net.add("a")
    net.cable[letters[:2]].block(net[letters[0]])
    net.join("a" + letters[0])
    net.pump()
    return net, receiver


@pytest.mark.parametrize("letters", ["bc", "bcd", "bcdefgh"])
@pytest.mark.parametrize("size", [65536, 7])
def test_what_a_visitor_sent_before_it_left_is_believed_everywhere(letters: str, size: int) -> None:
    net, receiver = visited(letters)
    for payload in THREE:
        net["a"].send(E, payload, net.now)
    net["a"].close(net.now)
    net.pump()
    net.cable[letters[:2]].block(net[letters[0]], False)
    net.pump(size)
    assert net.payloads(letters[-1], receiver) == THREE
    assert [net[letter].forwarder.counters["unbelieved"] for letter in letters] == [0] * len(letters)
    net.advance(60_000)
    assert [net.reaches(letter) for letter in letters] == [letters.replace(letter, "") for letter in letters]
    for letter in letters:
        for connection in net[letter].connections:
            assert adverts(connection).neighbour.marks == {}
            assert adverts(connection).retracted == {}
    assert_settled(net)


def test_many_visitors_are_told_of_bit_by_bit() -> None:
    net = chain("bcd")
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    visitors = "aefghijklmnop"
    net.add(visitors)
    for letter in visitors:
        net.join(letter + "b")
        net.pump()
        net[letter].send(E, letter.encode(), net.now)
        net[letter].close(net.now)
        net.pump()
    net.cable["bc"].block(net["b"], False)
    net.pump(64)
    assert b"".join(net.payloads("d", receiver)) == visitors.encode()


def test_what_a_node_published_before_it_left_goes_on() -> None:
    net = chain("abcd")
    subscribers = {letter: net[letter].register(E, BROADCAST) for letter in "cd"}
    net.pump()
    net.cable["bc"].block(net["b"])
    for payload in THREE:
        net["a"].publish(E, payload, net.now)
    net["a"].close(net.now)
    net.pump()
    net.cable["bc"].block(net["b"], False)
    net.pump()
    assert [net.payloads(letter, subscriber) for letter, subscriber in subscribers.items()] == [THREE, THREE]
    assert [net[letter].forwarder.counters["misrouted"] for letter in "cd"] == [0, 0]


def test_a_former_parent_is_believed_for_a_while_and_no_other() -> None:
    net = chain("bc")
    subscriber = net["c"].register(E, BROADCAST)
    net.pump()
    liar = Liar(net, net["c"], "x")

    def publish(node: bytes, number: int, endpoint: bytes = b"\x01") -> None:
        rest = endpoint + u16(number) + b"%d" % number
        liar.say(message(codes.PUBLISH, codes.HOW_SOURCE | LOCALNET, 9, node, rest))

    publish(bind(7, key("z")), 1, alias(1, E))
    liar.say(routes(retract(varint(7))))
    publish(varint(7), 2)
    net.advance(codes.BELIEF_MS - 1)
    publish(varint(7), 3)
    net.advance(1)
    publish(varint(7), 4)
    assert net.payloads("c", subscriber) == [b"2", b"3"]


def test_what_a_neighbour_says_has_ended_is_bounded() -> None:
    net = chain("bc")
    liar = Liar(net, net["c"], "x")
    for number in range(codes.ROUTES_LINK_MAX + 10):
        liar.say(routes(retract(bind(7, stranger(number)))))
    retracted = adverts(liar.connection).retracted
    assert len(retracted) == codes.ROUTES_LINK_MAX
    assert stranger(9) not in retracted
    assert stranger(10) in retracted


def test_those_that_are_told_of_before_their_messages_are_bounded() -> None:
    net = chain("bcd")
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    liar = Liar(net, net["b"], "x")
    to_d = bind(8, net["d"].mesh.me.key)
    for number in range(1025):
        head = routes(retract(bind(7, stranger(number))))
        rest = alias(1, E) + u16(1) + b"%d" % number
        liar.say(head, message(codes.SEND, codes.HOW_DESTINATION | codes.HOW_SOURCE, 9, to_d + SEVEN, rest))
    liar.say(routes(update(bind(9, key("y")), 1, 5)))  # whose messages would take the short way
    short = bytes((1,)) + u16(1) + b"of y"
    liar.say(message(codes.SEND, codes.HOW_DESTINATION | codes.HOW_SOURCE, 9, varint(8) + varint(9), short))
    counters = net["b"].forwarder.counters
    assert (counters["forwarded"], counters["unroutable"], counters["unbelieved"]) == (1024, 2, 0)
    net.cable["bc"].block(net["b"], False)
    net.pump()
    assert net.payloads("d", receiver) == [b"%d" % number for number in range(1024)]


def test_no_message_adds_a_withdrawal_where_too_many_are_not_acknowledged() -> None:
    net = chain("bcd")
    receiver = net["d"].register(E, UNICAST)
    net.pump()
    liar = Liar(net, net["b"], "x")
    to_d = bind(8, net["d"].mesh.me.key)
    neighbour = adverts(net.cable["bc"].ends[0].connection).neighbour
    neighbour.withdrawn += 32767
    for number in range(3):
        liar.say(routes(retract(bind(7, stranger(number % 2)))))
        rest = alias(1, E) + u16(1 + number // 2) + b"%d" % number
        liar.say(message(codes.SEND, codes.HOW_DESTINATION | codes.HOW_SOURCE, 9, to_d + SEVEN, rest))
    assert net["b"].forwarder.counters["unroutable"] == 1
    net.pump()
    assert net.payloads("d", receiver) == [b"0", b"2"]


def test_what_a_leaf_published_before_it_left_is_believed_behind_its_router() -> None:
    net = chain("bcd")
    subscriber = net["d"].register(E, BROADCAST)
    net.pump()
    net["b"].publish(E, b"the tree is there", net.now)
    net.pump()
    net.cable["bc"].block(net["b"])
    leaf = net.leaf("a", "b")
    net.pump()
    for payload in THREE:
        leaf.publish(E, payload, net.now)
    net.pump()
    leaf.close(net.now)
    net.pump()
    net.cable["bc"].block(net["b"], False)
    net.pump()
    assert net.payloads("d", subscriber) == [b"the tree is there", *THREE]
    assert [net[letter].forwarder.counters["unbelieved"] for letter in "bcd"] == [0, 0, 0]


def test_nobody_is_told_not_to_send_what_follows_a_tree_that_has_ended() -> None:
    net = chain("abcd")
    subscriber = net["d"].register(E, BROADCAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    for payload in THREE:
        net["a"].publish(E, payload, net.now)
    net.pump()
    net["d"].deregister(subscriber, net.now)
    net["a"].close(net.now)
    net.pump()
    net.cable["bc"].block(net["b"], False)
    net.pump()
    assert net["c"].forwarder.counters["pruned"] == 0
    assert net["c"].forwarder._pruned == {}
    assert not adverts(net.cable["bc"].ends[0].connection).pruned.keys


def test_a_visitor_of_one_side_is_believed_beyond_the_fabric() -> None:
    net = Fabric("gb", "hcd")
    receiver = net["d"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    net["b"].send(E, b"first", net.now)
    net.settle()
    net.add("a")
    net.join("ag")
    net.settle()
    net.cable["gh"].block(net["g"])
    net.cable["hd"].block(net["h"])
    net["a"].send(E, b"last", net.now)
    net.settle()
    net["a"].close(net.now)
    net.settle()
    net.cable["gh"].block(net["g"], False)
    net.cable["hd"].block(net["h"], False)
    net.settle()
    assert net.payloads("d", receiver) == [b"first", b"last"]


def test_what_comes_over_the_fabric_and_is_to_go_on_over_it_is_not_introduced() -> None:
    net = Fabric("g", "hcd")
    receiver = net["d"].register(E, UNICAST, realm=GLOBAL)
    net.settle()
    net["g"].send(E, b"of the gateway", net.now)
    net.settle()
    liar = Liar(net, net["g"], "x", realm=GLOBAL, medium="nats", fabric=True)
    to_d = bind(7, net["d"].mesh.me.key)
    liar.say(message(codes.SEND, codes.HOW_DESTINATION, 9, to_d, alias(1, E) + u16(1) + b"of beyond"))
    net.settle()
    assert net.payloads("d", receiver) == [b"of the gateway"]
    assert net["h"].forwarder.counters["unbelieved"] == 1
