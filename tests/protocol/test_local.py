"""A node that talks to itself, and objects that must not leave it."""

from __future__ import annotations

import pytest

from busway.protocol import LocalError, Request, codes, events
from busway.protocol.messaging.correspondent import talk
from tests.protocol.helpers import A, B, assert_settled, fill, parts_of, payloads, verdicts
from tests.protocol.pairs import E, F, Net, Pair


def test_a_node_talks_to_itself() -> None:
    net = Net()
    node = net.node("a")
    receiver = node.register(E, codes.UNICAST)
    assert node.send(E, b"plain", net.now) == 0
    confirm = node.send(E, b"sure", net.now, confirm=True)
    request = node.request(E, b"ask", net.now)
    failing = node.request(E, b"ask", net.now)
    taken = net.drain(node, receiver)
    assert payloads(taken) == [b"plain", b"sure", b"ask", b"ask"]
    node.respond(taken[2], b"r", net.now)
    node.respond_error(taken[3], 256, "no", net.now)
    net.pump()
    assert [o.status for o in net.outcomes(node, confirm)] == [events.TAKEN]
    assert [(o.status, o.payload) for o in net.outcomes(node, request)] == [(events.REPLIED, b"r")]
    assert [(o.status, o.text) for o in net.outcomes(node, failing)] == [(events.FAILED, "no")]
    assert_settled(net)


def test_a_node_streams_to_itself() -> None:
    net = Net()
    node = net.node("a")
    receiver = node.register(E, codes.UNICAST)
    token = node.request(E, b"q", net.now, window=2)
    request = node.take(receiver, net.now)
    assert isinstance(request, Request)
    waiting = [node.respond_part(request, b"%d" % number, net.now) for number in range(4)]
    assert [bool(one) for one in waiting] == [False, False, True, True]
    with pytest.raises(LocalError, match="still wait"):
        node.respond_end(request, net.now)
    for _ in range(4):
        node.consume_part(token, net.now)
    node.respond_end(request, net.now)
    net.pump()
    assert parts_of(net, token) == [b"0", b"1", b"2", b"3"]
    assert net.outcomes(node, token)[-1].status == events.ENDED
    cancelled = node.request(E, b"q", net.now, window=2)
    request = node.take(receiver, net.now)
    node.cancel(cancelled, net.now)
    net.pump()
    assert [event.request for event in net.seen(node, events.REQUEST_CANCELLED)] == [request]
    assert_settled(net)


def test_a_node_waits_for_its_own_receiver() -> None:
    net = Net()
    node = net.node("a")
    receiver = node.register(E, codes.UNICAST, queue_max=8)
    tokens = fill(net, node, E, 30)
    got: list[object] = []
    while len(got) < 30:
        message = node.take(receiver, net.now)
        assert message is not None, "lost"
        got.append(message.payload)
    assert got == [b"%d" % number for number in range(30)]
    net.pump()
    assert [o.token for o in net.seen(node, events.OUTCOME)] == [token for token in tokens if token]
    assert_settled(net)


def test_an_endpoint_of_our_own_that_is_registered_again_starts_anew() -> None:
    net = Net()
    node = net.node("a")
    for _ in range(3):
        receiver = node.register(E, codes.UNICAST, queue_max=8)
        tokens = fill(net, node, E, 7)
        got: list[object] = []
        for _ in range(7):
            got += payloads(net.drain(node, receiver))
        assert got == [b"%d" % number for number in range(7)]
        net.pump()
        assert [verdicts(net, node, token) for token in tokens[4:]] == [[(events.ACCEPTED, 0)]] * 3
        fill(net, node, E, 3)
        node.deregister(receiver, net.now)


@pytest.mark.parametrize("idle_ms", [65_000, 95_000, 185_000, 245_000])
def test_a_pair_of_our_own_that_was_idle_goes_on(idle_ms: int) -> None:
    net = Net()
    node = net.node("a")
    receiver = node.register(E, codes.UNICAST, queue_max=8)
    for _ in range(3):
        for count in (1, 3, 6):
            fill(net, node, E, count)
            got: list[object] = []
            for _ in range(4):
                net.advance(1000)
                got += payloads(net.drain(node, receiver))
            assert got == [b"%d" % number for number in range(count)]
            net.advance(idle_ms)
    assert_settled(net)


def test_what_waits_for_a_receiver_of_our_own_ends_with_it() -> None:
    net = Net()
    node = net.node("a")
    receiver = node.register(E, codes.UNICAST, queue_max=8)
    tokens = fill(net, node, E, 6)
    request = node.request(E, b"x", net.now)
    net.advance(5000)  # its probes find no link
    node.deregister(receiver, net.now)
    net.pump()
    for token in [*tokens[4:], request]:
        assert verdicts(net, node, token) == [(events.UNDELIVERED, codes.NO_ROUTE)]
    told = net.seen(node, events.UNDELIVERABLE)
    assert [(event.node_id, event.seq, event.reason) for event in told] == [
        (A, seq, codes.RECEIVER_CLOSED) for seq in range(1, 5)
    ]
    assert_settled(net)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_receiver_that_drops_keeps_our_own_messages_in_order() -> None:
    """Dropping makes room, which lets the next go while this one is being queued."""
    net = Pair()
    receiver = net.a.register(E, codes.UNICAST, queue_max=2, policy=codes.DROP_OLDEST)
    net.pump()
    got = []
    for number in range(400):
        net.a.send(E, b"%03d" % number, net.now)
        net.b.send(E, b"other", net.now)
        if number % 7 == 0:
            net.pump()
            message = net.a.take(receiver, net.now)
            assert message is not None
            got.append(message)
    for _ in range(500):
        net.pump()
        got += net.drain(net.a, receiver)
    mine = [message for message in got if message.source == A]
    assert payloads(mine) == sorted(payloads(mine), key=bytes.__str__)
    assert [message.seq for message in mine] == sorted({message.seq for message in mine})
    assert sum(message.missed for message in mine) + len(mine) == 400
    assert_settled(net)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("policy", [codes.REFUSE, codes.DROP_OLDEST])
def test_credit_that_comes_of_losing_ones_own_messages_keeps_their_order(policy: int) -> None:
    """Each that is lost frees credit, which lets the next go: one after another, not one inside another."""
    net = Net()
    node = net.node("a")
    receiver = node.register(E, codes.UNICAST, queue_max=2, policy=policy)
    fill(net, node, E, 2000)
    flow = talk(node.me).out_flows[E]
    waiting = len(flow.waiting)
    node.origin.answers.credit(node.me, E, (flow.limit + waiting) & 0xFFFF, net.now)
    assert not len(flow.waiting)
    got = net.drain(node, receiver)
    lost = [event.seq for event in node.take_events() if event.kind == events.UNDELIVERABLE]  # type: ignore[attr-defined]
    assert lost == sorted(lost)
    assert [message.seq for message in got] == ([1, 2] if policy == codes.REFUSE else [1999, 2000])
    assert sorted(lost + [message.seq for message in got]) == list(range(1, 2001))


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_many_waiting_messages_of_our_own_may_all_be_refused() -> None:
    """Each refusal frees credit for the next: that must not nest."""
    net = Net()
    nodes = net.mesh("abcdefgh")
    a = nodes[0]
    receiver = a.register(E, codes.UNICAST, queue_max=4)
    net.pump()
    fill(net, a, E, 2)
    for node in nodes[1:]:
        fill(net, node, E, 4)
    net.pump()
    tokens = fill(net, a, E, 3000)
    for _ in range(20):
        net.pump()
        if a.take(receiver, net.now) is None:
            break
    net.pump()
    told = [o.token for o in net.seen(a, events.OUTCOME)]
    assert told == [token for token in tokens if token][: len(told)]
    a.close(net.now)
    net.pump()
    assert sorted(o.token for o in net.seen(a, events.OUTCOME)) == sorted(token for token in tokens if token)


# Objects


def test_a_process_endpoint_gets_the_object_itself() -> None:
    net = Net()
    node = net.node("a")
    receiver = node.register(E, codes.UNICAST, codes.PROCESS)
    thing = {"any": object()}
    node.send(E, thing, net.now, codes.OBJECT)
    node.request(E, thing, net.now, codes.OBJECT)
    taken = net.drain(node, receiver)
    assert [message.payload is thing for message in taken] == [True, True]
    assert taken[0].format == codes.OBJECT
    for format in (codes.RAW, codes.CBOR):
        with pytest.raises(LocalError, match="must be bytes"):
            node.send(E, thing, net.now, format)
    with pytest.raises(LocalError, match="must be bytes"):
        node.send(F, thing, net.now, codes.OBJECT)


@pytest.mark.parametrize("kind", [codes.UNICAST, codes.ANYCAST, codes.BROADCAST])
def test_objects_never_reach_a_link(kind: int) -> None:
    net = Pair()
    mine = net.a.register(E, kind, codes.PROCESS, queue_max=8)
    theirs = net.b.register(E, kind)
    net.pump()
    assert net.a.entries()[0].uuid == E
    assert net.b.entries() == []
    thing = object()
    tokens = []
    for _ in range(6):
        if kind == codes.BROADCAST:
            net.a.publish(E, thing, net.now, codes.OBJECT)
        else:
            tokens.append(net.a.send(E, thing, net.now, codes.OBJECT))
    with pytest.raises(LocalError):
        net.a.send(E, thing, net.now, codes.OBJECT, node_id=B)
    net.a.deregister(mine, net.now)  # what waits must not take the other way
    net.pump()
    assert net.drain(net.b, theirs) == []
    for token in tokens[4:]:
        assert [o.code for o in net.outcomes(net.a, token)] == [codes.NO_ROUTE]
    if kind != codes.BROADCAST:
        net.a.send(E, b"bytes", net.now)
        net.pump()
        assert payloads(net.drain(net.b, theirs)) == [b"bytes"]


def test_what_waited_for_another_node_comes_to_our_own_receiver_in_order() -> None:
    """Each that arrives may free credit for the next while it is being sent: one loop, none inside it."""
    net = Pair()
    net.b.register(E, codes.ANYCAST, queue_max=8)
    net.pump()
    fill(net, net.a, E, 20)
    net.pump()
    receiver = net.a.register(E, codes.ANYCAST, cost=100)
    net.cable.cut()
    assert payloads(net.drain(net.a, receiver)) == [b"%d" % number for number in range(4, 20)]
    net.pump()
    assert_settled(net)
