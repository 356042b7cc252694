"""Finds the stores of a bus, and the one that keeps a name."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from busway.errors import BusClosed, BusError
from busway.protocol.wire.patterns import is_pattern, matches
from busway.store.records import STORE_NAME, Hello

ASK = msgspec.msgpack.encode(Hello())
_ASK_S = 3.0


class Found(NamedTuple):
    """A store: the node where it is, which it is, and what it keeps."""

    node: bytes
    id: bytes
    keep: tuple[str, ...]

    def keeps(self, text: str) -> bool:
        """Whether it keeps a name, or some that a pattern means."""
        if is_pattern(text):
            return any(may_meet(pattern, text) for pattern in self.keep)
        return any(matches(pattern, text) for pattern in self.keep)


def told_in(answer: Any) -> list[Found]:
    """The stores that one has told of, itself first. Nothing for what is no such answer."""
    if not isinstance(answer, bytes):
        return []
    try:
        rows = msgspec.msgpack.decode(answer, type=list[tuple[bytes, bytes, tuple[str, ...]]])
    except msgspec.MsgspecError:
        return []
    return [Found(*row) for row in rows]


def told(stores: list[Found]) -> list[tuple[bytes, bytes, tuple[str, ...]]]:
    """The same, as it is told."""
    return [(each.node, each.id, each.keep) for each in stores]


async def stores(bus: Any) -> list[Found]:
    """All stores within reach, as one of them knows them."""
    try:
        return told_in(await bus.request(STORE_NAME, ASK, timeout=_ASK_S))
    except BusClosed:
        raise
    except BusError:
        return []


async def stores_at(bus: Any, nodes: list[bytes]) -> list[Found]:
    """The stores at these nodes."""
    found = []
    for node in nodes:
        try:
            found += told_in(await bus.request(STORE_NAME, ASK, node=node, timeout=_ASK_S))[:1]
        except BusError:
            continue
    return found


def stores_blocking(bus: Any) -> list[Found]:
    """As `stores`, of a Bus."""
    try:
        return told_in(bus.request(STORE_NAME, ASK, timeout=_ASK_S))
    except BusClosed:
        raise
    except BusError:
        return []


def conflict(keep: tuple[str, ...], other: Found) -> str:
    """Why a store that is to keep these names cannot be on one bus with another; "" if it can."""
    for mine in keep:
        for its in other.keep:
            if may_meet(mine, its):
                return (
                    f"a store on this bus keeps {its!r} already (node {other.node.hex()[:8]}), and this one"
                    f" is to keep {mine!r}: a name has one store, so let them keep others (--keep)"
                )
    return ""


def may_meet(one: str, other: str) -> bool:
    """Whether there may be a name that both patterns mean, by levels."""
    return _meet(tuple(one.split("/")), tuple(other.split("/")))


def _meet(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    seen: set[tuple[int, int]] = set()
    ways = [(0, 0)]
    while ways:
        at, place = ways.pop()
        if (at, place) in seen:
            continue
        seen.add((at, place))
        mine = one[at] if at < len(one) else None
        its = other[place] if place < len(other) else None
        if mine is None and its is None:
            return True
        if mine == "**":
            ways.append((at + 1, place))
            if its is not None:
                ways.append((at, place + 1))
        if its == "**":
            ways.append((at, place + 1))
            if mine is not None:
                ways.append((at + 1, place))
        one_level = mine is not None and its is not None and "**" not in (mine, its)
        if one_level and (mine == its or "*" in (mine, its)):
            ways.append((at + 1, place + 1))
    return False
