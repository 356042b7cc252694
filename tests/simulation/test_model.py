"""The exhaustive check of small networks, as far as a test may take; `make soak` goes on."""

from __future__ import annotations

import pytest

from busway.protocol.routing.router import Neighbour, Route, Router
from tests.simulation.model import CASES, COST, Case, Change, Fault, Model, Search
from tests.simulation.mutations import Careless, Forgetful

SMALL = [case for case in CASES if case.small]
SQUARE = ((0, 1), (1, 2), (2, 3), (0, 3))
TRIANGLE = ((0, 1), (1, 2), (0, 2))


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_every_order_of_events(case: Case) -> None:
    result = case.model().explore(60_000, 30.0)
    assert result.whole
    assert result.states > 50


def test_numbers_go_round_inside_the_check() -> None:
    """Some state of a small case needs the number after 65535, which is 0."""
    numbers = set()

    class Noting(Router):
        def _select(self, route: Route, now: int, fresh: bool = False) -> None:
            super()._select(route, now, fresh)
            numbers.add(self.me.distance >> 16)
            numbers.update(found.distance >> 16 for found in self.routes.values())

    Model(3, TRIANGLE, (Change("down", 0, 1),), Noting).explore(60_000, 30.0)
    assert {65535, 0} <= numbers


def test_a_router_that_forgets_early_is_found() -> None:
    with pytest.raises(Fault, match="a loop, after: 0 restarts in silence; "):
        Model(4, SQUARE, (Change("fall", 0),), Forgetful).explore(60_000, 30.0)


def test_a_router_that_takes_any_offer_is_found() -> None:
    with pytest.raises(Fault, match="a loop, after: "):
        Model(3, TRIANGLE, (Change("down", 0, 1), Change("down", 0, 2)), Careless).explore(60_000, 30.0)


def test_an_exploration_says_when_it_has_not_seen_all() -> None:
    result = Model(3, TRIANGLE, (Change("down", 0, 1),)).explore(10, 30.0)
    assert (result.whole, result.states > 10, "not all" in str(result)) == (False, True, True)


def test_what_is_not_the_fixed_point_is_found() -> None:
    class Stubborn(Router):
        """Goes by the former cost."""

        def set_cost(self, neighbour: Neighbour, cost: int, now: int) -> None:
            neighbour.cost = cost

    with pytest.raises(Fault, match=r"should have .*after: 1 sees cost 8000 to 0$"):
        Model(3, TRIANGLE, (Change("cost", 1, 0, 2 * COST),), Stubborn).explore(60_000, 30.0)


def test_a_starving_node_that_asks_nobody_is_found() -> None:
    class Mute(Router):
        def _send_request(self, neighbour: Neighbour, route: Route, wanted: int, now: int) -> None:
            pass

    with pytest.raises(Fault, match="one retry was not enough"):
        Model(3, TRIANGLE, (Change("down", 0, 1),), Mute).explore(60_000, 30.0)


def test_a_router_that_does_not_tell_of_a_goodbye_later_is_found() -> None:
    class Curt(Router):
        """Who was told that there is no way is told no more."""

        def _tell_owed(self, route: Route) -> None:
            pass

    tailed = next(case for case in SMALL if case.pairs[:2] == ((0, 1), (0, 2)))
    with pytest.raises(Fault, match="3 has not heard the goodbye, after: 0 says goodbye; "):
        tailed.model(Curt).explore(60_000, 30.0)


def test_what_goes_round_for_ever_is_found() -> None:
    search = Search(Model(3, TRIANGLE, (Change("down", 0, 1),)))
    assert search.run(60_000, 30.0).whole
    search.edges.extend((2, 1))  # as if that followed from itself
    with pytest.raises(Fault, match="for ever, after: 0-1 dies"):
        search.check_ends()
