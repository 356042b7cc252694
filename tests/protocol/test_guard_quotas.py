"""What a guard bounds for one link: what is over is ignored or refused, as beyond the node's own bounds."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Crew, codes, events
from busway.protocol.link.face import LinkFace

from .helpers import verdicts
from .nets import ANYCAST, UNICAST, Liar, Mesh, ack, bind, chain, id_of, retract, routes, stranger, update
from .pairs import E, F, Pair
from .rules import Rules


def exceeded(net: Any, node: Any) -> list[int]:
    return [event.which for event in net.seen(node, events.EXCEEDED)]


def test_a_link_offers_as_many_sources_as_its_quota() -> None:
    net = chain("ab")
    rules = Rules(net, "b")
    rules.quotas = {codes.QUOTA_ROUTES: 3}
    liar = Liar(net, net["b"])
    names = [bind(3 + number, stranger(number)) for number in range(5)]
    liar.say(routes(*[update(name, 1, 1) for name in names]))
    router = net["b"].mesh.router
    assert router.counters["routes_over"] == 3  # its own is one
    assert exceeded(net, net["b"]) == [codes.QUOTA_ROUTES]
    liar.hear()
    liar.say(routes(retract(b"\x03"), update(b"\x07", 1, 1)))
    assert router.counters["routes_over"] == 3
    liar.say(routes(retract(b"\x06")))
    assert b"".join(liar.hear()).endswith(ack(2))
    assert liar.error == -1
    rules.quotas = {}
    net["b"].guard_changed(net.now)
    liar.say(routes(update(b"\x06", 1, 1)))
    assert router.counters["routes_over"] == 3


def test_the_node_keeps_its_own_bounds_whatever_a_quota_says() -> None:
    net = Mesh()
    net.add("b")
    rules = Rules(net, "b")
    rules.quotas = dict.fromkeys(range(3), 1 << 30)
    liar = Liar(net, net["b"])
    neighbour = liar.connection.news.neighbour  # type: ignore[attr-defined]
    assert neighbour.offered_max == codes.ROUTES_LINK_MAX
    assert net["b"].directory.told_max[liar.connection] == codes.ENTRIES_LINK_MAX


def test_a_link_tells_as_many_entries_as_its_quota() -> None:
    net = chain("abc")
    rules = Rules(net, "b")
    rules.quotas = {codes.QUOTA_ENTRIES: 2}
    net["b"].guard_changed(net.now)
    for number in range(5):
        net["a"].register(b"%016d" % number, ANYCAST)
        net.pump()
    net["c"].register(E, ANYCAST)
    net.pump()
    assert net["b"].directory.told == {net.cable["ab"].b: 2, net.cable["bc"].a: 1}
    assert net["b"].counters["entries_over"] == 3
    assert exceeded(net, net["b"]) == [codes.QUOTA_ENTRIES]
    net["b"].guard = None
    net["b"].guard_changed(net.now)
    net["a"].register(F, ANYCAST)
    net.pump()
    assert net.holders("b", F) == "a"


def test_a_leaf_may_bound_its_router() -> None:
    net = chain("am")
    net.leaf("x", "m")
    rules = Rules(net, "x")
    rules.quotas = {codes.QUOTA_ENTRIES: 0}
    net["x"].guard_changed(net.now)
    net["a"].register(E, ANYCAST)
    net.pump()
    net["x"].send(E, b"", net.now)
    net.pump()
    assert net.holders("x", E) == ""
    assert net["x"].counters["entries_over"] == 1


def test_large_messages_of_a_link_take_as_much_as_its_quota() -> None:
    net = Pair(realm=codes.LOCALNET)
    rules = Rules(net, "b")
    rules.quotas = {codes.QUOTA_UNFINISHED: 300_000}
    net.b.guard_changed(net.now)
    receiver = net.b.register(E, UNICAST)
    net.pump()
    net.a.send(E, bytes(250_000), net.now)
    net.a.send(E, bytes(500_000), net.now)
    net.pump(size=4096)
    assert [len(message.payload) for message in net.drain(net.b, receiver)] == [250_000]
    assert [event.reason for event in net.seen(net.a, events.UNDELIVERABLE)] == [codes.QUEUE_FULL]
    assert exceeded(net, net.b) == [codes.QUOTA_UNFINISHED]
    assert net.b.unfinished.size == 0
    rules.quotas = {}
    net.b.guard_changed(net.now)
    net.a.send(E, bytes(500_000), net.now)
    net.pump(size=4096)
    assert [len(message.payload) for message in net.drain(net.b, receiver)] == [500_000]


# Requests under way


def asked(net: Mesh, letter: str, uuid: bytes, count: int, **options: Any) -> list[int]:
    tokens = [net[letter].request(uuid, b"?", net.now, **options) for _ in range(count)]
    net.pump()
    return tokens


def refused(net: Mesh, letter: str, tokens: list[int]) -> int:
    """How many of them found no room; the others have no outcome yet."""
    found = [verdicts(net, net[letter], token) for token in tokens]
    full = [(events.UNDELIVERED, codes.QUEUE_FULL)]
    assert all(verdict in ([], full) for verdict in found)
    return found.count(full)


def star() -> Mesh:
    """s in the middle, with a quota of 3 for a's link; b has none. z is behind a."""
    net = Mesh()
    net.add("sabz")
    rules = Rules(net, "s")

    def quota(link: LinkFace, which: int) -> int:
        assert link.peer is not None
        return 3 if which == codes.QUOTA_HANDLERS and link.peer.node_id == id_of("a") else -1

    rules.guard.quota = quota
    net.join("sa sb az")
    net.pump()
    return net


def test_a_link_has_as_many_requests_under_way_as_its_quota() -> None:
    """At all endpoints together, of all behind it; queued or taken."""
    net = star()
    first = net["s"].register(E, UNICAST)
    second = net["s"].register(F, UNICAST)
    net.pump()
    assert refused(net, "a", asked(net, "a", E, 2)) == 0
    assert refused(net, "z", asked(net, "z", F, 4)) == 3
    assert exceeded(net, net["s"]) == [codes.QUOTA_HANDLERS]
    assert refused(net, "b", asked(net, "b", E, 10)) == 0
    messages = net.drain(net["s"], first) + net.drain(net["s"], second)
    assert len(messages) == 13
    assert refused(net, "a", asked(net, "a", E, 1)) == 1  # taken, but not answered
    net["a"].send(E, b"x", net.now)  # not what it is about
    net["a"].send(E, b"y", net.now, confirm=True)
    net.pump()
    assert [message.payload for message in net.drain(net["s"], first)] == [b"x", b"y"]
    for message in messages:
        net["s"].respond(message, b"!", net.now)
    assert refused(net, "a", asked(net, "a", E, 4)) == 1
    assert net["s"].receiving.counters["missed"] == 0


def test_a_request_that_ends_in_any_way_makes_room() -> None:
    net = star()
    receiver = net["s"].register(E, UNICAST, queue_max=2)
    net.pump()
    tokens = asked(net, "a", E, 3)
    assert refused(net, "a", tokens) == 1  # by the queue
    charges = net["s"].receiving.charges
    link = net.cable["sa"].a
    assert charges.count(link) == 2
    net["a"].cancel(tokens[0], net.now)
    net.pump()
    assert charges.count(link) == 1
    asked(net, "a", E, 1, timeout_ms=500)
    net.advance(1000)
    net.drain(net["s"], receiver)
    assert charges.count(link) == 1
    net.cable["sa"].cut()
    net.advance(3000)
    assert charges.count(link) == 0
    assert (charges.links, charges._counts, charges._at_work) == ({}, {}, {})
    assert net["s"].mesh.gate.handlers_max == {}


def test_a_handler_that_goes_on_after_its_request_was_cancelled_still_counts() -> None:
    """Else who asks and cancels would have as many at work as it likes."""
    net = star()
    receiver = net["s"].register(E, UNICAST)
    crew = Crew(net["s"].receiving, receiver, 16)
    net.pump()
    tokens = asked(net, "a", E, 3)
    messages = net.drain(net["s"], receiver)
    for message in messages:
        crew.began(message)
    for token in tokens:
        net["a"].cancel(token, net.now)
    net.pump()
    assert refused(net, "a", asked(net, "a", E, 1)) == 1
    crew.ended(messages[0])
    assert refused(net, "a", asked(net, "a", E, 2)) == 1
    [last] = net.drain(net["s"], receiver)
    crew.began(last)
    net["s"].respond(last, b"!", net.now)
    assert refused(net, "a", asked(net, "a", E, 1)) == 1  # its handler has not ended
    crew.ended(last)
    for message in messages[1:]:
        crew.ended(message)
    assert net["s"].receiving.charges.links == {}
    [one] = asked(net, "a", E, 1)
    [message] = net.drain(net["s"], receiver)
    crew.began(message)
    crew.ended(message)  # it has handed the answer to somebody else
    assert net["s"].receiving.charges.count(net.cable["sa"].a) == 1
    net["s"].respond(message, b"!", net.now)
    assert net["s"].receiving.charges.links == {}
    net.pump()
    assert verdicts(net, net["a"], one) == [(events.REPLIED, 0)]
    asked(net, "b", E, 1)  # of whom nothing is counted
    [message] = net.drain(net["s"], receiver)
    crew.began(message)
    net["s"].respond(message, b"!", net.now)
    crew.ended(message)


@pytest.mark.parametrize("quota", [0, -1])
def test_a_reload_changes_how_many_may_be_under_way(quota: int) -> None:
    net = chain("ab")
    rules = Rules(net, "b")
    rules.quotas = {codes.QUOTA_HANDLERS: 1}
    net["b"].guard_changed(net.now)
    net["b"].register(E, UNICAST)
    net.pump()
    assert refused(net, "a", asked(net, "a", E, 2)) == 1
    rules.quotas = {codes.QUOTA_HANDLERS: quota}
    net["b"].guard_changed(net.now)
    assert refused(net, "a", asked(net, "a", E, 2)) == (2 if quota == 0 else 0)


def test_a_link_that_is_not_open_yet_is_bounded_when_it_is() -> None:
    net = star()
    net.add("c")
    net.join("sc")
    net["s"].guard_changed(net.now)  # the quota's function asks who it is
    net.pump()
    assert net.cable["sc"].a in net["s"].directory.told_max
