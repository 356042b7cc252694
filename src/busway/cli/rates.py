"""Rates from two surveys of the bus. Knows reports, prints nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from busway.adapters.asyncio import AsyncBus
from busway.cli.survey import PUBLISHER, SILENT, Found


@dataclass
class NodeLine:
    """One node: rates in bytes and messages a second; None for what it did not tell."""

    id: bytes
    label: str
    leaf: bool
    answer: str
    links: int | None = None
    endpoints: int | None = None
    outstanding: int | None = None
    messages_rate: float | None = None
    sent_rate: float | None = None
    bytes_in_rate: float | None = None
    bytes_out_rate: float | None = None

    @property
    def key(self) -> str:
        """Tells it from others of its table."""
        return self.id.hex()


@dataclass
class EndpointLine:
    """One endpoint, over all its holders; of kind "publisher" what is published to it, over all who do."""

    id: bytes
    name: str
    kind: str
    holders: list[str] = field(default_factory=list)
    queued: int = 0
    taken: int = 0
    dropped: int = 0
    rate: float | None = None
    sent: int = 0
    sent_rate: float | None = None

    @property
    def key(self) -> str:
        """Tells it from others of its table."""
        return f"{self.id.hex()} {self.kind == PUBLISHER}"


@dataclass
class View:
    """The bus at one time."""

    nodes: list[NodeLine]
    endpoints: list[EndpointLine]

    @property
    def held(self) -> int:
        """How many endpoints somebody has registered."""
        return sum(line.kind != PUBLISHER for line in self.endpoints)

    @property
    def rates(self) -> list[str]:
        """In words, for people."""
        published = [f"{self.sent_rate:,.0f} published/s"] if self.sent_rate else []
        return [*published, f"{self.rate:,.0f} messages/s"]

    @property
    def rate(self) -> float:
        """Messages taken by receivers, a second."""
        return sum(line.rate or 0 for line in self.endpoints)

    @property
    def sent_rate(self) -> float:
        """Messages published, a second, whether anybody takes them or not."""
        return sum(line.sent_rate or 0 for line in self.endpoints)


class Rates:
    """Remembers the last survey's counts; those of a node that missed a survey, too, and its endpoints: they
    stay in view, without rates.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[bytes, bytes, str], tuple[float, int]] = {}
        self._told: dict[bytes, Found] = {}  # by node: its last report

    def view(self, bus: AsyncBus, found: list[Found], now: float) -> View:
        """`now` in seconds, of any origin."""
        here = {each.id for each in found}
        self._counts = {key: value for key, value in self._counts.items() if key[0] in here}
        self._told = {node: told for node, told in self._told.items() if node in here}
        endpoints: dict[tuple[bytes, bool], EndpointLine] = {}
        nodes = [self._node(bus, each, endpoints, now) for each in found]
        return View(nodes, sorted(endpoints.values(), key=_order))

    def _node(
        self, bus: AsyncBus, found: Found, endpoints: dict[tuple[bytes, bool], EndpointLine], now: float
    ) -> NodeLine:
        line = NodeLine(found.id, found.label, found.info.leaf, found.answer)
        if not found.report:
            if found.answer == SILENT and found.id in self._told:
                told = self._told[found.id]
                for row in told.endpoints():
                    _held(endpoints, told, row)
                for row in told.table("published"):
                    _published(endpoints, told, row)
            return line
        self._told[found.id] = found
        links, rows = found.links(bus), found.endpoints()
        line.links, line.endpoints, line.outstanding = len(links), len(rows), found.report["outstanding"]
        # A restarted program counts from 0 again.
        life = found.id + found.report["incarnation"]
        line.bytes_in_rate = self._rate(found.id, life, "in", sum(link["bytes_in"] for link in links), now)
        line.bytes_out_rate = self._rate(found.id, life, "out", sum(link["bytes_out"] for link in links), now)
        for row in rows:
            place = _held(endpoints, found, row)
            rate = self._rate(found.id, life, row["endpoint"].hex(), row["taken"], now)
            place.rate, line.messages_rate = _sum(place.rate, rate), _sum(line.messages_rate, rate)
        for row in found.table("published"):
            place = _published(endpoints, found, row)
            rate = self._rate(found.id, life, "sent " + row["endpoint"].hex(), row["sent"], now)
            place.sent_rate, line.sent_rate = _sum(place.sent_rate, rate), _sum(line.sent_rate, rate)
        return line

    def _rate(self, node: bytes, life: bytes, what: str, count: int, now: float) -> float | None:
        key = (node, life, what)
        before = self._counts.get(key)
        self._counts[key] = (now, count)
        if before is None or now <= before[0]:
            return None
        # A link or receiver that closed takes its count along.
        return max(0, count - before[1]) / (now - before[0])


def _held(
    endpoints: dict[tuple[bytes, bool], EndpointLine], found: Found, row: dict[str, Any]
) -> EndpointLine:
    """The line of an endpoint, to which one of its holders is added."""
    place = _place(endpoints, found, row, row["kind"])
    place.queued += row["queued"]
    place.taken += row["taken"]
    place.dropped += row["dropped"]
    return place


def _published(
    endpoints: dict[tuple[bytes, bool], EndpointLine], found: Found, row: dict[str, Any]
) -> EndpointLine:
    """The line of what is published to an endpoint, to which one who publishes is added."""
    place = _place(endpoints, found, row, PUBLISHER)
    place.sent += row["sent"]
    return place


def _place(
    endpoints: dict[tuple[bytes, bool], EndpointLine], found: Found, row: dict[str, Any], kind: str
) -> EndpointLine:
    """The line of a row; what is published has one of its own, whoever holds the endpoint."""
    ident = row["endpoint"]
    place = endpoints.setdefault((ident, kind == PUBLISHER), EndpointLine(ident, row["name"], kind))
    place.name = place.name or row["name"]
    place.holders.append(found.label or found.id.hex()[:8])
    return place


def _sum(one: float | None, other: float | None) -> float | None:
    """Of rates, of which some are not known yet."""
    return one if other is None else (one or 0) + other


def _order(line: EndpointLine) -> tuple[str, bool]:
    return line.name or line.id.hex(), line.kind == PUBLISHER
