"""What a small leaf refuses, from its program and from its router, and its rarer turns."""

from __future__ import annotations

import pytest

from busway.protocol import (
    EndpointTakenError,
    FullError,
    Link,
    LocalError,
    WrongKindError,
    codes,
    events,
)
from busway.protocol.leaf.frames import Message, write_message
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.leaf.state import Target
from busway.protocol.wire.aliases import AliasTable
from busway.protocol.wire.fields import frame, lenient_text, varint

from .leaves import LeafNet
from .pairs import E, Entropy, F, G, bodies
from .test_small_leaf import ANYCAST, BROADCAST, UNICAST, holding, serving

# Limits and misuse


def test_pairs_are_forgotten_when_there_are_too_many() -> None:
    net = LeafNet("m", peers_max=2)
    receiver = serving(net)
    uuids = [b"endpoint%08d" % number for number in range(5)]
    for uuid in uuids:
        holding(net, uuid)
    for _ in range(3):
        for uuid in uuids:
            token = net.leaf.send(uuid, b"x", net.now)
            net.settle()
            net.pass_time(1)
            assert net.verdicts(token) == [(events.ACCEPTED, 0)]
    assert (len(net.leaf._targets), len(net.leaf._out)) == (2, 2)
    feed = net.cord.connection.receive_data
    for number in range(5):
        feed(
            frame(b"\x88\x08\xff\x00\x03" + bytes((number,)) * 20 + b"\x00\x01" + E + b"\x00\x01"),
            net.now + number,
        )
    assert len(net.leaf._in) == 2
    assert len(net.taken(receiver)) == 5


def test_pair_that_was_forgotten_goes_on_with_its_numbers() -> None:
    """Its destination remembers it for minutes, and refuses numbers that it has had as OVERTAKEN."""
    net = LeafNet("mn", peers_max=2)
    far = net.nodes[1]
    receivers = {bytes((number,)) * 16: 0 for number in range(70)}
    made = {uuid: far.register(uuid, UNICAST, codes.LOCALNET) for uuid in receivers}
    net.settle()

    def turn(uuid: bytes) -> int:
        token = net.leaf.send(uuid, b"x", net.now, confirm=True)
        net.settle()
        message = far.take(made[uuid], net.now)
        net.settle()
        ((status, code),) = net.verdicts(token)
        if message is not None:
            assert (status, message.missed) == (events.TAKEN, 0)
        return code

    few = list(receivers)[:3]
    assert [turn(uuid) for _ in range(5) for uuid in few] == [0] * 15
    assert [turn(uuid) for uuid in receivers] == [0] * 70
    assert len(net.leaf._past) == 640
    assert turn(few[0]) == codes.OVERTAKEN  # after so many others
    net.pass_time(codes.FLOW_FORGET_IN_MS)
    assert turn(few[0]) == 0


def test_more_targets_at_once_than_it_remembers_are_refused() -> None:
    net = LeafNet("m", peers_max=2)
    serving(net, E, UNICAST)
    net.leaf.send(F, b"", net.now, ttl_ms=9000)
    with pytest.raises(FullError, match="peers_max"):
        net.leaf.send(b"H" * 16, b"", net.now)
    net.leaf.publish(b"1" * 16, b"", net.now)
    net.leaf.publish(b"2" * 16, b"", net.now)
    with pytest.raises(LocalError, match="peers_max") as raised:
        net.leaf.publish(b"3" * 16, b"", net.now)
    assert not isinstance(raised.value, FullError)  # which would say: try again
    assert serving(net, b"K" * 16, UNICAST) in net.leaf.receivers  # who else has it is not asked then


def test_misuse_changes_nothing() -> None:
    entropy = Entropy(1)
    for wrong in (
        {"node_id": b"x"},
        {"bus": ""},
        {"label": "x" * 65},
        {"pending_max": 0},
    ):
        with pytest.raises(LocalError):
            Leaf(**{"node_id": b"x" * 16, "entropy": entropy, **wrong})  # type: ignore[arg-type]
    net = LeafNet("m")
    leaf = net.leaf
    with pytest.raises(LocalError, match="one link"):
        leaf.connection(Link(), 0)
    for options in ({"kind": 4}, {"realm": 0}, {"name": "x" * 65}, {"cost": -1}, {"queue_max": 1}):
        with pytest.raises(LocalError):
            leaf.register(**{"endpoint": E, "kind": UNICAST, **options})  # type: ignore[arg-type]
    receiver = serving(net)
    with pytest.raises(EndpointTakenError):
        leaf.register(E, ANYCAST)
    with pytest.raises(LocalError, match="itself"):
        leaf.send(E, b"", 0)
    with pytest.raises(WrongKindError):
        leaf.publish(E, b"", 0)
    for payload, format in ((bytearray(1), 0), (b"", 3), (b"x" * 1025, 0)):
        with pytest.raises((LocalError, TypeError)):  # compiled, the type is checked first
            leaf.send(F, payload, 0, format)  # type: ignore[arg-type]
    with pytest.raises(LocalError):
        leaf.send(F, b"", 0, ttl_ms=-1)
    leaf.publish(G, b"", net.now)
    with pytest.raises(WrongKindError):
        leaf.send(G, b"", 0)
    holding(net)
    leaf.send(F, b"", net.now)
    net.settle()
    with pytest.raises(WrongKindError):
        leaf.publish(F, b"", 0)
    net.router.request(E, b"", net.now)
    net.settle()
    with pytest.raises(LocalError, match="error code"):
        leaf.respond_error(net.taken(receiver)[0], 0, "", 0)


def test_texts_of_peers() -> None:
    assert lenient_text(b"gr\xc3\xbcn") == "grün"
    assert lenient_text(b"\xffa\x01") == "?a?"


def test_numbers_are_used_again() -> None:
    writer = AliasTable(2, (), 1)
    assert [writer.write(id) for id in (b"a", b"b", b"a", b"c", b"a")] == [
        b"\0\x01a",
        b"\0\x02b",
        b"\x01",
        b"\0\x01c",
        b"\0\x02a",
    ]
    item = Message(codes.SIGNAL)
    item.signal = codes.CANCEL
    item.id = 300
    assert write_message(item, (writer, writer, {}), b"", 0, False) == b"\xf0\x01\xac\x02"


# The rarer turns


def feed(net: LeafNet, *wires: bytes) -> None:
    for wire in wires:
        net.hear(net.leaf, net.cord.connection.receive_data(frame(wire), net.now))


def written(net: LeafNet) -> list[bytes]:
    return bodies(net.cord.connection.data_to_send(65536, net.now))


def test_what_is_not_for_it_is_counted() -> None:
    net = LeafNet("m")
    other = b"\x00\x03" + b"o" * 20
    feed(
        net,
        b"\xf8\x08\xff\x02\x01\x05",  # CANCEL, from itself
        b"\x88\x04\xff" + other + b"\x00\x01" + E + b"\x00\x01",
        b"\xc8\x04\xff\x03\x05",
    )
    assert net.leaf.counters["misrouted"] == 3


def test_what_concerns_streams_is_read_and_let_be() -> None:
    net = LeafNet("m")
    feed(net, b"\xf0\x04\x05\x00\x01", b"\xf0\x06\x05\x00\x01")
    assert net.cord.connection.state == codes.OPEN
    assert written(net) == []


def test_probes_are_answered_with_credit_and_tell_what_was_lost() -> None:
    net = LeafNet("m")
    serving(net)
    topic = serving(net, F, BROADCAST)
    alias = b"\x00\x01" + E
    feed(net, b"\xf0\x03\x00\x02" + G + b"\x00\x01")
    assert written(net) == []
    feed(net, b"\x80" + alias + b"\x00\x03", b"\xf0\x03\x01\x00\x05")
    (credit,) = written(net)
    assert credit[:3] == b"\xf0\x02\x00"
    assert net.leaf.counters["missed"] == 2
    feed(net, b"\xf0\x03\x01\x00\x02")  # of the same session: late
    assert len(written(net)) == 1
    net.leaf._in[0].session = 0
    feed(net, b"\xf0\x03\x01\x00\x02")  # of a new one: its origin has started anew
    assert net.leaf._in[0].last == 2
    feed(net, b"\xf0\x03\x00\x02" + F + b"\xff\xff")
    assert [flow.last for flow in net.leaf._in if flow.endpoint == topic.uuid] == [0xFFFF]


def test_verdicts_that_do_not_come() -> None:
    net = LeafNet("m")
    holding(net)
    sent = net.leaf.send(F, b"", net.now, confirm=True, timeout_ms=1000)
    unsent = net.leaf.send(G, b"", net.now, confirm=True, timeout_ms=1000, ttl_ms=9000)
    waiting = net.leaf.request(G, b"", net.now, ttl_ms=9000)
    net.settle()
    net.leaf.cancel(waiting, net.now)
    net.pass_time(3000)
    assert net.verdicts(sent) == [(events.UNKNOWN, codes.EXPIRED)]
    assert net.verdicts(unsent) == [(events.UNDELIVERED, codes.EXPIRED)]
    assert net.verdicts(waiting) == [(events.CANCELLED, 0)]


def test_an_error_of_no_endpoint_makes_it_ask_again() -> None:
    net = LeafNet("m")
    holding(net)
    token = net.leaf.request(F, b"", net.now)
    net.settle()
    feed(net, b"\xe0" + varint(token) + b"\x01")
    assert net.verdicts(token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert not net.leaf._targets[F].known
    net.leaf.send(F, b"", net.now)
    assert written(net)[0][:2] == b"\xf0\x07"
    feed(net, b"\xf0\x05\x00\x07" + F + b"\0\x01\x01")
    del net.leaf._targets[F]
    feed(net, b"\xf0\x05\x07\0\x01\x01")
    assert len(net.heard(events.UNDELIVERABLE)) == 2


def test_a_node_that_goes_leaves_the_others_alone() -> None:
    net = LeafNet("m")
    serving(net)
    holding(net, F)
    holding(net, G)
    token = net.leaf.request(F, b"", net.now)
    net.leaf.send(b"H" * 16, b"", net.now, ttl_ms=5000)
    net.router.request(E, b"", net.now)
    net.settle()
    net.leaf.node_gone(b"o" * 20, net.now)
    assert net.verdicts(token) == []
    assert len(net.leaf._serving) == 1
    assert net.leaf._targets[F].flow is not None


def test_many_answers_and_a_broken_link_that_was_closing() -> None:
    net = LeafNet("m")
    serving(net)
    for number in range(20):
        feed(net, b"\x80\x00\x01" + G + bytes((0, number)))
    assert len(written(net)) == 20
    net.leaf.close(net.now)
    assert written(net)[-1][0] == codes.CLOSE
    feed(net, b"\x0f")
    assert net.cord.connection.close_code == codes.UNKNOWN_FRAME
    assert written(net) == []  # CLOSE was the last


def test_a_link_that_is_used_is_not_pinged() -> None:
    net = LeafNet("m")
    net.cord.cut()
    net.cord = net.plug(net.leaf, net.router, keepalive_ms=1000)
    net.settle()
    net.now += 600
    feed(net, b"\x41\0")
    net.now += 400
    net.leaf.handle_timer(net.now)
    assert written(net) == []
    assert net.leaf.next_deadline() == net.now + 600
    feed(net, b"\xa0\x00\x01" + E + b"\0\x01\x01\x00")
    assert net.cord.connection.close_code == codes.MALFORMED


def test_the_least_recently_heard_pair_is_forgotten_first() -> None:
    net = LeafNet("m", peers_max=2)
    receiver = serving(net)
    for key in (b"1", b"2", b"1", b"3"):
        wire = b"\x88\x08\xff\x00\x03" + key * 20 + b"\x00\x01" + E + b"\x00\x01"
        net.cord.connection.receive_data(frame(wire), net.now)
    assert [flow.key[:1] for flow in net.leaf._in] == [b"1", b"3"]
    for uuid in (F, G, b"H" * 16):
        holding(net, uuid)
    for uuid in (F, G, F, b"H" * 16):
        net.leaf.send(uuid, b"", net.now)
        net.settle()
    assert [flow.endpoint for flow in net.leaf._out] == [F, b"H" * 16]
    assert len(net.taken(receiver)) == 3
    target = net.leaf._targets[F] = Target()
    target.flow = net.leaf._out[0]
    net.leaf._new_flow(net.leaf._out, b"l" * 20, uuid, 0)
    assert target.flow is None


def test_an_origin_that_counts_anew_after_a_long_pause_is_heard() -> None:
    """It forgets a pair that it has not used for a while, and a leaf tells nobody that it does."""
    net = LeafNet("m")
    receiver = serving(net, E, BROADCAST)

    def hear(number: int) -> None:
        wire = b"\x98\x08\xff\x00\x03" + b"1" * 20 + b"\x00\x01" + E + bytes((0, number))
        net.cord.connection.receive_data(frame(wire), net.now)

    hear(9)
    net.now += codes.FLOW_FORGET_IN_MS - 1
    hear(1)
    assert (len(net.taken(receiver)), net.leaf.counters["late"]) == (1, 1)
    net.now += 1
    hear(1)
    hear(2)
    assert (len(net.taken(receiver)), net.leaf.counters["late"]) == (2, 1)
