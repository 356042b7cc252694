"""Nets of several hops, and a neighbour that says whatever a test wants: what tests of the mesh share."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from busway.protocol import Link, Node, Receiver, Request, codes, events
from busway.protocol.wire.fields import Reader, frame, text8, varint
from busway.protocol.wire.hello import FLAG_DIALLED, FLAG_LEAF, FLAG_LOOKUPS, write_hello

from .pairs import Cable, Net, bodies, node_of

USERSPACE, LOCALNET, GLOBAL = codes.USERSPACE, codes.LOCALNET, codes.GLOBAL
UNICAST, ANYCAST, BROADCAST = codes.UNICAST, codes.ANYCAST, codes.BROADCAST


def id_of(letter: str) -> bytes:
    return letter.encode() * 16


class Mesh(Net):
    """A Net whose nodes forward unless told otherwise; `cable["ab"]` is the link that "ab" was joined by."""

    def __init__(self) -> None:
        super().__init__()
        self.named: dict[str, Node] = {}
        self.cable: dict[str, Cable] = {}

    def add(self, letters: str, **options: Any) -> None:
        for letter in letters:
            self.named[letter] = self.node(letter, **{"transit": True, **options})

    def leaf(self, letter: str, router: str, **options: Any) -> Node:
        node = self.named[letter] = self.node(letter, leaf=True)
        self.join(letter + router, **options)
        return node

    def join(self, pairs: str, **options: Any) -> None:
        """Links between nodes, as "ab bc": localnet, each at an address of its own."""
        for pair in pairs.split():
            options = {"realm": LOCALNET, "medium": "tcp", **options}
            self.cable[pair] = self.link(
                self.named[pair[0]], self.named[pair[1]], **{"via": "tcp:" + pair, **options}
            )

    def __getitem__(self, letter: str) -> Node:
        return self.named[letter]

    def reaches(self, letter: str) -> str:
        """The nodes that one sees, in order."""
        return "".join(sorted(peer.node_id[:1].decode() for peer in self[letter].peers()))

    def see(self, letter: str, other: str) -> Any:
        """The record that one node has of another."""
        return self[letter].routes.peers[id_of(other)]

    def hop(self, letter: str, other: str) -> str:
        """The next hop from one node to another, "" if there is none."""
        peer = self[letter].routes.peers.get(id_of(other))
        if peer is None or peer.hop is None or peer.hop.peer is None:
            return ""
        return str(peer.hop.peer.node_id[:1].decode())

    def holders(self, letter: str, uuid: bytes) -> str:
        """The nodes that one believes to have an endpoint."""
        entries = self[letter].directory.known(uuid)
        return "".join(sorted(entry.peer.node_id[:1].decode() for entry in entries))

    def sent_by(self, letter: str, pair: str) -> bytearray:
        """All that a node ever wrote to a cable."""
        cable = self.cable[pair]
        return cable.ends[pair.index(letter)].sent

    def frames(self, letter: str, pair: str, head: int) -> list[bytes]:
        """The frames of one kind among them."""
        return [body for body in bodies(self.sent_by(letter, pair)) if body[0] == head]

    def undelivered(self, letter: str) -> list[int]:
        """The reasons of the plain sends of a node that failed."""
        return [event.reason for event in self.seen(self[letter], events.UNDELIVERABLE)]

    def payloads(self, letter: str, receiver: Receiver) -> list[Any]:
        return [message.payload for message in self.drain(self[letter], receiver)]

    def asked(self, letter: str, receiver: Receiver) -> Request:
        """The one request that a receiver has now."""
        [request] = self.drain(self[letter], receiver)
        assert isinstance(request, Request)
        return request


def chain(letters: str, **options: Any) -> Mesh:
    """Nodes in a row, open and quiet."""
    net = Mesh()
    net.add(letters)
    net.join(" ".join(a + b for a, b in pairwise(letters)), **options)
    net.pump()
    return net


def ring(letters: str) -> Mesh:
    net = chain(letters)
    net.join(letters[-1] + letters[0])
    net.pump()
    return net


def grid(rows: list[str]) -> Mesh:
    """Nodes in rows, each joined with those beside, above and below."""
    net = Mesh()
    net.add("".join(rows))
    for row in rows:
        net.join(" ".join(a + b for a, b in pairwise(row)))
    for upper, lower in pairwise(rows):
        net.join(" ".join(a + b for a, b in zip(upper, lower, strict=True)))
    net.pump()
    return net


# Frames by hand

SELF, YOU = varint(codes.SENDER), varint(codes.RECEIVER)


def key(letter: str, incarnation: int = 0) -> bytes:
    return id_of(letter) + incarnation.to_bytes(4, "big")


def stranger(number: int) -> bytes:
    """One of very many nodes that do not exist."""
    return number.to_bytes(16, "big") + bytes(4)


def bind(number: int, node: bytes) -> bytes:
    return b"\0" + varint(number) + node


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def routes(*entries: bytes) -> bytes:
    return bytes((codes.ROUTES,)) + b"".join(entries)


def update(node: bytes, seqno: int, metric: int) -> bytes:
    return bytes((codes.UPDATE,)) + node + u16(seqno) + u16(metric)


def retract(node: bytes) -> bytes:
    return bytes((codes.RETRACT,)) + node


def departed(node: bytes) -> bytes:
    return bytes((codes.DEPARTED,)) + node


def parent(node: bytes, *versions: int) -> bytes:
    head = codes.PARENT_WITH if versions else codes.PARENT
    versions = (0,) * (3 - len(versions)) + versions if versions else ()
    return bytes((head,)) + node + b"".join(varint(version) for version in versions)


def seqreq(node: bytes, seqno: int, wide: bool = False) -> bytes:
    return bytes((codes.SEQREQ_WIDE if wide else codes.SEQREQ,)) + node + u16(seqno)


def ack(count: int) -> bytes:
    return bytes((codes.ACK,)) + u16(count)


def entry(kind: int, uuid: bytes) -> bytes:
    return bytes((kind,)) + uuid


def directory(
    node: bytes, realm: int, base: int, version: int, *entries: bytes, flags: int = 0, label: str = ""
) -> bytes:
    text = text8(label) if label else b""
    head = bytes((codes.DIRECTORY, realm | flags | (4 if label else 0)))
    return head + node + text + varint(base) + varint(version) + b"".join(entries)


def message(kind: int, how: int, hops: int, nodes: bytes, rest: bytes) -> bytes:
    """A message with a routing header; `nodes` the destination and source that `how` tells of."""
    return bytes((codes.MESSAGE | codes.HEAD_ROUTED | kind << 4, how, hops)) + nodes + rest


def signal(which: int, rest: bytes) -> bytes:
    return bytes((codes.MESSAGE | codes.SIGNAL << 4, which)) + rest


def alias(number: int, uuid: bytes) -> bytes:
    return b"\0" + varint(number) + uuid


class Liar:
    """A neighbour of a node that says what it is told to, and else only that it is there."""

    def __init__(self, net: Net, victim: Node, letter: str = "z", **options: Any) -> None:
        self.net = net
        incarnation = options.pop("incarnation", 0)
        self.key = id_of(letter) + incarnation if isinstance(incarnation, bytes) else key(letter, incarnation)
        leaf = options.pop("leaf", False)
        label = options.pop("label", letter.upper())
        hears = options.pop("hears", True)  # the victim takes it
        features = options.pop("features", 0)
        limits = (options.pop("frame_size_max", 65536), 1 << 24, 127, 4)
        link = Link(**{"realm": LOCALNET, "medium": "tcp", "via": "tcp:" + letter, **options})
        flags = FLAG_DIALLED if not link.dialled else 0
        flags |= link.realm << 1 | (FLAG_LEAF if leaf else 0) | (FLAG_LOOKUPS if link.lookups else 0)
        self.connection = victim.connection(link, net.now)
        via = link.via if label == "evil" else ""
        self.say(write_hello(flags, self.key, features, limits, 0, "default", label, via))
        assert self.connection.state == codes.OPEN or not hears
        self.say(bytes((codes.SYNC, 1)), bytes((codes.SYNC, 2)))
        self.say(bytes((codes.SYNC, 3)))
        if not leaf and not victim.leaf:
            self.say(routes(update(SELF, 0, 0)))
        net.pump()

    def say(self, *frames: bytes) -> None:
        data = b"".join(frame(body) for body in frames)
        self.net.note(node_of(self.connection), self.connection.receive_data(data, self.net.now))

    def hear(self) -> list[bytes]:
        """The frames that were written to it since the last call."""
        found: list[bytes] = []
        while True:
            data = self.connection.data_to_send(1 << 24, self.net.now)
            if not data:
                return found
            reader = Reader(data, 0, len(data))
            found += [reader.take(reader.varint()) for _ in iter(reader.left, 0)]

    def heard(self, head: int) -> list[bytes]:
        return [body for body in self.hear() if body[0] == head]

    @property
    def error(self) -> int:
        """The error that the link ended with, -1 while it lives."""
        return self.connection.close_code

    def leave(self) -> None:
        self.net.note(node_of(self.connection), self.connection.receive_eof(self.net.now))
