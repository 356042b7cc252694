"""Which nodes can be reached and over which link; whom we remember, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Limits, Node, codes, events
from busway.protocol.messaging.correspondent import Correspondent, talk
from busway.protocol.messaging.flows import OutFlow
from busway.protocol.routing.peers import PeerKeeper, Routes
from tests.protocol.helpers import A, B, assert_settled, fill, payloads
from tests.protocol.pairs import Cable, E, Entropy, F, Net, Pair, node_of


def test_the_narrowest_realm_then_the_cheapest_link_is_taken() -> None:
    net = Net()
    a, b = net.node("a"), net.node("b")
    wide = net.link(a, b, realm=codes.GLOBAL, via="1", cost=1)
    dear = net.link(a, b, realm=codes.LOCALNET, via="2", cost=50)
    cheap = net.link(a, b, realm=codes.LOCALNET, via="3", cost=10)
    net.pump()
    peer = a.routes.peers[B]
    assert len(peer.connections) == 3
    assert len(net.seen(a, events.NODE_UP)) == 1
    assert len(net.seen(a, events.LINK_OPEN)) == 3
    for cable, following in ((cheap, dear), (dear, wide)):
        assert peer.hop is cable.a
        cable.cut()
        assert peer.hop is following.a
    wide.cut()
    assert peer.hop is None
    assert a.peers() == []


# Messages that move to another link


def two_links(**options: Any) -> Pair:
    net = Pair(**options)
    net.link(net.a, net.b, via="tcp://h:1", realm=codes.LOCALNET)
    net.pump()
    return net


def test_what_was_not_written_goes_over_the_other_link_in_order() -> None:
    net = two_links(limits=Limits(frame_size_max=2000))
    receiver = net.b.register(E, codes.UNICAST)
    news = net.b.register(F, codes.BROADCAST)
    net.pump()
    net.cable.block(net.a)
    for number in range(4):
        net.a.send(E, b"%d" % number, net.now)
        net.a.publish(F, b"%d" % number, net.now)
    net.a.request(E, bytes(10_000), net.now)
    net.cable.block(net.a, False)
    net.cable.ends[0].connection.data_to_send(10, net.now)  # some of it is lost with the link
    net.cable.cut()
    net.pump()
    got = net.drain(net.b, receiver)
    assert payloads(got)[-4:] == [b"1", b"2", b"3", bytes(10_000)]
    assert len(net.drain(net.b, news)) == 4
    assert net.b.receiving.counters["late"] == 0
    assert net.seen(net.a, events.NODE_DOWN) == []


def test_a_large_message_is_sent_anew_when_its_link_ends_half_way() -> None:
    net = two_links(limits=Limits(frame_size_max=2000))
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.a.send(E, b"before", net.now)
    net.a.send(E, bytes(100_000), net.now)
    net.a.send(E, b"after", net.now)
    net.step(size=20_000)
    assert net.cb.inbox.assemblies
    net.cable.cut()
    net.pump()
    assert [len(message.payload) for message in net.drain(net.b, receiver)] == [6, 100_000, 5]


def test_answers_and_credit_move_too() -> None:
    net = two_links()
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    tokens = fill(net, net.a, E, 8)
    asked = net.a.request(F, b"", net.now, node_id=B)
    net.pump()
    assert [o.code for o in net.outcomes(net.a, asked)] == [codes.NO_ENDPOINT]
    net.cable.block(net.b)
    got = payloads(net.drain(net.b, receiver))
    net.pump()
    assert net.outcomes(net.a, tokens[-1]) == []
    net.cable.cut()
    net.pump()
    got += payloads(net.drain(net.b, receiver))
    assert got == [b"%d" % number for number in range(8)]
    assert_settled(net)


def test_a_cancel_and_bad_news_move_too() -> None:
    net = two_links()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, b"q", net.now)
    fill(net, net.a, E, 2)
    net.pump()
    assert net.b.take(receiver, net.now) is not None
    for node in (net.a, net.b):
        net.cable.block(node)
    net.a.cancel(token, net.now)
    net.b.deregister(receiver, net.now)
    net.cable.cut()
    net.pump()
    assert len(net.seen(net.b, events.REQUEST_CANCELLED)) == 1
    assert [event.reason for event in net.seen(net.a, events.UNDELIVERABLE)] == [codes.RECEIVER_CLOSED] * 2


def test_everything_that_waits_for_room_on_a_link_goes_on_when_it_ends() -> None:
    """Sends, replies, parts and publishes: none may be forgotten in the list of a link that is gone."""
    net = two_links()
    ours = net.b.register(E, codes.UNICAST)
    theirs = net.a.register(F, codes.UNICAST, size_max=1 << 30)
    news = net.a.register(b"g" * 16, codes.BROADCAST, size_max=1 << 30)
    net.pump()
    reply = net.a.request(E, b"q", net.now)
    stream = net.a.request(E, b"q", net.now, window=60)
    for _ in range(6):
        fill(net, net.b, F, 4)
        net.pump()
        net.drain(net.a, theirs)
    net.pump()
    first, second = net.drain(net.b, ours)
    net.cable.block(net.b)
    big = bytes(300_000)
    tokens = [net.b.send(F, big, net.now) for _ in range(8)]
    tokens += [net.b.respond_part(second, big, net.now) for _ in range(8)]
    tokens += [net.b.publish(b"g" * 16, big, net.now) for _ in range(8)]
    tokens.append(net.b.respond(first, b"r", net.now))
    waiting = [token for token in tokens if token]
    assert len(waiting) > 15
    net.cable.cut()
    net.pump()
    assert [[o.status for o in net.outcomes(net.b, token)] for token in waiting] == [[events.ACCEPTED]] * len(
        waiting
    )
    assert [o.payload for o in net.outcomes(net.a, reply)] == [b"r"]
    assert len(net.outcomes(net.a, stream)) == 8
    assert len(net.drain(net.a, theirs)) == 8
    # Those written or queued; what is published until a has said PARENT on the other link finds no tree.
    assert [message.seq for message in net.drain(net.a, news)] == [1, 2, 3, 4]
    net.b.respond_end(second, net.now)
    net.pump()
    assert_settled(net)


# Two links over one address


def write(net: Net, cable: Cable, node: Node) -> None:
    """Put what `node` has to say on the link, unread."""
    for here, there in (cable.ends, cable.ends[::-1]):
        if node_of(here.connection) is node:
            net._write(here, there, 65536, None)


def read(net: Net, cable: Cable, node: Node) -> None:
    for here, there in (cable.ends, cable.ends[::-1]):
        if node_of(here.connection) is node:
            net._read(here, there, 0, None)


@pytest.mark.parametrize("dialler", ["same", "other"])
@pytest.mark.parametrize("reader", ["a", "b"])
@pytest.mark.parametrize("first", ["a", "b"])
def test_a_second_link_over_one_address_loses_and_reorders_nothing(
    dialler: str, reader: str, first: str
) -> None:
    """Both sides have messages on their way, and `reader` looks at the new link first, always."""
    net = Net()
    a, b = net.node("a"), net.node("b")
    ends = {"a": (a, b), "b": (b, a)}
    old = net.link(*ends[first])
    at_a, at_b = a.register(E, codes.UNICAST), b.register(F, codes.UNICAST)
    net.pump()
    now = net.now
    b.send(E, b"1", now)
    a.send(F, b"1", now)
    write(net, old, a)
    write(net, old, b)
    new = net.link(*ends[first if dialler == "same" else "ab".replace(first, "")])
    for node, cable in [(a, new), (b, new)] * 6:
        write(net, cable, node)
        read(net, cable, node)
    late, early = (a, b) if reader == "a" else (b, a)
    for number in range(2, 6):
        write(net, old, a)
        write(net, old, b)
        read(net, old, early)
        b.send(E, b"%d" % number, now)
        a.send(F, b"%d" % number, now)
        for node in (a, b):
            write(net, new, node)
        for node in (late, early):
            read(net, new, node)
    net.pump()
    net.advance(5000)
    assert payloads(net.drain(a, at_a)) == [b"%d" % number for number in range(1, 6)]
    assert payloads(net.drain(b, at_b)) == [b"%d" % number for number in range(1, 6)]
    for node in (a, b):
        assert node.receiving.counters["late"] == node.receiving.counters["missed"] == 0
        assert len(node.connections) == 1
        assert node.connections[0].waits_for is None
    assert net.seen(kind=events.NODE_DOWN) == []
    assert_settled(net)


@pytest.mark.parametrize(
    ("first", "second", "stays", "code"),
    [
        ("a", "a", "new", codes.REPLACED),
        ("b", "b", "new", codes.REPLACED),
        ("a", "b", "old", codes.DUPLICATE_LINK),
        ("b", "a", "new", codes.DUPLICATE_LINK),
    ],
)
def test_which_of_two_links_over_one_address_stays(first: str, second: str, stays: str, code: int) -> None:
    net = Net()
    a, b = net.node("a"), net.node("b")
    ends = {"a": (a, b), "b": (b, a)}
    old = net.link(*ends[first])
    net.pump()
    new = net.link(*ends[second])
    net.pump()
    kept, gone = (new, old) if stays == "new" else (old, new)
    for connection in kept.a, kept.b:
        assert connection.state == codes.OPEN
    for connection in gone.a, gone.b:
        assert [event.code for event in net.closings(connection)] == [code]
    assert a.routes.peers[B].hop in (kept.a, kept.b)


def test_links_that_start_at_the_same_instant_leave_one() -> None:
    for size, split in ((65536, 0), (1, 0), (30, 7)):
        net = Net()
        a, b = net.node("a"), net.node("b")
        receiver = b.register(E, codes.UNICAST)
        cables = [net.link(a, b), net.link(b, a)]
        tokens = [a.send(E, b"%d" % number, net.now, ttl_ms=1000) for number in range(4)]
        net.pump(size, split)
        net.advance(3000)
        assert [cable.a.state for cable in cables] == [codes.OPEN, codes.CLOSED]
        assert payloads(net.drain(b, receiver)) == [b"0", b"1", b"2", b"3"]
        assert [[o.status for o in net.outcomes(a, token)] for token in tokens] == [[events.ACCEPTED]] * 4


def test_a_new_link_replaces_one_whose_other_end_is_dead_within_seconds() -> None:
    """The dialler gave its old link up without a word that arrived; nothing more will come over it."""
    net = Pair(via="tcp://h:1", realm=codes.LOCALNET)
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    old = net.cable
    net.cables = []
    old.ends[0].unplugged = True
    net.note(net.a, net.ca.receive_eof(net.now))
    new = net.link(net.a, net.b, via="tcp://h:1", realm=codes.LOCALNET)
    net.pump()
    assert net.cb.state == codes.OPEN
    assert new.b.waits_for is net.cb
    net.a.send(E, b"x", net.now, ttl_ms=10_000)
    net.advance(2 * codes.CLOSING_MS)
    assert net.cb.state == codes.CLOSED
    assert payloads(net.drain(net.b, receiver)) == [b"x"]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_flood_on_a_link_that_waits_is_not_kept() -> None:
    net = Pair()
    second = net.link(net.a, net.b)
    net.cables = [second]
    for _ in range(3):
        net.step()
    connection = second.b
    noise = bytes((2, 0x7E, 0)) * 20_000
    most = 0
    for _ in range(40):
        net.note(net.b, connection.receive_data(noise, net.now))
        most = max(most, sum(map(len, connection._held)))
    assert 0 < most <= codes.QUEUE_SIZE_MAX
    assert connection.waits_for is None
    assert connection.skipped_frames == 40 * 20_000


def test_the_end_of_a_link_that_waits_is_told_after_what_it_brought() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    second = net.link(net.a, net.b)
    net.cables = [second]
    for _ in range(3):
        net.step()
    body = b"\x80\x00\x01" + E + b"\x00\x01hi"
    net.note(net.b, second.b.receive_data(bytes((len(body),)) + body, net.now))
    assert not len(receiver.queue)
    net.note(net.b, second.b.receive_eof(net.now))
    assert payloads(net.drain(net.b, receiver)) == [b"hi"]
    assert second.b.state == codes.CLOSED


def test_a_loser_whose_peer_does_not_read_ends_in_two_seconds() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.cable.block(net.a)
    fill(net, net.a, E, 3)
    net.link(net.a, net.b)
    net.pump()
    assert net.ca.state == codes.CLOSING
    net.advance(codes.CLOSING_MS)
    assert net.ca.state == codes.CLOSED
    net.advance(2 * codes.CLOSING_MS)
    assert payloads(net.drain(net.b, receiver)) == [b"0", b"1", b"2"]


def test_a_duplicate_that_is_gone_again_takes_nothing_with_it() -> None:
    """The side that was dialled twice lets the old link live if the new one died meanwhile."""
    net = Pair()
    other = net.link(net.a, net.b, via="tcp://h:1", realm=codes.LOCALNET)
    net.pump()
    second = net.link(net.a, net.b)
    net.cables = [second, other]
    for _ in range(3):
        net.step()
    assert second.b.waits_for is net.cb
    second.cut()
    net.advance(codes.CLOSING_MS)
    assert net.cb.state == codes.OPEN


# Coming back


def test_a_node_that_comes_back_is_the_same_and_its_numbers_go_on() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    news = net.b.register(F, codes.BROADCAST)
    net.pump()
    numbers = iter(range(1000))
    for _ in range(5):
        for _ in range(4):
            number = b"%d" % next(numbers)
            net.a.send(E, number, net.now)
            net.a.publish(F, number, net.now)
            net.pump()
        net.cable.cut()
        net.advance(100)
        net.cable = net.link(net.a, net.b)
        net.pump()
    expected = [b"%d" % number for number in range(20)]
    for one in (receiver, news):
        got = net.drain(net.b, one)
        assert payloads(got) == expected
        assert [message.seq for message in got] == list(range(1, 21))
        assert {message.missed for message in got} == {0}
    assert len(net.seen(net.a, events.NODE_UP)) == 6
    assert len(net.seen(net.a, events.NODE_DOWN)) == 5


def test_a_node_that_comes_back_has_its_opening_credit_and_no_wait() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    for _ in range(20):
        fill(net, net.a, E, 4)
        net.pump()
        net.drain(net.b, receiver)
        net.pump()
    net.cable.cut()
    net.link(net.a, net.b)
    net.pump()
    fill(net, net.a, E, 50)
    got = []
    for _ in range(20):
        net.pump()
        got += payloads(net.drain(net.b, receiver))
    assert got == [b"%d" % number for number in range(50)]


def test_a_withdrawn_endpoint_forgets_those_who_are_away_too() -> None:
    net = Pair()
    first = net.b.register(E, codes.ANYCAST)
    net.pump()
    fill(net, net.a, E, 2)
    net.pump()
    net.cable.cut()
    net.b.deregister(first, net.now)
    second = net.b.register(E, codes.ANYCAST)
    net.link(net.a, net.b)
    net.pump()
    fill(net, net.a, E, 2)
    net.pump()
    assert payloads(net.drain(net.b, second)) == [b"0", b"1"]


def restart(net: Pair, **options: Any) -> Node:
    """Node a is started anew: same id, new incarnation."""
    node = Node(A, entropy=Entropy(99), label="new", **options)
    net.nodes[0] = node
    return node


@pytest.mark.parametrize("old_link", ["gone", "unnoticed", "other address"])
def test_a_new_incarnation_takes_the_place_of_the_old(old_link: str) -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.a.register(F, codes.UNICAST)
    net.pump()
    fill(net, net.a, E, 3)
    asked = net.a.request(E, b"q", net.now)
    waiting = net.b.request(F, b"q", net.now)
    net.pump()
    old = net.a
    if old_link == "gone":
        net.cable.cut()
    net.cables = []
    node = restart(net)
    net.link(node, net.b, via="tcp://h:1" if old_link == "other address" else "ipc")
    net.pump()
    assert net.cb.state == codes.CLOSED
    assert [event.code for event in net.closings(net.cb)] == [
        codes.LOST if old_link == "gone" else codes.REPLACED
    ]
    (peer,) = net.b.peers()
    assert (peer.incarnation, peer.label) == (node.me.incarnation, "new")
    assert peer.incarnation != old.me.incarnation
    assert [o.code for o in net.outcomes(net.b, waiting)] == [codes.LOST_AFTER_SENDING]
    assert net.b.entries() == []
    fill(net, node, E, 3)
    net.pump()
    got = net.drain(net.b, receiver)
    assert payloads(got) == [b"0", b"1", b"2", b"0", b"1", b"2"]
    assert [message.missed for message in got] == [0] * 6
    assert asked not in node.origin.pending


def test_the_departed_are_bounded_and_those_we_never_sent_to_go_first() -> None:
    routes = Routes()
    net = Pair()

    def leave(number: int, *, sent: bool) -> None:
        peer = Correspondent(PeerKeeper(), number.to_bytes(16, "big"), b"inca", "", False)
        routes.arrive(peer)
        if sent:
            talk(peer).out_flows[E] = OutFlow(net.a.origin, peer, E, 4, net.now)
        talk(peer).in_flows = talk(net.a.me).in_flows or {E: object()}  # type: ignore[dict-item]
        routes.depart(peer, net.now)
        assert peer.node_id not in routes.peers

    leave(0, sent=True)
    leave(1, sent=False)
    for number in range(2, codes.DEPARTED_MAX):
        leave(number, sent=True)
    assert len(routes.departed) == codes.DEPARTED_MAX
    leave(codes.DEPARTED_MAX, sent=True)
    assert len(routes.departed) == codes.DEPARTED_MAX
    assert (1).to_bytes(16, "big") + b"inca" not in routes.departed
    leave(codes.DEPARTED_MAX + 1, sent=True)
    assert (0).to_bytes(16, "big") + b"inca" not in routes.departed
    assert len(routes.departed) == codes.DEPARTED_MAX


def test_one_that_left_without_a_message_is_not_remembered() -> None:
    net = Pair()
    net.cable.cut()
    assert net.a.routes.departed == {}


def test_the_departed_are_forgotten_in_time() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    fill(net, net.a, E, 1)
    net.pump()
    net.drain(net.b, receiver)
    net.cable.cut()
    net.advance(codes.FLOW_FORGET_IN_MS - codes.SWEEP_MS)
    assert talk(net.b.routes.departed[net.a.me.key]).in_flows
    net.advance(2 * codes.SWEEP_MS)
    assert not talk(net.b.routes.departed[net.a.me.key]).in_flows
    assert talk(net.a.routes.departed[net.b.me.key]).out_flows
    net.advance(codes.FLOW_FORGET_OUT_MS)
    assert net.a.routes.departed == net.b.routes.departed == {}


def test_a_better_link_does_not_overtake_what_is_under_way() -> None:
    net = Pair(realm=codes.LOCALNET, via="tcp://h:1")
    receiver = net.b.register(E, codes.UNICAST)
    other = net.b.register(F, codes.UNICAST)
    net.pump()
    net.cable.block(net.a)
    for number in range(3):
        net.a.send(E, b"%d" % number, net.now)
    better = net.link(net.a, net.b, via="ipc")
    net.pump()
    assert net.a.routes.peers[B].hop is better.a
    net.a.send(E, b"3", net.now)
    net.a.send(F, b"new", net.now)
    net.pump()
    assert payloads(net.drain(net.b, other)) == [b"new"]  # a pair of its own takes the better link
    net.cable.block(net.a, False)
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"0", b"1", b"2", b"3"]
    net.cable.cut()
    net.a.send(E, b"4", net.now)
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"4"]
    assert net.b.receiving.counters["late"] == 0


def test_what_only_the_narrow_link_could_reach_goes_with_it() -> None:
    net = Pair()  # USERSPACE
    net.link(net.a, net.b, via="tcp://h:1", realm=codes.LOCALNET)
    net.b.register(E, codes.UNICAST, codes.USERSPACE)
    net.b.register(F, codes.UNICAST, codes.LOCALNET)
    net.pump()
    assert sorted(entry.uuid for entry in net.a.entries()) == sorted([E, F])
    net.cable.cut()
    net.pump()
    assert [entry.uuid for entry in net.a.entries()] == [F]
    assert [event.entry.uuid for event in net.seen(net.a, events.ENDPOINT_DOWN)] == [E]


def test_a_better_link_does_not_overtake_broadcasts_either() -> None:
    net = Pair(via="tcp://h:1", realm=codes.LOCALNET)
    receiver = net.b.register(E, codes.BROADCAST)
    net.pump()
    net.a.publish(E, b"0", net.now)
    net.pump()
    net.cable.block(net.a)
    net.a.publish(E, b"1", net.now)
    better = net.link(net.a, net.b)
    net.pump()
    net.a.publish(E, b"2", net.now)
    net.pump()
    net.cable.cut()
    net.a.publish(E, b"3", net.now)
    net.pump()
    assert net.a.routes.peers[B].hop is better.a
    assert payloads(net.drain(net.b, receiver)) == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("kind", [codes.UNICAST, codes.BROADCAST])
def test_what_an_older_link_still_brings_is_late(kind: int) -> None:
    """It was overtaken over a younger one, which has ended since: it does not start the pair anew."""
    net = Pair()
    receiver = net.b.register(E, kind)
    younger = net.link(net.a, net.b, via="tcp://h:1", realm=codes.LOCALNET)
    net.pump()
    head = codes.MESSAGE | (codes.PUBLISH if kind == codes.BROADCAST else codes.SEND) << 4

    def message(seq: int) -> bytes:
        body = bytes((head, 0, 1)) + E + bytes((0, seq)) + b"%d" % seq
        return bytes((len(body),)) + body

    net.note(net.b, younger.b.receive_data(message(9), net.now))
    younger.cut()
    net.note(net.b, net.cb.receive_data(message(7) + message(8) + message(10), net.now))
    assert payloads(net.drain(net.b, receiver)) == [b"9", b"10"]
    assert net.b.receiving.counters["late"] == 2


def test_what_was_published_for_the_narrow_realm_is_not_moved_to_a_wider_link() -> None:
    net = Pair()  # USERSPACE
    wide = net.link(net.a, net.b, via="tcp://h:1", realm=codes.LOCALNET)
    receiver = net.b.register(E, codes.BROADCAST)
    net.pump()
    net.cable.block(net.a)
    net.a.publish(E, b"near", net.now, realm=codes.USERSPACE)
    net.a.publish(E, b"far", net.now)
    net.cable.cut()
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"far"]
    assert b"near" not in wide.ends[0].sent


@pytest.mark.parametrize("priority", [codes.NORMAL, codes.HIGH])
@pytest.mark.parametrize("more", [True, False], ids=["and in the queue", "alone"])
def test_what_waits_behind_a_large_broadcast_is_not_overtaken_over_a_better_link(
    priority: int, more: bool
) -> None:
    """It goes over that, too, before what comes after it; the large one, half of which has left, is late."""
    net = Pair(via="tcp://h:1", realm=codes.LOCALNET)
    receiver = net.b.register(E, codes.BROADCAST)
    net.pump()
    net.a.publish(E, bytes(300_000), net.now, priority=priority)
    net.step(1000)
    for number in (1, 2):
        net.a.publish(E, b"%d" % number, net.now, priority=priority)
    net.step(100_000)
    net.step(100_000)
    link = net.ca
    net.cable.block(net.a)
    if more:
        net.a.publish(E, b"3", net.now, priority=priority)
    better = net.link(net.a, net.b)
    net.pump()
    net.a.publish(E, b"4", net.now, priority=priority)
    net.pump()
    net.cable.block(net.a, False)
    net.pump()
    assert net.a.routes.peers[B].hop is better.a
    assert payloads(net.drain(net.b, receiver)) == [b"1", b"2", *[b"3"] * more, b"4"]
    assert link.broadcasts.size == 0
