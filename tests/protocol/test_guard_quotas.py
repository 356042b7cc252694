"""What a guard bounds for one link: what is over is ignored or refused, as beyond the node's own bounds."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Crew, Request, codes, events
from busway.protocol.link.face import LinkFace

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


# Handlers at work


def star(quota: int = 3) -> tuple[Mesh, Rules]:
    """s in the middle, with a quota of handlers for a's link; b has none. z is behind a."""
    net = Mesh()
    net.add("sabz")
    rules = Rules(net, "s")
    rules.quotas = {codes.QUOTA_HANDLERS: quota}

    def of(link: LinkFace, which: int) -> int:
        assert link.peer is not None
        return rules.quota(link, which) if link.peer.node_id == id_of("a") else -1

    rules.guard.quota = of
    net.join("sa sb az")
    net.pump()
    return net, rules


def ask(net: Mesh, letter: str, uuid: bytes, count: int) -> list[int]:
    tokens = [net[letter].request(uuid, b"?", net.now) for _ in range(count)]
    net.pump()
    return tokens


class Staff:
    """A service as an adapter runs it: handlers begin when it is told that there may be something."""

    def __init__(self, net: Mesh, uuid: bytes, limit: int = 16) -> None:
        self.net = net
        self.receiver = net["s"].register(uuid, UNICAST)
        self.crew = Crew(net["s"].receiving, self.receiver, limit)
        self.at_work: list[Any] = []
        net.pump()

    def begin(self) -> str:
        """Whose messages are begun."""
        self.net.pump()
        begun = ""
        if any(event.receiver is self.receiver for event in self.net.fresh(self.net["s"], events.MESSAGES)):
            begun = self.go_on()
        return begun

    def go_on(self) -> str:
        begun = ""
        while len(self.crew) < self.crew.limit and len(self.receiver.queue) and self.crew.arrange():
            message = self.net["s"].take(self.receiver, self.net.now)
            assert message is not None
            self.crew.began(message)
            self.at_work.append(message)
            begun += message.source[:1].decode()
        return begun

    def end(self, whose: str) -> None:
        """The first of somebody's handlers answers, and ends."""
        [message, *_] = [message for message in self.at_work if message.source == id_of(whose)]
        self.at_work.remove(message)
        if isinstance(message, Request):
            self.net["s"].respond(message, b"!", self.net.now)
        self.crew.ended(message)
        self.net.pump()


def test_a_link_has_as_many_handlers_at_work_as_its_quota_and_the_others_wait() -> None:
    """At all endpoints together, of all behind it; nobody else waits for them."""
    net, _ = star()
    first, second = Staff(net, E), Staff(net, F)
    tokens = ask(net, "a", E, 2)
    assert first.begin() == "aa"
    tokens += ask(net, "z", F, 2) + ask(net, "a", F, 1)
    assert len(second.begin()) == 1
    net.pump()
    assert exceeded(net, net["s"]) == [codes.QUOTA_HANDLERS]
    ask(net, "b", F, 3)
    assert second.begin() == "bbb"  # though they came later
    net["b"].send(F, b"by the short way", net.now)
    net.pump()
    assert second.begin() == "b"
    net["b"].send(F, b"in a run", net.now)
    net["b"].send(F, b"in a run", net.now)
    net.pump()
    assert second.begin() == "bb"
    net["s"].send(F, b"mine", net.now)
    assert second.begin() == "s"
    first.end("a")
    assert len(second.begin()) == 1  # told that it may go on, by the end of a handler elsewhere
    first.end("a")
    assert len(second.begin()) == 1
    for message in list(second.at_work):
        second.end(message.source[:1].decode())
    outcomes = [net.outcomes(net[letter], token) for letter, token in zip("aazza", tokens, strict=True)]
    assert [[outcome.status for outcome in each] for each in outcomes] == [[events.REPLIED]] * 5
    assert net["s"].receiving.handlers.at_work == {}
    assert net["s"].receiving.handlers._counts == {}


def test_one_caller_alone_waits_too() -> None:
    net, _ = star(2)
    staff = Staff(net, E)
    ask(net, "a", E, 4)
    assert staff.begin() == "aa"
    assert staff.begin() == ""
    staff.end("a")
    assert staff.begin() == "a"
    staff.end("a")
    assert staff.begin() == "a"
    staff.end("a")
    assert staff.begin() == ""
    assert not staff.receiver.waits
    assert net["s"].receiving.handlers._waiting == {}


def test_who_cancels_gains_no_handlers() -> None:
    net, _ = star(2)
    staff = Staff(net, E)
    tokens = ask(net, "a", E, 2)
    assert staff.begin() == "aa"
    for token in tokens:
        net["a"].cancel(token, net.now)
    ask(net, "a", E, 1)
    assert staff.go_on() == ""  # those two may be at work all the same
    staff.end("a")
    assert staff.go_on() == "a"


@pytest.mark.parametrize("how", ["a higher quota", "none", "no guard", "the link has ended"])
def test_those_that_wait_go_on_when_the_bound_is_another(how: str) -> None:
    net, rules = star(1)
    staff = Staff(net, E)
    ask(net, "a", E, 3)
    assert staff.begin() == "a"
    net.fresh(net["s"])
    if how == "the link has ended":
        net.cable["sa"].cut()
        net.pump()
        assert staff.begin() == "aa"  # until it is sure that nobody waits for an answer
        assert net["s"].mesh.gate.handlers_max == {}
        return
    rules.quotas = {codes.QUOTA_HANDLERS: 2} if how == "a higher quota" else {}
    if how == "no guard":
        net["s"].guard = None
    net["s"].guard_changed(net.now)
    net.pump()
    assert staff.begin() == ("a" if how == "a higher quota" else "aa")


def test_a_link_that_is_not_open_yet_is_bounded_when_it_is() -> None:
    net, _ = star()
    net.add("c")
    net.join("sc")
    net["s"].guard_changed(net.now)  # the quota's function asks who it is
    net.pump()
    assert net.cable["sc"].a in net["s"].directory.told_max
