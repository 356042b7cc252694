"""The choice of neighbours: by hand, and by machines in virtual time."""

from __future__ import annotations

import pytest

from busway.lan.neighbours import (
    BRIDGE_S,
    ENOUGH_S,
    HOLD_S,
    NEIGHBOURS_MAX,
    RINGS,
    SETTLED_S,
    TURN_S,
    Candidate,
    Neighbours,
    Plan,
    places,
    predecessors,
    successors,
)
from tests.lan.crowd import Crowd

NODES = [bytes([number]) * 16 for number in range(1, 40)]
NOTHING = Plan((), ())


def linked(node_id: bytes, mine: bool = True) -> Candidate:
    return Candidate(node_id, linked=True, mine=mine, reachable=True)


def test_places_are_spread_and_differ_from_circle_to_circle() -> None:
    found = [places(node) for node in NODES]
    assert len({place for each in found for place in each}) == RINGS * len(NODES)
    orders = [sorted((places(node)[ring], node) for node in NODES) for ring in range(RINGS)]
    assert len({tuple(node for _, node in order) for order in orders}) == RINGS


def test_the_next_of_one_has_it_before() -> None:
    for me in NODES:
        others = [node for node in NODES if node != me]
        after = successors(me, others)
        assert 1 <= len(after) <= RINGS
        for other in after:
            assert me in predecessors(other, [node for node in NODES if node != other])
    assert successors(NODES[0], []) == []


def test_the_next_in_each_circle_are_dialled_and_nobody_else() -> None:
    me, *others = NODES
    choice = Neighbours(me)
    plan = choice.decide(map(Candidate, others), TURN_S)
    waits = set(successors(me, others)) & set(predecessors(me, others))
    assert set(plan.dial) | waits == set(successors(me, others))
    there = [linked(node) if node in successors(me, others) else Candidate(node) for node in others]
    assert choice.decide(there, TURN_S) == NOTHING


def test_of_two_the_one_with_the_smaller_id_dials_then_the_other() -> None:
    small, large = NODES[:2]
    assert Neighbours(small).decide([Candidate(large)], 0.0).dial == (large,)
    choice = Neighbours(large)
    assert choice.decide([Candidate(small)], 0.0).dial == ()
    assert choice.decide([Candidate(small)], TURN_S).dial == (small,)
    assert Neighbours(large).decide([Candidate(small, eager=True)], 0.0).dial == (small,)
    assert choice.decide([linked(small, mine=False)], TURN_S + 1) == NOTHING


def test_the_next_but_one_is_dialled_where_the_next_does_not_answer() -> None:
    me, *others = NODES
    first = set(successors(me, others))
    there = [Candidate(node, may_dial=node not in first) for node in others]
    plan = Neighbours(me).decide(there, 0.0)
    second = set(successors(me, [node for node in others if node not in first]))
    assert plan.dial
    assert set(plan.dial) <= second


def test_who_is_out_of_reach_is_dialled_whatever_its_place() -> None:
    me, *others = NODES
    beside = {*successors(me, others), *predecessors(me, others)}
    far = next(node for node in others if node not in beside)
    there = [linked(node) if node in beside else Candidate(node, reachable=node != far) for node in others]
    choice = Neighbours(me)
    assert choice.decide(there, 0.0) == NOTHING
    assert choice.decide(there, BRIDGE_S - 0.1) == NOTHING
    assert choice.decide(there, BRIDGE_S).dial == (far,)
    there = [linked(far) if each.node_id == far else each for each in there]
    for seconds in range(10, 200, 10):  # it may be the only way there: it is kept
        assert choice.decide(there[:NEIGHBOURS_MAX], float(seconds)).close == ()


def test_a_link_that_no_circle_needs_is_given_up_after_a_while() -> None:
    me, *others = NODES
    beside = {*successors(me, others), *predecessors(me, others)}
    extra = next(node for node in others if node not in beside)
    there = [linked(node) if node in {*beside, extra} else Candidate(node, reachable=True) for node in others]
    choice = Neighbours(me)
    assert choice.decide(there, 0.0) == NOTHING
    assert choice.decide(there, SETTLED_S).close == (extra,)
    lost = [Candidate(extra) if each.node_id == extra else each for each in there]
    assert choice.decide(lost, SETTLED_S + 0.5) == NOTHING
    assert choice.decide(lost, SETTLED_S + 1.5).dial == (extra,)  # that was wrong
    assert choice.decide(there, SETTLED_S + 2) == NOTHING
    assert choice.decide(there, SETTLED_S + 2 + HOLD_S / 2) == NOTHING


def test_links_that_others_dialled_are_given_up_only_where_there_are_too_many() -> None:
    me, *others = NODES
    beside = {*successors(me, others), *predecessors(me, others)}
    extra = [node for node in others if node not in beside]
    there = [linked(node, mine=False) for node in [*beside, extra[0]]]
    few = there[: NEIGHBOURS_MAX - 1]
    choice = Neighbours(me)
    rest = [Candidate(node, reachable=True) for node in extra[1:]]
    for seconds in (0.0, SETTLED_S, 2 * SETTLED_S):
        assert choice.decide([*there[-1:], *few, *rest], seconds).close == ()
    many = [*there, *[linked(node, mine=False) for node in extra[1:4]]]
    assert len(many) > NEIGHBOURS_MAX
    rest = [Candidate(node, reachable=True) for node in extra[4:]]
    choice = Neighbours(me)
    choice.decide([*many, *rest], 0.0)
    (given_up,) = choice.decide([*many, *rest], SETTLED_S).close
    assert given_up in extra


def test_links_of_this_machine_join_and_are_never_given_up() -> None:
    me, *others = NODES
    choice = Neighbours(me)
    there = [Candidate(node, linked=True, reachable=True, given=True) for node in others]
    for seconds in (0.0, SETTLED_S, HOLD_S):
        assert choice.decide(there, seconds) == NOTHING


def test_who_has_enough_is_left_alone_while_others_lead_to_it() -> None:
    me, *others = NODES
    next_one = successors(me, others)[0]
    choice = Neighbours(me)
    choice.given_up_by(next_one, 0.0)
    there = [Candidate(node, reachable=True) for node in others]
    assert next_one not in choice.decide(there, TURN_S).dial
    assert choice.has_enough(next_one, TURN_S)
    assert next_one in choice.decide(there, ENOUGH_S).dial
    choice.given_up_by(next_one, ENOUGH_S)
    assert next_one in choice.decide([Candidate(node) for node in others], ENOUGH_S + TURN_S).dial


def test_the_place_of_one_that_has_enough_stays_empty() -> None:
    """Else links would come and go where many have too many."""
    me, *others = NODES
    after = successors(me, others)
    assert len(after) == RINGS
    gone, *kept = after
    choice = Neighbours(me)
    choice.given_up_by(gone, 0.0)
    extra = next(node for node in others if node not in {*after, *predecessors(me, others)})
    there = [linked(node) if node in {*kept, extra} else Candidate(node, reachable=True) for node in others]
    assert choice.decide(there, TURN_S).dial == ()
    few = [linked(node) if node in kept else Candidate(node, reachable=True) for node in others]
    (instead,) = choice.decide(few, TURN_S + 1).dial  # one is too few
    assert instead not in after


def test_two_hundred_machines_that_come_and_go_stay_in_one_piece() -> None:
    crowd = Crowd(seed=1)
    crowd.join(200)
    crowd.run(5)
    assert len(crowd.pieces()) == 1
    assert crowd.degrees()[-1] <= NEIGHBOURS_MAX
    assert crowd.diameter() <= 5
    settled = crowd.changes
    crowd.run(2)
    assert crowd.changes == settled  # and stay as they are
    crowd.join(1)
    crowd.run(8)
    assert crowd.changes - settled <= 3 * RINGS
    crowd.leave(60)
    assert max(map(len, crowd.pieces())) >= 138  # before anything is mended
    crowd.run(12)
    assert len(crowd.pieces()) == 1
    assert crowd.degrees()[-1] <= NEIGHBOURS_MAX


@pytest.mark.parametrize(("unseen", "deaf"), [(0.2, 0), (0.8, 0), (0.1, 15)])
def test_machines_that_do_not_hear_all_announcements_are_in_one_piece_too(unseen: float, deaf: int) -> None:
    crowd = Crowd(seed=2, unseen=unseen)
    crowd.join(50)
    crowd.deaf = set(sorted(crowd.machines)[:deaf])
    crowd.run(20)
    assert len(crowd.pieces()) == 1
    crowd.leave(20)
    crowd.join(10)
    crowd.run(20)
    assert len(crowd.pieces()) == 1
    crowd.run(2 * HOLD_S)  # a link that was the only way to somebody is held for so long
    assert len(crowd.pieces()) == 1
    assert crowd.degrees()[-1] <= NEIGHBOURS_MAX
