"""Random lives of a few nodes (campaign.py); BUSWAY_SEEDS=1000 plays a thousand of them."""

from __future__ import annotations

import os

import pytest

from busway.protocol import Node, events
from tests.protocol import campaign

SEEDS = int(os.environ.get("BUSWAY_SEEDS", "12"))


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_is_lost_doubled_or_left_over(seed: int) -> None:
    campaign.run(seed)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_the_same_seed_plays_the_same() -> None:
    first, second = campaign.run(5), campaign.run(5)
    assert list(first.sent) == list(second.sent)
    assert [sent.status for sent in first.sent.values()] == [sent.status for sent in second.sent.values()]
    assert first.now == second.now


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_all_that_can_happen_happens() -> None:
    """A campaign in which nothing goes wrong would prove little."""
    worlds = [campaign.run(seed, 300) for seed in range(8)]
    seen = {sent.status for world in worlds for sent in world.sent.values()}
    assert seen >= {
        events.ACCEPTED,
        events.TAKEN,
        events.REPLIED,
        events.ENDED,
        events.FAILED,
        events.UNDELIVERED,
        events.TIMED_OUT,
        events.UNKNOWN,
        events.CANCELLED,
    }
    assert sum(sent.taken for world in worlds for sent in world.sent.values()) > 150
    assert any(world.lost_news for world in worlds)


def test_it_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core that tells an outcome twice does not pass."""
    origin = Node.cancel

    def twice(node: Node, token: int, now: int) -> None:
        origin(node, token, now)
        node.emit(events.Outcome(token, events.CANCELLED))

    monkeypatch.setattr(Node, "cancel", twice)
    with pytest.raises(AssertionError, match="an outcome after the last"):
        campaign.run(0)
