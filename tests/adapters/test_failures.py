"""Failures: what is logged of handlers that raise, at which time."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from busway.adapters.failures import Failures
from busway.adapters.threads_promises import Timer


class Clock:
    """A loop's timers, fired by hand."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Timer]] = []

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        timer = Timer(callback)
        self.timers.append((delay, timer))
        return timer

    def fire(self) -> float:
        """The earliest timer; returns how long it waited."""
        delay, timer = self.timers.pop(0)
        if timer.callback is not None:
            timer.callback()
        return delay


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return found


@pytest.fixture
def clock(caplog: pytest.LogCaptureFixture) -> Clock:
    caplog.set_level(logging.ERROR, "busway")
    return Clock()


def now(callback: Callable[[], object]) -> None:
    callback()


def test_counts_come_at_growing_intervals_and_after_a_quiet_one_it_is_news_again(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    failures = Failures(clock.call_later, now)
    error = ValueError("no")
    failures.add("a handler of x", error)
    assert said(caplog) == ["a handler of x failed"]
    waits = []
    for count in range(1, 15):
        for _ in range(count):
            failures.add("a handler of x", error)
        waits.append(clock.fire())
        times = "1 more time" if count == 1 else f"{count} more times"
        told = f"a handler of x failed {times} in the same way, the last with ValueError: no"
        assert said(caplog) == [told]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits[-1] == 3600
    clock.fire()
    assert not clock.timers
    failures.add("a handler of x", error)
    assert said(caplog) == ["a handler of x failed"]


def test_kinds_are_bounded_and_the_rest_is_told_at_the_end(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    failures = Failures(clock.call_later, now)
    for number in range(1000):
        failures.add(f"a handler of {number}", ValueError())
    assert len(said(caplog)) == len(clock.timers) == 257
    failures.close()
    assert said(caplog) == [
        "one of many handlers failed 743 more times in the same way, the last with ValueError: "
    ]
    while clock.timers:
        clock.fire()
    failures.close()
    assert said(caplog) == []
