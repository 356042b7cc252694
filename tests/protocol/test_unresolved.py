"""Messages for an endpoint that nobody has, yet or ever."""

from __future__ import annotations

from busway.protocol import Link, codes, events
from busway.protocol.wire.fields import frame
from busway.protocol.wire.hello import FLAG_DIALLED, write_hello
from tests.protocol.helpers import A, B, C, assert_settled, payloads, verdicts
from tests.protocol.nets import key
from tests.protocol.pairs import E, F, Net, Pair


def test_nobody_is_said_only_when_the_first_exchanges_are_over() -> None:
    net = Net()
    a = net.node("a")
    b = net.node("b")
    receiver = b.register(E, codes.UNICAST)
    cable = net.link(a, b)
    token = a.send(E, b"x", net.now)
    gone = a.send(F, b"x", net.now)
    assert net.outcomes(a, gone) == []
    cable.block(b)
    net.pump()
    assert net.seen(a, events.OUTCOME) == []
    cable.block(b, False)
    net.pump()
    assert verdicts(net, a, token) == [(events.ACCEPTED, 0)]
    assert verdicts(net, a, gone) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert payloads(net.drain(b, receiver)) == [b"x"]


def test_a_link_that_never_says_what_it_has_is_not_waited_for_long() -> None:
    net = Net()
    a, b = net.node("a"), net.node("b")
    net.link(a, b).block(b)
    token = a.send(E, b"x", net.now)
    request = a.request(E, b"x", net.now, timeout_ms=100)
    net.advance(codes.SYNC_MS - 1)
    assert net.outcomes(a, token) == []
    assert [o.status for o in net.outcomes(a, request)] == [events.TIMED_OUT]
    net.advance(1)
    assert verdicts(net, a, token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_a_stranger_who_says_nothing_keeps_nobody_waiting() -> None:
    net = Pair()
    for number in range(3):  # each is let go after 5 s, and comes again
        net.a.connection(Link(codes.LOCALNET, via=f"tcp:{number}", medium="tcp"), net.now)
    token = net.a.send(E, b"x", net.now)
    request = net.a.request(F, b"x", net.now)
    net.pump()
    assert verdicts(net, net.a, token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert verdicts(net, net.a, request) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_a_neighbour_that_never_tells_is_waited_for_half_a_minute() -> None:
    net = Net()
    a = net.node("a")
    mute = a.connection(Link(codes.LOCALNET, via="tcp:1", medium="tcp"), net.now)
    flags = codes.LOCALNET << 1 | FLAG_DIALLED
    hello = write_hello(flags, key("z"), 0, (65536, 1 << 24, 127, 4), 0, "default", "", "")
    net.note(a, mute.receive_data(frame(hello), net.now))
    assert mute.state == codes.OPEN
    early = a.send(E, b"x", net.now, timeout_ms=60_000)
    net.advance(codes.SYNC_MS - 1)
    assert net.outcomes(a, early) == []
    net.advance(codes.SYNC_PATIENCE_MS - codes.SYNC_MS)
    late = a.send(E, b"x", net.now)  # in the last moment: its time is cut short
    assert net.outcomes(a, late) == []
    net.advance(1)
    assert verdicts(net, a, late) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    at_once = a.send(E, b"x", net.now)
    net.pump()
    assert verdicts(net, a, at_once) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_a_link_that_fails_is_not_waited_for() -> None:
    net = Net()
    a, b = net.node("a"), net.node("b", bus="other")
    net.link(a, b)
    token = a.send(E, b"x", net.now)
    net.pump()
    assert verdicts(net, a, token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_ttl_waits_for_an_endpoint_to_appear() -> None:
    net = Pair()
    token = net.a.send(E, b"plain", net.now, ttl_ms=1000)
    confirm = net.a.send(E, b"sure", net.now, ttl_ms=1000, confirm=True)
    request = net.a.request(E, b"ask", net.now, ttl_ms=1000, timeout_ms=200)
    net.advance(150)
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"plain", b"sure", b"ask"]
    net.advance(2000)
    assert [o.status for o in net.outcomes(net.a, token)] == [events.ACCEPTED]
    assert [o.status for o in net.outcomes(net.a, confirm)] == [events.TAKEN]
    assert [o.status for o in net.outcomes(net.a, request)] == [events.TIMED_OUT]
    assert_settled(net)


def test_ttl_waits_for_an_endpoint_of_our_own_too() -> None:
    woken: list[int] = []
    net = Net()
    node = net.node("a", wake=lambda: woken.append(1))
    token = node.send(E, b"x", net.now, ttl_ms=1000)
    elsewhere = node.send(E, b"x", net.now, ttl_ms=1000, node_id=B)
    receiver = node.register(E, codes.UNICAST)
    assert woken
    assert node.next_deadline() == 0
    net.advance(0)
    assert [o.status for o in net.outcomes(node, token)] == [events.ACCEPTED]
    assert payloads(net.drain(node, receiver)) == [b"x"]
    net.advance(1000)
    assert verdicts(net, node, elsewhere) == [(events.UNDELIVERED, codes.NO_ROUTE)]


def test_what_waited_for_our_own_endpoint_goes_before_what_comes_later() -> None:
    net = Net()
    node = net.node("a")
    node.send(E, b"1", net.now, ttl_ms=1000)
    node.send(E, b"2", net.now, ttl_ms=1000)
    receiver = node.register(E, codes.UNICAST)
    node.send(E, b"3", net.now)
    net.advance(0)
    assert payloads(net.drain(node, receiver)) == [b"1", b"2", b"3"]


def test_ttl_without_a_wake_to_call() -> None:
    net = Net()
    node = net.node("a")
    node.send(E, b"x", net.now, ttl_ms=1000)
    receiver = node.register(E, codes.UNICAST)
    net.advance(0)
    assert payloads(net.drain(node, receiver)) == [b"x"]


def test_what_waited_goes_in_order_as_far_as_credit_allows() -> None:
    net = Pair()
    tokens = [net.a.send(E, b"%d" % number, net.now, ttl_ms=1000) for number in range(8)]
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    assert len(net.seen(net.a, events.OUTCOME)) == 4
    got = payloads(net.drain(net.b, receiver))
    net.pump()
    got += payloads(net.drain(net.b, receiver))
    assert got == [b"%d" % number for number in range(8)]
    assert [outcome.token for outcome in net.seen(net.a, events.OUTCOME)] == tokens


def test_what_waited_for_a_name_that_turns_out_a_broadcast_is_told() -> None:
    net = Pair()
    token = net.a.send(E, b"x", net.now, ttl_ms=1000)
    net.b.register(E, codes.BROADCAST)
    net.pump()
    assert verdicts(net, net.a, token) == [(events.UNDELIVERED, codes.WRONG_KIND)]
    assert_settled(net)


def test_a_message_for_a_certain_node_waits_for_that_node() -> None:
    net = Net()
    a, b, c = net.node("a"), net.node("b"), net.node("c")
    wanted = c.register(E, codes.ANYCAST)
    other = b.register(E, codes.ANYCAST)
    net.link(a, b)
    token = a.send(E, b"x", net.now, node_id=C, ttl_ms=1000)
    asked = a.request(codes.INTROSPECTION, b"", net.now, node_id=C, ttl_ms=1000)
    net.pump()
    assert net.seen(a, events.OUTCOME) == []
    net.link(a, c)
    net.pump()
    assert [o.status for o in net.outcomes(a, token)] == [events.ACCEPTED]
    assert payloads(net.drain(c, wanted)) == [b"x"]
    assert net.drain(b, other) == []
    assert verdicts(net, a, asked) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]


def test_a_message_for_a_node_that_is_not_there_has_no_route() -> None:
    net = Pair()
    token = net.a.request(E, b"x", net.now, node_id=C)
    here = net.a.request(E, b"x", net.now, node_id=A)
    there = net.a.request(E, b"x", net.now, node_id=B)
    net.pump()
    reasons = [[o.code for o in net.outcomes(net.a, one)] for one in (token, here, there)]
    assert reasons == [[codes.NO_ROUTE], [codes.NO_ENDPOINT], [codes.NO_ENDPOINT]]


def test_a_node_is_picked_by_its_id() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    here = a.register(E, codes.ANYCAST)
    there = [(node, node.register(E, codes.ANYCAST)) for node in (b, c)]
    net.pump()
    a.send(E, b"to b", net.now, node_id=B)
    a.send(E, b"to c", net.now, node_id=C)
    a.send(E, b"to a", net.now, node_id=A)
    net.pump()
    assert payloads(net.drain(a, here)) == [b"to a"]
    assert [payloads(net.drain(node, receiver)) for node, receiver in there] == [[b"to b"], [b"to c"]]
