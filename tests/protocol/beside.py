"""Things for links of tests, and memory that both sides see: the part of an adapter, in a few lines."""

from __future__ import annotations

from typing import Any

from busway.protocol import Connection
from busway.protocol.errors import LocalError

from .nets import Mesh
from .pairs import Pair


class Thing:
    """Known by its number; somebody may hold a weak reference to it."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"thing {self.number}"


class Again(Thing):
    """One more of the same."""

    def __init__(self, thing: Thing) -> None:
        super().__init__(thing.number)
        self.of = thing


class Memory:
    """Memory that all see: a thing is what was put there. Payloads of more than `room` bytes go as bytes."""

    def __init__(self, room: int = 1 << 40) -> None:
        self.room = room
        self.given = 0
        self.renewed = 0
        self.taken = 0
        self.lagging = False

    def lags(self, size: int) -> bool:
        return self.lagging

    def give(self, payload: Any) -> tuple[bytes, Any] | None:
        if len(payload) > self.room:
            return None
        self.given += 1
        return len(payload).to_bytes(4, "big"), payload

    def again(self, thing: Any) -> Any:
        self.renewed += 1
        return Again(thing) if isinstance(thing, Thing) else bytes(thing)

    def take(self, description: bytes, thing: Any) -> Any:
        if isinstance(thing, Thing) or len(thing) != int.from_bytes(description, "big"):
            raise LocalError("the memory is not what the other side says")
        self.taken += 1
        return memoryview(thing).toreadonly()


class Machine(Pair):
    """Two nodes on one machine, `memory` for both."""

    def __init__(self, memory: Memory | None = None, **options: Any) -> None:
        self.memory = memory or Memory()
        super().__init__(aside=self.memory, **options)


class Machines(Mesh):
    """Nodes of one machine, but for links that a test adds."""

    def __init__(self, letters: str, pairs: str, memory: Memory | None = None) -> None:
        super().__init__()
        self.memory = memory or Memory()
        self.add(letters)
        for pair in pairs.split():
            self.near(pair)
        self.pump()

    def near(self, pair: str, **options: Any) -> None:
        """A link of the machine that carries things."""
        self.join(pair, **{"realm": 1, "medium": "ipc", "aside": self.memory, **options})


def things(*numbers: int) -> list[Thing]:
    return [Thing(number) for number in numbers]


def numbers(carrier: Any) -> list[int]:
    """The numbers of things."""
    return [thing.number for thing in carrier]


def waiting(connection: Connection) -> int:
    """How many things have come over a link that belong to no frame yet."""
    assert connection.beside is not None
    return connection.beside.waiting()


def held(connection: Connection) -> int:
    """How many things of messages that came over a link wait in receivers' queues."""
    assert connection.beside is not None
    return connection.beside.held
