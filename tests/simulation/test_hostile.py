"""Hostile peers do no harm: a few lives here, thousands in `make soak`. And the fuzzer finds what it is to
find: each rule of the core that is left out makes a life that breaks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from busway.protocol import codes, exchange
from busway.protocol.messaging.receiving import Receiving
from busway.protocol.routing import distances, forwarding, lines, mesh, router
from busway.protocol.routing.router import Neighbour, Route, Router
from busway.protocol.wire.messages import Frame
from tests.simulation import hostile

SEEDS_MAX = 60  # lives of a rule that is left out
# Lives that are known to find it, to be tried first.
FIRST = {
    "whose word a message is": 8,
    "who passes on what": 8,
    "a session comes first": 62,
    "a link's share of the routes": 3,
    "a number rises to what is asked for": 3,
    "whose id it is": 2,
}


# A seed, its steps, and how much of them is counted in lines of code, which takes long.
LIVES = [(0, 60, 0.0), (2, 60, 0.0), (3, 25, 0.0), (6, 15, 0.2), (8, 60, 0.0)]


@pytest.mark.parametrize(("seed", "steps", "watched"), LIVES)
def test_hostile_peers_do_no_harm(seed: int, steps: int, watched: float) -> None:
    verdict = hostile.run(seed, steps, watched)
    assert verdict.faults == []
    assert verdict.counts["hostile links"]
    assert verdict.counts["calls that were answered"] > 100


Patch = pytest.MonkeyPatch


def _believe_all(patch: Patch) -> None:
    patch.setattr(exchange, "believes", lambda *_: True)


def _pass_on_all(patch: Patch) -> None:
    patch.setattr(forwarding, "may_pass_on", lambda *_: True)
    patch.setattr(exchange, "may_pass_on", lambda *_: True)
    patch.setattr(exchange, "believes", lambda *_: True)


def _deliver_to_all(patch: Patch) -> None:
    arrive = Receiving.arrive

    def arrived(self: Receiving, session: Any, peer: Any, frame: Frame, now: int) -> None:
        endpoint = self.endpoints.get(frame.endpoint)
        realm = endpoint.realm if endpoint is not None else 0
        if endpoint is not None:
            endpoint.realm = codes.GLOBAL
        arrive(self, session, peer, frame, now)
        if endpoint is not None:
            endpoint.realm = realm

    patch.setattr(Receiving, "arrive", arrived)


def _publish_everywhere(patch: Patch) -> None:
    patch.setattr(Frame, "reach", lambda _: codes.GLOBAL)
    patch.setattr(forwarding.Forwarder, "links_for", _all_links)


def _all_links(self: forwarding.Forwarder, root: Any, source: Any, uuid: bytes) -> list[Any]:
    neighbours = self._mesh.router.neighbours
    return [one.link for one in neighbours if root.route is None or root.route.via is not one]


def _no_session_first(patch: Patch) -> None:
    def ranked(route: Route, neighbour: Neighbour, offer: int) -> int:
        metric = distances.extend(offer & 0xFFFF, neighbour.realm, neighbour.cost)
        return 0x20000 if metric == distances.INFINITE else (metric >> 14) << 15 | metric & 0x3FFF

    patch.setattr(router, "rank", ranked)


def _no_share_of_routes(patch: Patch) -> None:
    """In a table that is soon full."""

    def may_offer(self: Router, neighbour: Neighbour, route: Route) -> bool:
        if neighbour.route is not route and len(self.routes) > 64:
            return False
        neighbour.offered += 1
        return True

    patch.setattr(Router, "_may_offer", may_offer)


def _lines_of_anybody(patch: Patch) -> None:
    def accepts(self: lines.Lines, connection: Any, key: bytes) -> Any:
        peer = self._mesh.routes.find(key)
        return peer if peer is not None and peer.reachable else None

    patch.setattr(lines.Lines, "accepts_line_from", accepts)


def _any_id_displaces(patch: Patch) -> None:
    opened = mesh.Mesh.link_opened

    def displaced(self: mesh.Mesh, connection: Any, hello: Any, now: int) -> None:
        former = self.routes.peers.get(hello.key[: codes.ID_SIZE])
        if former is not None and former.key != hello.key:
            former.metric = codes.GLOBAL << 14
        opened(self, connection, hello, now)

    patch.setattr(mesh.Mesh, "link_opened", displaced)


def _numbers_rise_by_one(patch: Patch) -> None:
    patch.setattr(Router, "_stride", lambda *_: 1)


RULES: dict[str, Callable[[Patch], None]] = {
    "whose word a message is": _believe_all,
    "who passes on what": _pass_on_all,
    "the realm of an endpoint": _deliver_to_all,
    "how far a broadcast gets": _publish_everywhere,
    "a session comes first": _no_session_first,
    "a link's share of the routes": _no_share_of_routes,
    "whose lines are taken": _lines_of_anybody,
    "whose id it is": _any_id_displaces,
    "a number rises to what is asked for": _numbers_rise_by_one,
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_left_out_is_found(rule: str, monkeypatch: Patch) -> None:
    RULES[rule](monkeypatch)
    first = FIRST.get(rule, 0)
    assert any(hostile.run(seed, watched=0.0).faults for seed in range(first, first + SEEDS_MAX))
