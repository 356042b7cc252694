"""Counts and measures for the demo. Knows nothing of buses, processes and screens."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import busway
from busway.demo.messages import Readings
from busway.names import ascii_safe

REPLIED, CANCELLED = "replied", "cancelled"
# The outcomes of a request, each with its exception. Any other would break the promise, and so ends the demo.
OUTCOMES: dict[str, type[BaseException] | None] = {
    REPLIED: None,
    "error": busway.RemoteError,
    "undelivered": busway.Undeliverable,
    "timeout": busway.RequestTimeout,
    CANCELLED: busway.BusClosed,
}
PROGRAMS = ("readings", "answers", "visitor", "victim", "remote")
OWN_ENDPOINTS = (
    "demo/readings",
    "demo/clock",
    "demo/sum",
    "demo/count",
    "demo/echo",
    "demo/heartbeat",
    "demo/guestbook",
    "demo/remote",
    "demo/overview",
    "lab/pump",
    "lab/pump/state",
)
_SAMPLES_MAX = 10_000
_NOTES_MAX = 100
_INTROSPECTION = "busway/introspection"


@dataclass(slots=True)
class RoundTrips:
    """Round-trip times in seconds; median and p99 are of the last 10,000."""

    count: int = 0
    least: float = 0.0
    samples: deque[float] = field(default_factory=lambda: deque(maxlen=_SAMPLES_MAX))

    def add(self, seconds: float) -> None:
        self.least = min(self.least, seconds) if self.count else seconds
        self.count += 1
        self.samples.append(seconds)

    def quantiles(self, *shares: float) -> list[float]:
        """The time that each share of the round trips took at most; 0.0 without any."""
        ordered = sorted(self.samples) or [0.0]
        return [ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in shares]


@dataclass(slots=True)
class Tally:
    """The requests to one endpoint: how many were asked, and what became of them."""

    asked: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    round_trips: RoundTrips = field(default_factory=RoundTrips)


@dataclass(slots=True)
class Seen:
    """A node on the bus: its label, when it was first seen (time.time()), how many links it says it has."""

    label: str
    since: float
    me: bool = False
    links: int = 0


@dataclass(slots=True)
class Traffic:
    """Messages taken by the receivers of one endpoint, all over the bus."""

    kind: str
    holders: list[str] = field(default_factory=list)
    total: int = 0
    rate: float = 0.0  # per second


class Figures:
    """All counts of one run."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.nodes: dict[bytes, Seen] = {}
        self.nodes_max = 0
        self.came: Counter[str] = Counter()  # by program; whatever else joins is "other"
        self.went: Counter[str] = Counter()
        self.kills = 0
        self.returns = 0  # of the victim after a kill
        self.returns_s = 0.0  # from the kills to the returns, added up
        self.traffic: dict[str, Traffic] = {}
        self.requests: dict[str, Tally] = {}
        self.visits = 0  # reports that visitors handed in
        self.visits_asked = 0
        self.visits_replied = 0
        self.readings: Readings | None = None
        self.readings_count = 0
        self.readings_missed = 0
        self.remote_readings = 0  # that came to the program "remote", over a WebSocket
        self.remote_answers = 0
        self.page = ""  # URL, once a browser can have it
        self.board: dict[str, Any] | None = None  # what the board said last
        self.board_count = 0
        self.board_expected = False
        self.notes: deque[tuple[float, str]] = deque(maxlen=_NOTES_MAX)  # time.time(), sentence
        self.draws = 0
        self.complaints: list[str] = []  # about the end of programs
        self._taken: dict[tuple[bytes, str], int] = {}
        self._surveyed = self.started

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def note(self, sentence: str) -> None:
        """Something worth telling happened."""
        self.notes.append((time.time(), sentence))

    def overview(self) -> dict[str, list[dict[str, object]]]:
        """Nodes and endpoints, for the page."""
        nodes = sorted(self.nodes.items(), key=lambda item: item[1].since)
        return {
            "nodes": [
                {"label": seen.label, "id": node.hex()[:8], "links": seen.links} for node, seen in nodes
            ],
            "endpoints": [
                {"name": name, "kind": traffic.kind, "rate": traffic.rate}
                for name, traffic in sorted(self.traffic.items())
            ],
        }

    # Nodes

    def node_up(self, node: bytes, label: str, me: bool = False) -> None:
        label = ascii_safe(label)
        self.nodes[node] = Seen(label, time.time(), me)
        self.nodes_max = max(self.nodes_max, len(self.nodes))
        if not me:
            self.came[_program(label)] += 1

    def node_changed(self, node: bytes, label: str) -> None:
        """A node that is there is known by its label now."""
        label = ascii_safe(label)
        seen = self.nodes[node]
        self.came[_program(seen.label)] -= 1
        self.came[_program(label)] += 1
        seen.label = label

    def node_down(self, node: bytes) -> None:
        seen = self.nodes.pop(node, None)
        if seen is not None:
            self.went[_program(seen.label)] += 1

    # Requests

    @contextmanager
    def request(self, endpoint: str) -> Iterator[None]:
        """Count the request made inside, its outcome and its time. Errors that are an outcome end here."""
        tally = self.requests.setdefault(endpoint, Tally())
        tally.asked += 1
        draws, began = self.draws, time.perf_counter()
        outcome = CANCELLED
        try:
            yield
            outcome = REPLIED
        except tuple(error for error in OUTCOMES.values() if error is not None) as error:
            outcome = next(name for name, kind in OUTCOMES.items() if kind and isinstance(error, kind))
        finally:
            tally.outcomes[outcome] += 1
        # Drawing the screen holds this process up for some milliseconds, which are not the bus's.
        if outcome == REPLIED and draws == self.draws:
            tally.round_trips.add(time.perf_counter() - began)

    def asked(self) -> int:
        return sum(tally.asked for tally in self.requests.values())

    def outcomes(self) -> Counter[str]:
        return sum((tally.outcomes for tally in self.requests.values()), Counter())

    # Traffic

    def survey(self, reports: Iterable[dict[str, Any]]) -> None:
        """Take in what all nodes answered to introspection: endpoints, messages taken, links."""
        now = time.monotonic()
        elapsed, self._surveyed = now - self._surveyed, now
        taken: dict[tuple[bytes, str], int] = {}
        news: Counter[str] = Counter()
        for traffic in self.traffic.values():
            traffic.holders = []
        for report in reports:
            if report["node"] in self.nodes:
                self.nodes[report["node"]].links = len(report["links"])
            for found in report["endpoints"]:
                name = ascii_safe(found["name"]) or found["endpoint"].hex()[:8]
                if name == _INTROSPECTION:
                    continue
                taken[report["node"], name] = found["taken"]
                # A receiver that was closed and opened again counts from 0.
                news[name] += max(0, found["taken"] - self._taken.get((report["node"], name), 0))
                self.traffic.setdefault(name, Traffic(found["kind"])).holders.append(
                    ascii_safe(report["label"])
                )
        # A node that was too busy to answer this time will be compared with its answer before.
        self._taken = {key: value for key, value in self._taken.items() if key[0] in self.nodes} | taken
        for name, traffic in self.traffic.items():
            traffic.total += news[name]
            traffic.rate = news[name] / elapsed
        self.traffic = {
            name: traffic
            for name, traffic in self.traffic.items()
            if traffic.holders or name in OWN_ENDPOINTS
        }


def _program(label: str) -> str:
    return label if label in PROGRAMS else "other"
