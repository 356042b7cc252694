"""Tools of tests of the meaning side: forged answers, short views, and the check that nothing is left."""

from __future__ import annotations

from busway.protocol import Message, Node, Receiver, codes, events
from busway.protocol.messaging.correspondent import talk
from busway.protocol.wire.messages import Frame
from tests.protocol.pairs import Net

A = b"a" * 16
B = b"b" * 16
C = b"c" * 16


def forge(
    node: Node, to: bytes, kind: int, id: int, *, number: int = 0, extra: int = 0, payload: bytes = b""
) -> None:
    """Let `node` write an answer that nothing asked for."""
    peer = node.routes.peers[to]
    out = Frame(kind, peer.key, b"", number, payload, codes.RAW, b"")
    out.id = id
    if kind == codes.SIGNAL:
        out.signal = extra
    else:
        out.code = extra
    assert peer.hop is not None
    peer.hop.enqueue(out)


def payloads(messages: list[Message]) -> list[object]:
    return [message.payload for message in messages]


def assert_settled(net: Net) -> None:
    """Nothing is pending, held or waited for anywhere."""
    for node in net.nodes:
        assert node.origin.pending == {}
        assert node.origin.unresolved.waiting == {}
        for peer in [node.me, *node.routes.peers.values(), *node.routes.departed.values()]:
            assert talk(peer).serving == {}
            assert all(not len(flow.waiting) for flow in talk(peer).out_flows.values())


def fill(net: Net, node: Node, endpoint: bytes, count: int) -> list[int]:
    return [node.send(endpoint, b"%d" % number, net.now) for number in range(count)]


def counts(net: Net, holders: list[tuple[Node, Receiver]]) -> list[int]:
    return [len(net.drain(node, receiver)) for node, receiver in holders]


def parts_of(net: Net, token: int) -> list[object]:
    """The payloads of a stream that the first node of the net reads."""
    return [o.payload for o in net.outcomes(net.nodes[0], token) if o.status == events.PARTIAL]


def verdicts(net: Net, node: Node, token: int) -> list[tuple[int, int]]:
    """Status and code of every outcome that a token had."""
    return [(outcome.status, outcome.code) for outcome in net.outcomes(node, token)]
