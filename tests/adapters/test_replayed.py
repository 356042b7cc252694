"""The numbers of sealed messages: each is taken once, in bounded memory."""

from __future__ import annotations

import random

import pytest

from busway.adapters import replayed
from busway.adapters.replayed import SEEN_MAX, WINDOWS_MAX, Windows

HERE = (b"sender", b"run", b"endpoint")


def test_in_order_each_is_later_than_all_before() -> None:
    windows = Windows()
    taken = [number for number in (1, 2, 2, 5, 3, 1, 6) if windows.take(HERE, number, 10, 0, 0, True)]
    assert taken == [1, 2, 5, 6]


def test_out_of_order_each_is_taken_once() -> None:
    windows = Windows()
    numbers = random.Random(7).sample(range(1, SEEN_MAX + 1), SEEN_MAX)
    assert all(windows.take(HERE, number, 10, 0, 0, False) for number in numbers)
    assert not any(windows.take(HERE, number, 10, 0, 0, False) for number in numbers)


def test_what_is_far_behind_counts_as_come() -> None:
    windows = Windows()
    for number in range(2, SEEN_MAX + 3):
        assert windows.take(HERE, number, 10, 0, 0, False)
    assert not windows.take(HERE, 1, 10, 0, 0, False)
    assert not windows.take(HERE, 2, 10, 0, 0, False)  # which has just been left out of what is kept


def test_another_sender_run_or_endpoint_has_its_own() -> None:
    windows = Windows()
    for where in (HERE, (b"other", *HERE[1:]), (HERE[0], b"other", HERE[2]), (*HERE[:2], b"other")):
        assert windows.take(where, 1, 10, 0, 0, True)
        assert not windows.take(where, 1, 10, 0, 0, True)


def test_nothing_is_taken_twice_when_the_order_begins_or_ceases_to_count() -> None:
    windows = Windows()
    assert [windows.take(HERE, number, 10, 0, 0, False) for number in (5, 3)] == [True, True]
    assert [windows.take(HERE, number, 10, 0, 0, True) for number in (3, 4, 5, 6)] == [
        False,
        False,
        False,
        True,
    ]
    assert [windows.take(HERE, number, 10, 0, 0, False) for number in (2, 6, 8, 7)] == [
        False,
        False,
        True,
        True,
    ]


def test_one_sender_gets_a_quarter_and_makes_room_only_when_all_it_has_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(replayed, "WINDOWS_MAX", 16)
    windows = Windows()
    assert WINDOWS_MAX == 16384
    for run in range(4):
        assert windows.take((b"one", run, b""), 1, 5000 + run, 0, 0, True)
    assert not windows.take((b"one", 4, b""), 1, 9000, 0, 0, True)
    assert windows.take((b"one", 3, b""), 2, 5003, 0, 0, True)  # of a window that is there
    assert windows.take((b"two", 0, b""), 1, 9000, 0, 0, True)
    assert not windows.take((b"one", 4, b""), 1, 9000, 5000, 5000, True)  # the first is over at 5001
    assert windows.take((b"one", 4, b""), 1, 9000, 6001, 6001, True)
    assert len(windows) == 2


def test_what_waited_since_before_a_window_was_forgotten_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two copies may have come in time, and one of them be read after all is forgotten."""
    monkeypatch.setattr(replayed, "WINDOWS_MAX", 4)
    windows = Windows()
    assert windows.take(HERE, 1, 100, 50, 60, True)
    assert windows.take((b"sender", b"next", b""), 1, 9000, 5000, 5000, True)  # in place of the first
    assert not windows.take(HERE, 1, 100, 51, 7000, True)
    assert not windows.take((b"other", b"", b""), 1, 9000, 100, 7000, True)  # nor anything as old
    assert windows.take((b"other", b"", b""), 1, 9000, 101, 7000, True)


def test_all_of_them_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replayed, "WINDOWS_MAX", 16)
    windows = Windows()
    for number in range(16):
        assert windows.take((b"%d" % number, b"", b""), 1, 5000, 0, 0, True)
    assert not windows.take((b"late", b"", b""), 1, 5000, 0, 0, True)
    assert windows.take((b"late", b"", b""), 1, 9000, 5001, 5001, True)
    assert len(windows) == 1


def test_numbers_of_many_runs_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trusted sender may claim to start anew again and again."""
    monkeypatch.setattr(replayed, "SEEN_ALL", 8192)
    windows = Windows()
    for run in range(256):
        for number in range(1, SEEN_MAX + 1):
            assert windows.take((b"key", run, b"e"), number, 9, 0, 0, False)
    kept = [len(window.seen) for window in windows._windows.values()]
    assert kept[0] == SEEN_MAX
    assert kept[-1] == 32
    assert sum(kept) < 6 * 8192
    assert not windows.take((b"key", 255, b"e"), SEEN_MAX - 32, 9, 0, 0, False)
