"""What a hostile peer says: valid frames of every kind, with lies in all their fields, and now and then a
tail that breaks the format.

Knows what there is in the mesh (a spy told it), and listens: numbers of requests that it has heard it uses.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from busway.protocol import codes
from busway.protocol.errors import Refusal
from busway.protocol.wire.aliases import AliasTable, node_reader
from busway.protocol.wire.entries import read_route
from busway.protocol.wire.fields import Reader, text8, u16, varint
from busway.protocol.wire.lines import read_entry, read_line
from busway.protocol.wire.messages import read_frame, read_run
from tests.protocol.nets import (
    SELF,
    YOU,
    ack,
    alias,
    bind,
    departed,
    directory,
    message,
    parent,
    retract,
    routes,
    seqreq,
    signal,
    stranger,
    update,
)

FLOOD_MAX = 150  # frames of one flood
ALIASES_MAX = 100
IDS_HEARD_MAX = 50


class Spy:
    """All that hostile peers know of a mesh."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []  # of innocent nodes, in their present incarnation
        self.uuids: list[bytes] = []  # of their endpoints


class Ears:
    """What one hostile peer has heard: the ids of requests that were for it, or came its way."""

    def __init__(self, me: bytes, peer: bytes) -> None:
        self._aliases = AliasTable(127)
        self._nodes = node_reader(me, peer, codes.ROUTES_MAX)
        self.ids: list[tuple[int, bytes]] = []  # with the one who asks

    def hear(self, body: bytes) -> None:
        """Follow the numbers that a frame binds, and note the ids that it tells."""
        reader = Reader(body, 1, len(body))
        head = body[0]
        if head >= codes.MESSAGE:
            frame = read_frame(head, reader, self._aliases, self._nodes, 0)
            if frame.id and frame.kind in (codes.CONFIRM, codes.REQUEST):
                self.ids = [*self.ids[-IDS_HEARD_MAX:], (frame.id, frame.source())]
        elif head == codes.RUN:
            read_run(reader, self._aliases, self._nodes, 0)
        elif head == codes.ROUTES:
            while reader.left():
                read_route(reader, self._nodes)
        elif head == codes.DIRECTORY:
            read_line(reader, self._nodes)
            while reader.left():
                read_entry(reader)


class Mouth:
    """The next thing that one hostile peer says, by chance."""

    def __init__(
        self, rng: random.Random, spy: Spy, me: bytes, peer: bytes, leaf: bool, payload: bytes
    ) -> None:
        self.random = rng
        self._together = random.Random(me)  # for messages that travel in one frame
        self.spy = spy
        self.me = me
        self.leaf = leaf
        self.payload = payload  # by which what comes of it is known again
        self.ears = Ears(me, peer)
        self._nodes: dict[int, bytes] = {}  # the numbers that it has bound
        self._uuids: dict[int, bytes] = {}
        self._versions: dict[tuple[bytes, int], int] = {}
        self.last: list[bytes] = []  # what it said last
        self.overheard = bytearray()  # all that it has heard
        self._cut: dict[int, int] = {}  # bytes that are left of the large messages it has begun
        self._kinds: list[tuple[int, Callable[[], bytes]]] = [
            (2, self.idle),
            (2, lambda: bytes((codes.SYNC, rng.randrange(8)))),
            (8, self.routes),
            (8, self.directory),
            (10, self.message),
            (6, self.answer),
            (10, self.signal),
            (2, self.have),
            (2, self.tree),
            (1, self.piece),
        ]

    # Fields

    def key(self) -> bytes:
        """An innocent node, one of its former lives, another that is a liar's, or one that there is not."""
        chance = self.random.random()
        known = self.random.choice(self.spy.keys)
        if chance < 0.6:
            return known
        if chance < 0.7:
            return known[:16] + self.random.randbytes(4)
        return stranger(self.random.choice((self.random.randrange(50), self.random.randrange(1 << 30))))

    def node(self) -> bytes:
        """A node as a frame names it."""
        chance = self.random.random()
        if self.leaf and chance < 0.9:
            return self.random.choice((SELF, SELF, YOU))
        if chance < 0.1:
            return YOU
        if chance < 0.25:
            return SELF
        if chance < 0.5 and self._nodes:
            return varint(self.random.choice(list(self._nodes)))
        return self.bound(self.key())

    def bound(self, key: bytes) -> bytes:
        number = self.random.randrange(3, 101 if self.leaf else 400)
        self._nodes[number] = key
        return bind(number, key)

    def uuid(self) -> bytes:
        chance = self.random.random()
        if chance < 0.75:
            return self.random.choice(self.spy.uuids)
        if chance < 0.8:
            return self.random.choice((codes.LOOKUP, codes.INTROSPECTION))
        return b"%016d" % self.random.choice((self.random.randrange(50), self.random.randrange(1 << 30)))

    def endpoint(self) -> bytes:
        """An endpoint as a frame names it."""
        if self._uuids and self.random.random() < 0.5:
            return varint(self.random.choice(list(self._uuids)))
        number = self.random.randrange(1, ALIASES_MAX)
        self._uuids[number] = self.uuid()
        return alias(number, self._uuids[number])

    def seq(self) -> int:
        near = self.random.randrange(8)
        return self.random.choice((near, near, self.random.randrange(65536), 0x7FFF + near))

    def metric(self) -> int:
        return self.random.choice((0, 1, 1, self.random.randrange(65536), 0xFFFF, 0x3FFF))

    def id(self) -> int:
        heard = self.ears.ids
        if heard and self.random.random() < 0.5:
            return self.random.choice(heard)[0]
        return self.random.choice((1 + self.random.randrange(9), 1 + self.random.randrange(codes.ID_MAX)))

    def traits(self, head: int, place: bytes) -> bytes:
        """An endpoint of DIRECTORY or HAVE, with or without credit, cost and name."""
        tail = b""
        if self.random.random() < 0.2:
            head |= 0x10
            tail += varint(self.random.choice((0, 1, 4, 60_000, 0xFFFFFFFF)))
        if self.random.random() < 0.2:
            head |= 0x20
            tail += varint(self.random.choice((1, 16383, 0xFFFFFFFF)))
        if self.random.random() < 0.1:
            head |= 0x40
            tail += text8(self.random.choice(("", "evil", "\x1b]0;evil\n", "x" * 64)))
        return bytes((head,)) + place + tail

    # Frames

    def idle(self) -> bytes:
        return self.random.choice(
            (
                bytes((codes.PING,)) + varint(self.random.randrange(1 << 30)),
                bytes((codes.PONG,)) + varint(self.random.randrange(1 << 30)),
                bytes((codes.SLEEP,)) + varint(self.random.choice((0, 1, 1000))),
                b"\x7fanything",
            )
        )

    def route(self) -> bytes:
        rng = self.random
        node = self.node()
        return rng.choice(
            (
                lambda: update(node, self.seq(), self.metric()),
                lambda: update(node, self.seq(), self.metric()),
                lambda: retract(node),
                lambda: departed(node),
                lambda: parent(node),
                lambda: parent(node, *[rng.choice((0, 1, 5, 1000, 0xFFFFFFFF)) for _ in range(3)]),
                lambda: seqreq(node, self.seq(), rng.random() < 0.5),
                lambda: ack(0),
            )
        )()

    def routes(self) -> bytes:
        return routes(*[self.route() for _ in range(self.random.choice((1, 2, 10, 40)))])

    def directory(self) -> bytes:
        rng = self.random
        node, realm = self.node(), rng.choice((1, 2, 3))
        version = self._versions.get((node[-20:], realm), 0)
        base = rng.choice((version, version, version, 0, 0, 9, 0xFFFFFFFF))
        new = rng.choice((base + 1, base + 1, base + 1, base, 1, 0xFFFFFFFF)) & 0xFFFFFFFF
        self._versions[node[-20:], realm] = new
        entries = []
        for _ in range(rng.choice((0, 1, 1, 3, 20))):
            kind = rng.choice((0, 1, 1, 2, 3))
            entries.append(self.traits(kind, self.uuid()) if kind else b"\0" + self.uuid())
        flags = rng.choice((0, 0, 0, 0x10, 0x20, 0xC8))
        label = rng.choice(("", "", "evil", "\x1b[2Jevil"))
        return directory(node, realm, base, new, *entries, flags=flags, label=label)

    def routed(self) -> tuple[int, bytes]:
        """A head's bit and a routing header: whoever it is of, for whom, by what."""
        rng = self.random
        if rng.random() < 0.3:
            return 0, b""
        how = rng.randrange(4)
        nodes = b""
        if rng.random() < 0.6:
            how |= codes.HOW_DESTINATION
            nodes += self.node()
        if rng.random() < 0.6 and not self.leaf:
            how |= codes.HOW_SOURCE
            nodes += self.node()
        return codes.HEAD_ROUTED, bytes((how, rng.choice((0, 1, 9, 255)))) + nodes

    def options(self, kind: int) -> bytes:
        rng = self.random
        items = rng.choice(
            (
                bytes((codes.OPTION_STREAM, 2)) + u16(rng.choice((1, 4, 64, 65535)))
                if kind == codes.REQUEST
                else b"",
                bytes((codes.OPTION_BEST_EFFORT, 0)),
                bytes((codes.OPTION_REACH, 1, rng.randrange(5))),
                bytes((codes.OPTION_REACH, 1, 3, codes.OPTION_REACH, 1, 1)),
                b"\x63\x02xx",
            )
        )
        return varint(len(items)) + items

    def message(self) -> bytes:
        """SEND, PUBLISH, CONFIRM or REQUEST."""
        rng = self.random
        kind = rng.choice((codes.SEND, codes.PUBLISH, codes.CONFIRM, codes.REQUEST))
        head, route = self.routed()
        options = b""
        if rng.random() < 0.25:
            head |= codes.HEAD_OPTIONS
            options = self.options(kind)
        fields = self.endpoint() + u16(self.seq())
        if kind >= codes.CONFIRM:
            fields += varint(self.id()) + varint(rng.choice((1, 500, 10_000, 0xFFFFFFFF)))
        if head & codes.HEAD_OPTIONS and kind == codes.SEND and rng.random() < 0.2:
            head |= codes.TYPED
            fields += self.endpoint()
        body = self.payload + bytes(rng.choice((0, 0, 30, 500)))
        start = bytes((codes.MESSAGE | kind << 4 | head,)) + route + options + fields
        plain = kind <= codes.PUBLISH and not head & (codes.HEAD_OPTIONS | codes.TYPED)
        if plain and self._together.random() < 0.3:
            return self.together(start, body)
        return start + body

    def together(self, start: bytes, payload: bytes) -> bytes:
        """Some messages like one with that before its payload, in one frame."""
        rng = self._together
        count = rng.choice((1, 2, 9, 99))
        payload = payload.ljust(4)
        if rng.random() < 0.5:
            return bytes((codes.RUN,)) + start + u16(len(payload)) + payload * count
        sizes = [len(payload) + rng.choice((0, 1)) for _ in range(count)]
        rest = b"".join([payload.ljust(size) for size in sizes])
        return bytes((codes.RUN,)) + start + b"\0\0" + u16(count) + b"".join(map(u16, sizes)) + rest

    def answer(self) -> bytes:
        """REPLY, PART or ERROR."""
        kind = self.random.choice((codes.REPLY, codes.PART, codes.ERROR))
        head, route = self.routed()
        fields = varint(self.id())
        if kind == codes.PART:
            fields += u16(self.random.randrange(4))
        elif kind == codes.ERROR:
            fields += varint(self.random.choice((1, 2, 4, 64, 300)))
        return bytes((codes.MESSAGE | kind << 4 | head,)) + route + fields + self.payload

    def signal(self) -> bytes:
        rng = self.random
        head, route = self.routed()
        which = rng.choice((1, 2, 3, 3, 4, 5, 6, 7, 7, 11, 12, 99))
        if which in (codes.CANCEL, codes.TRACE):
            rest = varint(self.id())
        elif which in (codes.PART_CREDIT, codes.END):
            rest = varint(self.id()) + u16(self.seq())
        elif which in (codes.CREDIT, codes.PROBE):
            rest = self.endpoint() + u16(self.seq())
        elif which == codes.UNDELIVERABLE:
            rest = self.endpoint() + u16(self.seq()) + bytes((rng.randrange(20),))
        elif which == codes.WHO:
            rest = self.endpoint()
        elif which == codes.TRACED:
            rest = varint(self.id()) + b"\3\1" + text8("x") + text8("evil\n")
        else:
            rest = b"whatever"
        return bytes((codes.MESSAGE | codes.SIGNAL << 4 | head,)) + route + bytes((which,)) + rest

    def have(self) -> bytes:
        head, route = self.routed()
        rest = self.endpoint()
        for _ in range(self.random.choice((0, 1, 3, 16))):
            kind = self.random.randrange(16)
            rest += self.traits(kind, self.node() + u16(self.metric()))
        return bytes((codes.MESSAGE | codes.SIGNAL << 4 | head,)) + route + bytes((codes.HAVE,)) + rest

    def tree(self) -> bytes:
        which = self.random.choice((codes.PRUNE, codes.GRAFT))
        return signal(which, self.endpoint() + self.node())

    def piece(self) -> bytes:
        """Of a large message: the first, or another one, seldom the last."""
        number = self.random.randrange(4)
        left = self._cut.get(number, 0)
        if left:
            size = min(left, self.random.choice((1, 10, 100, 4000)))
            self._cut[number] = left - size
            return bytes((codes.MORE, number)) + bytes(size)
        self._cut[number] = left = self.random.choice((1, 100, 4000, 1 << 20))
        kind = self.random.choice((codes.SEND, codes.PUBLISH, codes.REQUEST))
        head, route = self.routed()
        options = bytes((7, codes.OPTION_CUT, 5, number)) + (left + len(self.payload)).to_bytes(4, "big")
        fields = self.endpoint() + u16(self.seq())
        if kind == codes.REQUEST:
            fields += varint(self.id()) + varint(9999)
        head |= codes.MESSAGE | codes.HEAD_OPTIONS | kind << 4
        return bytes((head,)) + route + options + fields + self.payload

    # What is said

    def one(self) -> bytes:
        weights = [weight for weight, _ in self._kinds]
        [(_, make)] = self.random.choices(self._kinds, weights)
        return make()

    def flood(self) -> list[bytes]:
        """Many of one kind."""
        weights = [weight for weight, _ in self._kinds]
        [(_, make)] = self.random.choices(self._kinds, weights)
        return [make() for _ in range(self.random.randrange(20, FLOOD_MAX))]

    def names(self) -> list[bytes]:
        """Very many nodes, each with an endpoint."""
        start = self.random.randrange(1 << 30)
        said = []
        for number in range(start, start + self.random.choice((40, 300))):
            node = bind(500 + number % 300, stranger(number))
            said.append(routes(update(node, 1, 1)))
            said.append(directory(varint(500 + number % 300), codes.GLOBAL, 0, 1, b"\2" + b"%016d" % number))
        return said

    def publishes(self) -> list[bytes]:
        """Very many broadcasts of invented nodes that it leads to."""
        said = []
        for number in range(self.random.randrange(20, FLOOD_MAX)):
            node = bind(500 + number, stranger(number))
            said.append(routes(update(node, 1, 1)))
            said.append(
                message(codes.PUBLISH, 8, 9, varint(500 + number), self.endpoint() + u16(1) + self.payload)
            )
        return said

    def batch(self) -> list[bytes]:
        """What it says at once."""
        chance = self.random.random()
        if chance < 0.5:
            said = [self.one() for _ in range(self.random.choice((1, 5, 30)))]
        elif chance < 0.85 or self.leaf:
            said = self.flood()
        elif chance < 0.93:
            said = self.names()
        else:
            said = self.publishes()
        if self.random.random() < 0.02:
            said.append(self.broken(said[-1]))
        self.last = said
        return said

    def broken(self, body: bytes) -> bytes:
        """A frame with another tail."""
        at = self.random.randrange(len(body))
        tail = self.random.choice((b"", self.random.randbytes(5), body[at:] + b"\0"))
        return body[:at] + tail or b"\0"

    def heard(self, bodies: list[bytes]) -> None:
        for body in bodies:
            self.overheard += body
            try:
                self.ears.hear(body)
            except Refusal as refusal:
                raise AssertionError(f"an innocent node wrote {body.hex()}: {refusal.text}") from None
