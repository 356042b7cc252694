"""Random lives with all of addressing: a few here, a million events in `make soak`."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol.link.sending import SendingLink
from busway.protocol.messaging import last_words
from busway.protocol.messaging.retained import Retained
from busway.protocol.routing.departures import Departures
from busway.protocol.routing.router import Router
from tests.simulation.addressed import run

LIVES = 16


@pytest.mark.parametrize("first", range(0, 24, 6))
def test_a_mesh_keeps_its_promises_with_all_of_addressing(first: int) -> None:
    events = 0
    for seed in range(first, first + 6):
        verdict = run(seed)
        assert verdict.faults == [], f"seed {seed}"
        events += verdict.counts["events"]
    assert events > 1000


def test_a_life_is_the_same_each_time() -> None:
    assert run(3, 60) == run(3, 60)


def is_found(what: str, first: int = 0) -> bool:
    """Whether the judge says so of any of the lives, `first` before the others; the rest is not lived."""
    return any(what in fault for seed in (first, *range(LIVES)) for fault in run(seed).faults)


def test_the_judge_sees_goodbyes_that_are_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Router, "_is_farewell", lambda self, neighbour, route: False)
    assert is_found("for lost, which said goodbye")


def test_the_judge_sees_losses_that_are_told_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """And then the node says goodbye by another way, or comes back and is lost again."""
    lost = Departures.lost

    def at_once(self: Departures, peer: Any, seen: bool, now: int) -> None:
        lost(self, peer, seen, now)
        for missing in list(self._missing.values()):
            self.conclude(missing, 2, now)

    monkeypatch.setattr(Departures, "lost", at_once)
    monkeypatch.setattr(Departures, "announced", lambda self, entry: None)
    assert is_found("", 6)


def test_the_judge_sees_last_words_that_are_given_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    give = last_words.give_last_word

    def twice(receiving: Any, entry: Any, now: int) -> None:
        give(receiving, entry, now)
        give(receiving, entry, now)

    monkeypatch.setattr("busway.protocol.exchange.give_last_word", twice)
    assert is_found("twice")


def test_the_judge_sees_values_that_nobody_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Retained, "ask", lambda self, known, now: None)
    assert is_found("keeps", 4)


def test_the_judge_sees_names_that_leaves_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where something else has given their endpoints a number before."""
    monkeypatch.setattr(SendingLink, "has_named", lambda self, uuid: uuid in self.outbox.aliases.numbers)
    assert is_found("wants it 1 times", 3)
