"""Names that somebody else announces, too: a neighbour from beyond this machine takes none, whatever its node
id, the kind and the realm that it says, and whenever it comes.
"""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import EndpointTakenError, LocalError, Node, codes, events

from .nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    LOCALNET,
    SELF,
    UNICAST,
    USERSPACE,
    Liar,
    Mesh,
    alias,
    bind,
    directory,
    entry,
    id_of,
    routes,
    signal,
    u16,
    update,
)
from .pairs import E, F

SMALL = "0"  # smaller than any other node id


def machine() -> Mesh:
    """Three programs of one machine: one holds names, one has a link to another machine, one uses them."""
    net = Mesh()
    net.add("hgu")
    net.join("hg hu gu", realm=USERSPACE, medium="ipc")
    net.pump()
    return net


def claim(net: Mesh, realm: int, kind: int, uuid: bytes = E, **options: Any) -> Liar:
    """A stranger on the gateway's network says that it has an endpoint."""
    liar = Liar(net, net["g"], SMALL, **options)
    liar.say(directory(SELF, realm, 0, 1, entry(kind, uuid)))
    net.pump()
    return liar


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("kind", [UNICAST, ANYCAST, BROADCAST])
@pytest.mark.parametrize("realm", [LOCALNET, GLOBAL])
@pytest.mark.parametrize("when", ["at once", "later", "before"])
@pytest.mark.parametrize("leaf", [False, True])
def test_a_private_name_cannot_be_taken_from_beyond(kind: int, realm: int, when: str, leaf: bool) -> None:
    net = machine()
    liar = Liar(net, net["g"], SMALL, leaf=leaf)
    said = directory(SELF, realm, 0, 1, entry(kind, E))
    if when == "before":
        liar.say(said)
        net.pump()
    receiver = net["h"].register(E, UNICAST, USERSPACE)
    if when == "later":
        net.advance(2 * codes.RACE_MS)
    net.pump()
    if when != "before":
        liar.say(said)
        net.pump()
    assert net.seen(kind=events.RECEIVER_TAKEN) == []
    for letter in "hgu":
        net[letter].send(E, b"private", net.now)
        assert net.outcomes(net[letter], net[letter].send(E, b"sure", net.now, confirm=True)) == []
    net.pump()
    assert net.payloads("h", receiver) == [b"private", b"sure"] * 3
    assert [body for body in liar.hear() if b"private" in body or b"sure" in body] == []


@pytest.mark.parametrize("kind", [UNICAST, ANYCAST, BROADCAST])
@pytest.mark.parametrize("when", ["at once", "later"])
def test_nor_can_one_that_is_meant_for_the_network(kind: int, when: str) -> None:
    """The realm is the same: who held it first keeps it, and who is nearer is asked."""
    net = machine()
    receiver = net["h"].register(E, UNICAST, LOCALNET)
    net.pump()
    if when == "later":
        net.advance(2 * codes.RACE_MS)
    liar = claim(net, LOCALNET, kind)
    assert net.seen(kind=events.RECEIVER_TAKEN) == []
    for letter in "hgu":
        net[letter].send(E, b"private", net.now)
    net.pump()
    assert net.payloads("h", receiver) == [b"private"] * 3
    assert [body for body in liar.hear() if b"private" in body] == []
    liar.say(directory(SELF, LOCALNET, 1, 2, entry(kind, E)))  # once more
    net.pump()
    assert net["h"].counters["name_conflicts"] == 1


def test_among_programs_of_one_user_a_race_is_decided_by_the_id() -> None:
    net = machine()
    for pair in ("hg", "gu"):
        net.cable[pair].block(net["g"])
    late, early = net["h"].register(E, UNICAST, LOCALNET), net["g"].register(E, ANYCAST, LOCALNET)
    net.pump()
    for pair in ("hg", "gu"):
        net.cable[pair].block(net["g"], False)
    net.pump()
    assert (late.endpoint.yielded, early.endpoint.yielded) == (True, False)


def test_a_name_that_was_held_for_a_while_is_lost_to_nobody() -> None:
    net = machine()
    for pair in ("hg", "gu"):
        net.cable[pair].block(net["g"])
    early = net["h"].register(E, UNICAST, LOCALNET)
    late = net["g"].register(E, UNICAST, LOCALNET)
    net.pump()
    net.advance(2 * codes.RACE_MS)
    for pair in ("hg", "gu"):
        net.cable[pair].block(net["g"], False)
    net.pump()
    assert (late.endpoint.yielded, early.endpoint.yielded) == (False, False)
    assert net["h"].counters["name_conflicts"] == net["g"].counters["name_conflicts"] == 1


def test_who_joins_with_a_name_that_is_held_does_without_it() -> None:
    """Its id is the smallest; its name is as new as it is."""
    net = machine()
    held = net["h"].register(E, UNICAST, LOCALNET)
    net.pump()
    net.advance(2 * codes.RACE_MS)
    net.add("a")
    came = net["a"].register(E, UNICAST, LOCALNET)
    net.join("ag ah au", realm=USERSPACE)
    net.pump()
    assert (held.endpoint.yielded, came.endpoint.yielded) == (False, True)


def test_two_that_join_each_other_agree() -> None:
    for dialler in ("ab", "ba"):
        net = Mesh()
        net.add("ab")
        receivers = {letter: net[letter].register(E, UNICAST) for letter in "ab"}
        net.join(dialler, realm=USERSPACE)
        net.pump()
        assert receivers[dialler[0]].endpoint.yielded
        assert not receivers[dialler[1]].endpoint.yielded


@pytest.mark.parametrize("first", ["a", "b"])
def test_a_name_may_be_lost_in_two_realms(first: str) -> None:
    """Whoever goes leaves that of its realm to us, and the program may let go of each."""
    net = Mesh()
    net.add("abc")
    keepers = {"a": net["a"].register(E, UNICAST, LOCALNET), "b": net["b"].register(E, UNICAST, GLOBAL)}
    receivers = {}
    for letter, realm in (("a", LOCALNET), ("b", GLOBAL)):
        receivers[letter] = net["c"].register(E, UNICAST, realm)
        net.join("c" + letter, realm=USERSPACE)
        net.pump()
        assert receivers[letter].endpoint.yielded
    net[first].deregister(keepers[first], net.now)
    net.pump()
    assert [event.receiver for event in net.seen(kind=events.RECEIVER_BACK)] == [receivers[first]]
    assert net["c"].endpoints() == [receivers[first].endpoint]
    for receiver in receivers.values():
        net["c"].deregister(receiver, net.now)
    for letter, keeper in keepers.items():
        net[letter].deregister(keeper, net.now)
    net.pump()
    assert net["c"].endpoints() == []
    assert len(net.seen(kind=events.RECEIVER_BACK)) == 1


def test_a_name_of_one_realm_leaves_that_of_another_free() -> None:
    net = machine()
    claim(net, LOCALNET, UNICAST)
    net["h"].register(E, BROADCAST, USERSPACE)
    net["u"].register(E, UNICAST, GLOBAL)
    with pytest.raises(EndpointTakenError):
        net["g"].register(E, UNICAST, LOCALNET)


def test_of_our_own_name_and_a_narrower_one_that_counts() -> None:
    net = machine()
    ours = net["u"].register(E, UNICAST, LOCALNET)
    shared = net["u"].register(F, ANYCAST, LOCALNET)
    narrower = net["h"].register(E, UNICAST, USERSPACE)
    net["h"].register(F, ANYCAST, USERSPACE)
    net.pump()
    net["u"].send(E, b"x", net.now)
    net["u"].send(F, b"x", net.now)
    net.pump()
    assert (net.payloads("h", narrower), net.payloads("u", ours)) == ([b"x"], [])
    assert net.payloads("u", shared) == [b"x"]  # of one kind, and nearer


# What every node has


@pytest.mark.parametrize("kind", [UNICAST, ANYCAST, BROADCAST])
def test_nobody_announces_what_every_node_has(kind: int) -> None:
    net = Mesh()
    net.named["a"] = net.node("a", encode=lambda _: b"state", transit=True)
    net.add("u")
    net.join("au", realm=USERSPACE)
    net.pump()
    liar = Liar(net, net["u"], SMALL)
    liar.say(directory(SELF, LOCALNET, 0, 1, entry(kind, codes.INTROSPECTION)))
    assert net["u"].counters["builtin_entry"] == 1
    assert net.holders("u", codes.INTROSPECTION) == ""
    for node_id in (net["a"].node_id, liar.key[:16]):
        token = net["u"].request(codes.INTROSPECTION, b"", net.now, node_id=node_id)
        net.pump()
        if node_id == net["a"].node_id:
            assert [outcome.payload for outcome in net.outcomes(net["u"], token)] == [b"state"]
    token = net["u"].request(codes.INTROSPECTION, b"", net.now)
    net.pump()
    assert [outcome.code for outcome in net.outcomes(net["u"], token)] == [codes.NO_ENDPOINT]


def test_the_endpoint_of_lookups_is_of_one_kind() -> None:
    net = machine()
    liar = claim(net, GLOBAL, UNICAST, codes.LOOKUP)
    assert net["g"].counters["builtin_entry"] == 1
    liar.say(directory(SELF, GLOBAL, 1, 2, entry(ANYCAST, codes.LOOKUP)))
    assert net.holders("g", codes.LOOKUP) == SMALL


@pytest.mark.parametrize("uuid", [codes.INTROSPECTION, codes.LOOKUP])
def test_nor_can_a_program_register_it(uuid: bytes) -> None:
    node: Node = Mesh().node("a")
    with pytest.raises(LocalError, match="every node"):
        node.register(uuid, ANYCAST)


# Answers about others


def test_an_answer_from_afar_names_no_private_endpoint_of_a_program_here() -> None:
    """A lookup link; asked who has E, the neighbour says that u has, privately."""
    net = machine()
    liar = Liar(net, net["g"], SMALL, lookups=True)
    net["g"].send(E, b"x", net.now, ttl_ms=5000)
    net.pump()
    assert [body[:2] for body in liar.hear() if body[0] & 0xF0 == 0xF0] == [bytes((0xF0, codes.WHO))]
    holder = bytes((UNICAST | USERSPACE << 2,)) + bind(3, net["u"].me.key) + u16(0)
    liar.say(routes(update(b"\x00\x03" + net["u"].me.key, 9, 0)))
    liar.say(signal(codes.HAVE, alias(1, E) + holder.replace(bind(3, net["u"].me.key), b"\x03")))
    assert net.holders("g", E) == ""


def test_what_is_meant_for_one_of_three_that_hold_a_name_waits_for_it_in_order() -> None:
    """It has lost the name already when the third one comes."""
    net = Mesh()
    net.add("g")
    first, second, third = [Liar(net, net["g"], letter) for letter in "xyz"]
    for holder in (first, second):
        holder.say(directory(SELF, GLOBAL, 0, 1, entry(UNICAST, E)))
    assert [holder.peer.node_id for holder in net["g"].directory.holders(E)] == [id_of("x")]
    for number in range(9):
        net["g"].send(E, b"meant for y %d" % number, net.now, ttl_ms=60_000, node_id=id_of("y"))
    heard = b"".join(second.hear())
    third.say(directory(SELF, GLOBAL, 0, 1, entry(UNICAST, E)))
    second.say(signal(codes.CREDIT, alias(1, E) + u16(20)))
    heard += b"".join(second.hear())
    places = [heard.find(b"meant for y %d" % number) for number in range(9)]
    assert -1 not in places
    assert places == sorted(places)
    assert [event for event in net.seen(net["g"]) if event.kind == events.UNDELIVERABLE] == []
