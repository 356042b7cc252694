"""Fuzzes whole sessions over packets: a router's Connection and a Leaf, with one corpus on every Python.

`run(seed)` gives checksums over all events that either side told, and all bytes that it wrote. The corpus of
a seed: a valid session of both is recorded; each side alone then reads what it read, mutated (flipped, cut,
doubled, dropped, out of order, with noise and text between); at last both talk over a line that does the
same, and now and then the leaf is reset. Same seed, same corpus, here and on MicroPython.
"""

import binascii

from busway.protocol import codes, events
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.leaf.sleeping import announce
from busway.protocol.link.link import Link
from busway.protocol.messaging.requests import Request
from busway.protocol.node import Node

E = b"endpoint-e-id-16"  # of the router, unicast
F = b"endpoint-f-id-16"  # of the leaf, anycast
G = b"endpoint-g-id-16"  # broadcast, published by the leaf

PROGRAM = """
import sys
import session_fuzz
for seed in range(int(sys.argv[1]), int(sys.argv[2])):
    print(session_fuzz.run(seed))
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Chance:
    """Numbers of a seed (Numerical Recipes' generator); every Python makes the same."""

    def __init__(self, seed: int) -> None:
        self.state = seed & 0xFFFFFFFF

    def below(self, limit: int) -> int:
        self.state = (self.state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self.state >> 8) % limit

    def bytes(self, size: int) -> bytes:
        return bytes([self.below(256) for _ in range(size)])


class Noted:
    """A checksum over what happened, and how often what did."""

    def __init__(self) -> None:
        self.check = 0
        self.kinds: dict[int, int] = {}

    def note(self, *values: "Any") -> None:
        for value in values:
            raw = value if isinstance(value, bytes) else str(value).encode()
            self.check = binascii.crc32(raw + b"|", self.check) & 0xFFFFFFFF

    def happened(self, event: "Any") -> None:
        kind = event.kind
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.note(kind)
        if kind == events.LINK_CLOSED:
            self.note(event.code, event.by_peer)
        elif kind == events.OUTCOME:
            self.note(event.token, event.status, event.code, event.payload)
        elif kind == events.LOG:
            self.note(event.payload if hasattr(event, "payload") else event.text)


def _token(event: "Any") -> int:
    token: int = event.token
    return token


class RouterSide(Noted):
    """The router: sends and asks now and then, answers and takes all."""

    def __init__(self, chance: Chance, seed: int, mtu: int, now: int) -> None:
        super().__init__()
        self.chance = chance
        self.mtu = mtu
        self.node = Node(b"r" * 16, entropy=Chance(seed).bytes)
        self.receivers = [
            self.node.register(E, codes.UNICAST, queue_max=8),
            self.node.register(G, codes.BROADCAST, queue_max=8),
        ]
        self.link(now)

    def link(self, now: int) -> None:
        self.line = self.node.connection(Link(codes.LOCALNET, sort="packet", mtu=self.mtu), now)

    def hear(self, happened: "Any") -> None:
        # All that waited for a node that is gone ends at once, in the order of a dict: MicroPython keeps
        # none, and its sort mixes what is equal.
        over = sorted([event for event in happened if event.kind == events.OUTCOME], key=_token)
        for event in [event for event in happened if event.kind != events.OUTCOME] + over:
            self.happened(event)
            if event.kind == events.UNDELIVERABLE:
                self.note(event.endpoint, event.seq, event.reason)

    def turn(self, now: int, acts: bool) -> bytes:
        node = self.node
        due = node.next_deadline()
        if due is not None and due <= now:
            self.hear(node.handle_timer(now))
        for receiver in self.receivers:
            while receiver.queue.items:
                message = node.take(receiver, now)
                assert message is not None
                self.note(message.endpoint, message.seq, message.missed, message.payload)
                assert isinstance(message.payload, bytes)
                if isinstance(message, Request):
                    node.respond(message, b"re " + message.payload[:9], now)
        if acts and len(node.origin.pending) < 8:
            what = self.chance.below(24)
            body = bytes(self.chance.below(300))
            if what == 0:
                node.send(F, body, now, confirm=True, timeout_ms=3000)
            elif what == 1:
                node.request(F, body, now, timeout_ms=3000)
            elif what == 2:
                node.send(F, body, now)
            elif what == 3:
                node.publish(G, body, now, best_effort=True)
        if self.line.done:
            self.hear(self.line.receive_eof(now))
            self.link(now)
        data = self.line.data_to_send(self.mtu or 100, now)
        self.hear(node.take_events())
        self.note(data)
        return data

    def read(self, data: bytes, now: int) -> None:
        self.hear(self.line.receive_data(data, now))


class LeafSide(Noted):
    """The board: publishes, asks, answers; it starts anew when it is told to."""

    def __init__(self, chance: Chance, seed: int, mtu: int, now: int) -> None:
        super().__init__()
        self.chance = chance
        self.mtu = mtu
        self.entropy = Chance(seed + 1)
        self.reset(now)

    def reset(self, now: int) -> None:
        self.leaf = Leaf(b"l" * 16, entropy=self.entropy.bytes)
        self.receivers = [
            self.leaf.register(F, codes.ANYCAST),
            self.leaf.register(G, codes.BROADCAST),
        ]
        self.link(now)

    def link(self, now: int) -> None:
        link = Link(codes.LOCALNET, True, sort="packet", mtu=self.mtu, window=8)
        self.line: Any = self.leaf.connection(link, now)

    def hear(self, happened: "Any") -> None:
        for event in happened:
            self.happened(event)
            if event.kind == events.UNDELIVERABLE:
                self.note(event.endpoint, event.code)

    def turn(self, now: int, acts: bool) -> bytes:
        leaf = self.leaf
        self.hear(leaf.handle_timer(now))
        if self.line is not leaf.link and 0 <= self.line.next_deadline() <= now:
            self.line.fire(now)
        for receiver in self.receivers:
            while receiver.queue:
                message = leaf.take(receiver, now)
                if message is None:
                    break
                self.note(message.endpoint, message.seq, message.missed, message.payload)
                if message.wants_answer:
                    leaf.respond(message, b"re " + message.payload[:9], now)
        if acts and len(leaf._items) < 4 and len(leaf._pending) < leaf.pending_max:
            what = self.chance.below(24)
            body = bytes(self.chance.below(300))
            if what == 0:
                leaf.publish(G, body, now)
            elif what == 1:
                leaf.request(E, body, now, timeout_ms=3000)
            elif what == 2:
                leaf.send(E, body, now, confirm=True, timeout_ms=3000)
            elif what == 3:
                self.line.log(b"a log line\n")
            elif what == 4:
                announce(self.line, 200, now)
                self.line.sleeping = b""
        if self.line.done:
            self.hear(self.line.receive_eof(now))
            self.link(now)
        data: bytes = self.line.data_to_send(self.mtu or 100, now)
        self.hear(leaf.take_events())
        self.note(data)
        return data

    def read(self, data: bytes, now: int) -> None:
        self.hear(self.line.receive_data(data, now))


def mutated(data: bytes, chance: Chance) -> "list[bytes]":
    """One piece after a bad line: none, one or several."""
    what = chance.below(40)
    at = chance.below(len(data))
    if what == 0:
        return []
    if what == 1:
        return [data[:at]]
    if what == 2:
        return [data, data]
    if what == 3:
        return [data[:at] + bytes((data[at] ^ 1 << chance.below(8),)) + data[at + 1 :]]
    if what == 4:
        return [chance.bytes(1 + chance.below(60)), data]
    if what == 5:
        return [b"\0a text in between\n\0", data]
    return [data]


def exchange(
    sides: "Any", mtu: int, chance: Chance, rounds: int, bad: bool
) -> "list[list[tuple[int, bytes]]]":
    """Both talk. Returns what each was given to read, and when."""
    now = 1000
    read: list[list[tuple[int, bytes]]] = [[], []]
    late: list[list[bytes]] = [[], []]
    for _ in range(rounds):
        now += chance.below(30)
        for at in (0, 1):
            data = sides[at].turn(now, True)
            if not data:
                continue
            pieces = mutated(data, chance) if bad else [data]
            if bad and not chance.below(20):
                late[at] += pieces  # behind what is written next
                continue
            for piece in pieces + late[at]:
                if piece and (not mtu or len(piece) <= mtu):
                    read[1 - at].append((now, piece))
                    sides[1 - at].read(piece, now)
            late[at] = []
        if bad and not chance.below(300):
            sides[1].hear(sides[1].line.receive_eof(now))
            sides[1].reset(now)
    return read


def replay(side: "Any", corpus: "list[tuple[int, bytes]]", chance: Chance) -> None:
    """One side alone reads the recorded session, mutated: nobody answers what it says now."""
    kept: list[bytes] = []
    for now, data in corpus:
        side.turn(now, False)
        pieces = mutated(data, chance)
        if not chance.below(30):
            kept += pieces
            continue
        for piece in pieces + kept:
            if piece:
                side.read(piece, now)
        kept = []


def run(seed: int, rounds: int = 120) -> str:
    """Checksums of both sides in the recorded session, of each that read it mutated, and of both on a bad
    line; how many sessions ended there, and how many messages had their outcome.
    """
    mtu = (0, 20, 64)[seed % 3]
    kinds = (RouterSide, LeafSide)
    sides = [kind(Chance(seed + 50), seed, mtu, 1000) for kind in kinds]
    read = exchange(sides, mtu, Chance(seed + 51), rounds, False)
    checks = [side.check for side in sides]
    for at in (0, 1):
        alone = kinds[at](Chance(seed + 52), seed, mtu, 1000)
        replay(alone, read[at], Chance(seed + 53))
        checks.append(alone.check)
    sides = [kind(Chance(seed + 54), seed, mtu, 1000) for kind in kinds]
    exchange(sides, mtu, Chance(seed + 55), rounds * 2, True)
    checks += [side.check for side in sides]
    ended = [side.kinds.get(events.LINK_CLOSED, 0) for side in sides]
    fates = [side.kinds.get(events.OUTCOME, 0) for side in sides]
    return " ".join([f"{check:08x}" for check in checks]) + f" {ended} {fates}"
