"""Deadlines: each fires once, at its time, whatever was armed, moved or disarmed meanwhile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol.timers import Timer, Timers


class Bell(Timer):
    """Notes when it rang; may do something then."""

    def __init__(self, name: int = 0) -> None:
        super().__init__()
        self.name = name
        self.rang: list[int] = []
        self.then: list[tuple[Timer, int]] = []  # timers to arm (or disarm: -1) when it rings
        self.timers: Timers | None = None

    def fire(self, now: int) -> None:
        self.rang.append(now)
        for timer, deadline in self.then:
            assert self.timers is not None
            if deadline < 0:
                self.timers.disarm(timer)
            else:
                self.timers.arm(timer, deadline)


def test_a_timer_without_a_purpose_says_so() -> None:
    timers = Timers()
    timers.arm(Timer(), 5)
    with pytest.raises(NotImplementedError):
        timers.fire(5)


def test_nothing_armed_has_no_deadline() -> None:
    timers = Timers()
    assert timers.next_deadline() == -1
    timers.fire(10_000)
    timers.disarm(Bell())
    assert timers.next_deadline() == -1


def test_fires_at_its_time_and_not_before_and_once() -> None:
    timers, bell = Timers(), Bell()
    timers.arm(bell, 100)
    assert timers.next_deadline() == 100
    timers.fire(99)
    assert bell.rang == []
    timers.fire(100)
    assert bell.rang == [100]
    assert bell.deadline == -1
    timers.fire(1000)
    assert bell.rang == [100]
    assert timers.next_deadline() == -1


def test_a_deadline_of_zero_counts() -> None:
    timers, bell = Timers(), Bell()
    timers.arm(bell, 0)
    assert timers.next_deadline() == 0
    timers.fire(0)
    assert bell.rang == [0]


def test_arming_again_moves_it() -> None:
    timers, bell, other = Timers(), Bell(), Bell()
    timers.arm(bell, 100)
    timers.arm(other, 101)  # the same bucket
    assert timers.next_deadline() == 100
    timers.arm(bell, 5000)
    assert timers.next_deadline() == 101
    timers.arm(bell, 1)
    assert timers.next_deadline() == 1
    timers.fire(100)
    assert (bell.rang, other.rang) == ([100], [])


def test_an_earlier_one_in_the_same_bucket_becomes_the_next() -> None:
    timers = Timers()
    bells = [Bell() for _ in range(3)]
    timers.arm(bells[0], 120)
    assert timers.next_deadline() == 120
    timers.arm(bells[1], 125)
    assert timers.next_deadline() == 120
    timers.arm(bells[2], 110)
    assert timers.next_deadline() == 110
    timers.disarm(bells[1])  # neither the first of its bucket nor the last
    assert timers.next_deadline() == 110


def test_due_ones_fire_although_others_of_their_bucket_are_not_due() -> None:
    timers, early, late = Timers(), Bell(), Bell()
    timers.arm(early, 64)
    timers.arm(late, 127)
    timers.fire(64)
    assert (early.rang, late.rang) == ([64], [])
    assert timers.next_deadline() == 127


def test_one_that_rings_may_disarm_or_move_another_that_is_due_too() -> None:
    timers, first, second, third = Timers(), Bell(), Bell(), Bell()
    first.timers = timers
    first.then = [(second, -1), (third, 500)]
    for bell in (first, second, third):
        timers.arm(bell, 10)
    timers.fire(20)
    assert (first.rang, second.rang, third.rang) == ([20], [], [])
    timers.fire(500)
    assert third.rang == [500]


def test_one_that_rings_may_arm_itself_again() -> None:
    timers, bell = Timers(), Bell()
    bell.timers = timers
    bell.then = [(bell, 30)]
    timers.arm(bell, 10)
    timers.fire(20)
    assert bell.rang == [20]
    bell.then = []
    timers.fire(30)
    assert bell.rang == [20, 30]


STEP = st.tuples(st.sampled_from(["arm", "arm", "disarm", "pass"]), st.integers(0, 9), st.integers(0, 400))


@given(st.lists(STEP, max_size=120))
def test_agrees_with_a_plain_table(steps: list[tuple[str, int, int]]) -> None:
    timers, bells = Timers(), [Bell(name) for name in range(10)]
    table: dict[int, int] = {}
    now = 0
    for verb, name, number in steps:
        if verb == "arm":
            table[name] = now + number
            timers.arm(bells[name], now + number)
        elif verb == "disarm":
            table.pop(name, None)
            timers.disarm(bells[name])
        else:
            now += number
            due = {name for name, deadline in table.items() if deadline <= now}
            for name in due:
                del table[name]
            before = [len(bell.rang) for bell in bells]
            timers.fire(now)
            rang = {bell.name for bell in bells if len(bell.rang) > before[bell.name]}
            assert rang == due
        assert timers.next_deadline() == min(table.values(), default=-1)
