"""How far what a small leaf says and hears may come: realms, and numbers that nobody guesses."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import codes, events
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.wire.fields import frame, varint
from tests.protocol.leaves import LeafNet
from tests.protocol.nets import BROADCAST, GLOBAL, LOCALNET, UNICAST, USERSPACE, alias, message, u16
from tests.protocol.pairs import E, F, bodies


def crossed(realm: int, which: int, rest: bytes) -> bytes:
    """A signal of the leaf's router that has crossed that realm."""
    return frame(message(codes.SIGNAL, realm, 255, b"", bytes((which,)) + rest))


def feed(net: LeafNet, data: bytes) -> list[bytes]:
    """What a leaf answers at once."""
    net.hear(net.leaf, net.cord.connection.receive_data(data, net.now))
    return [body for body in bodies(net.cord.connection.data_to_send(4096, net.now)) if body[0] >= 0x80]


def test_signals_that_have_crossed_more_than_an_endpoints_realm_are_none() -> None:
    net = LeafNet("m")
    receiver = net.leaf.register(E, UNICAST, LOCALNET)
    net.settle()
    token = net.router.request(E, b"?", net.now, window=2)
    net.settle()
    [request] = net.taken(receiver)
    assert feed(net, crossed(GLOBAL, codes.PROBE, alias(9, E) + u16(70))) == []
    assert feed(net, crossed(GLOBAL, codes.PART_CREDIT, varint(token) + u16(70))) == []
    feed(net, crossed(GLOBAL, codes.CANCEL, varint(token)))
    assert net.heard(events.REQUEST_CANCELLED) == []
    assert request.window == 2
    [have] = feed(net, crossed(GLOBAL, codes.WHO, varint(9)))
    assert len(have) == 3  # nobody
    assert len(feed(net, crossed(LOCALNET, codes.PROBE, varint(9) + u16(70)))) == 1
    feed(net, crossed(LOCALNET, codes.CANCEL, varint(token)))
    assert [event.request for event in net.heard(events.REQUEST_CANCELLED)] == [request]


def test_holders_and_credit_count_only_as_far_as_they_have_come() -> None:
    net = LeafNet("m")
    net.router.register(E, UNICAST, LOCALNET)
    net.router.register(F, UNICAST, GLOBAL)
    for uuid in (E, F):
        net.leaf.send(uuid, b"x", net.now)
        net.settle()
        assert net.heard(events.OUTCOME)[-1].status == events.ACCEPTED
    flows = {flow.endpoint: flow for flow in net.leaf._out}
    before = {uuid: flow.limit for uuid, flow in flows.items()}
    for number, uuid in ((14, E), (15, F)):
        feed(net, crossed(GLOBAL, codes.CREDIT, alias(number, uuid) + u16(500)))
        feed(net, crossed(GLOBAL, codes.UNDELIVERABLE, varint(number) + u16(1) + b"\2"))
    assert (flows[E].limit, flows[F].limit) == (before[E], 500)
    assert [event.endpoint for event in net.heard(events.UNDELIVERABLE)] == [F]
    head = bytes((UNICAST | LOCALNET << 2, 1, 0, 0))
    feed(net, crossed(GLOBAL, codes.HAVE, varint(14) + head))
    net.leaf.send(E, b"x", net.now)
    net.pass_time(0)
    assert (net.heard(events.OUTCOME)[-1].status, net.heard(events.OUTCOME)[-1].code) == (
        events.UNDELIVERED,
        codes.NO_ENDPOINT,
    )


def test_a_broadcast_says_how_far_it_gets_and_goes_no_farther() -> None:
    net = LeafNet("m")
    receiver = net.router.register(E, codes.BROADCAST, GLOBAL)
    net.settle()
    for realm in (USERSPACE, LOCALNET, GLOBAL):
        net.leaf.publish(E, bytes((realm,)), net.now, realm=realm, best_effort=realm == GLOBAL)
        net.settle()
    said = [body for body in bodies(net.cord.sent) if body[0] & 0xF3 == 0x90]
    assert [body[0] for body in said] == [0x90, 0x94]
    assert said[1][1:7] == bytes((5, codes.OPTION_BEST_EFFORT, 0, codes.OPTION_REACH, 1, GLOBAL))
    assert [each.payload for each in net.drain(net.router, receiver)] == [
        bytes((LOCALNET,)),
        bytes((GLOBAL,)),
    ]
    own = net.leaf.register(F, BROADCAST, GLOBAL)
    net.leaf.publish(F, b"own", net.now, realm=USERSPACE)
    assert [each.payload for each in net.taken(own)] == [b"own"]


@pytest.mark.parametrize(
    ("words", "wanted"), [([0, 0], [1, 2]), ([0xFFFFFFFF, 0x5FFFFFFF], [codes.ID_MAX, 1])]
)
def test_ids_are_drawn_and_pass_over_those_in_use(words: list[int], wanted: list[int]) -> None:
    drawn = iter([0, *words])

    def entropy(size: int) -> bytes:
        return next(drawn).to_bytes(size, "big")

    leaf: Any = Leaf(b"x" * 16, entropy=entropy)
    assert [leaf.request(E, b"", 0) for _ in words] == wanted


def test_who_only_says_that_it_will_read_is_given_up() -> None:
    net = LeafNet("m")
    receiver = net.leaf.register(E, UNICAST)
    net.settle()
    head = bytes((codes.MESSAGE | codes.REQUEST << 4 | codes.HEAD_OPTIONS, 4, codes.OPTION_STREAM, 2))
    feed(net, frame(head + u16(2) + alias(9, E) + u16(1) + varint(5) + varint(1000)))
    [request] = net.taken(receiver)
    feed(net, crossed(LOCALNET, codes.PART_CREDIT, varint(5) + u16(4)))
    for _ in range(codes.STREAM_STALL_MS // 60_000 - 1):
        net.now += 60_000
        feed(net, crossed(LOCALNET, codes.PART_CREDIT, varint(5) + u16(4)))
        net.hear(net.leaf, net.leaf.handle_timer(net.now))
    assert net.heard(events.REQUEST_CANCELLED) == []
    for _ in range(4):
        net.now += 60_000
        feed(net, crossed(LOCALNET, codes.PART_CREDIT, varint(5) + u16(4)))
        net.hear(net.leaf, net.leaf.handle_timer(net.now))
    assert [event.request for event in net.heard(events.REQUEST_CANCELLED)] == [request]
