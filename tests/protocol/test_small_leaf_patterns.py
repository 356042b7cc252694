"""A small leaf and patterns: it gets what is published to every name that its own mean, and what it publishes
reaches those of others.
"""

from __future__ import annotations

import pytest

from busway.protocol import LocalError, Node, Receiver, codes

from .leaves import LeafNet
from .pairs import E, F
from .test_publishing_patterns import id_of, knows_names


def subscribe(net: LeafNet, node: Node, name: str) -> Receiver:
    receiver = node.register(id_of(name), codes.BROADCAST, name=name)
    net.settle()
    return receiver


def publish(net: LeafNet, name: str, payload: bytes, **options: int) -> None:
    net.leaf.publish(id_of(name), payload, net.now, name=name, **options)  # type: ignore[arg-type]
    net.settle()


def got(net: LeafNet, node: Node, receiver: Receiver) -> list[tuple[str, bytes, int]]:
    return [(message.name, message.payload, message.missed) for message in net.drain(node, receiver)]


@pytest.mark.parametrize("nodes", ["a", "ab"])
def test_it_gets_each_once_with_its_name(nodes: str) -> None:
    net = LeafNet(nodes)
    here = net.leaf.register(id_of("lab/*"), codes.BROADCAST, name="lab/*")
    net.settle()
    origin = net.nodes[-1]
    knows_names(origin)
    for number, name in enumerate(("lab/x", "hall", "lab/y", "lab/x/z", "lab/x")):
        origin.publish(id_of(name), b"%d" % number, net.now)
        net.settle()
    taken = [(message.name, message.payload, message.missed) for message in net.taken(here)]
    assert taken == [("lab/x", b"0", 0), ("lab/y", b"2", 0), ("lab/x", b"4", 0)]


@pytest.mark.parametrize("nodes", ["a", "ab", "abc"])
def test_what_it_publishes_reaches_each_pattern_once_and_in_order(nodes: str) -> None:
    net = LeafNet(nodes)
    far = net.nodes[-1]
    wide, one = subscribe(net, far, "lab/**"), subscribe(net, far, "*/x")
    named, other = subscribe(net, far, "lab/x"), subscribe(net, far, "hall/*")
    for number, name in enumerate(("lab/x", "lab/y", "lab/x", "barn/x", "lab/x/z")):
        publish(net, name, b"%d" % number)
    assert got(net, far, wide) == [
        ("lab/x", b"0", 0),
        ("lab/y", b"1", 0),
        ("lab/x", b"2", 0),
        ("lab/x/z", b"4", 0),
    ]
    assert got(net, far, one) == [("lab/x", b"0", 0), ("lab/x", b"2", 0), ("barn/x", b"3", 0)]
    assert got(net, far, named) == [("lab/x", b"0", 0), ("lab/x", b"2", 0)]
    assert got(net, far, other) == []


def test_it_says_a_name_only_while_its_endpoint_has_no_number() -> None:
    net = LeafNet()
    receiver = subscribe(net, net.router, "lab/*")
    for _ in range(3):
        publish(net, "lab/x", b"value")
    assert bytes(net.cord.sent).count(b"lab/x") == 1
    publish(net, "lab/y", b"")
    for number in range(15):  # as many as there are numbers
        net.leaf.send(bytes((number,)) * 16, b"", net.now)
        net.settle()
    publish(net, "lab/x", bytes(300), priority=codes.HIGH)  # in pieces, with the longest of headers
    assert bytes(net.cord.sent).count(b"lab/x") == 2
    assert sorted(len(message.payload) for message in net.drain(net.router, receiver)) == [0, 5, 5, 5, 300]


def test_it_says_the_name_though_something_else_has_bound_the_number() -> None:
    """A question who has the endpoint, before anybody knew what it is."""
    net = LeafNet()
    receiver = subscribe(net, net.router, "lab/*")
    net.leaf.request(id_of("lab/x"), b"", net.now)
    net.settle()
    assert id_of("lab/x") in net.cord.connection.aliases_out.ids
    publish(net, "lab/x", b"value")
    publish(net, "lab/x", b"value")
    assert got(net, net.router, receiver) == [("lab/x", b"value", 0)] * 2
    assert bytes(net.cord.sent).count(b"lab/x") == 1


@pytest.mark.parametrize("frame_size_max", [128, 256])
def test_a_long_name_fits_beside_any_payload(frame_size_max: int) -> None:
    net = LeafNet(limits=(frame_size_max, 1024, 16, 1))
    receiver = subscribe(net, net.router, "*")
    for size in range(0, 256, 3):
        name = f"{size:03}" + "n" * 61
        net.leaf._casts.clear()  # so that it may publish to as many
        net.leaf.publish(id_of(name), bytes(size), net.now, E, realm=codes.GLOBAL, priority=3, name=name)
        net.settle()
        assert [(message.name, len(message.payload)) for message in net.drain(net.router, receiver)] == [
            (name, size)
        ]


def test_while_a_large_one_is_under_way_a_named_one_passes_only_if_it_fits() -> None:
    net = LeafNet()
    receiver = subscribe(net, net.router, "lab/*")
    net.leaf.send(E, bytes(900), net.now)
    net.router.register(E, codes.UNICAST)
    net.settle()
    net.leaf.send(E, bytes(900), net.now)
    for size in (60, 140):
        name = f"lab/{'n' * 58}{size}"[:64]
        net.leaf.publish(id_of(name), bytes(size), net.now, priority=codes.URGENT, name=name)
    net.settle()
    assert [len(message.payload) for message in net.drain(net.router, receiver)] == [60, 140]


def test_an_older_router_is_told_no_names() -> None:
    net = LeafNet()
    net.cord.cut()
    cord = net.plug(net.leaf, net.router, addressing=False)
    named = subscribe(net, net.router, "lab/x")
    publish(net, "lab/x", b"value")
    assert b"lab/x" not in cord.sent
    assert got(net, net.router, named) == [("lab/x", b"value", 0)]


def test_its_own_endpoints_get_what_it_publishes_once_each() -> None:
    net = LeafNet("ab")
    wide = net.leaf.register(id_of("lab/**"), codes.BROADCAST, name="lab/**")
    narrow = net.leaf.register(id_of("lab/x"), codes.BROADCAST, name="lab/x")
    other = net.leaf.register(id_of("hall/*"), codes.BROADCAST, name="hall/*")
    subscribe(net, net.nodes[-1], "lab/*")
    for number, name in enumerate(("lab/x", "lab/y", "lab/x")):
        net.leaf.publish(id_of(name), b"%d" % number, net.now, id_of(name), name=name)
        net.settle()
    net.leaf.publish(id_of("lab/z"), b"3", net.now, name="lab/z")
    net.settle()
    found = [(m.name, m.payload, m.missed, m.format, m.type_id) for m in net.taken(wide)]
    typed = codes.TYPED
    assert found == [
        ("lab/x", b"0", 0, typed, id_of("lab/x")),
        ("lab/y", b"1", 0, typed, id_of("lab/y")),
        ("lab/x", b"2", 0, typed, id_of("lab/x")),
        ("lab/z", b"3", 0, codes.RAW, b""),
    ]
    assert [(message.name, message.payload) for message in net.taken(narrow)] == [
        ("lab/x", b"0"),
        ("lab/x", b"2"),
    ]
    assert net.taken(other) == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [(codes.UNICAST, "lab/*"), (codes.ANYCAST, "**"), (codes.BROADCAST, "lab/t*"), (codes.BROADCAST, "*x/a")],
)
def test_only_a_subscription_has_stars_and_whole_levels(kind: int, name: str) -> None:
    net = LeafNet()
    with pytest.raises(LocalError):
        net.leaf.register(id_of(name), kind, name=name)
    assert net.leaf.receivers == []


def test_what_is_not_meant_is_dropped_and_counted() -> None:
    """By a router that takes names for others."""
    net = LeafNet()
    pattern = net.leaf.register(id_of("lab/*"), codes.BROADCAST, name="lab/*")
    plain = net.leaf.register(F, codes.BROADCAST, name="hall")
    served = net.leaf.register(E, codes.ANYCAST, name="served")
    net.settle()
    net.router.publish(pattern.uuid, b"no name", net.now)
    net.settle()
    for uuid, name in ((pattern.uuid, "hall/x"), (plain.uuid, "hall"), (served.uuid, "lab/x")):
        frame = publish_frame(uuid, name)
        net.hear(net.leaf, net.cord.connection.receive_data(frame, net.now))
    assert net.taken(pattern) == net.taken(plain) == net.taken(served) == []
    assert net.leaf.counters["misrouted"] == 3
    body = bytes((codes.MESSAGE | codes.REQUEST << 4,)) + b"\0\x0e" + pattern.uuid + b"\0\1\1\1"
    net.hear(net.leaf, net.cord.connection.receive_data(bytes((len(body),)) + body, net.now))
    assert [answer.code for answer in net.leaf.answers] == [codes.WRONG_KIND]


def publish_frame(uuid: bytes, name: str) -> bytes:
    """A PUBLISH with NAME, as a router writes it."""
    option = bytes((codes.OPTION_NAME, len(name))) + name.encode()
    head = bytes((codes.MESSAGE | codes.PUBLISH << 4 | codes.HEAD_OPTIONS, len(option))) + option
    body = head + b"\0\x0f" + uuid + b"\0\1" + b"payload"
    return bytes((len(body),)) + body
