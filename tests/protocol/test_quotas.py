"""What one neighbour, or one origin, may fill: what is over is ignored and counted, and nobody else hears of
it.
"""

from __future__ import annotations

import pytest

from busway.protocol import codes, events
from busway.protocol.report import report
from busway.protocol.routing.peers import Entry, Peer, PeerKeeper

from .nets import (
    ANYCAST,
    GLOBAL,
    LOCALNET,
    SELF,
    USERSPACE,
    Liar,
    Mesh,
    ack,
    alias,
    bind,
    chain,
    directory,
    entry,
    parent,
    retract,
    routes,
    signal,
    stranger,
    update,
)
from .pairs import E, F


def offer(liar: Liar, first: int, count: int) -> None:
    """So many sources that do not exist."""
    for start in range(first, first + count, 1000):
        names = [
            bind(3 + number, stranger(number)) for number in range(start, min(start + 1000, first + count))
        ]
        liar.say(routes(*[update(name, 1, 1) for name in names]))


def over(net: Mesh, letter: str, peer: str) -> int:
    """What a node says that a neighbour told it in vain."""
    state = report(net[letter], net.now)
    links = state["links"]
    assert isinstance(links, list)
    return sum(link["over"] for link in links if link["label"] == peer)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_one_neighbour_fills_its_share_of_the_routes_and_the_next_is_heard() -> None:
    """Before, it filled the table, and the link that brought the next source was ended."""
    net = chain("ab")
    liar = Liar(net, net["b"])
    offer(liar, 0, codes.ROUTES_LINK_MAX + 499)
    router = net["b"].mesh.router
    assert router.counters["routes_over"] == over(net, "b", "Z") == 500
    net.add("cd")
    net.join("bc cd")
    net.pump()
    assert "cd" in net.reaches("b")
    assert net.cable["bc"].a.state == net.cable["bc"].b.state == codes.OPEN
    liar.say(routes(retract(bind(3, stranger(0))), update(b"\x04", 1, 9), update(b"\x03", 1, 1)))
    assert router.counters["routes_over"] == 500  # a place that it gave back is its own again
    assert liar.error == -1


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_strangers_leave_room_to_the_programs_on_this_machine() -> None:
    net = Mesh()
    net.add("ab")
    net.join("ab", realm=USERSPACE)
    net.pump()
    first, second = Liar(net, net["b"], "y"), Liar(net, net["b"], "z")
    offer(first, 0, codes.ROUTES_LINK_MAX)
    for start in range(20_000, 20_000 + codes.ROUTES_LINK_MAX, 1000):
        names = [bind(3 + number - 20_000, stranger(number)) for number in range(start, start + 1000)]
        second.say(routes(*[update(name, 1, 1) for name in names]))
    router = net["b"].mesh.router
    assert router.offered == codes.ROUTES_FAR_MAX
    net.add("c")
    net.join("ac", realm=USERSPACE)
    net.pump()
    assert net.see("b", "c").metric >> 14 == USERSPACE
    assert net.cable["ab"].a.state == codes.OPEN
    for liar in (first, second):
        liar.leave()
    net.advance(60_000)
    assert router.offered == 0
    assert len(router.routes) == 3


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_withdrawals_of_what_had_no_room_are_counted_like_others() -> None:
    """Else the neighbour would wait for ever for the acknowledgement."""
    net = chain("ab")
    liar = Liar(net, net["b"])
    offer(liar, 0, codes.ROUTES_LINK_MAX + 1)
    last = bind(3, stranger(codes.ROUTES_LINK_MAX))
    liar.hear()
    before = len(net["b"].mesh.router.routes)
    liar.say(routes(retract(last), parent(b"\x03"), update(bind(4, stranger(-1 % 99_999)), 1, 0xFFFF)))
    assert routes(ack(2)) in liar.hear()
    assert len(net["b"].mesh.router.routes) == before
    assert net["b"].mesh.router.fading == {}


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_one_neighbour_fills_its_share_of_the_entries() -> None:
    """In the names of three nodes behind it."""
    net = chain("ab")
    liar = Liar(net, net["b"])
    offer(liar, 0, 3)
    for number in range(3):
        for part in range(16):
            first = (number * 16 + part) * 1024
            names = [entry(ANYCAST, b"%016d" % (first + n)) for n in range(1024)]
            liar.say(directory(bytes((3 + number,)), GLOBAL, part, part + 1, *names))
    assert net["b"].directory.size == codes.ENTRIES_LINK_MAX
    assert net["b"].counters["entries_over"] == over(net, "b", "Z") == 3 * 16384 - codes.ENTRIES_LINK_MAX
    receiver = net["a"].register(E, ANYCAST)
    net.pump()
    assert net.holders("b", E) == "a"
    net["b"].send(E, b"x", net.now)
    net.pump()
    assert net.payloads("a", receiver) == [b"x"]
    liar.leave()
    net.advance(3000)
    assert net["b"].directory.told == {net.cable["ab"].b: 1}
    assert (net["b"].directory.size, net["b"].directory.far) == (1, 1)


def test_a_link_that_has_told_its_share_of_entries_has_room_for_no_more() -> None:
    net = chain("ab")
    one = Entry(Peer(PeerKeeper(), b"p" * 16, b"inca"), F, ANYCAST, LOCALNET)
    one.link, other = net.cable["ab"].b, net.cable["ab"].a
    for told, room in ((codes.ENTRIES_LINK_MAX - 1, True), (codes.ENTRIES_LINK_MAX, False)):
        net["b"].directory.told = {one.link: told}
        assert net["b"].directory.has_room(one) is room
    one.link = other
    assert net["b"].directory.has_room(one)


def test_entries_from_beyond_leave_room_to_those_of_this_machine() -> None:
    net = chain("ab")
    directory_of = net["b"].directory
    directory_of.far = codes.ENTRIES_FAR_MAX
    peer = Peer(PeerKeeper(), b"p" * 16, b"inca")
    one = Entry(peer, F, ANYCAST, LOCALNET)
    assert directory_of.has_room(one)
    one.link = net.cable["ab"].b
    assert not directory_of.has_room(one)
    one.link.realm = USERSPACE
    assert directory_of.has_room(one)
    directory_of.size = codes.DIRECTORY_MAX
    assert not directory_of.has_room(one)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_one_neighbour_uses_its_share_of_the_lookups() -> None:
    """Others, and this node itself, still find what is behind the slow link."""
    net = chain("ab")
    Liar(net, net["b"], "y", lookups=True)
    liars = [Liar(net, net["b"], letter) for letter in "wxz"]
    for at, liar in enumerate(liars):
        for number in range(codes.QUERIES_LINK_MAX + 50):
            liar.say(signal(codes.WHO, alias(1, b"%016d" % (at * 1000 + number))))
    lookups = net["b"].lookups
    assert len(lookups.queries) == 3 * codes.QUERIES_LINK_MAX
    assert lookups.counters["lookups_over"] == 3 * 50
    for number in range(codes.QUERIES_MAX):
        lookups.ask(b"%016d" % (5000 + number), net.now)
    assert len(lookups.queries) == codes.QUERIES_MAX
    net.advance(2 * codes.SYNC_MS)
    assert (lookups.queries, lookups._waited, lookups._of_links) == ({}, {}, {})


def test_who_asks_through_others_crowds_out_nobody_on_another_link() -> None:
    """b leads to y, which is asked for by 256 others: of z's link only its own are forgotten."""
    net = chain("ab")
    first, second = Liar(net, net["b"], "y"), Liar(net, net["b"], "z")
    for liar, far in ((first, "far"), (second, "off")):
        liar.say(routes(update(bind(3, far.encode().ljust(20, b"_")), 1, 1)))
    asks = bytes((0xF8, 8, 9, 3, codes.WHO))
    first.say(asks + alias(1, E))
    for number in range(2 * codes.WATCHES_MAX):
        second.say(asks + alias(1, b"%016d" % number))
    lookups = net["b"].lookups
    assert lookups._far_size == codes.WATCHES_MAX + 1
    assert next(iter(lookups._askers)) == E
    second.say(routes(retract(b"\x03")))
    net.advance(codes.ROUTE_LOSS_GRACE_MS)
    assert lookups._far_size == 1
    second.say(routes(update(bind(3, b"new".ljust(20, b"_")), 1, 1)), asks + alias(1, F))
    assert sorted(lookups._askers) == [E, F]  # of those that had gone nothing was left to forget


def test_who_comes_and_goes_is_asked_for_all_that_waits_only_now_and_then() -> None:
    net = chain("ab")
    liar = Liar(net, net["b"])
    net["b"].send(E, b"x", net.now, ttl_ms=60_000)
    liar.hear()
    for version in range(20):
        kind = ANYCAST if version % 2 == 0 else 0
        liar.say(directory(SELF, GLOBAL, version, version + 1, entry(kind, codes.LOOKUP)))
    assert len([body for body in liar.hear() if body[:2] == bytes((0xF0, codes.WHO))]) == 1


def exceeded(net: Mesh, letter: str) -> list[tuple[str, int]]:
    """Which neighbours were told to have brought more than their share since the last call, and of what."""
    told: list[tuple[str, int]] = []
    for event in net.fresh(net[letter], events.EXCEEDED):
        assert isinstance(event, events.ExceededEvent)
        assert event.link.peer is not None
        told.append((event.link.peer.label, event.which))
    return told


def test_who_brings_too_much_is_told_once_in_a_while_for_each_quota() -> None:
    net = chain("ab")
    b = net["b"]
    Liar(net, b, "y", lookups=True)
    liars = [Liar(net, b, letter) for letter in "wx"]
    for at, liar in enumerate(liars):
        offer(liar, at, 1)
    b.directory.size = codes.DIRECTORY_MAX
    for version in range(3):
        liars[0].say(directory(b"\x03", GLOBAL, version, version + 1, entry(ANYCAST, b"%016d" % version)))
    liars[1].say(directory(b"\x04", GLOBAL, 0, 1, entry(ANYCAST, E)))
    assert exceeded(net, "b") == [("W", codes.QUOTA_ENTRIES), ("X", codes.QUOTA_ENTRIES)]
    for liar in liars:
        for number in range(codes.QUERIES_LINK_MAX + 3):
            liar.say(signal(codes.WHO, alias(1, liar.key[:1] + b"%015d" % number)))
    assert exceeded(net, "b") == [("W", codes.QUOTA_LOOKUPS), ("X", codes.QUOTA_LOOKUPS)]
    b.mesh.router.offered = codes.ROUTES_FAR_MAX
    offer(liars[0], 10, 2)
    offer(liars[0], 20, 2)
    assert exceeded(net, "b") == [("W", codes.QUOTA_ROUTES)]
    net.advance(2 * codes.SWEEP_MS)
    offer(liars[0], 30, 2)
    assert exceeded(net, "b") == [("W", codes.QUOTA_ROUTES)]
    assert all(liar.error == -1 for liar in liars)
    for number in range(codes.QUERIES_MAX + 1):
        b.lookups.ask(b"own%013d" % number, net.now)
    assert exceeded(net, "b") == []  # its own were too many, and no link's
