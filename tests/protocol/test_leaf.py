"""Leaves: one link, no routes; what they cost, what they find, and what their router does for them."""

from __future__ import annotations

import pytest

from busway.protocol import Link, codes, events
from busway.protocol.messaging.correspondent import talk
from busway.protocol.routing.advertising import adverts
from busway.protocol.wire.fields import varint

from .helpers import assert_settled, parts_of, verdicts
from .nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    LOCALNET,
    UNICAST,
    USERSPACE,
    Liar,
    Mesh,
    alias,
    bind,
    chain,
    id_of,
    message,
    u16,
)
from .pairs import E, F, G, bodies


def leaves(letters: str = "abc", at_both_ends: bool = True) -> Mesh:
    """A chain of routers with the leaf x at its first and y at its last."""
    net = chain(letters)
    net.leaf("x", letters[0])
    net.pump()
    if at_both_ends:
        net.leaf("y", letters[-1])
        net.pump()
    return net


def test_a_leaf_joins_in_forty_bytes_and_twenty_for_each_endpoint() -> None:
    costs = []
    for count in (0, 1, 10):
        net = chain("ab")
        leaf = net.named["x"] = net.node("x", leaf=True, label="")
        for number in range(count):
            leaf.register(b"endpoint%08d" % number, ANYCAST)
        net.join("xa")
        net.pump()
        sent = bodies(net.sent_by("x", "xa"))
        assert sent[0][0] == codes.HELLO
        costs.append(sum(1 + len(body) for body in sent[1:]))
        assert len([entry for entry in net["b"].entries() if entry.peer.node_id == id_of("x")]) == count
        assert sum(1 + len(body) for body in bodies(net.sent_by("a", "xa"))[1:]) <= 40
    assert all(cost <= 40 + 20 * count for cost, count in zip(costs, (0, 1, 10), strict=True))


def test_a_leaf_is_seen_as_one_and_is_told_no_route_and_no_line() -> None:
    net = leaves()
    net["c"].register(E, UNICAST)
    net.pump()
    for letter in "abc":
        assert net.see(letter, "x").leaf
        assert net.see(letter, "x").label == "X"
    assert net.reaches("x") == "a"
    assert net.frames("a", "xa", codes.ROUTES) == net.frames("a", "xa", codes.DIRECTORY) == []


def test_a_leaf_finds_and_is_found_over_several_hops() -> None:
    net = leaves()
    far = net["y"].register(E, UNICAST)
    near = net["x"].register(F, UNICAST)
    net.pump()
    for source, uuid, receiver, at in (("x", E, far, "y"), ("y", F, near, "x"), ("b", E, far, "y")):
        net[source].send(uuid, source.encode(), net.now)
        net.pump()
        assert net.payloads(at, receiver) == [source.encode()]
    token = net["x"].send(E, b"sure", net.now, confirm=True)
    net.pump()
    assert net.payloads("y", far) == [b"sure"]
    net.pump()
    assert verdicts(net, net["x"], token) == [(events.TAKEN, 0)]
    assert_settled(net)


def test_a_request_and_a_stream_between_two_far_leaves() -> None:
    net = leaves()
    receiver = net["y"].register(E, ANYCAST)
    net.pump()
    token = net["x"].request(E, b"?", net.now)
    net.pump()
    net["y"].respond(net.asked("y", receiver), b"!", net.now)
    net.pump()
    assert [o.payload for o in net.outcomes(net["x"], token)] == [b"!"]
    token = net["x"].request(E, b"?", net.now, window=2)
    net.pump()
    asked = net.asked("y", receiver)
    for number in range(5):
        net["y"].respond_part(asked, b"%d" % number, net.now)
    for _ in range(6):
        net.pump()
        net["x"].consume_part(token, net.now)
    net["y"].respond_end(asked, net.now)
    net.pump()
    got = [o.payload for o in net.outcomes(net["x"], token) if o.status == events.PARTIAL]
    assert got == [b"0", b"1", b"2", b"3", b"4"]
    assert parts_of(net, token) == []
    assert_settled(net)


def test_what_nobody_has_is_answered_so() -> None:
    net = leaves()
    token = net["x"].send(E, b"", net.now, confirm=True)
    net.pump()
    assert verdicts(net, net["x"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert_settled(net)


def test_a_leaf_that_waits_is_told_when_the_endpoint_appears() -> None:
    net = leaves()
    token = net["x"].send(E, b"later", net.now, ttl_ms=60_000)
    net.advance(5000)
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    assert net.payloads("c", receiver) == [b"later"]
    assert [o.status for o in net.outcomes(net["x"], token)] == [events.ACCEPTED]


def test_a_leaf_without_its_router_waits_for_it() -> None:
    net = chain("ab")
    net["b"].register(E, UNICAST)
    net.pump()
    leaf = net.named["x"] = net.node("x", leaf=True)
    token = leaf.send(E, b"early", net.now, ttl_ms=60_000)
    net.advance(3000)
    net.join("xa")
    net.pump()
    assert [o.status for o in net.outcomes(leaf, token)] == [events.ACCEPTED]


def test_the_router_tells_the_leaf_what_became_of_what_it_asked_for() -> None:
    net = leaves()
    receiver = net["c"].register(E, ANYCAST)
    net.pump()
    net["x"].send(E, b"1", net.now)
    net.pump()
    assert net.holders("x", E) == "c"
    net["b"].register(E, ANYCAST)
    net.pump()
    assert net.holders("x", E) == "bc"
    net["c"].deregister(receiver, net.now)
    net.pump()
    assert net.holders("x", E) == "b"
    asked = bytes(net.sent_by("x", "xa")).count(E)
    net["x"].send(E, b"2", net.now)
    net.pump()
    assert bytes(net.sent_by("x", "xa")).count(E) == asked


def test_the_nearest_holder_is_taken_by_a_leaf_too() -> None:
    net = leaves("abcd")
    far = net["d"].register(E, ANYCAST)
    near = net["b"].register(E, ANYCAST)
    net.pump()
    net["x"].send(E, b"x", net.now)
    net.pump()
    assert (net.payloads("b", near), net.payloads("d", far)) == ([b"x"], [])


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_leaf_is_told_of_no_more_than_sixteen_the_nearest() -> None:
    net = chain("ab")
    net.leaf("x", "a")
    for letter in "cdefghijklmnopqrstuv":
        net.add(letter)
        net.join("b" + letter)
        net[letter].register(E, ANYCAST)
    near = net["a"].register(E, ANYCAST)
    net.pump()
    net["x"].send(E, b"x", net.now)
    net.pump()
    assert len(net.holders("x", E)) == codes.HOLDERS_MAX
    assert net.payloads("a", near) == [b"x"]


def test_a_leaf_hears_of_the_end_of_nodes_that_it_knows() -> None:
    net = leaves()
    net["c"].register(E, UNICAST)
    net["b"].register(F, UNICAST)
    net.pump()
    net["x"].send(E, b"", net.now)
    net.pump()
    token = net["x"].request(E, b"?", net.now)
    net.pump()
    assert net.reaches("x") == "ac"
    net.cable["bc"].cut()
    net.advance(codes.ROUTE_LOSS_GRACE_MS)
    assert net.reaches("x") == "a"
    assert net.holders("x", E) == ""
    assert [status for status, _ in verdicts(net, net["x"], token)] in (
        [events.UNDELIVERED],
        [events.UNKNOWN],
    )
    assert b"c" * 16 not in b"".join(net.frames("a", "xa", codes.ROUTES))
    net.join("bc")
    net.pump()
    net["x"].send(E, b"again", net.now)
    net.pump()
    assert net.undelivered("x") == []
    assert net.reaches("x") == "ac"


def test_a_leaf_is_told_nothing_of_the_end_of_nodes_that_it_never_heard_of() -> None:
    net = leaves()
    before = len(net.sent_by("a", "xa"))
    net.cable["bc"].cut()
    net.advance(2000)
    assert len(net.sent_by("a", "xa")) == before


def test_a_node_is_found_by_its_id() -> None:
    net = leaves()
    for letter in "bcy":
        token = net["x"].locate(id_of(letter), net.now)
        net.pump()
        assert [(o.status, o.node_id) for o in net.outcomes(net["x"], token)] == [
            (events.TRACED, id_of(letter))
        ]
    token = net["x"].locate(b"n" * 16, net.now)
    net.pump()
    assert [status for status, _ in verdicts(net, net["x"], token)] == [events.UNDELIVERED]


def test_a_message_pinned_to_a_far_node_asks_for_that_node() -> None:
    net = leaves()
    one = net["b"].register(E, ANYCAST)
    other = net["y"].register(E, ANYCAST)
    net.pump()
    net["x"].send(E, b"y", net.now, node_id=id_of("y"))
    net.pump()
    assert (net.payloads("b", one), net.payloads("y", other)) == ([], [b"y"])


def test_a_leaf_traces_the_way() -> None:
    net = leaves()
    net["y"].register(E, UNICAST)
    net.pump()
    net["x"].send(E, b"", net.now)
    net.pump()
    found = []
    for hops in range(4):
        token = net["x"].trace(id_of("y"), hops, net.now)
        net.pump()
        found += [o.node_id[:1] for o in net.outcomes(net["x"], token)]
    assert found == [b"a", b"b", b"c", b"y"]


# Broadcasts


def test_leaves_publish_and_subscribe() -> None:
    net = leaves()
    subscribers = {letter: net[letter].register(E, BROADCAST) for letter in "axcy"}
    net.pump()
    for source in "xbyc":
        net[source].publish(E, source.encode(), net.now)
        net.pump()
        got = {letter: net.payloads(letter, receiver) for letter, receiver in subscribers.items()}
        own = [source.encode()]
        assert got == dict.fromkeys("axcy", own), source


def test_a_leaf_without_the_subscription_gets_no_copy() -> None:
    net = leaves()
    net["y"].register(E, BROADCAST)
    net.pump()
    net["b"].publish(E, b"payload-of-this", net.now)
    net.pump()
    assert b"payload-of-this" in net.sent_by("c", "yc")
    assert b"payload-of-this" not in net.sent_by("a", "xa")


def test_what_a_leaf_publishes_and_nobody_wants_stays_with_it_until_somebody_does() -> None:
    net = leaves()
    net["x"].publish(E, b"to-nobody-1", net.now)
    net.pump()
    net["x"].publish(E, b"to-nobody-2", net.now)
    net.pump()
    assert b"to-nobody-2" not in net.sent_by("x", "xa")
    receiver = net["y"].register(E, BROADCAST)
    net.pump()
    net["x"].publish(E, b"to-y", net.now)
    net.pump()
    assert net.payloads("y", receiver) == [b"to-y"]


# Realms


@pytest.mark.parametrize("realm", [USERSPACE, LOCALNET, GLOBAL])
def test_a_leaf_behind_a_wide_link_finds_what_is_as_wide(realm: int) -> None:
    net = chain("ab")
    net.leaf("x", "a", realm=GLOBAL)
    net["b"].register(E, UNICAST, realm)
    net["x"].register(F, UNICAST, realm)
    net.pump()
    token = net["x"].send(E, b"", net.now, confirm=True, timeout_ms=100)
    net.pump()
    assert net.holders("x", E) == ("b" if realm == GLOBAL else "")
    assert net.holders("b", F) == ("x" if realm == GLOBAL else "")
    if realm != GLOBAL:
        assert verdicts(net, net["x"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
        assert b"b" * 16 not in bytes(net.sent_by("a", "xa"))


def test_a_leaf_is_told_only_what_it_may_see_on_the_whole_way() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab", realm=GLOBAL)
    net.join("bc", realm=LOCALNET)
    net.leaf("x", "a", realm=USERSPACE)
    net["c"].register(E, UNICAST, LOCALNET)
    net["c"].register(F, UNICAST, GLOBAL)
    net["a"].register(G, UNICAST, USERSPACE)
    net.pump()
    for uuid in (E, F, G):
        net["x"].send(uuid, b"", net.now, ttl_ms=1000)
    net.pump()
    assert [net.holders("x", uuid) for uuid in (E, F, G)] == ["", "c", "a"]


# Leaves that move, restart, and stand alone


def test_a_leaf_that_moves_takes_its_endpoints_along() -> None:
    net = leaves("abcd", at_both_ends=False)
    receiver = net["x"].register(E, UNICAST)
    net.pump()
    net["b"].send(E, b"1", net.now)
    net.pump()
    for place in "dbad":
        for pair in [pair for pair in net.cable if pair[0] == "x"]:
            if net.cable[pair].a.state == codes.OPEN:
                net.cable[pair].cut()
        net.join("x" + place)
        net.advance(3000)
        token = net["c"].send(E, place.encode(), net.now, confirm=True)
        net.pump()
        assert net.payloads("x", receiver)[-1] == place.encode()
        net.pump()
        assert verdicts(net, net["c"], token) == [(events.TAKEN, 0)]
        for letter in "abcd":
            assert net.holders(letter, E) == "x"


def test_a_leaf_that_moves_before_its_old_router_knows_is_found_at_the_new_one() -> None:
    net = leaves("abcd", at_both_ends=False)
    receiver = net["x"].register(E, UNICAST)
    net.pump()
    old = net.cable["xa"]
    old.ends[0].unplugged = old.ends[1].eof_seen = True  # its end is gone, and nobody has told the router
    net.note(net["x"], old.a.receive_eof(net.now))
    net.join("xd")
    net.pump()
    net.advance(3000)
    net["c"].send(E, b"c", net.now)
    net.pump()
    assert net.payloads("x", receiver) == [b"c"]
    net.note(net["a"], old.b.receive_eof(net.now))
    net.advance(3000)
    net["a"].send(E, b"a", net.now)
    net.pump()
    assert net.payloads("x", receiver) == [b"a"]


def test_a_leaf_that_restarts_is_another_node() -> None:
    net = leaves()
    net["x"].register(E, UNICAST)
    net.pump()
    net.cable["xa"].cut()
    receiver = net.leaf("x", "b").register(F, UNICAST)
    net.advance(2000)
    assert net.holders("c", E) == ""
    assert net.holders("c", F) == "x"
    net["c"].send(F, b"new", net.now)
    net.pump()
    assert net.payloads("x", receiver) == [b"new"]


def test_when_a_leaf_goes_everyone_hears_of_it_at_once() -> None:
    net = leaves()
    net["x"].register(E, UNICAST)
    net.pump()
    net.cable["xa"].cut()
    net.pump()
    assert net.holders("c", E) == ""
    assert "x" not in net.reaches("c")


def test_two_leaves_joined_directly() -> None:
    net = Mesh()
    for letter in "xy":
        net.named[letter] = net.node(letter, leaf=True)
    receiver = net["y"].register(E, UNICAST)
    heard = net["x"].register(F, BROADCAST)
    net.join("xy")
    net.pump()
    assert net.holders("x", E) == "y"
    net["x"].send(E, b"direct", net.now)
    net["y"].publish(F, b"cast", net.now)
    token = net["x"].send(G, b"", net.now, confirm=True)
    net.pump()
    assert net.payloads("y", receiver) == [b"direct"]
    assert net.payloads("x", heard) == [b"cast"]
    assert verdicts(net, net["x"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    net.cable["xy"].cut()
    assert net.reaches("x") == net.reaches("y") == ""
    assert_settled(net)


def test_a_leaf_passes_nothing_on() -> None:
    net = Mesh()
    net.add("ab")
    leaf = net.named["x"] = net.node("x", leaf=True)
    net["b"].register(E, UNICAST)
    net.join("xa xb")
    net.pump()
    assert net.reaches("a") == "x"
    assert len(leaf.connections) == 2
    token = net["a"].send(E, b"", net.now, confirm=True)
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert net.holders("a", E) == ""


def test_a_leaf_with_two_routers_uses_the_nearer_and_then_the_other() -> None:
    net = chain("ab")
    receiver = net["b"].register(E, UNICAST)
    net.leaf("x", "a", cost=50)
    net.join("xb", cost=3)
    net.pump()
    net["x"].send(E, b"1", net.now)
    net.pump()
    assert net.hop("x", "b") == "b"
    net.cable["xb"].cut()
    net.pump()
    net["x"].send(E, b"2", net.now, ttl_ms=2000)
    net.pump()
    assert net.payloads("b", receiver) == [b"1", b"2"]
    assert net.hop("x", "b") == "a"


def test_a_leaf_may_ask_over_a_link_that_begins_while_it_asks() -> None:
    net = chain("ab")
    net["b"].register(E, UNICAST)
    leaf = net.named["x"] = net.node("x", leaf=True)
    token = leaf.request(E, b"", net.now, timeout_ms=5000, ttl_ms=5000)
    leaf.connection(Link(), net.now)
    net.advance(100)
    net.join("xa")
    net.pump()
    assert len(talk(net.see("b", "x")).serving) == 1
    net.advance(6000)
    assert len(net.outcomes(leaf, token)) == 1


def test_a_leaf_that_publishes_much_reaches_its_router_and_those_behind_it() -> None:
    net = leaves()
    receivers = {letter: net[letter].register(E, BROADCAST) for letter in "ac"}
    net.pump()
    for number in range(20):
        net["x"].publish(E, b"%d" % number, net.now)
    net.pump()
    for letter, receiver in receivers.items():
        assert net.payloads(letter, receiver) == [b"%d" % number for number in range(20)]


def test_the_report_of_a_leaf_knows_no_children() -> None:
    net = leaves()
    nodes = net["x"].report(net.now)["nodes"]
    assert [node["children"] for node in nodes] == [[]]  # type: ignore[attr-defined]


def test_a_leaf_s_prune_is_over_when_its_router_gets_a_child() -> None:
    net = chain("ab")
    net.leaf("x", "a")
    net.pump()
    net["x"].publish(E, b"1", net.now)
    net.pump()
    assert adverts(net.cable["xa"].a).pruned.keys != {}
    net.add("c")
    net.join("ca")
    net.pump()
    assert adverts(net.cable["xa"].a).pruned.keys == {}


@pytest.mark.parametrize("kind", [codes.SEND, codes.REQUEST])
def test_a_message_of_someone_far_on_the_last_link_that_is_closing_harms_nobody(kind: int) -> None:
    net = chain("ab")
    net.leaf("x", "a")
    net.pump()
    receiver = net["x"].register(E, UNICAST)
    liar = Liar(net, net["x"])
    liar.connection.close(net.now)
    net.cable["xa"].cut()
    far = id_of("q") + bytes(4)
    number = varint(7) + varint(900) if kind == codes.REQUEST else b""
    liar.say(message(kind, 8, 9, bind(3, far), alias(1, E) + u16(1) + number + b"x"))
    assert liar.error == codes.GOODBYE
    assert net.payloads("x", receiver) == [b"x"]
