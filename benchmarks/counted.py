"""Program that benchmarks/instructions.py counts: run under valgrind, told by `getppid` where to part it.

Usage: python counted.py ROOT WAY [WAY ...]; a WAY is a name below, or NAME:NUMBER. Imports nothing of the
project but what lies below ROOT: any checkout, old ones too, and any installed package can be counted.

Prints one line for each part that is counted: what it is, and how many messages it was; then whether the core
is "pure" or "compiled". Three nodes in one process stand in a row, a - b - c, on links in memory; what one
writes is given to the next at once. All that the nodes do from the call to the message in its receiver's hand
is counted.
"""

import gc
import os
import random
import sys
from collections.abc import Callable

WARM, COUNT = 200, 400  # messages before what is counted, and counted
BURST = 100  # messages that are sent before any is carried
NOW = 1000  # ms

sys.path[:0] = [sys.argv[1] + "/src", sys.argv[1]]
from busway.protocol import Connection, Link, Message, Node, Receiver, Request, codes  # noqa: E402


class Item:
    """Of the reference program: a small object, as messages and tables of a bus are."""

    __slots__ = ("data", "held", "number")

    def __init__(self, number: int, data: bytes) -> None:
        self.number = number
        self.data = data
        self.held = 0

    def size(self, more: int = 64) -> int:
        """Its bytes, and what it costs besides."""
        return len(self.data) + more

    def step(self, byte: int) -> int:
        """A little arithmetic."""
        self.number = (self.number << 7 | byte) & 0xFFFFFF
        self.held += 1
        if self.held > 5 and self.number != 3:
            self.held = 0
        return self.number


class Reference:
    """Ordinary Python that has nothing to do with the project: by its count those of machines compare.

    Mixed so that what differs between builds of one Python (calls little, small objects more) weighs as in
    the core: of 3.11, Debian's build and python.org's source built plainly differ by 3 to 6 % in messages,
    and by 3 in this.
    """

    def __init__(self) -> None:
        self.first, self.second = Item(1, b"first"), Item(2, b"second")
        self.known = dict.fromkeys(range(16), self.first)

    def run(self) -> object:
        """One turn: many small steps, some lookups, a few objects."""
        packed = bytearray()
        held = 0
        for number in range(60):
            item = self.first if number & 1 else self.second
            place = item.step(number)
            held += item.size()
            if place & 3 == 0:
                held += item.size(more=1)
            found = self.known.get(number & 31)
            if found is not None and not number & 3:
                packed += found.held.to_bytes(2, "big")
                self.known[number & 31] = Item(number, bytes(packed[-2:]))
        return bytes(packed), held


Pair = tuple[Connection, Connection]


def join(left: Node, right: Node, via: str, realm: int = codes.LOCALNET) -> Pair:
    """Two ends of a link."""
    return (
        left.connection(Link(realm, True, via=via, medium=via), NOW),
        right.connection(Link(realm, False, via=via, medium=via), NOW),
    )


def pump(links: list[Pair]) -> None:
    """Carries what the nodes have to say until they are silent."""
    moved = True
    while moved:
        moved = False
        for pair in links:
            for source, target in (pair, pair[::-1]):
                data = source.data_to_send(1 << 20, NOW)
                if data:
                    target.receive_data(data, NOW)
                    moved = True


def node(number: int, transit: bool = True) -> Node:
    """A node that draws the same numbers each time."""
    entropy = random.Random(7).randbytes
    return Node(number.to_bytes(2, "big") * 8, entropy=entropy, transit=transit)


class Row:
    """Three nodes in a row."""

    def __init__(self) -> None:
        self.a, self.b, self.c = node(1), node(2), node(3)
        self.near = [join(self.a, self.b, "near")]
        self.links = [*self.near, join(self.b, self.c, "far")]
        pump(self.links)
        self.names = [bytes([letter]) * 16 for letter in b"EFG"]
        self.at_b = self.b.register(self.names[0], codes.UNICAST)
        self.at_c = self.c.register(self.names[1], codes.UNICAST)
        self.news = self.b.register(self.names[2], codes.BROADCAST)
        pump(self.links)

    def send(self) -> object:
        """One message to a neighbour."""
        self.a.send(self.names[0], b"x" * 16, NOW)
        pump(self.near)
        self.b.take_events()
        return self.b.take(self.at_b, NOW)

    def burst(self) -> object:
        """Many messages to a neighbour, carried together."""
        for _ in range(BURST):
            self.a.send(self.names[0], b"x" * 16, NOW)
        pump(self.near)
        self.b.take_events()
        taken: Message | None = None
        for _ in range(BURST):
            taken = self.b.take(self.at_b, NOW)
        return taken

    def request(self) -> object:
        """A request to a neighbour, and its reply."""
        self.a.request(self.names[0], b"x" * 16, NOW)
        pump(self.near)
        self.b.take_events()
        message = self.b.take(self.at_b, NOW)
        assert isinstance(message, Request)
        self.b.respond(message, b"y" * 16, NOW)
        pump(self.near)
        self.a.take_events()
        return message

    def transit(self) -> object:
        """One message to the neighbour's neighbour."""
        self.a.send(self.names[1], b"x" * 16, NOW)
        pump(self.links)
        self.c.take_events()
        return self.c.take(self.at_c, NOW)

    def publish(self) -> object:
        """One message to a subscriber next door."""
        self.a.publish(self.names[2], b"x" * 16, NOW)
        pump(self.near)
        self.b.take_events()
        return self.b.take(self.news, NOW)


class Endpoints:
    """Many endpoints of a neighbour, sent to in turn."""

    def __init__(self, number: int) -> None:
        self.a, self.b = node(1), node(2)
        self.links = [join(self.a, self.b, "near")]
        pump(self.links)
        self.names = [b"endpoint" + place.to_bytes(8, "big") for place in range(number)]
        self.receivers: list[Receiver] = [self.b.register(name, codes.UNICAST) for name in self.names]
        pump(self.links)
        self.turn = 0

    def send(self) -> object:
        """One message to the next."""
        place = self.turn = (self.turn + 1) % len(self.names)
        self.a.send(self.names[place], b"x" * 16, NOW)
        pump(self.links)
        self.b.take_events()
        return self.b.take(self.receivers[place], NOW)


class Nodes:
    """Many neighbours with an endpoint each, sent to in turn."""

    def __init__(self, number: int) -> None:
        self.a = node(1, transit=False)
        self.others = [node(2 + place, transit=False) for place in range(number)]
        self.links = [[join(self.a, other, "near", codes.USERSPACE)] for other in self.others]
        for link in self.links:
            pump(link)
        self.names = [b"endpoint" + place.to_bytes(8, "big") for place in range(number)]
        self.receivers: list[Receiver] = []
        for place, other in enumerate(self.others):
            self.receivers.append(other.register(self.names[place], codes.UNICAST))
            pump(self.links[place])
        self.turn = 0

    def send(self) -> object:
        """One message to the next."""
        place = self.turn = (self.turn + 1) % len(self.names)
        self.a.send(self.names[place], b"x" * 16, NOW)
        pump(self.links[place])
        self.others[place].take_events()
        return self.others[place].take(self.receivers[place], NOW)


class Patterns:
    """A name with one subscriber, published to beside many patterns that others' names would fit."""

    def __init__(self, number: int) -> None:
        self.a, self.b = node(1), node(2)
        self.links = [join(self.a, self.b, "near")]
        pump(self.links)
        self.name = b"the name" * 2
        self.a.supplements.name_of = lambda uuid: "lab/room/temperature"
        self.news = self.b.register(self.name, codes.BROADCAST, name="lab/room/temperature")
        for place in range(number):
            uuid = b"patterns" + place.to_bytes(8, "big")
            self.b.register(uuid, codes.BROADCAST, name=f"lab/*/{place}/**")
        pump(self.links)

    def publish(self) -> object:
        """One message to the name."""
        self.a.publish(self.name, b"x" * 16, NOW)
        pump(self.links)
        self.b.take_events()
        return self.b.take(self.news, NOW)


def prepared(way: str, row: Row) -> tuple[Callable[[], object], int, int]:
    """A way as what is run, how often before it is counted, and how often counted."""
    name, _, number = way.partition(":")
    if name == "reference":
        return Reference().run, 10, 40
    if name in ("endpoints", "nodes"):
        many = Endpoints(int(number)) if name == "endpoints" else Nodes(int(number))
        return many.send, 2 * int(number) + WARM, max(COUNT, int(number))
    if name == "patterns":
        return Patterns(int(number)).publish, WARM, COUNT
    run = getattr(row, name)
    return (run, 3, 8) if name == "burst" else (run, WARM, COUNT)


def main() -> None:
    row = Row()
    gc.collect()
    gc.freeze()  # what imports have left is not looked through again and again
    for way in sys.argv[2:]:
        run, warm, count = prepared(way, row)
        if way == "reference":
            gc.disable()  # it makes no garbage, and when Python looks for some depends on what was before
        else:
            gc.enable()
        for _ in range(warm):
            assert run() is not None, way + " did not arrive"
        os.getppid()
        for _ in range(count):
            assert run() is not None, way + " did not arrive"
        os.getppid()
        print(way, count * (BURST if way == "burst" else 1))
    print("pure" if str(sys.modules[Node.__module__].__file__).endswith(".py") else "compiled")


if __name__ == "__main__":
    main()
