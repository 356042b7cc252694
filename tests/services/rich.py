"""A contract with something of everything, written for threads: the class is contract and server."""

import datetime
import decimal
import enum
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

import busway


class Colour(enum.Enum):
    """Of the lamp."""

    RED = "red"
    DARK = 7


class Bits(enum.IntFlag):
    LOW = 1
    HIGH = 2


@dataclass
class Point:
    """A place."""

    x: float
    y: float = 0.0


@dataclass
class Tree:
    name: str
    children: list["Tree"] = field(default_factory=list)
    at: Point = field(default_factory=lambda: Point(1.0))
    seen: frozenset[str] = frozenset({"here"})


class Reading(msgspec.Struct):
    celsius: float
    when: datetime.datetime | None = None


START = datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC)


@busway.service("lab/rich", version=7)
class Rich:
    """Something of everything.

    With "quotes", and \\ backslashes."""

    class TooFast(busway.ServiceError):
        """Faster than it can."""

        limit: int
        steps: set[int] = field(default_factory=set)

    heated: busway.Signal[Reading]

    def plant(
        self,
        where: Point,
        ring: tuple[int, str] = (1, "x"),
        *,
        colour: Colour = Colour.RED,
        raw: bytes = b"\x00'\"",
        bits: Bits = Bits.LOW,
    ) -> Tree:
        """Plants a tree."""
        return Tree(f"{ring} {colour.name} {raw.hex()} {int(bits)}", [Tree("leaf")], where)

    def log(
        self,
        at: datetime.datetime = START,
        span: datetime.timedelta = datetime.timedelta(days=1),
        ids: dict[int, uuid.UUID] | None = None,
        cost: decimal.Decimal = decimal.Decimal("1.5"),
        day: datetime.date = datetime.date(2026, 1, 31),
        many: list[int] = [],  # noqa: B006
        pairs: set[tuple[int, ...]] = {(1, 2)},  # noqa: B006
    ) -> list[str]:
        return [str(each) for each in (at, span, ids, cost, day, many, sorted(pairs))]

    def count(self, to: int, kind: Literal["up", 3] = "up", note: Any = None) -> Iterator[Reading]:
        for number in range(to):
            yield Reading(float(number), START)

    def fail(self, said: str | None = None) -> None:
        raise self.TooFast(3, {1, 2}) if said is None else ValueError(said)
