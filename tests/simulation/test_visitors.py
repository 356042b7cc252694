"""A few lives with programs that come for a moment and end."""

from __future__ import annotations

import pytest

from busway.protocol.routing.advertising import Advertiser
from tests.simulation.visitors import run


@pytest.mark.parametrize("seed", [3, 7])
def test_who_came_for_a_moment_is_heard_and_forgotten(seed: int) -> None:
    verdict = run(seed, 30)
    assert verdict.faults == [], f"seed {seed}"
    assert verdict.counts["visits"] > 5
    assert (verdict.counts["unbelieved"], verdict.counts["misrouted"]) == (0, 0)


def test_the_judge_sees_who_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Advertiser, "forget_retracted", lambda self, now: None)
    assert any("left of those" in fault for fault in run(7, 20).faults)
