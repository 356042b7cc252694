"""Which address is tried when: pure, so that every order of answers can be tried out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from busway.adapters.racing import Race


def test_the_second_is_started_beside_a_first_that_does_not_answer() -> None:
    race = Race(3, 0.25)
    assert race.next_in(5.0) == 0
    assert race.start(5.0) == 0
    assert race.next_in(5.0) == 0.25
    assert race.next_in(5.25) == 0
    assert race.start(5.25) == 1
    race.failed(1, 5.26)
    assert race.next_in(5.26) == 0, "who failed need not be waited for"
    assert race.start(5.26) == 2
    assert race.next_in(9.0) == -1
    assert race.won(2) == [0]
    assert not race.over
    assert race.next_in(9.0) == 0, "it is no good: those that were cut off come next"
    assert race.start(9.0) == 0
    race.failed(0, 9.0)
    assert race.over


def test_one_after_the_other_without_a_stagger() -> None:
    race = Race(2, 0.0)
    assert race.start(0.0) == 0
    assert race.next_in(1000.0) == -1
    race.failed(0, 1000.0)
    assert race.next_in(1000.0) == 0


def test_nobody_to_try() -> None:
    assert Race(0, 0.25).over
    assert Race(0, 0.25).next_in(0.0) == -1


@given(
    st.integers(1, 8),
    st.sampled_from([0.0, 0.25]),
    st.lists(st.tuples(st.sampled_from(["fail", "win", "wait"]), st.integers(0, 7)), max_size=60),
)
def test_each_is_tried_and_the_end_always_comes(
    count: int, stagger: float, answers: list[tuple[str, int]]
) -> None:
    race, now, running, failed = Race(count, stagger), 0.0, set[int](), set[int]()
    script = iter(answers)
    while not race.over:
        wait = race.next_in(now)
        assert wait >= 0 or running, "it would never go on"
        assert wait <= stagger
        if wait == 0:
            number = race.start(now)
            assert number not in running | failed
            running.add(number)
            continue
        what, which = next(script, ("fail", 0))
        number = sorted(running)[which % len(running)]
        if what == "fail":
            race.failed(number, now)
            running.discard(number)
            failed.add(number)
        elif what == "win":  # and then turns out to be no good
            assert race.won(number) == sorted(running - {number})
            running.clear()
            failed.add(number)
        else:
            now += max(wait, 0.0)
    assert failed == set(range(count))
