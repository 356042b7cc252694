"""One small Leaf on a cable to a real router, others behind that; bytes move when the test says so."""

from __future__ import annotations

import random
from typing import Any

from busway.protocol import Link, Node, codes, events
from busway.protocol.leaf.frames import Message
from busway.protocol.leaf.leaf import Leaf
from busway.protocol.leaf.link import LeafConnection
from busway.protocol.leaf.state import Event, Receiver

from .pairs import Entropy, Net

ROUNDS_MAX = 10_000
LIMITS = (256, 1024, 16, 1)


class LeafNet(Net):
    """Routers and nodes as in `Net`, and leaves, each on one cable to a router."""

    def __init__(self, letters: str = "m", **options: Any) -> None:
        super().__init__()
        self.leaf_log: list[tuple[Leaf, Event]] = []
        self.cords: list[Cord] = []
        self.mesh(letters)
        self.router = self.nodes[0]
        self.leaf = self.add_leaf("x", **options)
        self.cord = self.plug(self.leaf, self.router)
        self.settle()

    def add_leaf(self, letter: str, **options: Any) -> Leaf:
        options.setdefault("entropy", Entropy(90 + len(self.cords)))
        options.setdefault("label", letter.upper())
        return Leaf(letter.encode() * 16, **options)

    def plug(
        self,
        leaf: Leaf,
        router: Node,
        *,
        realm: int = codes.LOCALNET,
        leaf_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> Cord:
        options.setdefault("via", "cord")
        here = Link(realm, **{**options, "dialled": True, **(leaf_options or {})})
        there = Link(realm, **options)
        cord = Cord(self, leaf, leaf.connection(here, self.now), router, router.connection(there, self.now))
        self.cords.append(cord)
        return cord

    def hear(self, leaf: Leaf, happened: list[Event]) -> None:
        self.leaf_log += [(leaf, event) for event in happened]

    def settle(self, rng: random.Random | None = None) -> None:
        """Move bytes until nothing moves."""
        for _ in range(ROUNDS_MAX):
            moved = self.step()
            for cord in list(self.cords):
                moved = cord.move(rng) or moved
            if not moved:
                return
        raise AssertionError("the nodes never fall quiet")

    def pass_time(self, ms: int) -> None:
        """Let time pass; each timer fires at its own instant."""
        until = self.now + ms
        while True:
            leaves = {cord.leaf for cord in self.cords} | {self.leaf}
            due = [node.next_deadline() for node in self.nodes] + [leaf.next_deadline() for leaf in leaves]
            times = [max(time, self.now) for time in due if time is not None and time <= until]
            if not times:
                break
            self.now = min(times)
            self.fire()
            for leaf in leaves:
                when = leaf.next_deadline()
                if when is not None and when <= self.now:
                    self.hear(leaf, leaf.handle_timer(self.now))
            self.settle()
        self.now = until
        self.settle()

    def heard(self, kind: int, leaf: Leaf | None = None) -> list[Event]:
        """Events of one kind of one leaf, or of the first."""
        return [event for who, event in self.leaf_log if who is (leaf or self.leaf) and event.kind == kind]

    def verdicts(self, token: int, leaf: Leaf | None = None) -> list[tuple[int, int]]:
        found = [event for event in self.heard(events.OUTCOME, leaf) if event.token == token]
        return [(event.status, event.code) for event in found]

    def taken(self, receiver: Receiver, leaf: Leaf | None = None) -> list[Message]:
        """Everything that the leaf's receiver has now."""
        found = []
        while receiver.queue:
            message = (leaf or self.leaf).take(receiver, self.now)
            if message is None:
                break
            found.append(message)
        return found


class Cord:
    """The cable between a leaf and its router."""

    def __init__(
        self, net: LeafNet, leaf: Leaf, connection: LeafConnection, router: Node, other: Any
    ) -> None:
        self.net = net
        self.leaf = leaf
        self.connection = connection
        self.router = router
        self.other = other
        self.sent = bytearray()  # all that the leaf ever wrote
        self.got = bytearray()  # all that the router ever wrote
        self.to_leaf = bytearray()
        self.to_router = bytearray()
        self.blocked = False  # the leaf cannot write

    def move(self, rng: random.Random | None = None) -> bool:
        net = self.net
        size = rng.randint(1, 40) if rng else 65536
        if self.blocked:
            data = b""
        else:
            wanted = self.connection.wants_write
            data = self.connection.data_to_send(size, net.now)
            assert wanted or not data
            assert len(data) <= size
            net.hear(self.leaf, self.leaf.take_events())
        self.sent += data
        self.to_router += data
        back = self.other.data_to_send(size, net.now)
        self.got += back
        self.to_leaf += back
        moved = bool(data or back or self.to_router or self.to_leaf)
        if self.to_router:
            take = bytes(self.to_router[:size])
            del self.to_router[:size]
            net.note(self.router, self.other.receive_data(take, net.now))
        if self.to_leaf:
            take = bytes(self.to_leaf[:size])
            del self.to_leaf[:size]
            net.hear(self.leaf, self.connection.receive_data(take, net.now))
        if (self.connection.done or self.other.done) and not self.to_leaf and not self.to_router:
            self.cut()
            return True
        return moved

    def cut(self) -> None:
        """Pull the plug: what is on its way is lost, both sides see the end."""
        net = self.net
        net.cords.remove(self)
        net.hear(self.leaf, self.connection.receive_eof(net.now))
        net.note(self.router, self.other.receive_eof(net.now))
