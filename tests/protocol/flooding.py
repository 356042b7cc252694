"""A mesh of 30 nodes and 44 links, at one of which a neighbour says again and again the opposite of what it
has just said: how many bytes go over all of its links for the bytes of that one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from busway.protocol.wire.fields import text8, varint

from .nets import ANYCAST, GLOBAL, SELF, Liar, Mesh, bind, directory, entry, parent, retract, routes, stranger
from .nets import update as offer
from .pairs import End, node_of

NODES = "ABCDEFGHIJKLMNOPQRSTUVWXYabcde"
LINKS = 44
FIRST = 3  # the first number that a neighbour may give to a node
UUIDS = [bytes((number,)) * 16 for number in range(1, 101)]
NAMED = 0x40 | ANYCAST


class Flooded(Mesh):
    """The mesh, at rest, with its hostile neighbour at one node."""

    def __init__(self, seed: int = 7) -> None:
        super().__init__()
        rng = random.Random(seed)
        pairs = {(rng.randrange(index), index) for index in range(1, len(NODES))}
        while len(pairs) < LINKS:
            one, two = sorted(rng.sample(range(len(NODES)), 2))
            pairs.add((one, two))
        self.add(NODES)
        self.join(" ".join(NODES[one] + NODES[two] for one, two in sorted(pairs)))
        self._across = {
            here.connection: (here, there)
            for cable in self.cables
            for here, there in (cable.ends, cable.ends[::-1])
        }
        self.pump()
        self.liar = Liar(self, self[NODES[0]])
        self.pass_time(10_000)
        self.said = 0

    def flow(self) -> None:
        """What `pump` does, asking only those that have something to write."""
        moved = True
        while moved:
            moved = False
            for node in self.nodes:
                for connection in node.connections_to_flush():
                    if connection in self._across:
                        moved = self._carry(*self._across[connection]) or moved
        self.liar.hear()
        for node in self.nodes:
            node.take_events()

    def _carry(self, here: End, there: End) -> bool:
        data = here.connection.data_to_send(65536, self.now)
        here.sent += data
        there.connection.receive_data(data, self.now)
        return bool(data)

    def pass_time(self, ms: int) -> None:
        until = self.now + ms
        while True:
            due = min(max(node.next_deadline() or 0, self.now) for node in self.nodes)
            if due > until:
                break
            self.now = due
            self.fire()
            self.flow()
        self.now = until

    def total(self) -> int:
        """All bytes that ever went over a link of the mesh."""
        return sum(len(end.sent) for cable in self.cables for end in cable.ends)

    def hear_out(self, frames: Iterator[bytes], size: int) -> int:
        """The neighbour says frames until they have so many bytes, each when the one before is known to all.
        Returns the bytes on all links together, those of the next three seconds included.
        """
        before = self.total()
        self.said = 0
        while self.said < size:
            body = next(frames)
            self.said += len(varint(len(body)) + body)
            self.liar.say(body)
            self.flow()
        self.pass_time(3000)
        assert self.liar.error == -1
        assert node_of(self.liar.connection) is self[NODES[0]]
        return self.total() - before


def node_flips() -> Iterator[bytes]:
    """One node comes and goes."""
    yield routes(offer(bind(FIRST, stranger(1)), 0, 0))
    while True:
        yield routes(retract(varint(FIRST)))
        yield routes(offer(varint(FIRST), 0, 0))


def nodes_flip(count: int = 50) -> Iterator[bytes]:
    """So many nodes come and go in turn."""
    for index in range(count):
        yield routes(offer(bind(FIRST + index, stranger(index)), 0, 0))
    while True:
        for index in range(count):
            yield routes(retract(varint(FIRST + index)))
            yield routes(offer(varint(FIRST + index), 0, 0))


def way_flips() -> Iterator[bytes]:
    """The way to a node becomes longer and shorter."""
    yield routes(offer(bind(FIRST, stranger(1)), 0, 0))
    while True:
        yield routes(offer(varint(FIRST), 0, 40))
        yield routes(offer(varint(FIRST), 0, 1))


def number_rises() -> Iterator[bytes]:
    """A node's number rises."""
    yield routes(offer(bind(FIRST, stranger(1)), 0, 0))
    number = 0
    while True:
        number += 1
        yield routes(offer(varint(FIRST), number & 0xFFFF, 0))


def label_flips() -> Iterator[bytes]:
    """A node is called something else."""
    yield routes(offer(bind(FIRST, stranger(1)), 0, 0))
    while True:
        for label in "xy":
            yield directory(varint(FIRST), GLOBAL, 0, 0, label=label)


def endpoint_flips() -> Iterator[bytes]:
    """An endpoint comes and goes."""
    yield routes(parent(b"\x02"))
    version = 0
    while True:
        for kind in (ANYCAST, 0):
            yield directory(SELF, GLOBAL, version, version + 1, entry(kind, UUIDS[0]))
            version += 1


def name_flips() -> Iterator[bytes]:
    """One of a hundred endpoints is called something else."""
    yield routes(parent(b"\x02"))
    yield directory(SELF, GLOBAL, 0, 1, *[entry(ANYCAST, uuid) for uuid in UUIDS])
    version = 1
    while True:
        for name in "xy":
            yield directory(SELF, GLOBAL, version, version + 1, bytes((NAMED,)) + UUIDS[0] + text8(name))
            version += 1


def new_nodes() -> Iterator[bytes]:
    """Other nodes each time come and go."""
    index = 0
    while True:
        yield routes(offer(bind(FIRST + index, stranger(index)), 0, 0))
        yield routes(retract(varint(FIRST + index)))
        index += 1


def way_moves(node: bytes) -> Iterator[bytes]:
    """The neighbour says that it leads to a node of the mesh, and that it does not, with newer numbers each
    time: all that believe it have another next hop.
    """
    yield routes(offer(bind(FIRST, node), 0, 0))
    number = 0
    while True:
        number += 1
        yield routes(retract(varint(FIRST)))
        yield routes(offer(varint(FIRST), number, 0))


CASES: dict[str, Callable[[], Iterator[bytes]]] = {
    "a node comes and goes": node_flips,
    "50 nodes come and go in turn": nodes_flip,
    "a node's way changes": way_flips,
    "a node's number rises": number_rises,
    "a node's label changes": label_flips,
    "an endpoint comes and goes": endpoint_flips,
    "one of 100 endpoints is renamed": name_flips,
    "other nodes each time come and go": new_nodes,
}
