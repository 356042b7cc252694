"""The origin's side: every send and request ends once and as it should, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from busway.protocol import FullError, Limits, LocalError, Request, codes, events
from busway.protocol.messaging.ids import Ids
from busway.protocol.wire.messages import signal
from tests.protocol.helpers import A, B, assert_settled, forge, payloads, verdicts
from tests.protocol.pairs import E, F, G, Net, Pair


class Case:
    """Node a asks an endpoint of node b, by request or by confirmed send."""

    def __init__(self, confirm: bool, **options: Any) -> None:
        self.confirm = confirm
        self.net = Pair(**options)
        self.a = self.net.a
        self.b = self.net.b
        self.receiver = self.b.register(E, codes.UNICAST, queue_max=2)
        self.net.pump()

    def ask(self, payload: bytes = b"q", endpoint: bytes = E, **options: Any) -> int:
        if self.confirm:
            return self.a.send(endpoint, payload, self.net.now, confirm=True, **options)
        return self.a.request(endpoint, payload, self.net.now, **options)

    def asked(self, **options: Any) -> int:
        """It has arrived."""
        token = self.ask(**options)
        self.net.pump()
        return token

    def take(self) -> Request:
        message = self.b.take(self.receiver, self.net.now)
        assert isinstance(message, Request)
        return message


def answered(case: Case) -> int:
    token = case.asked()
    message = case.take()
    if not case.confirm:
        case.b.respond(message, b"r", case.net.now)
    return token


def refused_by_the_program(case: Case) -> int:
    token = case.asked()
    message = case.take()
    case.b.respond_error(message, 300, "no", case.net.now)
    return token


def unreadable(case: Case) -> int:
    token = case.asked()
    message = case.take()
    case.b.respond_error(message, codes.UNREADABLE, "what?", case.net.now)
    return token


def nobody(case: Case) -> int:
    return case.ask(endpoint=F)


def withdrawn_while_it_travels(case: Case) -> int:
    case.net.cable.block(case.b)
    case.b.deregister(case.receiver, case.net.now)
    token = case.asked()
    case.net.cable.block(case.b, False)
    return token


def queue_full(case: Case) -> int:
    case.asked()
    case.asked()
    return case.asked()


def receiver_closed(case: Case) -> int:
    token = case.asked()
    case.b.deregister(case.receiver, case.net.now)
    return token


def dropped_for_a_newer(case: Case) -> int:
    case.b.deregister(case.receiver, case.net.now)
    case.receiver = case.b.register(E, codes.UNICAST, queue_max=2, policy=codes.DROP_OLDEST)
    case.net.pump()
    token = case.asked()
    case.asked()
    case.asked()
    return token


def dropped_as_the_newest(case: Case) -> int:
    case.b.deregister(case.receiver, case.net.now)
    case.receiver = case.b.register(E, codes.UNICAST, queue_max=2, policy=codes.DROP_NEWEST)
    case.net.pump()
    case.asked()
    case.asked()
    return case.asked()


def of_another_kind_by_now(case: Case) -> int:
    case.net.cable.block(case.b)
    case.b.deregister(case.receiver, case.net.now)
    case.b.register(E, codes.BROADCAST)
    token = case.asked()
    case.net.cable.block(case.b, False)
    return token


def never_taken(case: Case) -> int:
    token = case.asked(timeout_ms=500)
    case.net.advance(500)
    return token


def never_written(case: Case) -> int:
    case.net.cable.block(case.a)
    token = case.asked(timeout_ms=500)
    case.net.advance(500)
    case.net.cable.block(case.a, False)
    return token


def written_too_late(case: Case) -> int:
    """The link frees up after the deadline, before the timer was served."""
    case.net.cable.block(case.a)
    token = case.asked(timeout_ms=500)
    case.net.now += 500
    case.net.cable.block(case.a, False)
    return token


def no_credit_in_time(case: Case) -> int:
    for _ in range(4):
        case.a.send(E, b"x", case.net.now)
    token = case.asked(timeout_ms=500)
    case.net.advance(500)
    return token


def nobody_in_time(case: Case) -> int:
    token = case.asked(endpoint=F, ttl_ms=60000, timeout_ms=500)
    case.net.advance(500)
    return token


def nobody_before_ttl(case: Case) -> int:
    token = case.asked(endpoint=F, ttl_ms=300)
    case.net.advance(300)
    return token


def cancelled_before_it_was_written(case: Case) -> int:
    case.net.cable.block(case.a)
    token = case.asked()
    case.a.cancel(token, case.net.now)
    case.net.cable.block(case.a, False)
    case.net.pump()
    assert not len(case.receiver.queue)
    return token


def cancelled_before_it_was_taken(case: Case) -> int:
    token = case.asked()
    case.a.cancel(token, case.net.now)
    case.net.pump()
    if case.confirm:
        assert case.b.take(case.receiver, case.net.now) is not None  # its verdict interests nobody
    else:
        assert case.b.take(case.receiver, case.net.now) is None
    return token


def cancelled_after_it_was_taken(case: Case) -> int:
    token = case.asked()
    message = case.take()
    case.a.cancel(token, case.net.now)
    case.net.pump()
    case.b.respond(message, b"late", case.net.now)
    return token


def cancelled_while_it_waited_for_credit(case: Case) -> int:
    for _ in range(4):
        case.a.send(E, b"x", case.net.now)
    token = case.asked()
    case.a.cancel(token, case.net.now)
    return token


def cancelled_while_nobody_had_it(case: Case) -> int:
    token = case.asked(endpoint=F, ttl_ms=1000)
    case.a.cancel(token, case.net.now)
    return token


def gone_before_it_was_written(case: Case) -> int:
    case.net.cable.block(case.a)
    token = case.asked()
    case.net.cable.cut()
    return token


def gone_with_half_of_it_written(case: Case) -> int:
    token = case.ask(b"x" * 10_000)
    case.net.step(size=2000)
    case.net.cable.cut()
    return token


def gone_after_it_was_written(case: Case) -> int:
    token = case.asked()
    case.net.cable.cut()
    return token


def gone_after_it_was_taken(case: Case) -> int:
    case.net.cable.block(case.b)
    token = case.asked()
    case.take()
    case.net.cable.cut()
    return token


def gone_while_it_waited_for_credit(case: Case) -> int:
    for _ in range(4):
        case.a.send(E, b"x", case.net.now)
    token = case.asked()
    case.net.cable.cut()
    return token


def closed_before_it_was_answered(case: Case) -> int:
    token = case.asked()
    case.a.close(case.net.now)
    return token


def closed_while_it_waited(case: Case) -> int:
    token = case.asked(endpoint=F, ttl_ms=1000)
    case.a.close(case.net.now)
    return token


def other_side_closed(case: Case) -> int:
    token = case.asked()
    case.take()
    case.b.close(case.net.now)
    return token


def too_large_for_the_link(case: Case) -> int:
    return case.ask(b"x" * 70000)


SMALL_B = {"b_node": {"limits": Limits(frame_size_max=1024, message_size_max=65536)}}
MAY_HAVE_RUN = (events.UNDELIVERED, codes.LOST_AFTER_SENDING)
CASES: list[tuple[Callable[[Case], int], tuple[int, int] | None, tuple[int, int] | None]] = [
    (answered, (events.REPLIED, 0), (events.TAKEN, 0)),
    (refused_by_the_program, (events.FAILED, 300), None),
    (unreadable, (events.UNDELIVERED, codes.UNREADABLE), None),
    (nobody, (events.UNDELIVERED, codes.NO_ENDPOINT), (events.UNDELIVERED, codes.NO_ENDPOINT)),
    (
        withdrawn_while_it_travels,
        (events.UNDELIVERED, codes.NO_ENDPOINT),
        (events.UNDELIVERED, codes.NO_ENDPOINT),
    ),
    (queue_full, (events.UNDELIVERED, codes.QUEUE_FULL), (events.UNDELIVERED, codes.QUEUE_FULL)),
    (
        receiver_closed,
        (events.UNDELIVERED, codes.RECEIVER_CLOSED),
        (events.UNDELIVERED, codes.RECEIVER_CLOSED),
    ),
    (dropped_for_a_newer, (events.UNDELIVERED, codes.DROPPED), (events.UNDELIVERED, codes.DROPPED)),
    (dropped_as_the_newest, (events.UNDELIVERED, codes.DROPPED), (events.UNDELIVERED, codes.DROPPED)),
    (of_another_kind_by_now, (events.UNDELIVERED, codes.WRONG_KIND), (events.UNDELIVERED, codes.WRONG_KIND)),
    (never_taken, (events.TIMED_OUT, codes.EXPIRED), (events.UNKNOWN, codes.EXPIRED)),
    (never_written, (events.TIMED_OUT, codes.EXPIRED), (events.UNKNOWN, codes.EXPIRED)),
    (written_too_late, (events.TIMED_OUT, codes.EXPIRED), (events.UNDELIVERED, codes.EXPIRED)),
    (no_credit_in_time, (events.TIMED_OUT, codes.EXPIRED), (events.UNDELIVERED, codes.EXPIRED)),
    (nobody_in_time, (events.UNDELIVERED, codes.NO_ENDPOINT), (events.UNDELIVERED, codes.NO_ENDPOINT)),
    (nobody_before_ttl, (events.UNDELIVERED, codes.NO_ENDPOINT), (events.UNDELIVERED, codes.NO_ENDPOINT)),
    (cancelled_before_it_was_written, (events.CANCELLED, 0), (events.CANCELLED, 0)),
    (cancelled_before_it_was_taken, (events.CANCELLED, 0), (events.CANCELLED, 0)),
    (cancelled_after_it_was_taken, (events.CANCELLED, 0), None),
    (cancelled_while_it_waited_for_credit, (events.CANCELLED, 0), (events.CANCELLED, 0)),
    (cancelled_while_nobody_had_it, (events.CANCELLED, 0), (events.CANCELLED, 0)),
    (gone_before_it_was_written, (events.UNDELIVERED, codes.NO_ROUTE), (events.UNDELIVERED, codes.NO_ROUTE)),
    (
        gone_with_half_of_it_written,
        (events.UNDELIVERED, codes.NO_ROUTE),
        (events.UNDELIVERED, codes.NO_ROUTE),
    ),
    (
        gone_after_it_was_written,
        (events.UNDELIVERED, codes.LOST_AFTER_SENDING),
        (events.UNKNOWN, codes.NO_ROUTE),
    ),
    (
        gone_after_it_was_taken,
        (events.UNDELIVERED, codes.LOST_AFTER_SENDING),
        (events.UNKNOWN, codes.NO_ROUTE),
    ),
    (
        gone_while_it_waited_for_credit,
        (events.UNDELIVERED, codes.NO_ROUTE),
        (events.UNDELIVERED, codes.NO_ROUTE),
    ),
    (
        closed_before_it_was_answered,
        (events.UNDELIVERED, codes.BUS_CLOSED),
        (events.UNKNOWN, codes.BUS_CLOSED),
    ),
    (closed_while_it_waited, (events.UNDELIVERED, codes.BUS_CLOSED), (events.UNDELIVERED, codes.BUS_CLOSED)),
    (other_side_closed, MAY_HAVE_RUN, (events.TAKEN, 0)),
    (
        too_large_for_the_link,
        (events.UNDELIVERED, codes.MESSAGE_TOO_LARGE),
        (events.UNDELIVERED, codes.MESSAGE_TOO_LARGE),
    ),
]
BOTH = [
    pytest.param(scenario, confirm, expected, id=scenario.__name__ + ("-confirm" if confirm else "-request"))
    for scenario, request, sent in CASES
    for confirm, expected in ((False, request), (True, sent))
    if expected is not None
]


@pytest.mark.parametrize(("scenario", "confirm", "expected"), BOTH)
def test_every_way_to_end_is_told_once(
    scenario: Callable[[Case], int], confirm: bool, expected: tuple[int, int]
) -> None:
    case = Case(confirm, **SMALL_B)
    token = scenario(case)
    assert token > 0
    case.net.pump()
    told = [(outcome.status, outcome.code) for outcome in case.net.outcomes(case.a, token)]
    assert told == [expected]
    case.a.cancel(token, case.net.now)  # it is over: nothing happens
    case.net.drain(case.b, case.receiver)
    case.net.advance(600_000)
    assert [(outcome.status, outcome.code) for outcome in case.net.outcomes(case.a, token)] == [expected]
    assert_settled(case.net)


def test_a_reply_brings_its_payload_and_an_error_its_sentence() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    first = net.a.request(E, b"q", net.now, codes.TYPED, F)
    second = net.a.request(E, b"q", net.now, codes.CBOR)
    net.pump()
    one, two = net.drain(net.b, receiver)
    assert (one.payload, one.format, one.type_id, one.source, one.endpoint) == (b"q", codes.TYPED, F, A, E)
    net.b.respond(one, b"r", net.now, codes.TYPED, G)
    net.b.respond_error(two, 256, "kein Öl", net.now)
    net.pump()
    reply = net.outcomes(net.a, first)[0]
    assert (reply.payload, reply.format, reply.type_id) == (b"r", codes.TYPED, G)
    error = net.outcomes(net.a, second)[0]
    assert (error.status, error.code, error.text) == (events.FAILED, 256, "kein Öl")


# What comes late, twice, or from the wrong one


@pytest.mark.parametrize("kind", [codes.REPLY, codes.ERROR, codes.PART])
def test_answers_that_nobody_waits_for_are_counted_and_ignored(kind: int) -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    receiver = b.register(E, codes.UNICAST)
    net.pump()
    token = a.request(E, b"q", net.now)
    net.pump()
    forge(c, A, kind, token, extra=300, payload=b"lie")
    forge(b, A, kind, token + 1, extra=300, payload=b"lie")
    net.pump()
    assert net.outcomes(a, token) == []
    assert a.origin.counters["unknown_reply"] == 2
    message = b.take(receiver, net.now)
    assert isinstance(message, Request)
    b.respond(message, b"r", net.now)
    forge(b, A, kind, token, extra=300, payload=b"second")
    net.pump()
    assert [outcome.payload for outcome in net.outcomes(a, token)] == [b"r"]
    assert a.origin.counters["unknown_reply"] == 3


def test_an_answer_to_what_is_not_sent_yet_is_forged() -> None:
    net = Pair()
    net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    for _ in range(4):
        net.a.send(E, b"x", net.now)
    token = net.a.request(E, b"q", net.now)
    forge(net.b, A, codes.REPLY, token)
    net.pump()
    assert net.outcomes(net.a, token) == []
    assert net.a.origin.counters["unknown_reply"] == 1


@pytest.mark.parametrize("extra", [codes.END, codes.CREDIT, codes.PROBE, codes.UNDELIVERABLE])
def test_signals_about_nothing_are_ignored(extra: int) -> None:
    net = Pair()
    peer = net.b.routes.peers[A]
    out = signal(extra, peer.key, E, 77, 5)
    assert peer.hop is not None
    peer.hop.answer(out)
    net.pump()
    expected = 1 if extra in (codes.END, codes.UNDELIVERABLE) else 0
    assert net.a.origin.counters["unknown_reply"] == expected
    assert net.ca.state == codes.OPEN


def test_bad_news_of_a_message_that_was_never_sent_is_forged() -> None:
    net = Pair()
    net.b.register(E, codes.UNICAST)
    net.pump()
    net.a.send(E, b"x", net.now)
    net.pump()
    peer = net.b.routes.peers[A]
    for number in (1, 2):
        out = signal(codes.UNDELIVERABLE, peer.key, E, number)
        out.code = codes.QUEUE_FULL
        assert peer.hop is not None
        peer.hop.answer(out)
    net.pump()
    told = net.seen(net.a, events.UNDELIVERABLE)
    assert [(event.endpoint, event.node_id, event.seq, event.reason) for event in told] == [
        (E, B, 1, codes.QUEUE_FULL)
    ]
    assert net.a.origin.counters["unknown_reply"] == 1
    assert net.a.origin.counters["undeliverable"] == 1


def test_an_end_is_no_answer_to_a_plain_request() -> None:
    net = Pair()
    net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, b"q", net.now)
    net.pump()
    sure = net.a.send(E, b"s", net.now, confirm=True)
    net.pump()
    for id in (token, sure):
        forge(net.b, A, codes.SIGNAL, id, number=0, extra=codes.END)
    net.pump()
    assert verdicts(net, net.a, token) == verdicts(net, net.a, sure) == []
    assert net.a.origin.counters["unknown_reply"] == 2
    forge(net.b, A, codes.REPLY, token, payload=b"r")
    forge(net.b, A, codes.REPLY, sure)
    net.pump()
    assert verdicts(net, net.a, token) == [(events.REPLIED, 0)]
    assert verdicts(net, net.a, sure) == [(events.TAKEN, 0)]


def test_ids_go_round_and_pass_over_those_still_outstanding() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    drawn = iter(word.to_bytes(4, "big") * 64 for word in (codes.ID_MAX, codes.ID_MAX, 0xF0000000))
    for text in (b"1", b"2", b"3"):
        net.a.origin.ids = Ids(lambda size: next(drawn))
        net.a.request(E, text, net.now)
    assert list(net.a.origin.pending) == [codes.ID_MAX, 1, 2]
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"1", b"2", b"3"]


# Plain sends


def test_a_plain_send_that_fails_later_comes_back() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, queue_max=2)
    net.pump()
    for number in range(4):
        assert net.a.send(E, b"%d" % number, net.now) == 0
    net.pump()
    told = net.fresh(net.a, events.UNDELIVERABLE)
    assert [(event.seq, event.reason) for event in told] == [(3, codes.QUEUE_FULL), (4, codes.QUEUE_FULL)]
    net.b.deregister(receiver, net.now)
    net.pump()
    told = net.fresh(net.a, events.UNDELIVERABLE)
    assert [(event.seq, event.reason) for event in told] == [
        (1, codes.RECEIVER_CLOSED),
        (2, codes.RECEIVER_CLOSED),
    ]
    assert net.a.origin.counters["undeliverable"] == 4


def test_plain_sends_that_were_not_written_come_back_when_the_peer_goes() -> None:
    net = Pair()
    net.b.register(E, codes.UNICAST)
    net.pump()
    net.cable.block(net.a)
    assert net.a.send(E, b"small", net.now) == 0
    assert net.a.send(E, b"x" * 300_000, net.now) == 0
    net.cable.cut()
    told = net.seen(net.a, events.UNDELIVERABLE)
    assert [(event.seq, event.reason) for event in told] == [(1, codes.NO_ROUTE), (2, codes.NO_ROUTE)]


def test_a_send_that_does_not_fit_the_link_fails_at_once() -> None:
    net = Pair(b_node={"limits": Limits(message_size_max=100)})
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    assert net.a.send(E, b"x" * 101, net.now) == 0
    assert net.a.send(E, b"x" * 100, net.now) == 0
    net.pump()
    assert [event.reason for event in net.seen(net.a, events.UNDELIVERABLE)] == [codes.MESSAGE_TOO_LARGE]
    assert [len(message.payload) for message in net.drain(net.b, receiver)] == [100]
    assert net.b.receiving.counters["missed"] == 0  # its number was given to the next


def test_a_send_that_waited_and_then_does_not_fit_has_one_outcome() -> None:
    net = Pair(b_node={"limits": Limits(message_size_max=100)})
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    for _ in range(4):
        net.a.send(E, b"x", net.now)
    token = net.a.send(E, b"x" * 101, net.now)
    after = net.a.send(E, b"y", net.now)
    net.pump()
    net.drain(net.b, receiver)
    net.pump()
    assert verdicts(net, net.a, token) == [(events.UNDELIVERED, codes.MESSAGE_TOO_LARGE)]
    assert verdicts(net, net.a, after) == [(events.ACCEPTED, 0)]
    assert payloads(net.drain(net.b, receiver)) == [b"y"]


# Bounds


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_outstanding_messages_are_bounded() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    for number in range(codes.OUTSTANDING_MAX):
        net.a.request(E, b"", net.now, timeout_ms=number % 1000)
    with pytest.raises(FullError):
        net.a.request(E, b"", net.now)
    with pytest.raises(FullError):
        net.a.send(E, b"", net.now)
    assert len(net.a.origin.pending) == codes.OUTSTANDING_MAX
    net.a.cancel(next(iter(net.a.origin.pending)), net.now)
    net.a.request(E, b"", net.now)
    net.a.close(net.now)
    net.pump()
    assert len(net.seen(net.a, events.OUTCOME)) == codes.OUTSTANDING_MAX + 1
    assert_settled(net)
    net.b.deregister(receiver, net.now)


@pytest.mark.parametrize("name", ["ttl_ms", "timeout_ms"])
@pytest.mark.parametrize("value", [-1, 1 << 31])
def test_times_must_fit_the_wire(name: str, value: int) -> None:
    net = Pair()
    net.b.register(E, codes.UNICAST)
    options: dict[str, Any] = {name: value}
    with pytest.raises(LocalError, match=name):
        net.a.request(E, b"", net.now, **options)
    with pytest.raises(LocalError, match=name):
        net.a.send(E, b"", net.now, confirm=True, **options)


def test_a_reply_that_waits_for_room_goes_when_there_is_some() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    for _ in range(4):
        net.a.request(E, b"q", net.now)
    net.pump()
    requests = net.drain(net.b, receiver)
    net.cable.block(net.b)
    tokens = [net.b.respond(request, b"x" * 600_000, net.now) for request in requests]
    assert tokens[:2] == [0, 0]
    assert all(tokens[2:])
    net.cable.block(net.b, False)
    net.pump()
    assert [len(o.payload) for o in net.seen(net.a, events.OUTCOME)] == [600_000] * 4
    assert [o.status for o in net.seen(net.b, events.OUTCOME)] == [events.ACCEPTED] * 2
    assert_settled(net)


# A plain send whose wait is bounded


@pytest.mark.parametrize("holders", [1, 2])
def test_a_plain_message_waits_as_long_as_it_was_told_to(holders: int) -> None:
    net = Net()
    a = net.node("a")
    for name in "bcd"[:holders]:
        node = net.node(name)
        net.link(a, node)
        node.register(E, codes.ANYCAST)
    net.pump()
    for cable, node in zip(net.cables, net.nodes[1:], strict=True):
        cable.block(node)  # no credit comes back
    while not (waiting := a.send(E, b"x", net.now)):
        pass
    late = a.send(E, b"y", net.now, timeout_ms=100)
    net.advance(99)
    assert verdicts(net, a, late) == []
    net.advance(1)
    assert verdicts(net, a, late) == [(events.UNDELIVERED, codes.EXPIRED)]
    net.advance(1000)
    assert verdicts(net, a, waiting) == []


def test_a_plain_message_that_went_in_time_has_no_deadline_any_more() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.cable.block(net.a)  # it is in the link's queue, and not written
    assert net.a.send(E, b"x", net.now, timeout_ms=1) == 0
    net.advance(1000)
    net.cable.block(net.a, False)
    net.pump()
    assert payloads(net.drain(net.b, receiver)) == [b"x"]


@pytest.mark.parametrize("confirm", [True, False])
def test_a_time_to_wait_is_not_negative(confirm: bool) -> None:
    net = Pair()
    with pytest.raises(LocalError, match="timeout_ms must be 0 to"):
        net.a.send(E, b"x", net.now, confirm=confirm, timeout_ms=-2)
