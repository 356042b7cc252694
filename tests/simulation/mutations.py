"""Routers that each break one rule: what the simulator and the model check have to find.

Each leaves out what the argument in docs/routing.md rests on, and nothing else.
"""

from __future__ import annotations

from busway.protocol.routing.router import NOTHING, Neighbour, Route, Router


class Uncounted(Router):
    """Takes any acknowledgement as acknowledging everything (rule 5)."""

    def acknowledge(self, neighbour: Neighbour, count: int, now: int) -> bool:
        return super().acknowledge(neighbour, neighbour.withdrawn & 0xFFFF, now)


class Forgetful(Router):
    """Forgets FD as soon as a route has lost its way (rule 5)."""

    def _select(self, route: Route, now: int, fresh: bool = False) -> None:
        super()._select(route, now, fresh)
        if route.via is None:
            route.feasible = NOTHING


class Careless(Router):
    """Takes any offer for feasible (rule 2)."""

    def _select(self, route: Route, now: int, fresh: bool = False) -> None:
        route.feasible = NOTHING
        super()._select(route, now, fresh)


MUTATIONS: tuple[type[Router], ...] = (Uncounted, Forgetful, Careless)
