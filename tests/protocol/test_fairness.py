"""Handlers that callers share: whose turn it is, and who makes room."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from busway.protocol import Crew, Node, Receiver, Request, codes, events
from busway.protocol.messaging.leaving import pull
from tests.protocol.helpers import payloads, verdicts
from tests.protocol.nets import UNICAST, Mesh, chain, id_of
from tests.protocol.pairs import E


class Staff:
    """Handlers of one receiver, as an adapter runs them: each begins a message, and ends when it is told."""

    def __init__(self, net: Mesh, node: Node, receiver: Receiver, limit: int) -> None:
        self.net = net
        self.node = node
        self.receiver = receiver
        self.crew = Crew(node.receiving, receiver, limit)
        self.at_work: deque[Any] = deque()

    def begin(self) -> str:
        """Start as many as may; whose they are."""
        self.net.pump()
        begun = ""
        while len(self.crew) < self.crew.limit and len(self.receiver.queue):
            self.crew.arrange()
            message = self.node.receiving.take(self.receiver)
            if message is not None:
                self.crew.began(message)
                self.at_work.append(message)
                begun += message.source[:1].decode()
        if len(self.receiver.queue):
            self.crew.press(self.net.now)
        return begun

    def end(self, count: int) -> None:
        """So many are done, the oldest first."""
        for _ in range(count):
            message = self.at_work.popleft()
            if isinstance(message, Request):
                self.node.respond(message, b"", self.net.now)
            self.crew.ended(message)

    def serve(self, count: int) -> str:
        """So many one after the other; whose they were."""
        served = ""
        for _ in range(count):
            served += self.begin()
            self.end(len(self.at_work))
        return served


def service(net: Mesh, letter: str, limit: int) -> Staff:
    receiver = net[letter].register(E, UNICAST)
    net.pump()
    return Staff(net, net[letter], receiver, limit)


def star(letters: str) -> Mesh:
    """s in the middle."""
    net = Mesh()
    net.add("s" + letters)
    net.join(" ".join("s" + letter for letter in letters))
    net.pump()
    return net


def ask(net: Mesh, letter: str, count: int, **options: Any) -> list[int]:
    options.setdefault("timeout_ms", 1 << 30)
    tokens = [net[letter].request(E, b"%d" % number, net.now, **options) for number in range(count)]
    net.pump()
    return tokens


def test_one_caller_has_all_handlers_and_its_messages_stay_in_order() -> None:
    net = star("ab")
    staff = service(net, "s", 3)
    ask(net, "a", 4)
    assert staff.begin() == "aaa"
    assert payloads(list(staff.at_work)) == [b"0", b"1", b"2"]
    staff.end(1)
    assert staff.begin() == "a"
    assert payloads(list(staff.at_work)) == [b"1", b"2", b"3"]
    assert len(staff.crew) == 3


def test_links_take_turns_whoever_came_first() -> None:
    net = star("abc")
    staff = service(net, "s", 1)
    ask(net, "a", 4)
    assert staff.serve(1) == "a"
    ask(net, "b", 3)
    ask(net, "c", 2)
    assert staff.serve(8) == "abcabcab"


def test_origins_behind_one_link_take_turns() -> None:
    net = Mesh()
    net.add("sgabc")
    net.join("sg ga gb gc")
    net.pump()
    staff = service(net, "s", 1)
    ask(net, "a", 4)
    assert staff.serve(1) == "a"
    ask(net, "b", 2)
    assert staff.serve(5) == "ababa"


def test_a_long_queue_is_looked_through_once() -> None:
    net = star("ab")
    staff = service(net, "s", 1)
    for _ in range(50):
        ask(net, "a", 4)
        staff.receiver.endpoint.raise_limit(next(iter(staff.receiver.endpoint.active)), True)
        staff.receiver.endpoint.host.send_credit(next(iter(staff.receiver.endpoint.active)))  # type: ignore[attr-defined]
    net.pump()
    waiting = len(staff.receiver.queue)
    assert waiting > 50
    net["b"].send(E, b"", net.now)
    assert staff.serve(2) == "ab"
    pull(staff.receiver)  # and what is gone has no turn
    assert staff.serve(waiting) == "a" * (waiting - 2)


def test_what_was_served_when_nobody_else_waited_is_no_turn_of_later() -> None:
    net = star("ab")
    staff = service(net, "s", 1)
    ask(net, "a", 4)
    ask(net, "b", 1)
    assert staff.serve(5) == "abaaa"
    ask(net, "a", 3)
    ask(net, "b", 3)
    assert staff.serve(6) == "ababab"


def test_what_was_dropped_meanwhile_is_not_served() -> None:
    net = star("ab")
    staff = service(net, "s", 1)
    ask(net, "a", 3)
    ask(net, "b", 3)
    assert staff.serve(2) == "ab"
    assert pull(staff.receiver).source == id_of("a")
    assert staff.serve(3) == "bab"
    assert staff.begin() == ""


def stall(net: Mesh, staff: Staff, letter: str, count: int) -> list[int]:
    """Streams that are not read; whoever has none left to give."""
    tokens = ask(net, letter, count, window=1)
    staff.begin()
    for request in staff.at_work:
        for part in (b"one", b"two"):  # the second has to wait
            if request.stream is not None and not len(request.stream.waiting):
                net["s"].respond_part(request, part, net.now)
    net.pump()
    return tokens


def called_off(net: Mesh, staff: Staff) -> int:
    """The handlers at work that are told that nobody waits for them: they end."""
    gone = [event.request for event in net.fresh(net["s"], events.REQUEST_CANCELLED)]
    for request in gone:
        staff.at_work.remove(request)
        staff.crew.ended(request)
    return len(gone)


def test_streams_that_are_not_read_make_room_for_another_caller() -> None:
    net = star("ab")
    staff = service(net, "s", 4)
    tokens = stall(net, staff, "a", 4)
    net.advance(60_000)
    assert called_off(net, staff) == 0  # nobody else wants anything
    [token] = ask(net, "b", 1)
    assert staff.begin() == ""
    net.advance(1000)
    assert called_off(net, staff) == 1
    assert verdicts(net, net["a"], tokens[0])[-1] == (events.UNDELIVERED, codes.QUEUE_FULL)
    assert staff.begin() == "b"
    net.advance(60_000)
    assert called_off(net, staff) == 0
    staff.at_work.rotate(1)
    staff.end(1)
    net.pump()
    assert verdicts(net, net["b"], token) == [(events.REPLIED, 0)]


def test_nobody_gives_way_who_has_no_more_than_a_share_or_has_just_begun() -> None:
    net = star("abc")
    staff = service(net, "s", 2)
    stall(net, staff, "a", 1)
    stall(net, staff, "b", 1)
    net.advance(60_000)
    ask(net, "a", 1)
    staff.begin()
    net.advance(60_000)
    assert called_off(net, staff) == 0
    ask(net, "c", 1)
    staff.begin()
    net.advance(1000)
    assert called_off(net, staff) == 1  # there are three callers and two handlers: who waits for longest
    assert staff.begin() == "a"  # whose turn it was
    net.advance(1000)
    assert called_off(net, staff) == 1
    assert staff.begin() == "c"
    fresh = star("ab")
    young = service(fresh, "s", 2)
    stall(fresh, young, "a", 2)
    ask(fresh, "b", 1)
    young.begin()
    fresh.advance(codes.STALLED_MS - 1)
    assert called_off(fresh, young) == 0
    fresh.advance(1000)
    assert called_off(fresh, young) == 1


def test_a_handler_that_works_is_left_alone() -> None:
    net = star("ab")
    staff = service(net, "s", 2)
    ask(net, "a", 1, window=4)
    ask(net, "a", 1)
    net["a"].send(E, b"plain", net.now)
    staff.begin()
    ask(net, "b", 1)
    staff.begin()
    net.advance(600_000)
    assert called_off(net, staff) == 0
    staff.end(2)
    assert staff.begin() == "ab"
    net.advance(10_000)
    assert staff.crew.deadline == -1


def test_answers_that_find_no_room_make_room_too() -> None:
    net = star("ab")
    staff = service(net, "s", 2)
    ask(net, "a", 2)
    staff.begin()
    net.cable["sa"].block(net["s"])  # a reads nothing
    [first, second] = list(staff.at_work)
    huge = bytes(codes.QUEUE_SIZE_MAX)
    assert net["s"].respond(first, huge, net.now) == 0
    parked = net["s"].respond(second, huge, net.now)
    assert parked
    ask(net, "b", 1)
    staff.begin()
    net.advance(codes.STALLED_MS + 1000)
    assert [outcome.status for outcome in net.outcomes(net["s"], parked)] == [events.CANCELLED]


def test_an_answer_waits_for_room_for_half_an_hour_at_the_most() -> None:
    net = star("a")
    staff = service(net, "s", 4)
    ask(net, "a", 2)
    staff.begin()
    net.cable["sa"].block(net["s"])
    tokens = [net["s"].respond(each, bytes(codes.QUEUE_SIZE_MAX), net.now) for each in staff.at_work]
    net.advance(codes.STREAM_STALL_MS - 1)
    assert net.outcomes(net["s"], tokens[1]) == []
    net.advance(1)
    assert verdicts(net, net["s"], tokens[1]) == [(events.UNDELIVERED, codes.EXPIRED)]


def test_who_says_and_says_that_it_will_read_and_never_does_is_given_up() -> None:
    net = star("a")
    staff = service(net, "s", 4)
    tokens = stall(net, staff, "a", 4)
    pending = [net["a"].origin.pending[token] for token in tokens]
    for _ in range(codes.STREAM_STALL_MS // 30_000 - 1):
        net.advance(30_000)
        for each in pending:  # PART_CREDIT that says what it has said
            net["a"].origin.answers.tell_window(each, net.now)
        net.pump()
    assert called_off(net, staff) == 0
    net.advance(codes.STREAM_PATIENCE_MS)
    assert called_off(net, staff) == 4
    assert net["s"].receiving.counters["expired"] == 4


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_who_reads_slowly_is_served_for_ever() -> None:
    net = chain("sa")
    staff = service(net, "s", 1)
    [token] = ask(net, "a", 1, window=1, timeout_ms=1000)
    staff.begin()
    [request] = staff.at_work
    for _ in range(5):
        net["s"].respond_part(request, b"x", net.now)
        net.pump()
        net.advance(codes.STREAM_STALL_MS - 60_000)
        net["a"].consume_part(token, net.now)
        net.pump()
    assert called_off(net, staff) == 0
    assert net["s"].routes.peers[id_of("a")].reachable
