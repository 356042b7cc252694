"""A node as its caller sees it: arguments, links, events, wakes, bounds, and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from busway.protocol import ClosedError, Limits, Link, LocalError, Node, Request, codes, events
from busway.protocol.events import Event
from busway.protocol.wire.messages import Frame
from tests.protocol.helpers import A, B, assert_settled, fill, payloads, verdicts
from tests.protocol.pairs import E, Entropy, F, G, Net, Pair

# Arguments

# What compiled code says of an argument of another type, before ours is asked.
COMPILED_SAYS = "bytes object expected; got"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"node_id": b"short"}, "node_id must be 16 bytes"),
        ({"node_id": "sixteen letters!"}, "node_id must be 16 bytes"),
        ({"bus": ""}, "1 to 64 bytes"),
        ({"bus": "ü" * 33}, "1 to 64 bytes of UTF-8, not 66"),
        ({"label": "ü" * 33}, "a label must have at most 64 bytes"),
    ],
)
def test_what_a_node_must_be_given(options: dict[str, Any], says: str) -> None:
    arguments: dict[str, Any] = {"node_id": A, "entropy": Entropy(), **options}
    with pytest.raises((LocalError, TypeError), match=f"{says}|{COMPILED_SAYS}"):
        Node(arguments.pop("node_id"), **arguments)


def test_the_longest_names_travel() -> None:
    net = Pair(a_node={"bus": "ü" * 32, "label": "x" * 64}, b_node={"bus": "ü" * 32})
    net.a.register(E, codes.UNICAST, name="ü" * 32)
    net.pump()
    assert net.b.entries()[0].name == "ü" * 32
    assert net.b.peers()[0].label == "x" * 64


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"endpoint": b"x" * 15}, "endpoint must be 16 bytes"),
        ({"endpoint": bytearray(16)}, "endpoint must be 16 bytes"),
        ({"kind": 0}, "kind must be"),
        ({"kind": 4}, "kind must be"),
        ({"realm": -1}, "realm must be"),
        ({"realm": 4}, "realm must be"),
        ({"name": "x" * 65}, "a name must have at most 64 bytes"),
        ({"cost": -1}, "cost must be 0 to 16383"),
        ({"cost": 16384}, "cost must be 0 to 16383"),
        ({"queue_max": 1}, "queue_max must be at least 2"),
        ({"size_max": 0}, "size_max at least 1 byte"),
        ({"policy": 3}, "policy must be"),
        ({"policy": 4}, "policy must be"),
        ({"policy": -2}, "policy must be"),
    ],
)
def test_what_an_endpoint_must_be_given(options: dict[str, Any], says: str) -> None:
    node = Net().node("a")
    with pytest.raises((LocalError, TypeError), match=f"{says}|{COMPILED_SAYS}"):
        node.register(**{"endpoint": E, "kind": codes.UNICAST, **options})
    assert node.endpoints() == []


@pytest.mark.parametrize(
    ("kind", "policy"),
    [(codes.UNICAST, codes.REFUSE), (codes.ANYCAST, codes.REFUSE), (codes.BROADCAST, codes.DROP_OLDEST)],
)
def test_default_policies(kind: int, policy: int) -> None:
    assert Net().node("a").register(E, kind).policy == policy


ENDS: list[tuple[str, Callable[[Node, dict[str, Any]], object]]] = [
    ("send", lambda node, o: node.send(o.pop("endpoint"), o.pop("payload"), 5, **o)),
    ("request", lambda node, o: node.request(o.pop("endpoint"), o.pop("payload"), 5, **o)),
    ("publish", lambda node, o: node.publish(o.pop("endpoint"), o.pop("payload"), 5, **o)),
]


@pytest.mark.parametrize("way", [way for _, way in ENDS], ids=[name for name, _ in ENDS])
@pytest.mark.parametrize("known", [False, True], ids=["unknown", "short-way"])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"endpoint": b"x"}, "endpoint must be 16 bytes"),
        ({"payload": "text"}, "a payload must be bytes"),
        ({"payload": bytearray(b"x")}, "a payload must be bytes"),
        ({"format": -1}, "format must be"),
        ({"format": 4}, "format must be"),
        ({"format": 7}, "format must be"),
        ({"format": codes.TYPED}, "type_id must be 16 bytes"),
        ({"payload": bytes(1001)}, "1001 bytes exceeds message_size_max of 1000"),
    ],
)
def test_what_a_message_must_be(
    way: Callable[[Node, dict[str, Any]], object], known: bool, options: dict[str, Any], says: str
) -> None:
    net = Pair(limits=Limits(message_size_max=1000))
    if known:
        net.b.register(E, codes.UNICAST)
        net.pump()
        net.a.send(E, b"x", net.now)
        assert E in net.a.origin.direct
        net.pump()
    with pytest.raises(LocalError, match=says):
        way(net.a, {"endpoint": E, "payload": b"x", **options})
    net.pump()
    assert net.ca.state == codes.OPEN
    assert net.a.origin.pending == {}


@pytest.mark.parametrize("window", [-1, 0x8000])
def test_a_window_fits_the_wire(window: int) -> None:
    net = Pair()
    with pytest.raises(LocalError, match="window must be 0 to 32767"):
        net.a.request(E, b"", net.now, window=window)
    with pytest.raises(LocalError, match="node_id must be 16 bytes"):
        net.a.request(E, b"", net.now, node_id=b"x")


def test_payloads_of_every_format_arrive_on_the_short_way_and_the_long() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    for _ in range(2):
        for format in (codes.RAW, codes.CBOR, codes.TYPED_AS_ENDPOINT, codes.TYPED):
            net.a.send(E, b"%d" % format, net.now, format, F if format == codes.TYPED else b"")
        net.pump()
        got = [(m.payload, m.format, m.type_id) for m in net.drain(net.b, receiver)]
        assert got == [(b"0", 0, b""), (b"1", 1, b""), (b"2", 2, b""), (b"3", 3, F)]
        net.pump()


def test_answers_are_checked_too() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    private = net.b.register(F, codes.UNICAST, codes.PROCESS)
    net.pump()
    net.a.request(E, b"q", net.now)
    own = net.b.request(F, {"any": 1}, net.now, codes.OBJECT)
    net.pump()
    request = net.b.take(receiver, net.now)
    assert isinstance(request, Request)
    for payload, format in (("text", codes.RAW), ({}, codes.OBJECT), (b"x", 9)):
        with pytest.raises(LocalError):
            net.b.respond(request, payload, net.now, format)
        with pytest.raises(LocalError):
            net.b.respond_part(request, payload, net.now, format)
    mine = net.b.take(private, net.now)
    assert isinstance(mine, Request)
    answer = {"by": "reference"}
    net.b.respond(mine, answer, net.now, codes.OBJECT)
    net.pump()
    assert net.outcomes(net.b, own)[0].payload is answer


# Links


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_node_holds_its_links_and_refuses_one_more() -> None:
    net = Net()
    hub = net.node("h")
    for number in range(codes.LINKS_MAX):
        node = Node(number.to_bytes(16, "big"), entropy=Entropy(number))
        net.nodes.append(node)
        net.link(node, hub)
    net.pump()
    assert len(hub.peers()) == codes.LINKS_MAX
    one_more = net.node("z")
    cable = net.link(one_more, hub)
    net.pump()
    assert [event.code for event in net.closings(cable.a)] == [codes.MESH_FULL]
    assert str(codes.LINKS_MAX) in net.closings(cable.a)[0].text
    assert net.closings(cable.a)[0].by_peer
    assert len(hub.connections) == codes.LINKS_MAX
    assert hub.counters["links_refused"] == 1
    net.cables[0].cut()
    net.link(one_more, hub)
    net.pump()
    assert len(hub.peers()) == codes.LINKS_MAX


def test_what_happens_to_links_is_told_and_counted() -> None:
    net = Pair()
    assert [type(event).__name__ for event in net.fresh(net.a)] == ["LinkEvent", "NodeEvent"]
    net.cable.cut("the cable was pulled")
    lost, down = net.fresh(net.a)
    assert isinstance(lost, events.LinkEvent)
    assert (lost.kind, lost.code, lost.text, lost.by_peer) == (
        events.LINK_CLOSED,
        codes.LOST,
        "the cable was pulled",
        False,
    )
    assert down.kind == events.NODE_DOWN
    assert net.a.counters["links_opened"] == net.a.counters["links_lost"] == 1
    assert net.a.connections == []


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_one_that_asks_and_never_reads_is_cut_off() -> None:
    net = Pair()
    net.cable.block(net.b)  # a does not read
    peer = net.a.routes.peers[B]
    assert peer.hop is not None

    def ask(count: int) -> None:
        for _ in range(count):  # each is answered with UNDELIVERABLE, for nobody has F
            out = Frame(codes.SEND, peer.key, F, 1, b"", codes.RAW, b"")
            assert peer.hop is not None
            peer.hop.enqueue(out)
        net.pump()

    ask(codes.ANSWERS_MAX)
    assert net.b.next_deadline() != 0
    net.advance(10)
    assert net.cb.state == codes.OPEN
    ask(2)
    assert net.b.next_deadline() == 0
    net.advance(0)
    assert [event.code for event in net.closings(net.cb)] == [codes.NOT_READING]
    assert net.b.peers() == []
    net.cable.block(net.b, False)
    net.pump()
    assert [event.code for event in net.closings(net.ca)] == [codes.NOT_READING]


def test_one_link_that_is_cut_off_leaves_the_others() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    receiver = b.register(E, codes.UNICAST)
    net.pump()
    b.cut_off(net.cables[0].b)
    fill(net, c, E, 1)
    net.advance(0)
    assert payloads(net.drain(b, receiver)) == [b"0"]
    assert [peer.node_id for peer in b.peers()] == [b"c" * 16]
    assert a.connections == [net.cables[1].a]


def test_connections_to_flush_are_told_once() -> None:
    net = Pair()
    net.b.register(E, codes.UNICAST)
    net.pump()
    assert net.a.connections_to_flush() == []
    net.a.send(E, b"1", net.now)
    net.a.send(E, b"2", net.now)
    assert net.a.connections_to_flush() == [net.ca]
    assert net.a.connections_to_flush() == []
    net.ca.data_to_send(65536, net.now)
    net.a.send(E, b"3", net.now)
    assert net.a.connections_to_flush() == [net.ca]


def test_wake_is_called_once_until_its_reason_was_fetched() -> None:
    woken: list[str] = []
    net = Pair(a_node={"wake": lambda: woken.append("a")})
    receiver = net.a.register(E, codes.UNICAST)
    net.pump()
    woken.clear()
    for _ in range(3):
        net.a.send(E, b"x", net.now)
    assert woken == ["a"]  # there are messages
    assert [event.kind for event in net.a.take_events()] == [events.MESSAGES]
    assert net.a.take_events() == []
    net.drain(net.a, receiver)
    woken.clear()
    net.a.register(F, codes.UNICAST)
    net.a.register(G, codes.UNICAST)
    assert woken == ["a", "a"]  # there is something to tell, and something to write
    net.a.take_events()
    net.a.connections_to_flush()
    net.ca.data_to_send(65536, net.now)
    woken.clear()
    net.a.deregister(receiver, net.now)
    assert woken == ["a", "a"]


def test_a_leaf_says_so() -> None:
    net = Pair(a_node={"leaf": True})
    assert [peer.leaf for peer in net.b.peers()] == [True]
    assert [peer.leaf for peer in net.a.peers()] == [False]
    assert net.a.node_id == A


def test_every_start_has_an_incarnation_and_every_session_over_packets_a_nonce_of_its_own() -> None:
    entropy = Entropy(1)
    net = Pair(a_node={"entropy": entropy})
    assert (entropy.calls, entropy.size) == (1, codes.INCARNATION_SIZE)
    net.link(net.a, net.b, via="2", sort="packet")
    net.link(net.a, net.b, via="3", sort="packet")
    assert (entropy.calls, entropy.size) == (3, codes.INCARNATION_SIZE + 8)


def test_events_are_told_by_their_kind() -> None:
    assert Event(events.NODE_UP).kind == events.NODE_UP
    lost = events.UndeliverableEvent(E, B, 7, codes.QUEUE_FULL)
    assert repr(lost).startswith("<undeliverable: message 7 to ")


# The end


def test_a_closed_node_says_goodbye_after_all_that_was_queued() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    mine = net.a.register(F, codes.UNICAST)
    net.pump()
    asked = net.b.request(F, b"q", net.now)
    net.pump()
    request = net.a.take(mine, net.now)
    assert isinstance(request, Request)
    fill(net, net.a, E, 4)
    net.a.close(net.now)
    assert net.a.respond(request, b"r", net.now) == 0  # still written before the goodbye
    net.a.close(net.now)
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"0", b"1", b"2", b"3"]
    assert [o.payload for o in net.outcomes(net.b, asked)] == [b"r"]
    for connection in (net.ca, net.cb):
        assert [event.code for event in net.closings(connection)] == [codes.GOODBYE]
        assert connection.done
    assert net.closings(net.cb)[0].by_peer
    assert_settled(net)


def test_nothing_can_be_asked_of_a_closed_node() -> None:
    net = Pair()
    receiver = net.a.register(E, codes.UNICAST)
    net.b.register(F, codes.UNICAST)
    net.pump()
    net.a.send(F, b"x", net.now)
    net.a.close(net.now)
    for ask in (
        lambda: net.a.register(G, codes.UNICAST),
        lambda: net.a.send(F, b"x", net.now),
        lambda: net.a.request(F, b"x", net.now),
        lambda: net.a.publish(F, b"x", net.now),
        lambda: net.a.connection(Link(), net.now),
        lambda: net.a.take(receiver, net.now),
    ):
        with pytest.raises(ClosedError):
            ask()
    net.pump()
    net.advance(600_000)
    assert net.a.next_deadline() is None
    assert net.a.connections == []


def test_a_node_that_closes_ends_links_in_the_greeting_too() -> None:
    net = Pair(opened=False)
    net.a.close(net.now)
    net.pump()
    assert [event.code for event in net.closings(net.cb)] == [codes.GOODBYE]


def test_a_node_that_closes_leaves_nobody_waiting() -> None:
    net = Pair()
    news = net.b.register(G, codes.BROADCAST)
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    mine = net.a.register(F, codes.UNICAST)
    net.pump()
    theirs = net.b.request(F, b"q", net.now)
    own = net.a.request(F, b"q", net.now)
    tokens = [
        net.a.request(E, b"written", net.now),
        *[net.a.request(E, b"waiting", net.now) for _ in range(10)],
        net.a.send(E, b"sure", net.now, confirm=True),
        net.a.send(b"?" * 16, b"nobody", net.now, ttl_ms=1000),
        own,
    ]
    net.pump()
    net.cable.block(net.a)
    tokens += [token for token in [net.a.publish(G, bytes(300_000), net.now) for _ in range(6)] if token]
    net.a.close(net.now)
    for token in tokens:
        assert len(verdicts(net, net.a, token)) == 0  # not fetched yet
    net.note(net.a, net.a.take_events())
    for token in tokens:
        assert len(net.outcomes(net.a, token)) == 1
    assert verdicts(net, net.a, own) == [(events.UNDELIVERED, codes.RECEIVER_CLOSED)]
    net.cable.block(net.a, False)
    net.pump()
    assert verdicts(net, net.b, theirs) == [(events.UNDELIVERED, codes.RECEIVER_CLOSED)]
    assert mine.closed
    net.drain(net.b, receiver)
    net.drain(net.b, news)
    assert_settled(net)


def test_timers_are_left_to_nobody() -> None:
    """After every kind of use, when all is over, nothing is armed but what looks after idle pairs."""
    net = Pair(keepalive_ms=1000, realm=codes.LOCALNET)
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    fill(net, net.a, E, 20)
    stream = net.a.request(E, b"q", net.now, window=3)
    for _ in range(10):
        net.advance(500)
        for message in net.drain(net.b, receiver):
            if isinstance(message, Request):
                net.b.respond_part(message, b"p", net.now)
                net.b.respond_error(message, 300, "enough", net.now)
    assert net.outcomes(net.a, stream)[-1].code == 300
    net.a.close(net.now)
    net.b.close(net.now)
    net.pump()
    for node in net.nodes:
        armed = [timer for bucket in node.timers._buckets.values() for timer in bucket]
        assert armed == []
        assert node.next_deadline() is None


def test_what_waits_for_an_endpoint_of_a_closing_node_itself_ends_with_it() -> None:
    net = Net()
    node = net.node("a")
    node.register(E, codes.UNICAST, queue_max=2)
    tokens = [node.send(E, b"x", net.now) for _ in range(9)]
    waiting = [token for token in tokens if token]
    assert waiting
    node.close(net.now)
    net.advance(0)
    for token in waiting:
        assert verdicts(net, node, token) == [(events.UNDELIVERED, codes.BUS_CLOSED)]
    assert node.next_deadline() is None


def test_a_closing_node_ends_what_it_serves_itself() -> None:
    net = Net()
    node = net.node("a")
    receiver = node.register(E, codes.UNICAST)
    token = node.request(E, b"q", net.now, window=1)
    request = node.take(receiver, net.now)
    assert isinstance(request, Request)
    parked = [node.respond_part(request, b"x", net.now) for _ in range(2)][1]
    node.close(net.now)
    assert node.respond_part(request, b"x", net.now) == 0
    net.advance(0)
    assert verdicts(net, node, token)[-1] == (events.UNDELIVERED, codes.BUS_CLOSED)
    assert verdicts(net, node, parked) == [(events.CANCELLED, 0)]
    assert [event.request for event in net.seen(node, events.REQUEST_CANCELLED)] == [request]
    assert node.next_deadline() is None


def test_a_node_and_its_limits_tell_what_they_are() -> None:
    net = Net()
    node = Node(A, bus="lab", label="pump", entropy=Entropy(1), limits=Limits(aliases_max=9))
    assert repr(node) == f"<node 'pump' {A.hex()} on bus 'lab', links: 0>"
    node.connection(Link(), net.now)
    assert repr(node).endswith(", links: 1>")
    node.close(net.now)
    assert repr(node).endswith(", links: 0, closed>")
    words = "frame_size_max=65652, message_size_max=16777216, aliases_max=9, partials_max=4"
    assert repr(node.limits) == f"Limits({words}, shared_memory=1073741824)"


def test_a_node_has_no_more_attributes_than_are_quick_to_reach() -> None:
    """CPython 3.11 to 3.13 keep those of an instance in place up to 30; beyond, each message costs 2 % more.
    Compiled nodes have none to be listed.
    """
    node = Node(A, entropy=Entropy())
    assert len(getattr(node, "__dict__", {})) <= 30
