"""Links of clients that the program lets in itself: who comes waits for that, what passes is counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from busway.protocol import Connection, Link, codes
from busway.protocol.errors import Refusal
from busway.protocol.packet.admitted import AdmittedConnection, admitted
from busway.protocol.wire.hello import Hello
from busway.protocol.wire.messages import Frame

from .pairs import Cable, E, Net, guard

Greet = Callable[[Hello], bool]


class Keeper:
    """Says of each HELLO what was set, and keeps what it was asked."""

    def __init__(self, says: Any = False) -> None:
        self.says = says
        self.asked: list[str] = []

    def __call__(self, hello: Hello) -> bool:
        self.asked.append(hello.label)
        if isinstance(self.says, Refusal):
            raise self.says
        hello.label = "renamed"
        return bool(self.says)


def met(keeper: Greet | None, security: Any = None) -> tuple[Net, Connection, AdmittedConnection]:
    """Two nodes; the second, b, has a door, and the first has come to it."""
    net = Net()
    a, b = net.node("a"), net.node("b")
    options: list[dict[str, Any]] = [{"security": security()} if security else {} for _ in range(2)]
    near = a.connection(Link(codes.LOCALNET, True, via="x", keepalive_ms=5000, **options[0]), net.now)
    far = b.connection(Link(codes.LOCALNET, False, keepalive_ms=5000, **options[1]), net.now, admitted)
    assert isinstance(far, AdmittedConnection)
    far.door.greet = keeper
    net.cables.append(Cable(net, near, far))
    return net, near, far


PLAIN_OR_NOT = pytest.mark.parametrize("security", [None, guard])


@PLAIN_OR_NOT
def test_who_comes_waits_until_it_is_let_in(security: Any) -> None:
    keeper = Keeper()
    net, near, far = met(keeper, security)
    b = net.nodes[1]
    receiver = b.register(E, codes.UNICAST, codes.LOCALNET)
    net.pump()
    assert far.state == codes.GREETING
    assert near.state == codes.OPEN  # it has had our HELLO, and says what it likes
    net.nodes[0].send(E, b"early", net.now, node_id=b.node_id, ttl_ms=60_000)
    net.pump()
    net.advance(9000)  # nobody's time to say HELLO runs
    assert far.state == codes.GREETING
    assert not receiver.queue.items
    assert keeper.asked == ["A"]
    keeper.says = True
    far.go_on(net.now)
    net.pump()
    assert far.state == codes.OPEN
    assert [peer.label for peer in b.peers()] == ["renamed"]
    assert b.receiving.take(receiver).payload == b"early"  # type: ignore[union-attr]
    assert far.count().messages >= 1
    assert keeper.asked == ["A", "A"]


@PLAIN_OR_NOT
def test_who_is_not_let_in_hears_why(security: Any) -> None:
    keeper = Keeper()
    net, near, far = met(keeper, security)
    net.pump()
    keeper.says = Refusal(codes.NOT_ADMITTED, "not today")
    far.go_on(net.now)
    net.pump()
    assert (near.close_code, near.close_text) == (codes.NOT_ADMITTED, "not today")
    assert far.state == codes.CLOSED
    assert far.go_on(net.now) == []


def test_who_is_let_in_at_once_does_not_wait() -> None:
    net, near, far = met(Keeper(True))
    net.pump()
    assert (near.state, far.state) == (codes.OPEN, codes.OPEN)
    far.go_on(net.now)  # there is nobody to ask about
    assert far.state == codes.OPEN


def test_without_a_keeper_everybody_comes() -> None:
    net, _, far = met(None)
    net.pump()
    assert far.state == codes.OPEN


def test_who_waits_may_have_to_wait_on() -> None:
    keeper = Keeper()
    net, near, far = met(keeper)
    b = net.nodes[1]
    receiver = b.register(E, codes.UNICAST, codes.LOCALNET)
    hello = near.data_to_send(1 << 16, net.now)
    cut = len(hello) // 2
    far.receive_data(hello[:cut], net.now)
    assert far.door.hello is None
    far.receive_data(hello[cut:], net.now)
    near.receive_data(far.data_to_send(1 << 16, net.now), net.now)
    net.nodes[0].send(E, b"1", net.now, node_id=b.node_id, ttl_ms=60_000)
    rest = near.data_to_send(1 << 16, net.now)
    for at in range(len(rest)):
        far.receive_data(rest[at : at + 1], net.now)
    far.go_on(net.now)
    assert len(keeper.asked) == 2
    assert far.state == codes.GREETING
    keeper.says = True
    far.go_on(net.now)
    assert far.state == codes.OPEN
    net.pump()
    assert b.receiving.take(receiver).payload == b"1"  # type: ignore[union-attr]


def test_who_leaves_while_it_waits_is_asked_about_no_more() -> None:
    keeper = Keeper()
    net, _, far = met(keeper)
    net.pump()
    far.receive_eof(net.now)
    assert far.state == codes.CLOSED
    far.go_on(net.now)
    assert len(keeper.asked) == 1


@PLAIN_OR_NOT
def test_what_passes_is_counted_in_both_directions(security: Any) -> None:
    net, _, far = met(Keeper(True), security)
    a, b = net.nodes
    here = b.register(E, codes.UNICAST, codes.LOCALNET)
    there = a.register(bytes(range(16)), codes.UNICAST, codes.LOCALNET)
    net.pump()
    sizes = [0, 3, 300, 70_000, 300_000, 5] * 4
    for size in sizes:
        a.send(E, bytes(size), net.now)
        b.send(bytes(range(16)), bytes(size), net.now)
        net.pump()
        for node, receiver in ((b, here), (a, there)):
            while node.receiving.take(receiver):
                pass
    net.pump()
    came, went = far.count(), far.door.written
    assert came.messages - came.signals == len(sizes)
    assert went.messages - went.signals == len(sizes)
    assert went.signals > 0  # credit


@PLAIN_OR_NOT
@pytest.mark.parametrize("buffers", [False, True])
def test_they_are_counted_as_they_are_written_by_either_way(buffers: bool, security: Any) -> None:
    net, _, far = met(Keeper(True), security)
    b = net.nodes[1]
    net.nodes[0].register(E, codes.UNICAST, codes.LOCALNET)
    net.pump()
    before = far.door.written.messages
    for _ in range(3):
        b.send(E, bytes(40_000), net.now)
    while far.wants_write:
        data = far.buffers_to_send(1000, net.now) if buffers else [far.data_to_send(1000, net.now)]
        if not any(data):
            break
    assert far.door.written.messages == before + 3


@PLAIN_OR_NOT
def test_all_that_comes_is_heard_before_it_is_had(security: Any) -> None:
    net, _, far = met(Keeper(True), security)
    a, b = net.nodes
    heard: list[tuple[int, bytes]] = []
    here = b.register(E, codes.UNICAST, codes.LOCALNET)

    def hear(frame: Frame) -> None:
        assert not here.queue.items
        heard.append((frame.kind, cast(bytes, frame.payload)))

    far.listen(hear)
    net.pump()
    for size in (0, 10, 10, 200_000, 10):
        a.send(E, bytes(size), net.now)
        net.pump()
        message = b.receiving.take(here)
        assert message is not None
        assert len(message.payload) == size
    a.request(E, b"?", net.now)
    net.pump()
    sent = [(kind, len(payload)) for kind, payload in heard if kind != codes.SIGNAL]
    assert sent == [(codes.SEND, size) for size in (0, 10, 10, 200_000, 10)] + [(codes.REQUEST, 1)]


def test_a_large_message_is_had_where_nobody_hears() -> None:
    net, _, far = met(Keeper(True))
    a, b = net.nodes
    here = b.register(E, codes.UNICAST, codes.LOCALNET)
    far.listen(lambda frame: None)
    far.door.hear = None
    net.pump()
    for size in (200_000, 4):
        a.send(E, bytes(size), net.now)
        net.pump()
        message = b.receiving.take(here)
        assert message is not None
        assert len(message.payload) == size
