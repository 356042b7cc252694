"""A small leaf and last values: it gets those of others when it subscribes, once and within its bounds."""

from __future__ import annotations

import pytest

from busway.protocol import Node, codes
from busway.protocol.leaf.state import Receiver
from busway.protocol.leaf.values import LASTS_MAX
from busway.protocol.wire.ascending import read_ascending, write_ascending
from busway.protocol.wire.fields import varint

from .leaves import LeafNet
from .pairs import E
from .test_publishing_patterns import id_of, knows_names


def net_with(*names: str, nodes: str = "a") -> tuple[LeafNet, Node]:
    """A small leaf, and behind its router a node that keeps a value for each of these names."""
    net = LeafNet(nodes)
    origin = net.nodes[-1]
    knows_names(origin)
    for name in names:
        retain(net, origin, name, name.encode())
    return net, origin


def retain(net: LeafNet, origin: Node, name: str, payload: bytes) -> None:
    origin.retain(id_of(name), payload, net.now)
    net.settle()


def subscribe(net: LeafNet, name: str, **options: int) -> Receiver:
    receiver = net.leaf.register(id_of(name), codes.BROADCAST, name=name, **options)  # type: ignore[arg-type]
    net.settle()
    return receiver


def got(net: LeafNet, receiver: Receiver) -> list[tuple[str, bytes, bool]]:
    messages = net.taken(receiver)
    assert all(message.missed == 0 for message in messages)
    return [(message.name, message.payload, message.retained) for message in messages]


@pytest.mark.parametrize("nodes", ["a", "ab", "abc"])
def test_who_subscribes_gets_the_last_value_before_newer_ones(nodes: str) -> None:
    net, origin = net_with("lab/x", "lab/y", nodes=nodes)
    wide, narrow = subscribe(net, "lab/**"), subscribe(net, "lab/x")
    origin.publish(id_of("lab/x"), b"live", net.now)
    net.settle()
    retain(net, origin, "lab/y", b"new")
    origin.clear(id_of("lab/y"), net.now)
    net.pass_time(10_000)  # as long as values may be sent once more
    assert got(net, wide) == [
        ("lab/x", b"lab/x", True),
        ("lab/y", b"lab/y", True),
        ("lab/x", b"live", False),
        ("lab/y", b"new", False),
    ]
    assert got(net, narrow) == [("lab/x", b"lab/x", True), ("lab/x", b"live", False)]


def test_it_is_not_given_again_what_it_had_when_its_link_comes_back() -> None:
    net, origin = net_with("lab/x", "lab/y")
    receiver = subscribe(net, "lab/*")
    assert len(got(net, receiver)) == 2
    for _ in range(3):
        net.cord.cut()
        retain(net, origin, "lab/y", b"while it was away")
        net.cord = net.plug(net.leaf, net.router)
        net.pass_time(10_000)
        assert got(net, receiver) == [("lab/y", b"while it was away", True)]


def test_two_publishers_of_a_name_are_told_apart() -> None:
    net, origin = net_with("lab/x", nodes="ab")
    knows_names(net.router)
    retain(net, net.router, "lab/x", b"of the router")
    receiver = subscribe(net, "lab/*")
    found = {(message.source, message.payload) for message in net.taken(receiver)}
    assert found == {(origin.node_id, b"lab/x"), (net.router.node_id, b"of the router")}
    retain(net, origin, "lab/x", b"again")
    assert got(net, receiver) == [("lab/x", b"again", False)]


def test_a_value_for_which_the_queue_has_no_room_is_sent_again() -> None:
    names = [f"lab/{number}" for number in range(10)]
    net, _ = net_with(*names)
    receiver = subscribe(net, "lab/*", queue_max=4)
    found = got(net, receiver)
    assert len(found) == 4
    assert net.leaf.counters["refused"] == 6
    for _ in range(10):
        net.pass_time(2_000)
        found += got(net, receiver)
    assert sorted(found) == [(name, name.encode(), True) for name in names]
    assert net.leaf.counters["dropped"] == 0


def test_a_value_that_fits_the_memory_of_all_queues_is_taken() -> None:
    net = LeafNet(queue_size_max=300)
    knows_names(net.router)
    for name in ("lab/x", "lab/y"):
        retain(net, net.router, name, bytes(200))
    receiver = subscribe(net, "lab/*")
    assert len(receiver.queue) == 1
    assert len(got(net, receiver)) == 1
    net.pass_time(2_000)
    assert len(got(net, receiver)) == 1


def test_so_many_are_remembered_and_the_others_may_come_once_more() -> None:
    names = [f"lab/{number:02}" for number in range(LASTS_MAX + 2)]
    net, origin = net_with(*names)
    receiver = subscribe(net, "lab/*", queue_max=64)
    assert [name for name, _, _ in got(net, receiver)] == names
    assert len(net.leaf.lasts) == LASTS_MAX * 12
    net.cord.cut()
    net.cord = net.plug(net.leaf, net.router)
    net.pass_time(10_000)
    again = [name for name, _, _ in got(net, receiver)]
    assert set(names[:2]) <= set(again)  # the two of longest ago, at least
    retain(net, origin, names[-1], b"new")
    assert got(net, receiver) == [(names[-1], b"new", False)]


def test_what_comes_late_or_again_is_not_taken_for_news() -> None:
    net, _ = net_with()
    receiver = subscribe(net, "lab/x")
    for seq, number in ((5, 9), (3, 10), (6, 9), (7, 8), (8, 11 | codes.CLEARED), (9, 11), (10, 12)):
        feed(net, codes.PUBLISH, receiver.uuid, seq, number)
    found = [(message.payload[-1], message.missed) for message in net.taken(receiver)]
    assert found == [(9, 0), (12, 0)]
    assert net.leaf.counters["late"] == 1
    assert net.leaf.counters["missed"] == 0
    feed(net, codes.SEND, receiver.uuid, 1, 20 | codes.CLEARED)
    feed(net, codes.SEND, receiver.uuid, 1, 19)
    assert net.taken(receiver) == []


def test_one_for_what_is_no_subscription_is_refused() -> None:
    net, _ = net_with()
    net.leaf.register(E, codes.UNICAST)
    net.settle()
    feed(net, codes.SEND, E, 1, 1)
    assert [answer.code for answer in net.leaf.answers] == [codes.WRONG_KIND]


def feed(net: LeafNet, kind: int, uuid: bytes, seq: int, number: int) -> None:
    """A last value from the router; its payload is the number's low byte."""
    option = bytes((codes.OPTION_RETAIN, 4)) + number.to_bytes(4, "big")
    head = bytes((codes.MESSAGE | kind << 4 | codes.HEAD_OPTIONS, len(option))) + option
    body = head + b"\0\x0f" + uuid + bytes((0, seq, number & 255))
    net.hear(net.leaf, net.cord.connection.receive_data(bytes((len(body),)) + body, net.now))


# Questions


def question(net: LeafNet, uuid: bytes, *numbers: int, through: int = 99) -> list[int] | None:
    """Ask which of these are lacking; what the leaf answers, None if it does not."""
    payload = write_ascending([0, *numbers])
    option = bytes((codes.OPTION_RETAIN, 4)) + through.to_bytes(4, "big")
    head = bytes((codes.MESSAGE | codes.REQUEST << 4 | codes.HEAD_OPTIONS, len(option))) + option
    body = head + b"\0\x0f" + uuid + b"\0\0" + varint(codes.ID_MAX + 7) + b"\x10" + payload
    net.hear(net.leaf, net.cord.connection.receive_data(bytes((len(body),)) + body, net.now))
    if not net.leaf.answers:
        return None
    answer = net.leaf.answers.pop()
    assert (answer.kind, answer.id) == (codes.REPLY, codes.ID_MAX + 7)
    return read_ascending(answer.payload)


def test_it_says_which_values_it_lacks() -> None:
    net, _ = net_with()
    receiver, other = subscribe(net, "lab/x"), subscribe(net, "lab/y")
    assert question(net, receiver.uuid, 3, 7) == [3, 7]
    feed(net, codes.SEND, receiver.uuid, 1, 7)
    assert question(net, receiver.uuid, 3, 7, 9) == [3, 9]
    assert question(net, receiver.uuid, 7) == []
    assert question(net, other.uuid, 7) == [7]


def test_of_those_that_it_has_forgotten_it_lacks_none() -> None:
    net, origin = net_with()
    receiver = subscribe(net, "lab/*", queue_max=128)
    for number in range(LASTS_MAX + 3):
        retain(net, origin, f"lab/{number}", b"value")
    assert len(net.leaf.lasts) == LASTS_MAX * 12
    numbers = range(1, LASTS_MAX + 6)
    bodies = [message.key for message in net.taken(receiver)]
    assert len(bodies) == LASTS_MAX + 3
    assert question(net, receiver.uuid, *numbers) == [LASTS_MAX + 4, LASTS_MAX + 5]


def test_what_is_no_question_is_not_answered() -> None:
    net, _ = net_with()
    receiver = subscribe(net, "lab/x")
    assert question(net, receiver.uuid, 3, 3) is None
    feed(net, codes.REQUEST, receiver.uuid, 0, 5)  # too short
    assert net.cord.connection.close_code == codes.MALFORMED


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_of_many_publishers_those_of_longest_ago_are_forgotten() -> None:
    net, _ = net_with()
    receivers = [subscribe(net, f"lab/{number}") for number in range(3 * LASTS_MAX)]
    for receiver in receivers:
        feed(net, codes.SEND, receiver.uuid, 1, 7)
    assert len(net.leaf.lasts) == LASTS_MAX * 12
    assert question(net, receivers[-1].uuid, 7, 8) == [8]
    assert question(net, receivers[0].uuid, 7, 8) == [7, 8]
