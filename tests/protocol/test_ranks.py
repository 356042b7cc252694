"""Priorities in a receiver's queue: who is served first, shares, what a full queue drops, fairness among
callers, and that a queue of normal messages has nothing of it.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busway.protocol import Receiver, codes, events
from busway.protocol.fifo import Fifo
from busway.protocol.messaging.fairness import Crew
from busway.protocol.messaging.ranks import Ranks

from .helpers import assert_settled
from .nets import ANYCAST, BROADCAST, UNICAST, Mesh, chain
from .pairs import E

LOW, NORMAL, HIGH, URGENT = codes.LOW, codes.NORMAL, codes.HIGH, codes.URGENT


def send(net: Mesh, priority: int, *numbers: int, letter: str = "a") -> None:
    for number in numbers:
        net[letter].send(E, b"%d%02d" % (priority, number), net.now, priority=priority)
        net.pump()


def opened(letters: str = "ab", kind: int = UNICAST, **options: Any) -> tuple[Mesh, Receiver]:
    net = chain(letters)
    options.setdefault("queue_max", 400)
    receiver = net[letters[-1]].register(E, kind, **options)
    net.pump()
    return net, receiver


@pytest.mark.parametrize("letters", ["a", "ab", "abc"])
def test_higher_ones_are_taken_first_each_in_order(letters: str) -> None:
    net, receiver = opened(letters)
    for priority in (LOW, NORMAL, HIGH, URGENT):
        send(net, priority, 1, 2)
    found = [message.payload for message in net.drain(net[letters[-1]], receiver)]
    assert found == [b"301", b"302", b"201", b"202", b"101", b"102", b"001", b"002"]
    assert receiver.plain
    assert receiver.ranks is None
    assert receiver.size == 0


def test_what_comes_later_passes_too() -> None:
    net, receiver = opened()
    send(net, NORMAL, 1, 2, 3)
    assert net["b"].take(receiver, net.now).payload == b"101"  # type: ignore[union-attr]
    send(net, URGENT, 1)
    send(net, NORMAL, 4)
    send(net, LOW, 1)
    send(net, NORMAL, 5)
    assert [m.payload for m in net["b"].take_many(receiver, 2)] == [b"301", b"102"]
    send(net, HIGH, 1)
    assert [m.payload for m in net["b"].take_many(receiver, 99)] == [b"201", b"103", b"104", b"105", b"001"]


def test_the_short_ways_are_open_again_when_only_normal_ones_are_left() -> None:
    net, receiver = opened()
    send(net, NORMAL, 1)
    send(net, HIGH, 1)
    plain = [receiver.plain]
    assert net["b"].take(receiver, net.now).payload == b"201"  # type: ignore[union-attr]
    plain.append(receiver.plain)
    assert plain == [False, True]
    send(net, NORMAL, 2, 3)
    assert [m.payload for m in net["b"].take_many(receiver, 99)] == [b"101", b"102", b"103"]


def test_while_all_wait_they_share_as_is_promised() -> None:
    queue = Fifo()
    ranks = Ranks(queue)
    counts = [0, 0, 0, 0]
    for priority in range(4):
        for _ in range(3):
            ranks.add(priority, priority)
    for _ in range(2300):
        priority = queue.pop()
        ranks.took()
        ranks.add(priority, priority)
        counts[priority] += 1
    assert [round(count / 100) for count in counts] == [1, 2, 4, 16]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ataatardD"), st.integers(0, 3)), max_size=120), st.integers(0, 9))
def test_whatever_happens_each_priority_is_in_order(steps: list[tuple[str, int]], before: int) -> None:
    queue = Fifo()
    model: dict[int, list[int]] = {priority: [] for priority in range(4)}
    for number in range(before):
        queue.push((NORMAL, -number))
        model[NORMAL].append(-number)
    ranks = Ranks(queue)
    for number, (step, priority) in enumerate(steps, 1):
        if step == "a":
            ranks.add((priority, number), priority)
            model[priority].append(number)
        elif step == "t" and len(queue):
            who, found = queue.pop()
            ranks.took()
            assert found == model[who].pop(0)
        elif step == "r" and len(queue):  # as who sees to fairness: any group, its first
            groups = ranks.groups()
            start, _ = groups[priority % len(groups)]
            wanted = queue.items[start]
            if wanted[1] == model[wanted[0]][0]:  # another of its priority may have been brought before
                ranks.bring(start)
                assert queue.peek() == wanted
        elif step in "dD" and len(queue):
            who = ranks.lowest()
            assert who == min(which for which in model if model[which])
            assert ranks.remove(who, step == "D") == (who, model[who].pop(-1 if step == "D" else 0))
        assert sorted(queue.items[queue.head :]) == sorted((p, n) for p in model for n in model[p])
        assert ranks.are_plain() == (not any(model[p] for p in (LOW, HIGH, URGENT)))
    while len(queue):
        who, found = queue.pop()
        ranks.took()
        assert found == model[who].pop(0)
    assert ranks.are_plain()


# A full queue


@pytest.mark.parametrize("policy", [codes.DROP_OLDEST, codes.DROP_NEWEST])
def test_lower_ones_are_dropped_first(policy: int) -> None:
    net, receiver = opened(queue_max=4, policy=policy)
    send(net, NORMAL, 1)
    send(net, LOW, 1, 2)
    send(net, HIGH, 1)
    send(net, URGENT, 1)  # for it the older low one goes, or the newer
    send(net, HIGH, 2)  # for it the other one
    send(net, HIGH, 3)  # and the normal one
    send(net, LOW, 3)  # itself
    send(net, NORMAL, 2)  # itself
    found = net.drain(net["b"], receiver)
    assert [m.payload for m in found] == [b"301", b"201", b"202", b"203"]
    told = [(event.seq, event.reason) for event in net.seen(net["a"], events.UNDELIVERABLE)]
    assert sorted(told) == [(n, codes.DROPPED) for n in (1, 1, 2, 2, 3)]
    assert receiver.dropped == 5
    send(net, LOW, 4)
    send(net, NORMAL, 3)
    assert [(m.payload, m.missed) for m in net.drain(net["b"], receiver)] == [(b"103", 2), (b"004", 3)]
    assert receiver.plain


def test_among_equals_the_policy_decides() -> None:
    for policy, left in ((codes.DROP_OLDEST, [b"302", b"303"]), (codes.DROP_NEWEST, [b"301", b"302"])):
        net, receiver = opened(queue_max=2, policy=policy)
        send(net, URGENT, 1, 2, 3)
        assert [m.payload for m in net.drain(net["b"], receiver)] == left


def test_where_it_refuses_it_refuses() -> None:
    net, receiver = opened(queue_max=2)
    send(net, LOW, 1, 2)
    send(net, URGENT, 1)
    assert [m.payload for m in net.drain(net["b"], receiver)] == [b"001", b"002"]
    assert [event.reason for event in net.seen(net["a"], events.UNDELIVERABLE)] == [codes.QUEUE_FULL]


def test_a_large_one_takes_the_place_of_the_last_that_is_left() -> None:
    net, receiver = opened(size_max=100, policy=codes.DROP_OLDEST)
    for payload, priority in ((b"first", URGENT), (b"small", LOW)):
        net["a"].send(E, payload, net.now, priority=priority)
        net.pump()
    assert net["b"].take(receiver, net.now).payload == b"first"  # type: ignore[union-attr]
    net["a"].send(E, bytes(99), net.now, priority=HIGH)
    net.pump()
    assert net.payloads("b", receiver) == [bytes(99)]
    assert (receiver.size, receiver.dropped) == (0, 1)


def turn_of_a_low_one() -> tuple[Fifo, Ranks]:
    """A queue at whose front one of low priority stands, for so many urgent ones have been before it."""
    queue = Fifo()
    ranks = Ranks(queue)
    for number in range(23):
        ranks.add((URGENT, number), URGENT)
    ranks.add((LOW, 0), LOW)
    ranks.add((LOW, 1), LOW)
    for _ in range(22):
        queue.pop()
        ranks.took()
    return queue, ranks


def test_one_whose_turn_has_come_goes_back_to_its_place_when_another_is_brought() -> None:
    queue, ranks = turn_of_a_low_one()
    head = queue.head
    assert ranks.groups() == [(head, head + 1), (head + 1, head + 2), (head + 2, head + 3)]
    ranks.bring(head + 1)
    assert queue.items[head:] == [(URGENT, 22), (LOW, 0), (LOW, 1)]
    assert ranks.groups() == [(head, head + 1), (head + 1, head + 3)]


def test_one_whose_turn_has_come_is_dropped_as_others_of_its_priority() -> None:
    queue, ranks = turn_of_a_low_one()
    assert queue.peek() == (LOW, 0)
    assert ranks.remove(LOW, True) == (LOW, 1)
    assert ranks.remove(LOW, True) == (LOW, 0)
    assert ranks.lowest() == URGENT
    assert queue.drain() == [(URGENT, 22)]


# Broadcasts


def test_of_each_priority_the_latest_is_kept() -> None:
    net, receiver = opened(kind=BROADCAST, policy=codes.LATEST)
    for number in range(5):
        for priority in (NORMAL, LOW, URGENT):
            net["a"].publish(E, b"%d%02d" % (priority, number), net.now, priority=priority)
    net.pump()
    found = net.drain(net["b"], receiver)
    assert [(m.payload, m.missed) for m in found] == [(b"304", 4), (b"104", 4), (b"004", 4)]
    for number in range(5, 8):
        net["a"].publish(E, b"%d%02d" % (NORMAL, number), net.now)
        net.pump()
    assert [(m.payload, m.missed) for m in net.drain(net["b"], receiver)] == [(b"107", 2)]


def test_what_has_been_taken_is_not_replaced() -> None:
    net, receiver = opened("abc", BROADCAST, policy=codes.LATEST)
    for letter in "ab":
        net[letter].publish(E, letter.encode(), net.now)
        net.pump()
    net["a"].publish(E, b"urgent", net.now, priority=URGENT)
    net.pump()
    first = net["c"].take(receiver, net.now)
    second = net["c"].take(receiver, net.now)
    assert first is not None
    assert second is not None
    assert [first.payload, second.payload] == [b"urgent", b"a"]
    for payload in (b"A", b"B"):
        net["b" if payload == b"B" else "a"].publish(E, payload, net.now)
        net.pump()
    assert second.payload == b"a"
    assert sorted(m.payload for m in net.drain(net["c"], receiver)) == [b"A", b"B"]


def test_what_waits_of_a_node_that_is_gone_is_replaced_by_nothing() -> None:
    net, receiver = opened(kind=BROADCAST, policy=codes.LATEST)
    for priority in (NORMAL, URGENT):
        net["a"].publish(E, b"%d" % priority, net.now, priority=priority)
    net.pump()
    net.cable["ab"].cut()
    net.advance(codes.LOST_MS + codes.ROUTE_LOSS_GRACE_MS)
    urgent = net["b"].take(receiver, net.now)
    assert urgent is not None
    assert urgent.payload == b"3"
    assert receiver.latest is not None
    assert receiver.latest.places == {}
    assert net.payloads("b", receiver) == [b"1"]


def test_each_receiver_of_one_endpoint_has_its_own_order() -> None:
    net, receiver = opened(kind=BROADCAST)
    other = net["b"].register(E, BROADCAST)
    for priority in (LOW, URGENT):
        net["a"].publish(E, b"%d" % priority, net.now, priority=priority)
    net.pump()
    for each in (receiver, other):
        assert [m.payload for m in net.drain(net["b"], each)] == [b"3", b"0"]


def test_a_receiver_that_closes_answers_for_all() -> None:
    net, receiver = opened(kind=ANYCAST)
    tokens = [net["a"].request(E, b"x", net.now, priority=priority) for priority in (LOW, NORMAL, URGENT)]
    net.pump()
    net["b"].deregister(receiver, net.now)
    net.pump()
    for token in tokens:
        [outcome] = net.outcomes(net["a"], token)
        assert outcome.code == codes.RECEIVER_CLOSED
    assert_settled(net)


# Few handlers


def test_callers_share_the_handlers_within_each_priority() -> None:
    net = Mesh()
    net.add("abcs")
    net.join("as bs cs")
    receiver = net["s"].register(E, ANYCAST, queue_max=400)
    net.pump()
    crew = Crew(net["s"].receiving, receiver, 1)
    for priority in (NORMAL, HIGH):
        for letter, count in (("a", 4), ("b", 2), ("c", 1)):
            for number in range(count):
                net[letter].request(
                    E, b"%d%s%d" % (priority, letter.encode(), number), net.now, priority=priority
                )
                net.pump()
    order = []
    while receiver.queue.items:
        assert crew.arrange()
        message = net["s"].take(receiver, net.now)
        assert message is not None
        order.append(message.payload)
        crew.began(message)
        crew.ended(message)
        if len(order) > 1:
            continue
        crew.began(message)  # a's first one takes its time
    mine = [
        [p for p in order if p[:2] == b"%d%s" % (priority, w)]
        for priority in (2, 1)
        for w in (b"a", b"b", b"c")
    ]
    assert all(each == sorted(each) for each in mine)
    assert [p[:1] for p in order].index(b"1") >= 4  # but for one whose turn has come higher ones go first
    assert order.index(b"2c0") < order.index(b"2a1")
    assert sum(len(each) for each in mine) == len(order) == 14


def test_where_none_of_the_highest_may_begin_a_lower_one_does() -> None:
    net = Mesh()
    net.add("abs")
    net.join("as bs")
    receiver = net["s"].register(E, ANYCAST, queue_max=400)
    net.pump()
    blocked: list[Any] = []

    class Strict(Crew):
        def _may_begin(self, message: Any) -> bool:
            return message.flow.peer not in blocked

    crew = Strict(net["s"].receiving, receiver, 1)
    for letter, priority in (("a", URGENT), ("a", HIGH), ("b", NORMAL), ("b", LOW), ("a", URGENT)):
        net[letter].send(E, b"%s%d" % (letter.encode(), priority), net.now, priority=priority)
        net.pump()
    blocked = [net["s"].routes.peers[b"a" * 16]]
    taken = []
    while receiver.queue.items and crew.arrange():
        taken.append(net["s"].take(receiver, net.now).payload)  # type: ignore[union-attr]
    assert taken == [b"b1", b"b0"]
    blocked = []
    assert [m.payload for m in net.drain(net["s"], receiver)] == [b"a3", b"a3", b"a2"]
