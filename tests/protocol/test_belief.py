"""Who is believed to speak for a node: not everybody who says so."""

from __future__ import annotations

from itertools import pairwise

import pytest

from busway.protocol import Node, Request, codes, events
from busway.protocol.messaging.correspondent import talk
from busway.protocol.routing.advertising import adverts
from busway.protocol.wire.fields import varint
from tests.protocol.helpers import payloads, verdicts
from tests.protocol.nets import (
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
    chain,
    directory,
    entry,
    key,
    message,
    parent,
    retract,
    routes,
    signal,
    u16,
    update,
)
from tests.protocol.pairs import E, F

SOURCE = codes.HOW_SOURCE
TOWARDS = codes.HOW_DESTINATION | codes.HOW_SOURCE


def says_of(source: bytes, kind: int, rest: bytes) -> bytes:
    """A message for its neighbour that is said to be of another node."""
    return message(kind, SOURCE, 255, bind(9, source), rest)


def hints_of(source: bytes, which: int, rest: bytes) -> bytes:
    """A signal in the same way."""
    return says_of(source, codes.SIGNAL, bytes((which,)) + rest)


def unbelieved(node: Node) -> int:
    return node.forwarder.counters["unbelieved"]


def offer(liar: Liar, of: bytes, metric: int = 1) -> None:
    liar.say(routes(update(bind(8, of), 1, metric)))


@pytest.fixture
def star() -> tuple[Mesh, Liar]:
    """a has its friend b and a liar, both over tcp; the liar says that it leads to b, too."""
    net = chain("ab")
    liar = Liar(net, net["a"])
    offer(liar, net["b"].me.key)
    return net, liar


def test_nobody_answers_for_a_node_that_has_a_session_of_its_own(star: tuple[Mesh, Liar]) -> None:
    net, liar = star
    a, b = net["a"], net["b"]
    receiver = b.register(E, UNICAST)
    net.pump()
    token = a.request(E, b"?", net.now)
    sure = a.send(E, b"!", net.now, confirm=True)
    net.pump()
    key = b.me.key
    liar.say(says_of(key, codes.REPLY, varint(token) + b"forged"))
    liar.say(says_of(key, codes.ERROR, varint(token) + varint(300) + b"forged"))
    liar.say(says_of(key, codes.REPLY, varint(sure)))
    assert unbelieved(a) == 3
    assert verdicts(net, a, token) == verdicts(net, a, sure) == []
    request, _ = net.drain(b, receiver)
    b.respond(request, b"true", net.now)
    net.pump()
    assert [outcome.payload for outcome in net.outcomes(a, token)] == [b"true"]
    assert verdicts(net, a, sure) == [(events.TAKEN, 0)]


def test_a_stream_is_nobody_elses_to_go_on_with_or_to_end(star: tuple[Mesh, Liar]) -> None:
    net, liar = star
    a, b = net["a"], net["b"]
    receiver = b.register(E, UNICAST)
    net.pump()
    token = a.request(E, b"?", net.now, window=4)
    net.pump()
    request = net.asked("b", receiver)
    b.respond_part(request, b"one", net.now)
    net.pump()
    liar.say(says_of(b.me.key, codes.PART, varint(token) + u16(1) + b"forged"))
    liar.say(hints_of(b.me.key, codes.END, varint(token) + u16(1)))
    b.respond_part(request, b"two", net.now)
    b.respond_end(request, net.now)
    net.pump()
    assert [outcome.payload for outcome in net.outcomes(a, token)] == [b"one", b"two", b""]
    assert net.outcomes(a, token)[-1].status == events.ENDED


def test_credit_and_bad_news_are_the_destinations_to_tell(star: tuple[Mesh, Liar]) -> None:
    net, liar = star
    a, b = net["a"], net["b"]
    b.register(E, UNICAST)
    net.pump()
    a.send(E, b"1", net.now)
    net.pump()
    flow = talk(net.see("a", "b")).out_flows[E]
    limit = flow.limit
    liar.say(hints_of(b.me.key, codes.CREDIT, alias(1, E) + u16(1000)))
    liar.say(hints_of(b.me.key, codes.UNDELIVERABLE, alias(1, E) + u16(1) + b"\1"))
    net.pump()
    assert flow.limit == limit
    assert net.undelivered("a") == []
    assert a.directory.is_known(E)


def test_a_request_is_its_origins_to_call_off_and_its_numbers_are_its_own(star: tuple[Mesh, Liar]) -> None:
    net, liar = star
    a, b = net["a"], net["b"]
    receiver = a.register(E, UNICAST)
    net.pump()
    token = b.request(E, b"?", net.now, window=2)
    net.pump()
    request = net.asked("a", receiver)
    assert request.stream is not None
    liar.say(hints_of(b.me.key, codes.CANCEL, varint(token)))
    liar.say(hints_of(b.me.key, codes.PART_CREDIT, varint(token) + u16(999)))
    liar.say(hints_of(b.me.key, codes.PROBE, alias(1, E) + u16(500)))
    liar.say(says_of(b.me.key, codes.SEND, alias(1, E) + u16(7) + b"forged"))
    assert net.seen(a, events.REQUEST_CANCELLED) == []
    assert request.stream.limit == 2
    b.send(E, b"true", net.now)
    net.pump()
    [true] = net.drain(a, receiver)
    assert (true.payload, true.seq, true.missed) == (b"true", 2, 0)


def test_no_question_is_answered_to_a_node_that_has_not_asked_it(star: tuple[Mesh, Liar]) -> None:
    net, liar = star
    b = net["b"]
    before = len(net.sent_by("a", "ab"))
    liar.say(hints_of(b.me.key, codes.WHO, alias(1, E)), hints_of(b.me.key, codes.TRACE, varint(5)))
    net.pump()
    assert len(net.sent_by("a", "ab")) == before
    assert unbelieved(net["a"]) == 2


def test_a_private_node_has_no_spokesman_beyond_its_realm() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab bc", realm=USERSPACE, medium="ipc")
    net.pump()
    liar = Liar(net, net["a"])
    offer(liar, net["c"].me.key, 0)
    a, c = net["a"], net["c"]
    c.register(E, UNICAST)
    net.pump()
    token = a.request(E, b"?", net.now)
    net.pump()
    liar.say(says_of(c.me.key, codes.REPLY, varint(token) + b"forged"))
    assert verdicts(net, a, token) == []
    near = Liar(net, a, "y", realm=USERSPACE, medium="ipc", via="ipc")  # of this user: it may be a way
    offer(near, c.me.key)
    near.say(says_of(c.me.key, codes.REPLY, varint(token) + b"by another way"))
    assert verdicts(net, a, token) == [(events.REPLIED, 0)]


def test_only_who_tells_of_a_way_speaks_for_a_node_that_is_far() -> None:
    net = chain("abc")
    a, c = net["a"], net["c"]
    receiver = a.register(E, UNICAST, GLOBAL)
    net.pump()
    liar = Liar(net, a)

    def told(number: int) -> list[object]:
        liar.say(says_of(c.me.key, codes.SEND, alias(1, E) + u16(number) + b"x"))
        return payloads(net.drain(a, receiver))

    assert told(1) == []
    offer(liar, c.me.key, 2)
    assert told(2) == [b"x"]
    liar.say(routes(retract(bind(8, c.me.key))))
    assert told(3) == [b"x"]  # it may have been on its way
    net.advance(codes.BELIEF_MS - 1)
    assert told(4) == [b"x"]
    net.advance(1)
    assert told(5) == []
    liar.say(routes(parent(bind(8, c.me.key))))  # there and back may be different ways
    assert told(6) == [b"x"]
    net.advance(2 * codes.SWEEP_MS)
    liar.say(routes(retract(bind(8, c.me.key))))
    net.advance(codes.BELIEF_MS)
    assert told(7) == []
    net.advance(codes.SWEEP_MS)
    liar.say(says_of(bytes(20), codes.SEND, alias(1, E) + u16(1) + b"x"))  # of nobody that is known
    assert net.drain(a, receiver) == []
    assert a.routes.find(bytes(20)) is None


def test_a_sweep_forgets_only_what_was_retracted_long_ago() -> None:
    net = chain("ab")
    b = net["b"]
    receiver = b.register(E, UNICAST, GLOBAL)
    liar = Liar(net, b)
    old, young = key("o"), key("y")
    for source in (old, young):
        offer(liar, source)
    liar.say(routes(retract(bind(8, old))))
    net.advance(b._sweep.deadline - net.now - 1)
    liar.say(routes(retract(bind(8, young))))
    net.advance(2)
    assert list(adverts(liar.connection).retracted) == [young]
    liar.say(says_of(young, codes.SEND, alias(1, E) + u16(1) + b"x"))
    assert payloads(net.drain(b, receiver)) == [b"x"]


def test_the_short_way_is_closed_with_the_long_one() -> None:
    net = chain("abc")
    a, c = net["a"], net["c"]
    receiver = a.register(E, UNICAST, GLOBAL)
    liar = Liar(net, a)
    offer(liar, c.me.key, 2)
    liar.say(says_of(c.me.key, codes.SEND, alias(1, E) + u16(1) + b"x"))
    plain = [
        message(codes.SEND, SOURCE, 255, varint(9), varint(1) + u16(number) + b"x") for number in range(2, 9)
    ]
    liar.say(*plain[:3])
    assert len(net.drain(a, receiver)) == 4
    liar.say(routes(update(varint(9), 1, 0xFFFF)))
    net.advance(codes.BELIEF_MS)
    liar.say(*plain[3:])
    assert net.drain(a, receiver) == []


def test_nothing_is_passed_on_for_a_node_that_its_neighbour_does_not_lead_to() -> None:
    net = chain("abcd")
    receiver = net["d"].register(E, UNICAST, GLOBAL)
    net.pump()
    liar = Liar(net, net["b"])
    to, of = net["d"].me.key, net["a"].me.key

    def told(number: int) -> list[object]:
        liar.say(
            message(codes.SEND, TOWARDS, 255, bind(7, to) + bind(9, of), alias(1, E) + u16(number) + b"x")
        )
        net.pump()
        return payloads(net.drain(net["d"], receiver))

    assert told(1) == told(2) == []
    assert unbelieved(net["b"]) == 2
    # Who tells of a way may be one: only where the node has a session, or is nearer, nobody else is believed.
    offer(liar, of)
    assert told(3) == [b"x"]
    liar.say(message(codes.SEND, TOWARDS, 255, bind(7, to) + SELF, alias(1, E) + u16(1) + b"own"))
    net.pump()
    assert payloads(net.drain(net["d"], receiver)) == [b"own"]


def nearer(leaf: bool) -> tuple[Mesh, Liar]:
    """c is two links of this network away from a, by b; b has a liar beyond this network that says it leads
    to c, too.
    """
    net = chain("bc")
    net.add("d")
    net.join("cd")
    if leaf:
        net.leaf("a", "b")
    else:
        net.add("a")
        net.join("ab")
    net.pump()
    liar = Liar(net, net["b"], realm=GLOBAL)
    offer(liar, net["d"].me.key)
    return net, liar


@pytest.mark.parametrize("leaf", [False, True])
def test_what_has_crossed_a_wider_realm_than_the_way_to_its_source_is_not_of_that(leaf: bool) -> None:
    net, liar = nearer(leaf)
    receiver = net["a"].register(E, UNICAST, GLOBAL)
    to, of = net["a"].me.key, net["d"].me.key
    head = bind(7, to) + bind(9, of)
    liar.say(message(codes.SEND, TOWARDS | GLOBAL, 255, head, alias(1, E) + u16(1) + b"x"))
    for number in range(2, 6):
        plain = varint(1) + u16(number) + b"y"
        liar.say(message(codes.SEND, TOWARDS, 255, varint(7) + varint(9), plain))
    net.pump()
    assert payloads(net.drain(net["a"], receiver)) == []
    net["d"].send(E, b"z", net.now, node_id=net["a"].node_id)
    net.pump()
    assert payloads(net.drain(net["a"], receiver)) == [b"z"]


def test_a_leaf_hears_a_neighbour_of_its_router_by_a_cheaper_way() -> None:
    net = chain("bc", cost=100)
    net.add("d")
    net.join("bd dc", cost=1)
    leaf = net.leaf("a", "b", realm=USERSPACE)
    net.pump()
    receiver = leaf.register(E, UNICAST, GLOBAL)
    net.pump()
    assert net.hop("c", "a") == "d"
    net["c"].send(E, b"x", net.now)
    net.pump()
    assert payloads(net.drain(leaf, receiver)) == [b"x"]


def test_a_leaf_beyond_a_wide_link_hears_what_came_by_others_as_wide() -> None:
    """Whoever sends to it crosses that realm in any case, and takes the cheapest way."""
    net = chain("dcb", cost=100)
    net.join("cb", via="tcp:wide", realm=GLOBAL, cost=1)
    leaf = net.leaf("a", "b", realm=GLOBAL)
    net.pump()
    receiver = leaf.register(E, UNICAST, GLOBAL)
    net.pump()
    net["d"].send(E, b"x", net.now)
    net.pump()
    assert payloads(net.drain(leaf, receiver)) == [b"x"]


def test_what_is_said_to_have_come_back_is_no_news_of_a_neighbour() -> None:
    net = chain("ab")
    a, b = net["a"], net["b"]
    b.register(E, UNICAST)
    net.pump()
    a.send(E, b"x", net.now)
    net.pump()
    liar = Liar(net, a)
    offer(liar, b.me.key)
    back = message(codes.SEND, TOWARDS, 0, bind(7, b.me.key) + bind(9, a.me.key), alias(1, E) + u16(1) + b"x")
    liar.say(back)
    net.pump()
    assert net.undelivered("a") == []
    assert unbelieved(a) == 1


def test_a_message_of_ours_that_comes_back_is_told() -> None:
    net = chain("ab")
    a = net["a"]
    liar = Liar(net, net["a"])
    far = b"f" * 16 + bytes(4)
    offer(liar, far)
    liar.say(directory(varint(8), LOCALNET, 0, 1, entry(UNICAST, E)))
    a.send(E, b"x", net.now)
    liar.hear()
    liar.say(message(codes.SEND, TOWARDS, 0, bind(7, far) + bind(9, a.me.key), alias(1, E) + u16(1) + b"x"))
    near = message(codes.SEND, TOWARDS, 0, bind(7, liar.key) + bind(9, a.me.key), alias(1, F) + u16(1) + b"x")
    liar.say(near)
    net.pump()
    assert net.undelivered("a") == [codes.NO_ROUTE]


def test_a_flow_that_stays_on_its_way_is_heard_though_a_nearer_one_has_come() -> None:
    net = chain("agb")
    a, b = net["a"], net["b"]
    receiver = a.register(E, UNICAST)
    asked = a.register(F, UNICAST)
    net.pump()
    for number in range(3):
        b.send(E, b"%d" % number, net.now)
    token = b.request(F, b"?", net.now, window=8)
    called = b.request(F, b"call me off", net.now)
    net.pump()
    request, other = net.drain(a, asked)
    a.respond_part(request, b"one", net.now)
    net.pump()
    net.join("ab")
    net.pump()
    net.advance(2 * codes.BELIEF_MS)
    for number in range(3, 6):
        b.send(E, b"%d" % number, net.now)
    a.respond_part(request, b"two", net.now)
    a.respond_end(request, net.now)
    b.cancel(called, net.now)
    net.pump()
    assert payloads(net.drain(a, receiver)) == [b"%d" % number for number in range(6)]
    assert [outcome.payload for outcome in net.outcomes(b, token)] == [b"one", b"two", b""]
    assert [event.request for event in net.seen(a, events.REQUEST_CANCELLED)] == [other]
    assert unbelieved(a) == unbelieved(b) == 0


def test_answers_take_the_nearer_way_that_has_come() -> None:
    net = chain("agb")
    a, b = net["a"], net["b"]
    receiver = a.register(E, UNICAST)
    net.pump()
    first = b.request(E, b"1", net.now)
    net.pump()
    a.respond(net.asked("a", receiver), b"one", net.now)
    second = b.request(E, b"2", net.now)
    net.pump()
    request = net.asked("a", receiver)
    net.join("ab")
    net.pump()
    net.advance(2 * codes.BELIEF_MS)
    a.respond(request, b"two", net.now)
    net.pump()
    replies = [outcome.payload for token in (first, second) for outcome in net.outcomes(b, token)]
    assert replies == [b"one", b"two"]


def test_what_is_under_way_when_a_nearer_way_comes_is_heard() -> None:
    net = chain("agb")
    a, b = net["a"], net["b"]
    receiver = a.register(E, UNICAST)
    net.pump()
    token = b.request(E, b"1", net.now)
    net.pump()
    net.cable["gb"].block(net["g"])  # what is passed on is slow
    a.respond(net.asked("a", receiver), b"one", net.now)
    net.pump()
    net.join("ab")
    net.pump()
    net.cable["gb"].block(net["g"], False)
    net.pump()
    assert [outcome.payload for outcome in net.outcomes(b, token)] == [b"one"]


def test_a_nearer_way_makes_nobody_heard_who_was_not_before(star: tuple[Mesh, Liar]) -> None:
    """b has a session with a; a program of a's machine says that it leads there, too, by a narrower way."""
    net, liar = star
    a, b = net["a"], net["b"]
    receiver = a.register(E, UNICAST)
    net.pump()
    nearer = Liar(net, a, "y", realm=USERSPACE)
    offer(nearer, b.me.key)
    assert net.hop("a", "b") == "y"
    liar.say(says_of(b.me.key, codes.SEND, alias(1, E) + u16(1) + b"forged"))
    assert payloads(net.drain(a, receiver)) == []
    assert unbelieved(a) == 1
    b.send(E, b"true", net.now)  # over its own session
    net.pump()
    assert payloads(net.drain(a, receiver)) == [b"true"]


def test_a_broadcast_is_not_of_whom_the_root_of_a_tree_names(star: tuple[Mesh, Liar]) -> None:
    net, liar = star
    a, b = net["a"], net["b"]
    receiver = a.register(E, BROADCAST, GLOBAL)
    net.pump()
    liar.hear()
    named = codes.HOW_DESTINATION | codes.HOW_SOURCE
    forged = message(codes.PUBLISH, named, 255, SELF + bind(9, b.me.key), alias(1, E) + u16(9) + b"forged")
    liar.say(forged)
    assert net.drain(a, receiver) == []
    leaf = b"l" * 16 + bytes(4)
    liar.say(routes(update(bind(6, leaf), 1, 1)))
    true = message(codes.PUBLISH, named, 255, SELF + varint(6), varint(1) + u16(1) + b"of its leaf")
    liar.say(true)
    assert payloads(net.drain(a, receiver)) == [b"of its leaf"]


# Signals have the realms of messages


def test_an_endpoint_that_cannot_be_reached_says_nothing_to_a_probe() -> None:
    net = chain("ab")
    a = net["a"]
    a.register(E, UNICAST, USERSPACE)
    a.register(F, UNICAST, LOCALNET)
    liar = Liar(net, a)
    liar.hear()
    crossed = message(codes.SIGNAL, GLOBAL, 255, b"", bytes((codes.PROBE,)) + alias(2, F) + u16(3))
    liar.say(signal(codes.PROBE, alias(1, E) + u16(3)), crossed)
    assert liar.heard(codes.MESSAGE | codes.SIGNAL << 4) == []
    assert talk(net.see("a", "z")).in_flows == {}
    liar.say(signal(codes.PROBE, varint(2) + u16(3)))
    assert len(liar.heard(codes.MESSAGE | codes.SIGNAL << 4)) == 1


def test_a_cancellation_by_a_wider_way_than_the_endpoint_has_is_none() -> None:
    net = chain("ab")
    a = net["a"]
    receiver = a.register(E, UNICAST, LOCALNET)
    liar = Liar(net, a)
    ask = bytes((codes.MESSAGE | codes.REQUEST << 4,)) + alias(1, E) + u16(1) + varint(5) + varint(60_000)
    liar.say(ask)
    [request] = net.drain(a, receiver)
    assert isinstance(request, Request)
    liar.say(message(codes.SIGNAL, GLOBAL, 255, b"", bytes((codes.CANCEL,)) + varint(5)))
    assert net.seen(a, events.REQUEST_CANCELLED) == []
    liar.say(message(codes.SIGNAL, LOCALNET, 255, b"", bytes((codes.CANCEL,)) + varint(5)))
    assert [event.request for event in net.seen(a, events.REQUEST_CANCELLED)] == [request]


def test_credit_that_has_crossed_more_than_its_endpoints_realm_is_none() -> None:
    net = chain("ab")
    a = net["a"]
    liar = Liar(net, a)
    liar.say(directory(SELF, LOCALNET, 0, 1, entry(UNICAST, E)))
    a.send(E, b"x", net.now)
    flow = talk(net.see("a", "z")).out_flows[E]
    news = bytes((codes.UNDELIVERABLE,)) + alias(1, E) + u16(1) + b"\2"
    liar.say(message(codes.SIGNAL, GLOBAL, 255, b"", bytes((codes.CREDIT,)) + alias(1, E) + u16(900)))
    liar.say(message(codes.SIGNAL, GLOBAL, 255, b"", news))
    net.pump()
    assert (flow.limit, net.undelivered("a")) == (4, [])
    liar.say(signal(codes.CREDIT, alias(1, E) + u16(900)))
    assert flow.limit == 900


def test_who_has_an_endpoint_is_told_as_far_as_the_question_has_come() -> None:
    net = chain("ab")
    a = net["a"]
    a.register(E, UNICAST, USERSPACE)
    a.register(F, UNICAST, LOCALNET)
    liar = Liar(net, a, lookups=True)
    liar.hear()

    def holders(realm: int, uuid: bytes) -> int:
        liar.say(message(codes.SIGNAL, realm, 255, b"", bytes((codes.WHO,)) + alias(1, uuid)))
        [have] = liar.heard(codes.MESSAGE | codes.SIGNAL << 4)
        return have.count(b"\5\1\0\0") + have.count(b"\x09\1\0\0")

    assert [holders(LOCALNET, F), holders(GLOBAL, F), holders(LOCALNET, E)] == [1, 0, 0]


# Ids


def test_ids_cannot_be_guessed_from_those_before() -> None:
    net = chain("ab")
    net["b"].register(E, UNICAST, queue_max=64)
    net.pump()
    tokens = [net["a"].request(E, b"", net.now) for _ in range(200)]
    assert len(set(tokens)) == 200
    assert all(0 < token <= codes.ID_MAX for token in tokens)
    steps = {(later - before) % codes.ID_MAX for before, later in pairwise(tokens)}
    assert len(steps) == 199
    assert max(tokens) > codes.ID_MAX * 3 // 4 > codes.ID_MAX // 4 > min(tokens)
