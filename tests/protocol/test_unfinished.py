"""Large messages that are coming in: how much of them a node keeps, for how long, and at whose cost."""

from __future__ import annotations

import pytest

from busway.protocol import Limits, Node, codes, events
from busway.protocol.link.queue import OVERHEAD
from busway.protocol.link.unfinished import Buffers
from busway.protocol.wire.fields import varint
from tests.protocol.helpers import payloads, verdicts
from tests.protocol.nets import (
    GLOBAL,
    LOCALNET,
    SELF,
    UNICAST,
    Liar,
    Mesh,
    alias,
    bind,
    chain,
    directory,
    entry,
    u16,
)
from tests.protocol.pairs import E, F

MIB = 1 << 20
PIECE = 65000


def first(kind: int, partial: int, size: int, fields: bytes, piece: bytes = b"") -> bytes:
    """The first frame of a cut message."""
    cut = bytes((7, codes.OPTION_CUT, 5, partial)) + size.to_bytes(4, "big")
    return bytes((codes.MESSAGE | codes.HEAD_OPTIONS | kind << 4,)) + cut + fields + piece


def more(partial: int, size: int = PIECE) -> bytes:
    return bytes((codes.MORE, partial)) + bytes(size)


def pour(liar: Liar, partials: int, size: int) -> None:
    """So many messages at once, of which all but the end comes."""
    for partial in range(partials):
        liar.say(first(codes.SEND, partial, 16 * MIB, alias(1, E) + u16(partial + 1)))
        for _ in range(size // PIECE):
            liar.say(more(partial))


def kept(node: Node) -> int:
    assemblies = [each for link in node.connections for each in link.inbox.assemblies.values()]
    held = sum(assembly.have for assembly in assemblies)
    room = sum(len(assembly.buffer) for assembly in assemblies)
    assert room - held <= held // 4 + codes.SPARE_SIZE_MAX
    assert node.unfinished.size - 512 * 4 * len(node.connections) <= held <= node.unfinished.size
    return held


def unfinished(node: Node) -> int:
    return node.counters["unfinished"]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_many_links_together_fill_no_more_than_one_node_may_keep() -> None:
    net = chain("ab")
    a = net["a"]
    liars = [Liar(net, a, letter) for letter in "stuvwxyz"]
    for liar in liars:  # 64 MiB each, 512 in all, if each were given what it may have under way
        pour(liar, 4, 16 * MIB - 2 * PIECE)
        assert kept(a) <= codes.UNFINISHED_SIZE_MAX
    assert all(liar.error < 0 for liar in liars)
    assert unfinished(a) >= 28
    told = [event for event in net.seen(a, events.EXCEEDED) if isinstance(event, events.ExceededEvent)]
    assert len(told) == len(liars)  # each of them once
    assert {event.which for event in told} == {codes.QUOTA_UNFINISHED}
    for liar in liars:
        liar.leave()
    assert (kept(a), a.unfinished.size) == (0, 0)


def test_the_message_of_another_link_comes_through_a_flood() -> None:
    net = chain("ab")
    a, b = net["a"], net["b"]
    receiver = a.register(F, UNICAST)
    net.pump()
    token = b.send(F, bytes(12 * MIB), net.now, confirm=True)
    net.pump(size=6 * MIB)  # in two parts: between them comes the flood
    b.send(F, b"behind", net.now)
    for liar in (Liar(net, a, "y"), Liar(net, a, "z")):
        pour(liar, 4, 16 * MIB - 2 * PIECE)
    half = net.cable["ab"].b.data_to_send(6 * MIB, net.now)
    net.note(a, net.cable["ab"].a.receive_data(half, net.now))
    net.pump()
    assert payloads(net.drain(a, receiver)) == [bytes(12 * MIB), b"behind"]
    net.pump()
    assert verdicts(net, b, token) == [(events.TAKEN, 0)]


def test_who_waits_for_a_message_that_was_given_up_is_told() -> None:
    net = chain("ab")
    a = net["a"]
    a.register(E, UNICAST)
    liar = Liar(net, a)
    liar.say(directory(SELF, LOCALNET, 0, 1, entry(UNICAST, F)))
    token = a.request(F, b"?", net.now, timeout_ms=600_000)
    liar.hear()
    liar.say(first(codes.SEND, 0, 100, alias(1, E) + u16(7)))
    liar.say(first(codes.REQUEST, 1, 100, varint(1) + u16(8) + varint(5) + varint(600_000)))
    liar.say(first(codes.REPLY, 2, 100, varint(token)))
    liar.say(first(codes.PUBLISH, 3, 100, varint(1) + u16(1)))
    net.advance(codes.UNFINISHED_MS - 1)
    assert unfinished(a) == 0
    net.advance(1)
    assert unfinished(a) == 4
    assert verdicts(net, a, token) == [(events.UNDELIVERED, codes.QUEUE_FULL)]
    undeliverable = bytes((codes.MESSAGE | codes.SIGNAL << 4, codes.UNDELIVERABLE))
    assert [body for body in liar.hear() if body[0] != codes.ROUTES] == [
        undeliverable + alias(2, E) + u16(7) + bytes((codes.QUEUE_FULL,)),
        bytes((codes.MESSAGE | codes.ERROR << 4, 5, codes.QUEUE_FULL)),
    ]
    liar.say(*[more(partial, 100) for partial in range(4)])  # what still comes of them is read over
    assert liar.error < 0
    assert a.receiving.endpoints[E].queued() == 0
    liar.say(first(codes.SEND, 0, 4, varint(1) + u16(9), b"ab"), more(0, 2))
    assert a.receiving.endpoints[E].queued() == 1


def test_what_grows_slowly_is_not_given_up() -> None:
    net = chain("ab")
    a = net["a"]
    receiver = a.register(E, UNICAST)
    liar = Liar(net, a)
    liar.say(first(codes.SEND, 0, 10, alias(1, E) + u16(1)))
    for _ in range(10):
        assert net.drain(a, receiver) == []
        net.advance(codes.UNFINISHED_MS - 1)
        liar.say(more(0, 1))
    assert payloads(net.drain(a, receiver)) == [bytes(10)]
    net.advance(2 * codes.UNFINISHED_MS)
    assert a.unfinished.deadline == -1


def test_a_message_on_its_way_through_is_given_up_for_whoever_waits_for_it() -> None:
    net = chain("abc")
    net["c"].register(E, UNICAST, GLOBAL)
    net.pump()
    liar = Liar(net, net["b"])
    liar.hear()
    to = bind(7, net["c"].me.key)
    route = bytes((codes.HOW_DESTINATION, 255)) + to
    cut = bytes((7, codes.OPTION_CUT, 5, 0)) + (100).to_bytes(4, "big")
    head = bytes((codes.MESSAGE | codes.HEAD_ROUTED | codes.HEAD_OPTIONS | codes.SEND << 4,))
    liar.say(head + route + cut + alias(1, E) + u16(3))
    of = bytes((codes.HOW_DESTINATION | codes.HOW_SOURCE, 255)) + varint(7) + bind(9, net["a"].me.key)
    forged = bytes((7, codes.OPTION_CUT, 5, 1)) + (100).to_bytes(4, "big")
    liar.say(head + of + forged + varint(1) + u16(3))
    net.advance(2 * codes.UNFINISHED_MS)
    assert unfinished(net["b"]) == 2
    [news] = liar.heard(codes.MESSAGE | codes.HEAD_ROUTED | codes.SIGNAL << 4)
    assert news.endswith(u16(3) + bytes((codes.QUEUE_FULL,)))
    assert net.undelivered("a") == []


def test_nobody_hears_of_what_was_forged_and_given_up() -> None:
    net = chain("ab")
    a, b = net["a"], net["b"]
    b.register(E, UNICAST)
    net.pump()
    b.send(F, b"", net.now)
    a.send(E, b"", net.now)
    net.pump()
    liar = Liar(net, a)
    head = bytes((codes.MESSAGE | codes.HEAD_ROUTED | codes.HEAD_OPTIONS | codes.SEND << 4,))
    for partial, source in enumerate((b.me.key, a.me.key)):
        cut = bytes((7, codes.OPTION_CUT, 5, partial)) + (100).to_bytes(4, "big")
        liar.say(head + bytes((codes.HOW_SOURCE, 255)) + bind(9, source) + cut + alias(1, E) + u16(1))
    net.advance(2 * codes.UNFINISHED_MS)
    assert unfinished(a) == 2
    assert net.undelivered("b") == net.undelivered("a") == []


def test_a_node_that_takes_larger_messages_keeps_as_much_as_two() -> None:
    net = Mesh()
    net.add("a", limits=Limits(message_size_max=100 * MIB))
    assert net["a"].unfinished.size_max == 200 * MIB


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_answers_that_nobody_reads_end_where_they_grow() -> None:
    net = chain("ab")
    liar = Liar(net, net["a"])
    ask = bytes((codes.MESSAGE,)) + varint(1) + u16(1)
    liar.say(bytes((codes.MESSAGE,)) + alias(1, F) + u16(1))
    liar.say(*[ask] * (3 * codes.ANSWERS_MAX))  # in one reading, before any timer
    assert len(liar.connection.outbox.answers) == codes.ANSWERS_MAX
    net.fire()
    assert liar.error == codes.NOT_READING
    assert OVERHEAD * codes.ANSWERS_MAX == MIB // 2


# The buffers that they are put together in


def spares(node: Node) -> Buffers:
    return node.unfinished.buffers


def one_whole(liar: Liar, seq: int, size: int) -> None:
    """A large message, all of it."""
    liar.say(first(codes.SEND, 0, size, (alias(1, E) if seq == 1 else varint(1)) + u16(seq)))
    for left in range(size, 0, -PIECE):
        liar.say(more(0, min(left, PIECE)))


def test_a_buffer_serves_one_large_message_after_the_other_and_is_dropped_when_none_comes() -> None:
    net = chain("ab")
    a = net["a"]
    receiver = a.register(E, UNICAST)
    liar = Liar(net, a)
    sizes = [MIB, 300_000, 2 * MIB]
    used = []
    for seq, size in enumerate(sizes, 1):
        one_whole(liar, seq, size)
        used.append(spares(a).size)
    assert payloads(net.drain(a, receiver)) == [bytes(size) for size in sizes]
    assert used == [MIB, MIB, 2 * MIB]  # the last needed a larger one, and the former is gone
    liar.say(first(codes.SEND, 0, 10, varint(1) + u16(4), b"x"))
    assert spares(a).size == 2 * MIB  # in use
    net.advance(codes.UNFINISHED_MS)
    assert unfinished(a) == 1
    net.advance(codes.UNFINISHED_MS)
    assert spares(a).size == 0


def test_no_more_is_kept_for_large_messages_than_so_much_however_many_have_come() -> None:
    net = chain("ab")
    a = net["a"]
    a.register(E, UNICAST, size_max=1 << 30)
    liar = Liar(net, a)
    for partial in range(4):
        liar.say(
            first(codes.SEND, partial, 3 * MIB, (varint(1) if partial else alias(1, E)) + u16(partial + 1))
        )
    for partial in (3, 2, 1, 0):
        for left in range(3 * MIB, 0, -PIECE):
            liar.say(more(partial, min(left, PIECE)))
        assert spares(a).size == 3 * MIB
    for partial in range(4):  # what is kept is lent once
        liar.say(first(codes.SEND, partial, 3 * MIB, varint(1) + u16(partial + 5), b"x"))
    (link,) = [link for link in a.connections if link.inbox.assemblies]
    rooms = [len(assembly.buffer) for assembly in link.inbox.assemblies.values()]
    assert rooms == [3 * MIB, 1, 1, 1]
    assert kept(a) == 4
    liar.leave()
    assert spares(a).size <= codes.SPARE_SIZE_MAX
    one = Liar(net, a, "y")
    for seq, size in enumerate((6 * MIB, 100_000), 1):  # one that is too large is not kept
        one_whole(one, seq, size)
        assert spares(a).size <= codes.SPARE_SIZE_MAX
    assert one.error < 0
