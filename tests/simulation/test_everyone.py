"""Random lives of whole nodes: a few seeds here, as many as time allows in `make soak`."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Node, events
from busway.protocol.routing import lines
from busway.protocol.routing.router import Router
from tests.simulation.everyone import run


@pytest.mark.parametrize("seed", range(6))
def test_a_mesh_keeps_its_promises(seed: int) -> None:
    verdict = run(seed)
    assert verdict.faults == [], f"seed {seed}"
    assert verdict.counts["calls"] > 10


def test_a_life_is_the_same_each_time() -> None:
    assert run(3, 60) == run(3, 60)


def _takes_anything(self: Any, peer: Any, realm: int, now: int) -> None:
    """A mesh that keeps lines that are narrower than the way to their node."""


def test_the_judge_sees_what_realms_forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines.Lines, "drop_lines", _takes_anything)
    assert any(run(seed).faults for seed in range(8))


def test_the_judge_sees_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("busway.protocol.routing.router.better", lambda a, b: True)
    assert Router is not None
    assert any("loop" in fault for seed in range(8) for fault in run(seed).faults)


@pytest.mark.parametrize("forgotten", [events.NODE_CHANGED, events.ENDPOINT_DOWN, events.LINK_STATE])
def test_the_judge_sees_news_that_are_not_told(monkeypatch: pytest.MonkeyPatch, forgotten: int) -> None:
    emit = Node.emit

    def keep(self: Node, event: events.Event) -> None:
        if event.kind != forgotten:
            emit(self, event)

    monkeypatch.setattr(Node, "emit", keep)
    assert any("its events tell of" in fault for seed in range(8) for fault in run(seed).faults)
