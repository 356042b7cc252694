"""News of a node that come later than that it is there: its label, whether it is a leaf, its endpoints'
names and realms. Each is told, to the program here and to those who reach the node through this one.
"""

from __future__ import annotations

import random
from itertools import permutations
from typing import Any

import pytest

from busway.protocol import codes, events

from .nets import (
    ANYCAST,
    BROADCAST,
    GLOBAL,
    LOCALNET,
    USERSPACE,
    Liar,
    Mesh,
    bind,
    chain,
    directory,
    key,
    retract,
    routes,
    update,
)
from .pairs import E, Pair, guard

UP, CHANGED, DOWN = events.NODE_UP, events.NODE_CHANGED, events.NODE_DOWN


class News:
    """The words of one node about another, as the label and sort that it then had."""

    def __init__(self, net: Mesh, letter: str, other: str) -> None:
        self.told: list[tuple[int, str, bool]] = []
        note = net.note

        def noted(node: Any, happened: list[events.Event]) -> None:
            for event in happened:
                if not isinstance(event, events.NodeEvent) or node is not net[letter]:
                    continue
                if event.peer.node_id == other.encode() * 16:
                    self.told.append((event.kind, event.peer.label, event.peer.leaf))
            note(node, happened)

        net.note = noted  # type: ignore[method-assign]


def test_a_node_that_a_route_names_first_is_told_again_when_its_hello_has_come() -> None:
    net = Mesh()
    net.add("abx")
    net.join("ab bx")
    news = News(net, "a", "x")
    net.cable["bx"].block(net["x"])  # its HELLO is late, its label not yet with b
    liar = Liar(net, net["a"], "l")
    liar.say(routes(update(bind(3, net["x"].me.key), 0, 1)))
    assert news.told == [(UP, "", False)]
    net.join("ax")
    net.pump()
    assert news.told == [(UP, "", False), (CHANGED, "X", False)]
    net.advance(60_000)
    assert len(news.told) == 2


@pytest.mark.parametrize("leaf", [False, True])
@pytest.mark.parametrize("label", ["", "X"])
@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_who_is_at_the_end_of_a_chain_is_known_at_its_beginning(leaf: bool, label: str) -> None:
    """In whatever order the links carry their bytes, and with nothing but an identity to tell."""
    for order in permutations(range(3)):
        for seed in range(20):
            rng = random.Random(seed)
            net = Mesh()
            net.add("wst")
            net.named["x"] = net.node("x", leaf=leaf, label=label, transit=not leaf)
            net.join("ws st")
            net.pump()
            net.join("xt")
            net.cables = [net.cables[index] for index in order]
            net.pump(rng.choice((5, 40, 400)), 0, rng=rng)
            seen = [(net.see(letter, "x").label, net.see(letter, "x").leaf) for letter in "wst"]
            assert seen == [(label, leaf)] * 3, (order, seed)


def test_a_label_that_comes_when_the_child_has_asked_already_is_passed_on() -> None:
    """The neighbour tells of a node before it says who that is: s has been asked by w when it hears it."""
    net = chain("ws")
    news = News(net, "w", "x")
    liar = Liar(net, net["s"], "t")
    liar.say(routes(update(bind(3, key("x")), 0, 1)))
    net.pump()
    assert news.told == [(UP, "", False)]
    liar.say(directory(b"\3", GLOBAL, 0, 0, flags=0x10, label="ex"))
    net.pump()
    assert news.told == [(UP, "", False), (CHANGED, "ex", True)]
    before = len(net.sent_by("s", "ws"))
    liar.say(directory(b"\3", GLOBAL, 0, 0, flags=0x10, label="ex"))
    net.pump()
    assert len(news.told) == 2
    assert len(net.sent_by("s", "ws")) == before
    liar.say(routes(retract(b"\3")))
    net.pump()
    assert [kind for kind, _, _ in news.told] == [UP, CHANGED, DOWN]


def test_a_neighbour_is_what_its_hello_says() -> None:
    net = chain("ab")
    net["b"].register(E, ANYCAST)
    net.pump()
    assert [event.kind for event in net.seen(net["a"]) if isinstance(event, events.NodeEvent)] == [UP]
    assert net.see("a", "b").label == "B"


def test_an_endpoint_that_goes_to_a_narrower_realm_stays_there() -> None:
    net = chain("abc")
    for former, later in ((GLOBAL, LOCALNET), (LOCALNET, GLOBAL)):
        receiver = net["a"].register(E, ANYCAST, former)
        net.pump()
        net["a"].deregister(receiver, net.now)
        receiver = net["a"].register(E, ANYCAST, later)
        net.pump()
        for letter in "bc":
            assert [entry.realm for entry in net[letter].entries()] == [later]
        net["a"].deregister(receiver, net.now)
        net.pump()
        assert not net["c"].entries()


def test_a_new_name_of_an_endpoint_is_told() -> None:
    net = chain("abc")
    receiver = net["a"].register(E, BROADCAST, name="one")
    net.pump()
    net["a"].deregister(receiver, net.now)
    net["a"].register(E, BROADCAST, name="two")
    net.pump()
    told = [event.entry.name for event in net.seen(net["c"], events.ENDPOINT_UP)]
    assert told == ["one", "two"]


@pytest.mark.parametrize("realm", [codes.PROCESS, USERSPACE])
def test_a_nodes_own_endpoints_are_told_once_however_many_receivers_they_have(realm: int) -> None:
    net = Pair()
    receivers = [net.a.register(E, ANYCAST, realm, name="lab/x", cost=3) for _ in range(2)]
    for receiver in receivers:
        net.a.deregister(receiver, net.now)
    net.pump()
    told = [event for event in net.seen(net.a) if isinstance(event, events.EndpointEvent)]
    assert [event.kind for event in told] == [events.ENDPOINT_UP, events.ENDPOINT_DOWN]
    for event in told:
        entry = event.entry
        assert (entry.peer, entry.uuid, entry.kind, entry.realm) == (net.a.me, E, ANYCAST, realm)
        assert (entry.name, entry.cost) == ("lab/x", 3)


def test_each_state_of_a_link_is_told() -> None:
    net = Pair(opened=False, security=guard())
    told: list[tuple[int, int]] = []

    def noted(node: Any, happened: list[events.Event]) -> None:
        told.extend(
            (event.kind, event.connection.state)
            for event in happened
            if node is net.a and isinstance(event, events.LinkEvent)
        )

    net.note = noted  # type: ignore[method-assign]
    net.pump(split=1)
    net.ca.close(net.now)
    net.note(net.a, net.a.take_events())
    net.pump()
    assert told == [
        (events.LINK_STATE, codes.GREETING),
        (events.LINK_OPEN, codes.OPEN),
        (events.LINK_STATE, codes.CLOSING),
        (events.LINK_CLOSED, codes.CLOSED),
    ]


def test_a_leaf_hears_the_label_of_who_was_behind_its_router() -> None:
    net = chain("ab")
    net["b"].register(E, ANYCAST)
    net.leaf("l", "a")
    net.pump()
    net["l"].send(E, b"x", net.now)
    net.pump()
    assert net.see("l", "b").label == ""
    net.join("lb")
    net.pump()
    assert net.see("l", "b").label == "B"
    assert [event.peer.label for event in net.seen(net["l"], CHANGED)] == ["B"]
