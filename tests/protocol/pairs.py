"""A deterministic net of Nodes joined in memory, with an integer clock. Knows no socket and no real time.

    net = Pair()                       # nodes a and b, joined and open
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()                         # move bytes until nothing moves
    net.a.send(E, b"hello", net.now)
    net.pump(size=7, split=3)          # ask for 7 bytes at a time, hand them over in threes
    assert net.b.take(receiver, net.now).payload == b"hello"
    net.advance(1000)                  # time passes; timers fire at their own instants

What the nodes report gathers in `net.log`, as (node, event) in order; `net.seen(node, kind)` reads it,
`net.fresh(node)` takes it.
"""

from __future__ import annotations

import random
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from busway.primitives import Primitives
from busway.protocol import Connection, Limits, Link, Node, codes, events
from busway.protocol.secure.security import Security
from busway.protocol.wire.fields import Reader

START = 1_000_000  # ms; any origin will do
ROUNDS_MAX = 200_000  # of a pump: more means that two nodes never fall quiet

E = b"endpoint-e-id-16"
F = b"endpoint-f-id-16"
G = b"endpoint-g-id-16"
AES = 0x100  # beside a pattern: who begins it says that its records may be sealed with AES


def node_of(connection: Connection) -> Node:
    """The node that a connection is of."""
    host = connection.host
    assert isinstance(host, Node)
    return host


class Entropy:
    """Random bytes of a seed; counts how often and how many were asked for."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self.calls = 0
        self.size = 0

    def __call__(self, size: int) -> bytes:
        self.calls += 1
        self.size += size
        return self._random.randbytes(size)


class Drawn(Primitives):
    """The real ones, whose keys come from a seed."""

    def __init__(self, seed: int) -> None:
        self._entropy = Entropy(seed)

    def keypair(self) -> tuple[bytes, bytes]:
        private = self._entropy(32)
        return private, X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def guard(token: str | None = "t", seed: int = 0, *, first: int = AES | 1, **options: Any) -> Security:
    """What protects a link, as an adapter gives it: by default all patterns are taken, the first begun with,
    and AES is quick.

    Args: `first` as of Security, perhaps with AES; the other `options` are those of Security.
    """
    options = {"first": first & ~AES, "quick_aes": bool(first & AES), **options}
    return Security(Drawn(seed), Entropy(seed + 1), token=(token or "").encode(), **options)


def bodies(data: bytes | bytearray) -> list[bytes]:
    """The bodies of the whole frames in `data`, heads included."""
    reader = Reader(bytes(data), 0, len(data))
    return [reader.take(reader.varint()) for _ in iter(reader.left, 0)]


class End:
    """One end of a cable: a connection and the bytes on their way to it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.inbox = bytearray()
        self.sent = bytearray()  # everything this end ever wrote
        self.beside: list[tuple[int, list[Any]]] = []  # things on their way to it, with where of `inbox`
        self.batches: list[list[Any]] = []  # the things of each write of this end that had any
        self.writable = True  # False: the link takes nothing from this end (its peer does not read)
        self.unplugged = False  # this end has closed the link
        self.eof_seen = False

    def take_inbox(self) -> bytes:
        data = bytes(self.inbox)
        self.inbox.clear()
        return data


class Cable:
    """One link between two nodes; `a` and `b` are its ends' connections."""

    def __init__(self, net: Net, a: Connection, b: Connection) -> None:
        self.net = net
        self.ends = (End(a), End(b))
        self.a = a
        self.b = b

    def end(self, connection: Connection) -> End:
        return self.ends[0] if connection is self.a else self.ends[1]

    def block(self, node: Node, blocked: bool = True) -> None:
        """Let the link take nothing more from `node`, or let it again."""
        for end in self.ends:
            if node_of(end.connection) is node:
                end.writable = not blocked

    def cut(self, text: str = "the connection ended without a goodbye") -> None:
        """Pull the plug: what is on its way is lost, both sides see the end."""
        for end in self.ends:
            end.inbox.clear()
            end.unplugged = end.eof_seen = True
            self.net.note(node_of(end.connection), end.connection.receive_eof(self.net.now, text))


class Net:
    """Nodes, cables, a clock, and a log of all events."""

    def __init__(self) -> None:
        self.now = START
        self.nodes: list[Node] = []
        self.cables: list[Cable] = []
        self.at_once = False  # write what buffers_to_send gives
        self.log: list[tuple[Node, events.Event]] = []
        self._fresh: dict[Node, int] = {}

    # Building

    def node(self, letter: str, **options: Any) -> Node:
        """A node whose id is sixteen times `letter`: "a" is smaller than "b"."""
        options.setdefault("entropy", Entropy(len(self.nodes) + 1))
        options.setdefault("label", letter.upper())
        node = Node(letter.encode() * 16, **options)
        self.nodes.append(node)
        return node

    def link(
        self,
        a: Node,
        b: Node,
        *,
        realm: int = codes.USERSPACE,
        via: str = "ipc",
        a_options: dict[str, Any] | None = None,
        b_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> Cable:
        """Join two nodes: `a` dials. Options of Link for both ends, or for one. Nothing moves yet."""
        ours = {"realm": realm, "via": via, "dialled": True, **options, **(a_options or {})}
        theirs = {"realm": realm, "via": via, "dialled": False, **options, **(b_options or {})}
        cable = Cable(self, a.connection(Link(**ours), self.now), b.connection(Link(**theirs), self.now))
        self.cables.append(cable)
        return cable

    def mesh(self, letters: str, **options: Any) -> list[Node]:
        """One node per letter, each joined to each, open and quiet."""
        nodes = [self.node(letter, **options) for letter in letters]
        for index, node in enumerate(nodes):
            for other in nodes[index + 1 :]:
                self.link(node, other)
        self.pump()
        return nodes

    # Running

    def pump(self, size: int = 65536, split: int = 0, *, rng: random.Random | None = None) -> None:
        """Move bytes until nothing moves.

        `size`: asked of data_to_send at a time; `split`: handed to receive_data at a time, 0: whole. With
        `rng` both are maxima and each step draws its own; of much data there are larger pieces among them.
        """
        for _ in range(ROUNDS_MAX):
            if not self.step(size, split, rng=rng):
                return
        raise AssertionError("the nodes never fall quiet")

    def step(self, size: int = 65536, split: int = 0, *, rng: random.Random | None = None) -> bool:
        """One turn of every end of every cable; False if nothing moved."""
        moved = False
        for cable in list(self.cables):
            for here, there in (cable.ends, cable.ends[::-1]):
                moved = self._write(here, there, size, rng) or moved
                moved = self._read(there, here, split, rng) or moved
        for node in self.nodes:
            node.connections_to_flush()
            self.note(node, node.take_events())
        return moved

    def _write(self, here: End, there: End, size: int, rng: random.Random | None) -> bool:
        if here.unplugged or not here.writable:
            return False
        most = rng.randint(1, size) if rng else size
        wanted = here.connection.wants_write
        data = self._to_send(here.connection, most)
        assert wanted or not data, "there was something to write, but wants_write did not say so"
        here.sent += data
        things = here.connection.things_to_send()
        assert data or not things, "things without a byte that they could go with"
        assert len(things) <= 190, "more things than one call takes"
        if things:
            here.batches.append(things)
        if not there.unplugged:
            if things:
                there.beside.append((len(there.inbox), things))
            there.inbox += data
        if here.connection.done:
            here.unplugged = True
            return True
        return bool(data)

    def _to_send(self, connection: Connection, most: int) -> bytes:
        if not self.at_once:
            data = connection.data_to_send(most, self.now)
            assert len(data) <= most, "data_to_send gave more than it was asked for"
            return data
        buffers = connection.buffers_to_send(most, self.now)
        assert len(buffers) <= codes.BUFFERS_MAX
        data = b"".join(buffers)
        longest = connection.limits.frame_size_max + 512  # a frame with its length, or a record
        assert len(data) < most + longest, "buffers_to_send gave more than it was asked for and a frame"
        return data

    def _read(self, here: End, there: End, split: int, rng: random.Random | None) -> bool:
        if here.unplugged:
            here.inbox.clear()
            return False
        data = here.take_inbox()
        beside, here.beside = here.beside, []
        pos = 0
        while pos < len(data):
            most = split or len(data)
            stop = pos + (rng.randint(1, self._most(most, len(data), rng)) if rng else most)
            while beside and beside[0][0] < stop:  # with the first byte of what they were written with
                here.connection.receive_things(beside.pop(0)[1], self.now)
            self.note(node_of(here.connection), here.connection.receive_data(data[pos:stop], self.now))
            pos = stop
        if there.unplugged and not here.eof_seen:
            here.eof_seen = True
            self.note(node_of(here.connection), here.connection.receive_eof(self.now))
            return True
        return bool(data)

    @staticmethod
    def _most(split: int, size: int, rng: random.Random) -> int:
        """The most of the next piece: of much data every other one may be large, or most of the time would
        go into the small ones.
        """
        return rng.choice((split, size // 64)) if size > 100 * split else split

    def advance(self, ms: int, *, pump: bool = True) -> None:
        """Let time pass; each timer fires at its own instant, and what follows from it moves at once."""
        until = self.now + ms
        while True:
            due = [node.next_deadline() for node in self.nodes]
            times = [max(time, self.now) for time in due if time is not None and time <= until]
            if not times:
                break
            self.now = min(times)
            self.fire()
            if pump:
                self.pump()
        self.now = until
        if pump:
            self.pump()

    def fire(self) -> None:
        """handle_timer of every node at which one is due."""
        for node in self.nodes:
            due = node.next_deadline()
            if due is not None and due <= self.now:
                self.note(node, node.handle_timer(self.now))

    # Looking

    def note(self, node: Node, happened: list[events.Event]) -> None:
        self.log += [(node, event) for event in happened]

    def seen(self, node: Node | None = None, kind: int = 0) -> list[Any]:
        """All events so far, of one node or all, of one kind or all."""
        return [event for who, event in self.log if node in (None, who) and (not kind or event.kind == kind)]

    def fresh(self, node: Node, kind: int = 0) -> list[Any]:
        """The events of `node` since the last call for it; those of another kind are passed over."""
        mine = self.seen(node)
        start = self._fresh.get(node, 0)
        self._fresh[node] = len(mine)
        return [event for event in mine[start:] if not kind or event.kind == kind]

    def outcomes(self, node: Node, token: int) -> list[events.Outcome]:
        """The outcomes of one send or request, in order."""
        return [event for event in self.seen(node, events.OUTCOME) if event.token == token]

    def closings(self, connection: Connection) -> list[events.LinkEvent]:
        """The LINK_CLOSED events of one connection: there must never be more than one."""
        return [event for event in self.seen(kind=events.LINK_CLOSED) if event.connection is connection]

    def drain(self, node: Node, receiver: Any) -> list[Any]:
        """Take everything a receiver has now."""
        taken = []
        while len(receiver.queue):
            message = node.take(receiver, self.now)
            if message is not None:
                taken.append(message)
        return taken


class Pair(Net):
    """Two nodes `a` and `b` and one cable between them, open and quiet unless `opened=False`.

    Options of Net.link; `a_node` and `b_node` are options of the Nodes, `limits` of both.
    """

    def __init__(
        self,
        *,
        opened: bool = True,
        limits: Limits | None = None,
        a_node: dict[str, Any] | None = None,
        b_node: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.a = self.node("a", **{"limits": limits, **(a_node or {})})
        self.b = self.node("b", **{"limits": limits, **(b_node or {})})
        self.cable = self.link(self.a, self.b, **options)
        self.ca = self.cable.a
        self.cb = self.cable.b
        if opened:
            self.pump()
            assert self.ca.state == self.cb.state == codes.OPEN
