"""Nothing is lost between living nodes over standing links, and nothing of a pair overtakes: a few random
lives, and that the judge sees each kind of overtaking.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from busway.protocol import codes
from busway.protocol.flows import Outgoing
from busway.protocol.lanes import is_express
from busway.protocol.outbox import Outbox
from tests.simulation.order import run

STEPS = 15
SEEDS_MAX = 40


def signal(which: int) -> Callable[[Outgoing], bool]:
    return lambda out: out.kind == codes.SIGNAL and out.extra == which


EAGER: dict[str, Callable[[Outgoing], bool]] = {
    "an end": signal(codes.END),
    "a probe": signal(codes.PROBE),
    "a cancel": signal(codes.CANCEL),
    "an error": lambda out: out.kind == codes.ERROR,
}


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_and_nothing_overtakes(seed: int) -> None:
    verdict = run(seed, STEPS)
    assert verdict.faults == [], f"seed {seed}"
    assert verdict.counts["messages"] > 0


@pytest.mark.parametrize("what", EAGER)
def test_the_judge_sees_what_overtakes_in_transit(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "busway.protocol.connection.is_express", lambda out: is_express(out) or EAGER[what](out)
    )
    assert any(run(seed, STEPS).faults for seed in range(SEEDS_MAX))


def test_the_judge_sees_what_passes_a_large_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "_is_held", lambda self, out: False)
    assert any(run(seed, STEPS).faults for seed in range(SEEDS_MAX))
