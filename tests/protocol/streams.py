"""A listener in every state of a link, a recorded stream, ways to cut it, and what may come of any bytes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from busway.protocol import Limits, Link, Message, Node, codes, events
from busway.protocol.wire.fields import frame, varint

from .pairs import START, E, Entropy, F, G, Pair, bodies, guard

SMALL = Limits(frame_size_max=200, message_size_max=2000, aliases_max=5, partials_max=2)
A_SERVES = b"served by node a"
NOW = START

Cut = Callable[[bytes], Iterable[bytes]]


def whole(data: bytes) -> Iterable[bytes]:
    return [data]


def one_by_one(data: bytes) -> Iterable[bytes]:
    return [data[pos : pos + 1] for pos in range(len(data))]


def at_random(seed: int) -> Cut:
    def cut(data: bytes) -> Iterable[bytes]:
        rng = random.Random(seed)
        places = sorted(rng.sample(range(len(data) + 1), min(len(data), rng.randint(1, 40))))
        return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]

    return cut


def plain(value: Any) -> Any:
    """Events and messages as values that can be compared between two nodes."""
    if isinstance(value, bytes | int | str | bool | None):
        return value
    if isinstance(value, Message):
        return (
            "message",
            value.source,
            value.endpoint,
            value.seq,
            value.payload,
            value.missed,
            value.type_id,
        )
    if isinstance(value, events.Event):
        names = sorted({name for base in type(value).__mro__ for name in getattr(base, "__slots__", ())})
        return (type(value).__name__, *[plain(getattr(value, name)) for name in names])
    return type(value).__name__


class Listener:
    """Node b, always the same, with its end of a link."""

    def __init__(self, limits: Limits = SMALL, **link: Any) -> None:
        self.node = Node(b"b" * 16, entropy=Entropy(2), label="B", limits=limits)
        self.receivers = [
            self.node.register(E, codes.UNICAST, queue_max=20),
            self.node.register(F, codes.ANYCAST, policy=codes.DROP_OLDEST, queue_max=6),
            self.node.register(G, codes.BROADCAST, policy=codes.DROP_NEWEST, queue_max=6),
        ]
        self.connection = self.node.connection(Link(via="ipc", **link), NOW)
        self.happened: list[events.Event] = []
        self.frames_max = codes.HELLO_SIZE_MAX

    def feed(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.happened += self.connection.receive_data(piece, NOW)

    def ask(self) -> None:
        """b's own requests, to which part of the stream answers."""
        for window in (0, 0, 8):
            self.node.request(A_SERVES, b"?", NOW, window=window, timeout_ms=10_000)
        self.node.send(A_SERVES, b"!", NOW, confirm=True)

    def account(self) -> Any:
        """All that can be seen of what was read."""
        queues = [[plain(item) for item in receiver.queue.drain()] for receiver in self.receivers]
        written = self.connection.data_to_send(1 << 24, NOW)
        return [
            [plain(event) for event in self.happened],
            queues,
            written,
            self.node.receiving.counters,
            self.node.origin.counters,
            self.node.counters,
            self.connection.skipped_frames,
            self.connection.bytes_in,
        ]


def record() -> tuple[bytes, bytes]:
    """The bytes that node a writes to such a listener: before b's own requests, and after."""
    pair = Pair(limits=SMALL, a_node={"entropy": Entropy(7)})
    for uuid, kind in ((E, codes.UNICAST), (F, codes.ANYCAST), (G, codes.BROADCAST)):
        pair.b.register(uuid, kind)
    serve = pair.a.register(A_SERVES, codes.UNICAST, name="a's", cost=7)
    pair.pump()
    sent = pair.cable.ends[0].sent
    first = bytes(sent)
    for window in (0, 0, 8):
        pair.b.request(A_SERVES, b"?", pair.now, window=window, timeout_ms=10_000)
    confirmed = pair.b.send(A_SERVES, b"!", pair.now, confirm=True)
    pair.pump()
    asked = pair.drain(pair.a, serve)
    pair.a.respond(asked[0], bytes(900), pair.now, codes.TYPED, b"t" * 16)
    pair.a.respond_error(asked[1], 300, "no such thing", pair.now)
    for size in (0, 10, 500):
        pair.a.respond_part(asked[2], b"\xff" * size, pair.now)
    pair.a.respond_end(asked[2], pair.now)
    for number in range(9):
        for uuid in (E, F):
            pair.ca.enqueue_as(uuid, number) if False else pair.a.send(
                uuid, b"\x80" * (number * 40), pair.now
            )
        pair.a.publish(G, b"to all" * number, pair.now)
        pair.pump(333)
        for receiver in pair.b.endpoints():
            for queue in receiver.receivers:
                pair.drain(pair.b, queue)
    for uuid in (E, F):
        for number in range(4):
            pair.a.send(uuid, b"together %d" % number, pair.now)
    for number in range(4):
        pair.a.publish(G, b"to all %d" % number + bytes(number), pair.now)
    pair.pump(333)
    for receiver in pair.b.endpoints():
        for queue in receiver.receivers:
            pair.drain(pair.b, queue)
    pair.a.send(E, b"confirm", pair.now, confirm=True)
    gone = pair.a.request(E, bytes(1500), pair.now, window=3)
    pair.pump(100)
    pair.a.cancel(gone, pair.now)
    pair.a.deregister(serve, pair.now)
    pair.pump(100)
    pair.ca.receive_data(frame(bytes((codes.PING,)) + varint(9)), pair.now)
    pair.pump()
    assert pair.outcomes(pair.b, confirmed)
    pair.ca.close(pair.now, codes.MESH_FULL, "enough")
    pair.pump()
    return without_acks(first), without_acks(bytes(sent[len(first) :]))


def without_acks(data: bytes) -> bytes:
    """All that a listener that has written nothing can be told: no acknowledgement of anything unsent."""
    return b"".join([frame(strip_ack(body)) for body in bodies(data) if strip_ack(body) != b"\x08"])


def strip_ack(body: bytes) -> bytes:
    """An ACK is the last entry of its frame; all numbers here are one byte long."""
    if body[0] != codes.ROUTES:
        return body
    sizes = {codes.RETRACT: 2, codes.UPDATE: 6, codes.PARENT: 2, codes.PARENT_WITH: 5, codes.ACK: 3}
    pos = 1
    while pos < len(body) and body[pos] != codes.ACK:
        pos += sizes[body[pos]]
    return body[:pos]


RECORD = record()


def fresh() -> Listener:
    listener = Listener()
    listener.connection.data_to_send(1000, NOW)
    return listener


def securing() -> Listener:
    listener = Listener(security=guard())
    assert listener.connection.state == codes.SECURING
    return listener


def opened() -> Listener:
    listener = Listener()
    listener.feed([RECORD[0]])
    listener.ask()
    listener.connection.data_to_send(1 << 20, NOW)
    assert listener.connection.state == codes.OPEN
    return listener


def draining() -> Listener:
    listener = opened()
    listener.connection.close(NOW)
    return listener


def closing() -> Listener:
    listener = draining()
    listener.connection.data_to_send(1 << 20, NOW)
    assert listener.connection.state == codes.CLOSING
    return listener


def closed() -> Listener:
    listener = opened()
    listener.happened += listener.connection.receive_eof(NOW)
    return listener


STATES: dict[str, Callable[[], Listener]] = {
    "greeting": fresh,
    "securing": securing,
    "open": opened,
    "draining": draining,
    "closing": closing,
    "closed": closed,
}

ALLOWED = [code for code in codes.LINK_ERROR_NAMES if code != codes.LOST]


def check_outcome(listener: Listener, before: int) -> None:
    """The possible results of any bytes: events, at most one end with a number, bounded memory."""
    connection, node = listener.connection, listener.node
    ends = [
        event
        for event in listener.happened
        if isinstance(event, events.LinkEvent) and event.kind == events.LINK_CLOSED
    ]
    assert len(ends) <= 1
    assert (connection.state == codes.CLOSED) == bool(ends)
    assert 0 <= connection.state <= codes.CLOSED
    for end in ends:
        assert end.by_peer or end.code in ALLOWED or before == codes.CLOSED
    if before != codes.GREETING:
        assert connection.state >= before
    assert not connection._chunks or connection._have <= codes.HELLO_SIZE_MAX + 5
    assert sum(map(len, connection._chunks)) <= codes.HELLO_SIZE_MAX + 5
    assert len(connection.inbox.assemblies) <= SMALL.partials_max
    assert all(item.have < SMALL.message_size_max for item in connection.inbox.assemblies.values())
    assert len(connection.aliases.ids) <= SMALL.aliases_max + 1
    for receiver in listener.receivers:
        assert len(receiver.queue) <= receiver.queue_max
        assert receiver.size == sum(len(message.payload) for message in receiver.queue.items if message)
    written = connection.data_to_send(1 << 20, NOW)
    assert type(written) is bytes
    assert connection.data_to_send(1 << 20, NOW) == b""
    node.handle_timer(NOW + 10**6)
    node.handle_timer(NOW + 10**7)


HELLO_FRAME = RECORD[0][: RECORD[0][0] + 1]


def hex_frame(text: str) -> bytes:
    return frame(bytes.fromhex(text))
