"""When a lost link is tried again: pure, so every state meets everything that can happen to it."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway import Retry
from busway.adapters.retrying import CLOSED, CONNECTED, CONNECTING, RECONNECTING, Reconnector

retries = st.builds(
    lambda first, factor, more, jitter: Retry(first, factor, first * more, jitter),
    st.floats(0.01, 10),
    st.floats(1, 10),
    st.floats(1, 1000),
    st.floats(0, 1),
)


@pytest.mark.parametrize(
    "wrong",
    [
        {"first": 0},
        {"first": -1},
        {"first": True},
        {"first": "1"},
        {"first": math.nan},
        {"factor": 0.5},
        {"factor": 11},
        {"cap": 0.1},
        {"cap": math.inf},
        {"jitter": -0.1},
        {"jitter": 1.1},
    ],
)
def test_numbers_that_are_none_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Retry(**wrong)


def test_waits_double_up_to_the_cap() -> None:
    retry = Retry(first=0.5, factor=2.0, cap=5.0, jitter=0.5)
    assert [retry.delay(step, 0.0) for step in range(6)] == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]
    assert [retry.delay(step, 1.0) for step in range(3)] == [0.25, 0.5, 1.0]
    assert retry.length(10**9) == 5.0


@given(retries, st.integers(0, 200), st.floats(0, 1))
def test_each_wait_is_within_its_bounds(retry: Retry, step: int, chance: float) -> None:
    wait = retry.delay(step, chance)
    assert retry.length(step) * (1 - retry.jitter) * 0.999 <= wait <= retry.cap
    assert retry.length(step) <= retry.length(step + 1)


@given(retries, st.floats(0, 300), st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_no_client_comes_later_than_the_bound(retry: Retry, down: float, chances: list[float]) -> None:
    """A client whose attempts fail at once until the server is back, whatever its luck."""
    now, luck = 0.0, itertools.cycle(chances)
    link = Reconnector(retry, 0, -1000.0)
    link.begin()
    link.opened(-1000.0)
    now += link.lost("gone", 0.0, next(luck))
    for _ in range(2000):
        link.begin()
        if now >= down:
            break
        now += link.failed("refused", now, next(luck))
    else:
        return  # too many short waits to count; each is below the cap
    assert now - down <= retry.bound(down) * 1.001 + 1e-6


def test_the_course_of_a_link() -> None:
    link = Reconnector(Retry(first=1, factor=2, cap=8, jitter=0), 0, 100.0)
    assert (link.state, link.attempt, link.next_at) == (CONNECTING, 0, -1)
    link.begin()
    link.opened(100.0)
    assert (link.state, link.attempt) == (CONNECTED, 1)
    assert link.lost("silent", 150.0, 0.5) == 1
    assert (link.state, link.attempt, link.next_at, link.error) == (RECONNECTING, 0, 151, "silent")
    link.begin()
    assert (link.attempt, link.next_at) == (1, -1)
    assert link.failed("refused", 151.0, 0.5) == 2
    assert (link.state, link.next_at, link.error) == (RECONNECTING, 153, "refused")
    link.begin()
    link.opened(153.0)
    assert (link.state, link.attempt, link.error, link.losses) == (CONNECTED, 2, "", 1)
    link.close()
    link.close()
    assert (link.state, link.next_at) == (CLOSED, -1)


def test_a_link_that_comes_up_only_to_go_down_waits_longer_each_time() -> None:
    link = Reconnector(Retry(first=1, factor=2, cap=8, jitter=0), 0, 0.0)
    link.opened(0.0)
    waits = []
    now = 10.0
    for _ in range(5):
        waits.append(link.lost("thrown out", now, 0))
        now += waits[-1]
        link.opened(now)
        now += 0.1
    assert waits == [1, 2, 4, 8, 8]
    assert link.lost("at last", now + 8, 0) == 1  # it stood for as long as the last wait


def test_the_first_opening_is_tried_once_unless_there_is_patience() -> None:
    once = Reconnector(Retry(), 0, 0.0)
    assert once.failed("refused", 0.1, 0) == -1
    assert once.state == CLOSED
    patient = Reconnector(Retry(first=1, factor=2, cap=8, jitter=0), 4, 0.0)
    assert patient.failed("refused", 0.0, 0) == 1
    assert patient.failed("refused", 1.0, 0) == 2
    assert patient.failed("refused", 3.0, 0) == 1  # one last time when the patience ends
    assert patient.state == CONNECTING
    assert patient.failed("refused", 4.0, 0) == -1
    endless = Reconnector(Retry(first=1, factor=2, cap=8, jitter=0), math.inf, 0.0)
    assert [endless.failed("refused", 1e6, 0) for _ in range(5)] == [1, 2, 4, 8, 8]


def test_what_another_attempt_cannot_mend_ends_the_first_opening_only() -> None:
    new = Reconnector(Retry(), math.inf, 0.0)
    assert new.failed("the token is wrong", 0.0, 0, hopeless=True) == -1
    old = Reconnector(Retry(first=1, factor=2, cap=8, jitter=0), 0, 0.0)
    old.opened(0.0)
    assert old.lost("gone", 5.0, 0) == 1
    assert old.failed("the token is wrong", 6.0, 0, hopeless=True) == 8  # its new token may be put right
    assert old.failed("refused", 14.0, 0) == 4


def test_without_retry_a_loss_is_the_end() -> None:
    link = Reconnector(None, 0, 0.0)
    link.opened(0.0)
    assert link.lost("gone", 1.0, 0) == -1
    assert (link.state, link.error, link.losses) == (CLOSED, "gone", 1)
    failed = Reconnector(None, 10, 0.0)
    assert failed.failed("refused", 1.0, 0) == -1
