"""Plain messages over several hops: the short way does what the long way does, and gives way if it must."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busway.protocol import Limits, codes
from busway.protocol.link.fast import Path, _prefix_end
from busway.protocol.link.queue import Together
from busway.protocol.messaging.correspondent import talk
from busway.protocol.wire.aliases import AliasWriter
from busway.protocol.wire.fields import frame
from busway.protocol.wire.messages import Frame, RoutingHeader

from .helpers import payloads
from .nets import ANYCAST, UNICAST, USERSPACE, Mesh, chain, id_of
from .pairs import E, F

# How long a prefix is


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        ("88 00 ff 01 1234", 4),
        ("88 04 ff 03 01 1234 6869", 5),
        ("88 0c ff 03 04 01 1234", 6),
        ("88 0c ff 8301 8401 01 1234", 8),
        ("88 0c ff 8301 8401 8101 1234", 9),
        ("88 04 ff 03 8101 1234", 6),
        ("88 04 ff 00 03" + "77" * 20 + "01 1234", 0),  # binds a node
        ("88 04 ff 03 00 01" + E.hex() + "1234", 0),  # binds an endpoint
        ("88 04 ff 838001 01 1234", 0),  # longer than any number here
        ("88 04 ff 03 01 12", 0),  # cut
        ("88 04 ff 03 8101 12", 0),
        ("88 04 ff 03", 0),
    ],
)
def test_a_prefix_ends_before_the_number_unless_it_binds_something(raw: str, size: int) -> None:
    data = b"\x09" + bytes.fromhex(raw)
    found = _prefix_end(data, 1, len(data))
    assert found == (1 + size if size else 0)


def test_a_switch_forgets_all_when_it_knows_too_much() -> None:
    net = chain("abc")
    net["c"].register(E, UNICAST)
    net.pump()
    warm(net)
    switch = net.cable["bc"].b.fast
    (meaning,) = switch._known.values()
    switch._known = {number.to_bytes(4, "big"): meaning for number in range(1024)}
    other = Frame(codes.SEND, b"", E, 1, b"", codes.RAW, b"")
    switch.learn(b"next", other, RoutingHeader(net["a"].me.key, 0, 9))
    assert switch._known == {b"next": meaning}


# Whatever is sent, in whatever pieces, comes whole and in order

SENDS = st.lists(
    st.tuples(
        st.sampled_from([E, E, E, F]),
        st.sampled_from([codes.RAW, codes.RAW, codes.CBOR, codes.TYPED_AS_ENDPOINT, codes.TYPED]),
        st.sampled_from([0, 1, 100, 119, 130, 1000, 16_370, 16_390, 70_000]),
    ),
    max_size=25,
)


@pytest.mark.parametrize("letters", ["abc", "abcd"])
@given(sends=SENDS, size=st.sampled_from([50, 1000, 65536]), split=st.sampled_from([0, 3, 1000]))
@settings(max_examples=15)
def test_what_passes_through_comes_whole_and_in_order(
    letters: str, sends: list[tuple[bytes, int, int]], size: int, split: int
) -> None:
    net = chain(letters)
    last = net[letters[-1]]
    receivers = {uuid: last.register(uuid, UNICAST, size_max=1 << 24) for uuid in (E, F)}
    net.pump()
    wanted: dict[bytes, list[tuple[bytes, int]]] = {E: [], F: []}
    for number, (uuid, format, length) in enumerate(sends):
        payload = bytes([number]) * length
        net["a"].send(uuid, payload, net.now, format, b"t" * 16 if format == codes.TYPED else b"")
        wanted[uuid].append((payload, format))
        if number % 4 == 3:
            net.pump(size, split)
    got: dict[bytes, list[tuple[bytes, int]]] = {E: [], F: []}
    for _ in range(len(sends) + 1):
        net.pump(size, split)
        for uuid, receiver in receivers.items():
            got[uuid] += [(message.payload, message.format) for message in net.drain(last, receiver)]
    assert got == wanted
    assert last.receiving.counters["late"] == last.receiving.counters["missed"] == 0


def warm(net: Mesh, uuid: bytes = E) -> None:
    """Two messages, so that the next goes the short way everywhere."""
    for _ in range(2):
        net["a"].send(uuid, b"warm", net.now)
        net.pump()


def test_the_short_way_is_taken() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    warm(net)
    net.cable["bc"].block(net["c"])  # no credit comes back
    before = net["b"].forwarder.counters["forwarded"]  # which counts the long way
    for number in range(2):
        net["a"].send(E, b"short %d" % number, net.now)
    net.pump()
    assert net["b"].forwarder.counters["forwarded"] == before
    assert net.cable["bc"].a.outbox.transit.passed == 4
    assert net.payloads("c", receiver) == [b"warm", b"warm", b"short 0", b"short 1"]


def test_frames_of_any_length_take_the_short_way() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    warm(net)
    net.cable["bc"].block(net["c"])  # no credit comes back
    sizes = (10, 300, 20_000, 60_000, 10)  # lengths of one, two and three bytes
    before = net["b"].forwarder.counters["forwarded"]  # which counts the long way
    for size in sizes:
        net["a"].send(E, bytes(size), net.now)
    net.pump()
    assert [len(payload) for payload in net.payloads("c", receiver)] == [4, 4, *sizes]
    assert net["b"].forwarder.counters["forwarded"] == before


def test_a_length_of_four_bytes_is_passed_on_the_long_way() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    warm(net)
    net.cable["bc"].block(net["c"])  # no credit comes back
    net["a"].send(E, b"xyz", net.now)
    data = net.cable["ab"].a.data_to_send(1 << 20, net.now)
    net.note(
        net["b"], net.cable["ab"].b.receive_data(bytes((data[0] | 0x80, 0x80, 0x80, 0)) + data[1:], net.now)
    )
    net.pump()
    assert net.payloads("c", receiver) == [b"warm", b"warm", b"xyz"]


def test_where_the_next_queue_is_full_the_long_way_tells_the_origin() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    warm(net)
    net.cable["bc"].block(net["b"])
    outbox = net.cable["bc"].a.outbox
    full = outbox.transit.size = codes.TRANSIT_SIZE_MAX - 300  # as if of others
    net["a"].send(E, b"x" * 100, net.now)
    net["a"].send(E, b"y" * 100, net.now)
    net["a"].send(E, b"z" * 100, net.now)
    net.pump()
    assert net.undelivered("a") == [codes.QUEUE_FULL]
    assert outbox.transit.size == full + 264
    net.cable["bc"].block(net["b"], False)
    net.pump()
    assert outbox.transit.size == full
    assert net.payloads("c", receiver) == [b"warm", b"warm", b"x" * 100, b"y" * 100]


def test_a_way_that_changes_is_not_taken_from_memory() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST)
    net.add("d")
    net.join("bd dc", cost=9)
    net.pump()
    warm(net)
    net.cable["bc"].cut()
    net.pump()
    for number in range(2):
        net["a"].send(E, b"short %d" % number, net.now)
    net.pump()
    assert net.hop("b", "c") == "d"
    assert net.payloads("c", receiver) == [b"warm", b"warm", b"short 0", b"short 1"]


def test_a_nearer_link_to_the_next_node_is_taken_though_the_former_stays() -> None:
    net = Mesh()
    net.add("abc")
    net.join("ab")
    net.join("bc", cost=9)
    net.pump()
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    warm(net)
    former = net.cable["bc"].a.outbox.transit
    net.join("bc", realm=USERSPACE)
    net.pump()
    nearer = net.cable["bc"].a.outbox.transit
    passed = former.passed
    for number in range(2):
        net["a"].send(E, b"short %d" % number, net.now)
    net.pump()
    assert nearer is not former
    assert former.passed == passed
    assert net.payloads("c", receiver) == [b"warm", b"warm", b"short 0", b"short 1"]


def test_what_waits_for_a_link_that_ends_takes_another_way_in_order() -> None:
    net = Mesh()
    net.add("abcd")
    net.join("ab dc")
    net.join("bc", cost=5)
    net.join("bd", cost=9)
    net.pump()
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    warm(net)
    net.cable["bc"].block(net["b"])
    for number in range(3):
        net["a"].send(E, b"short %d" % number, net.now)
    net.pump()
    net.cable["bc"].cut()
    net.pump()
    assert net.payloads("c", receiver) == [b"warm", b"warm", b"short 0", b"short 1", b"short 2"]
    assert net.undelivered("a") == []


def test_short_messages_pass_between_the_pieces_of_a_large_one_and_those_behind_it_wait() -> None:
    net = Mesh()
    net.add("abc", limits=Limits(frame_size_max=1000, message_size_max=1 << 20, partials_max=1))
    net.join("ab bc")
    net.pump()
    large = net["c"].register(E, UNICAST)
    other = net["c"].register(F, UNICAST)
    net.pump()
    warm(net, F)
    net.cable["bc"].block(net["b"])
    net["a"].send(E, b"x" * 50_000, net.now)
    net["a"].send(E, b"behind", net.now)
    net["a"].send(F, b"passes", net.now)
    net.pump()
    net["a"].send(F, b"does so, too", net.now)  # by the short way, as far as that goes
    net["a"].send(E, b"y" * 5_000, net.now)
    net.pump()
    net.cable["bc"].block(net["b"], False)
    arrived = []
    while not len(large.queue):
        assert net.step(3000)
        arrived += net.payloads("c", other)
    assert arrived == [b"warm", b"warm", b"passes", b"does so, too"]
    net.pump()
    assert [len(payload) for payload in net.payloads("c", large)] == [50_000, 6, 5_000]
    assert net.cable["bc"].a.outbox.transit.size == 0


def test_what_waits_is_written_whatever_is_bound_by_then_and_however_little_at_a_time() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    for _ in range(9):  # so that there is credit
        warm(net)
        net.payloads("c", receiver)
        net.pump()
    net.cable["bc"].block(net["b"])
    for number in range(6):
        net["a"].send(E, b"short %d" % number, net.now)
    net.pump()
    (path,) = net.cable["ab"].b.fast._known.values()
    assert isinstance(path, Path)
    outbox = net.cable["bc"].a.outbox
    assert outbox.transit.items[0] is path
    assert [type(item) for item in outbox.transit.items[1:]] == [Together]
    outbox.aliases = AliasWriter(7)  # the number has been given away meanwhile
    path.epoch = -1
    net.cable["bc"].block(net["b"], False)
    net.pump(size=12)
    assert net.payloads("c", receiver) == [b"short %d" % number for number in range(6)]
    assert (outbox.transit.size, outbox.transit.items) == (0, [])


def test_a_full_receiver_refuses_what_comes_the_short_way_too() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST, queue_max=6)
    net.pump()
    warm(net)
    flow = talk(net["a"].routes.peers[id_of("c")]).out_flows[E]
    flow.limit = 1 << 20  # an origin that does not heed its credit
    sent = [b"short %d" % number for number in range(6)]
    for payload in sent:
        net["a"].send(E, payload, net.now)
    net.pump()
    assert net.undelivered("a") == [codes.QUEUE_FULL] * 2
    assert net.payloads("c", receiver) == [b"warm", b"warm", *sent[:4]]


def test_an_endpoint_narrower_than_the_way_is_nobodys_the_short_way_too() -> None:
    """Knowledge from when the way was narrow does not hold for a wider one."""
    net = Mesh()
    net.add("abc")
    net.join("ab bc", realm=USERSPACE)
    net.join("ab", realm=codes.LOCALNET, via="tcp")
    net.pump()
    receiver = net["c"].register(E, ANYCAST, USERSPACE)
    net.pump()
    warm(net)
    assert len(net.payloads("c", receiver)) == 2
    bc = net.cable["bc"].b
    known = list(bc.fast._known)
    assert known
    wide = bytes((known[0][0], known[0][1] | codes.LOCALNET)) + known[0][2:]
    bc.fast._known[wide] = bc.fast._known[known[0]]
    net.note(net["c"], bc.receive_data(frame(wide + b"\x00\x03a wide one"), net.now))
    assert net.payloads("c", receiver) == []
    assert net["c"].receiving.counters["no_endpoint"] == 1


def test_a_number_that_goes_to_another_node_is_learned_anew() -> None:
    net = chain("abc")
    receivers = [net["c"].register(uuid, UNICAST) for uuid in (E, F)]
    net.pump()
    warm(net, E)
    connection = net.cable["ab"].b
    assert connection.fast._known
    number = connection.aliases.ids.index(E)
    rebound = b"\x88\x04\xff\x03\x00" + bytes((number,)) + F + b"\x00\x01f"
    destination = connection.news.reader.ids.index(net["c"].me.key)
    rebound = rebound.replace(b"\xff\x03", b"\xff" + bytes((destination,)), 1)
    plain = b"\x88\x04\xff" + bytes((destination, number)) + b"\x00\x02second"
    net.note(net["b"], connection.receive_data(frame(rebound) + frame(plain), net.now))
    net.pump()
    assert payloads(net.drain(net["c"], receivers[0])) == [b"warm", b"warm"]
    assert payloads(net.drain(net["c"], receivers[1])) == [b"f", b"second"]
