"""The simulator finds loops as soon as one rule is left out; so that it finds none means something."""

from __future__ import annotations

import pytest

from busway.protocol.routing.router import Router
from tests.simulation.control import LoopError
from tests.simulation.life import Life
from tests.simulation.mutations import MUTATIONS

SEEDS_MAX = 250


def first_loop(router_class: type[Router], seeds: int) -> int:
    """The first seed whose life has a loop, -1: none."""
    for seed in range(seeds):
        try:
            Life(seed, router_class).play()
        except LoopError:
            return seed
    return -1


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_rule_left_out_makes_loops(mutation: type[Router]) -> None:
    seed = first_loop(mutation, SEEDS_MAX)
    assert seed >= 0
    Life(seed).play()  # the same life without the mutation
