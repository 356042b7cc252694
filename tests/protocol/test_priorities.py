"""Priorities: what has another than the usual one is of a pair of its own, with numbers and credit."""

from __future__ import annotations

from itertools import pairwise

import pytest

from busway.protocol import LocalError, Request, WrongKindError, codes, events
from busway.protocol.messaging.correspondent import talk
from busway.protocol.wire.address import address_of
from busway.protocol.wire.messages import Frame

from .helpers import assert_settled, fill, parts_of, verdicts
from .nets import ANYCAST, BROADCAST, UNICAST, Mesh, chain
from .pairs import E, F, bodies

LOW, NORMAL, HIGH, URGENT = codes.LOW, codes.NORMAL, codes.HIGH, codes.URGENT
OTHERS = [LOW, HIGH, URGENT]
WAYS = pytest.mark.parametrize("letters", ["a", "ab", "abc"])  # to itself, to a neighbour, through another


# Pairs of their own


@WAYS
@pytest.mark.parametrize("priority", [LOW, NORMAL, HIGH, URGENT])
def test_a_message_says_what_it_was_sent_with(letters: str, priority: int) -> None:
    net = chain(letters)
    receiver = net[letters[-1]].register(E, UNICAST)
    net.pump()
    assert net["a"].send(E, b"x", net.now, priority=priority) == 0
    net.pump()
    [message] = net.drain(net[letters[-1]], receiver)
    assert message.priority == ("low", "normal", "high", "urgent")[priority]
    assert (message.payload, message.endpoint, message.seq, message.missed) == (b"x", E, 1, 0)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@WAYS
def test_each_priority_counts_for_itself_and_has_credit_of_its_own(letters: str) -> None:
    net = chain(letters)
    last = net[letters[-1]]
    receiver = last.register(E, UNICAST)
    net.pump()
    sent: dict[int, list[bytes]] = {priority: [] for priority in (LOW, NORMAL, HIGH, URGENT)}
    taken: dict[int, list[object]] = {priority: [] for priority in sent}
    tokens = []
    for number in range(400):
        priority = number * 7 % 4
        sent[priority].append(b"%d" % number)
        tokens.append(net["a"].send(E, b"%d" % number, net.now, priority=priority))
        net.pump()
        if number % 5 == 0:
            for message in net.drain(last, receiver):
                taken[codes.PRIORITY_NAMES.index(message.priority)].append(message.payload)
                assert message.missed == 0
    for _ in range(50):
        net.pump()
        for message in net.drain(last, receiver):
            taken[codes.PRIORITY_NAMES.index(message.priority)].append(message.payload)
    assert taken == sent
    assert_settled(net)


@WAYS
@pytest.mark.parametrize("priority", OTHERS)
def test_an_answer_has_the_priority_of_its_request(letters: str, priority: int) -> None:
    net = chain(letters)
    last = net[letters[-1]]
    receiver = last.register(E, ANYCAST)
    net.pump()
    token = net["a"].request(E, b"ask", net.now, priority=priority)
    net.pump()
    request = net.asked(letters[-1], receiver)
    assert request.priority == codes.PRIORITY_NAMES[priority]
    last.respond(request, b"answer", net.now)
    net.pump()
    [outcome] = net.outcomes(net["a"], token)
    assert (outcome.status, outcome.payload) == (events.REPLIED, b"answer")
    again = net["a"].request(E, b"ask", net.now, priority=priority)
    net.pump()
    last.respond(net.asked(letters[-1], receiver), b"once more", net.now)
    net.pump()
    assert [each.payload for each in net.outcomes(net["a"], again)] == [b"once more"]
    assert_settled(net)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@WAYS
@pytest.mark.parametrize("priority", OTHERS)
@pytest.mark.parametrize("failed", [False, True])
def test_so_have_parts_their_credit_and_their_end(letters: str, priority: int, failed: bool) -> None:
    net = chain(letters)
    last = net[letters[-1]]
    receiver = last.register(E, ANYCAST)
    net.pump()
    token = net["a"].request(E, b"ask", net.now, window=4, priority=priority)
    net.pump()
    request = net.asked(letters[-1], receiver)
    for number in range(20):
        last.respond_part(request, b"%d" % number, net.now)
        net.pump()
        net["a"].consume_part(token, net.now)
        net.pump()
    if failed:
        last.respond_error(request, 300, "broken", net.now)
    else:
        last.respond_end(request, net.now)
    net.pump()
    assert parts_of(net, token) == [b"%d" % number for number in range(20)]
    assert verdicts(net, net["a"], token)[-1][0] == (events.FAILED if failed else events.ENDED)
    assert_settled(net)


@pytest.mark.parametrize("letters", ["ab", "abc"])
def test_every_frame_about_it_names_its_lane(letters: str) -> None:
    net = chain(letters)
    last = net[letters[-1]]
    receiver = last.register(E, ANYCAST, queue_max=8)
    net.pump()
    marks = {pair: [len(end.sent) for end in cable.ends] for pair, cable in net.cable.items()}
    token = net["a"].request(E, b"ask", net.now, window=2, priority=URGENT)
    net["a"].send(E, b"x", net.now, confirm=True, priority=URGENT)
    net.pump()
    request = net.drain(last, receiver)[0]
    last.respond_part(request, b"1", net.now)
    net.pump()
    net["a"].consume_part(token, net.now)
    net.pump()
    net["a"].cancel(token, net.now)
    for number in range(12):
        net["a"].send(E, b"%d" % number, net.now, priority=URGENT)
    net.pump()
    net.drain(last, receiver)
    net.advance(3000)
    last.deregister(receiver, net.now)
    net.pump()
    for pair, cable in net.cable.items():
        for end, mark in zip(cable.ends, marks[pair], strict=True):
            for body in bodies(end.sent[mark:]):
                if body[0] & codes.MESSAGE:
                    assert body[0] & codes.HEAD_OPTIONS, body
                    assert bytes((5, 1, URGENT)) in body, body


@WAYS
def test_published_values_count_for_themselves_too(letters: str) -> None:
    net = chain(letters)
    last = net[letters[-1]]
    receiver = last.register(E, BROADCAST)
    net.pump()
    for number in range(40):
        net["a"].publish(E, b"%d" % number, net.now, priority=number % 4)
    net.pump()
    found = net.drain(last, receiver)
    for priority in range(4):
        mine = [message for message in found if message.priority == codes.PRIORITY_NAMES[priority]]
        assert [message.payload for message in mine] == [b"%d" % n for n in range(priority, 40, 4)]
        assert [message.seq for message in mine] == list(range(1, 11))
        assert not any(message.missed for message in mine)


def test_it_goes_with_what_else_a_publish_says() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, BROADCAST, codes.GLOBAL)
    net.pump()
    net["a"].publish(E, b"x", net.now, best_effort=True, realm=codes.GLOBAL, priority=HIGH)
    net.pump()
    assert [message.priority for message in net.drain(net["c"], receiver)] == ["high"]


# What comes back


def test_what_is_not_taken_is_told_of_its_own_number() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    for priority in (NORMAL, HIGH, HIGH):
        net["a"].send(E, b"x", net.now, priority=priority)
    net.pump()
    net["c"].deregister(receiver, net.now)
    net.pump()
    told = net.seen(net["a"], events.UNDELIVERABLE)
    assert sorted((event.endpoint, event.seq, event.reason) for event in told) == [
        (E, 1, codes.RECEIVER_CLOSED),
        (E, 1, codes.RECEIVER_CLOSED),
        (E, 2, codes.RECEIVER_CLOSED),
    ]


def test_so_it_is_of_the_node_itself() -> None:
    net = chain("a")
    receiver = net["a"].register(E, UNICAST)
    net["a"].send(E, b"x", net.now, priority=LOW)
    net["a"].deregister(receiver, net.now)
    net.pump()
    assert [event.endpoint for event in net.seen(net["a"], events.UNDELIVERABLE)] == [E]


def test_a_reason_on_the_way_is_told_of_the_pair() -> None:
    net = chain("abc")
    net["c"].register(E, ANYCAST)
    net.pump()
    token = net["a"].request(E, b"x", net.now, priority=HIGH)
    net["a"].send(E, b"y", net.now, priority=HIGH)
    net.cable["ab"].block(net["a"])
    net.cable["bc"].cut()
    net.cable["ab"].block(net["a"], False)
    net.pump()
    net.advance(2000)
    [outcome] = net.outcomes(net["a"], token)
    assert outcome.status == events.UNDELIVERED
    assert_settled(net)


def test_who_is_not_there_is_awaited_with_any_priority() -> None:
    net = chain("abc")
    tokens = [net["a"].send(E, b"%d" % n, net.now, ttl_ms=5000, priority=n) for n in range(4)]
    net.pump()
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    assert all(verdicts(net, net["a"], token) == [(events.ACCEPTED, 0)] for token in tokens)
    found = net.drain(net["c"], receiver)
    assert sorted(message.priority for message in found) == sorted(codes.PRIORITY_NAMES)


def test_also_at_the_node_itself() -> None:
    net = chain("a")
    token = net["a"].send(E, b"x", net.now, ttl_ms=5000, priority=HIGH)
    receiver = net["a"].register(E, UNICAST)
    net["a"].send(E, b"y", net.now, priority=HIGH)
    net.advance(1)
    assert verdicts(net, net["a"], token) == [(events.ACCEPTED, 0)]
    assert net.payloads("a", receiver) == [b"x", b"y"]


def test_a_leaf_asks_for_the_endpoint_alone() -> None:
    net = Mesh()
    net.named["z"] = net.node("z", leaf=True)
    net.add("bc")
    net.join("zb bc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    token = net["z"].send(E, b"x", net.now, priority=URGENT)
    again = net["z"].send(F, b"x", net.now, priority=URGENT)
    net.pump()
    assert verdicts(net, net["z"], token) == [(events.ACCEPTED, 0)]
    assert verdicts(net, net["z"], again) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    assert [message.priority for message in net.drain(net["c"], receiver)] == ["urgent"]


def test_a_holder_that_goes_and_comes_back_is_found_anew() -> None:
    net = chain("abc")
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    net["a"].send(E, b"1", net.now, priority=HIGH)
    net.pump()
    net["c"].deregister(receiver, net.now)
    net.pump()
    token = net["a"].send(E, b"2", net.now, priority=HIGH)
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    receiver = net["b"].register(E, UNICAST)
    net.pump()
    assert net["a"].send(E, b"3", net.now, priority=HIGH) == 0
    net.pump()
    assert net.payloads("b", receiver) == [b"3"]
    assert [address_of(E, HIGH)] == list(talk(net["b"].routes.peers[net["a"].node_id]).in_flows)
    net["b"].deregister(receiver, net.now)
    assert not talk(net["b"].routes.peers[net["a"].node_id]).in_flows


def test_several_holders_share_each_priority() -> None:
    net = chain("bac")
    receivers = {letter: net[letter].register(E, ANYCAST) for letter in "bc"}
    net.pump()
    for number in range(20):
        net["a"].send(E, b"%d" % number, net.now, priority=HIGH)
        net.pump()
    found = {letter: len(net.drain(net[letter], receiver)) for letter, receiver in receivers.items()}
    assert found == {"b": 10, "c": 10}


def test_pairs_that_are_idle_are_forgotten() -> None:
    net = chain("ab")
    receiver = net["b"].register(E, UNICAST)
    net.pump()
    net["a"].send(E, b"x", net.now, priority=HIGH)
    net["a"].publish(F, b"x", net.now, priority=HIGH)
    net.pump()
    net.drain(net["b"], receiver)
    net["b"].deregister(receiver, net.now)
    net.pump()
    net.advance(codes.FLOW_FORGET_OUT_MS + 2 * codes.SWEEP_MS)
    assert not talk(net["a"].routes.peers[net["b"].node_id]).out_flows
    assert not net["a"].origin.publisher.flows
    assert not net["a"].origin.targets


# A retained value that is sent anew


def replay(net: Mesh, letter: str, to: str, payload: bytes, lane: int = codes.REPLAY | NORMAL) -> int:
    """As who keeps it sends it to one subscriber."""
    node = net[letter]
    out = Frame(codes.SEND, b"", address_of(E, lane), 0, payload, codes.RAW, b"")
    out.mark(lane)
    return node.origin.submit(out, net[to].node_id, 0, -1, True, net.now)


@pytest.mark.parametrize("letters", ["ab", "abc"])
def test_a_value_that_is_sent_anew_is_taken_by_a_subscriber(letters: str) -> None:
    net = chain(letters)
    last = letters[-1]
    receiver = net[last].register(E, BROADCAST)
    net.pump()
    net["a"].publish(E, b"new", net.now)
    tokens = [replay(net, "a", last, b"%d" % number) for number in range(50)]
    found = []
    for _ in range(50):
        net.pump()
        found += net.payloads(last, receiver)
    assert sorted(found) == sorted([b"new"] + [b"%d" % number for number in range(50)])
    assert all(verdicts(net, net["a"], token) == [(events.ACCEPTED, 0)] for token in tokens if token)


def test_no_other_send_is() -> None:
    net = chain("ab")
    receiver = net["b"].register(E, BROADCAST)
    net.pump()
    with pytest.raises(WrongKindError):
        net["a"].send(E, b"x", net.now, priority=HIGH)
    with pytest.raises(WrongKindError):
        replay(net, "a", "b", b"x", HIGH)
    peer = net["a"].routes.peers[net["b"].node_id]
    for kind, lane in ((codes.SEND, HIGH), (codes.CONFIRM, codes.REPLAY)):
        out = Frame(kind, peer.key, address_of(E, lane), 1, b"x", codes.RAW, b"")
        out.id = 7
        out.expires = net.now + 1000
        out.mark(lane)
        assert peer.hop is not None
        peer.hop.enqueue(out)
    net.pump()
    assert net.payloads("b", receiver) == []
    assert net["b"].receiving.counters["wrong_kind"] == 2


# Misuse


@pytest.mark.parametrize("priority", [-1, 4, 7])
def test_others_are_no_priorities(priority: int) -> None:
    net = chain("ab")
    net["b"].register(E, UNICAST)
    net.pump()
    for call in (net["a"].send, net["a"].publish, net["a"].request):
        with pytest.raises(LocalError, match="priority must be LOW, NORMAL, HIGH or URGENT"):
            call(E, b"x", net.now, priority=priority)
    assert fill(net, net["a"], E, 1) == [0]


# One who knows nothing of it


def old(letters: str, pair: str) -> Mesh:
    """Nodes in a row, of which two agree on a link to an older version."""
    net = Mesh()
    net.add(letters)
    for each in [a + b for a, b in pairwise(letters)]:
        net.join(each, addressing=each != pair)
    net.pump()
    return net


@pytest.mark.parametrize(("letters", "pair"), [("ab", "ab"), ("abc", "bc"), ("abcd", "bc")])
def test_what_has_no_way_is_told_at_once_or_later(letters: str, pair: str) -> None:
    net = old(letters, pair)
    last = net[letters[-1]]
    receiver = last.register(E, ANYCAST)
    net.pump()
    send = net["a"].send(E, b"x", net.now, priority=HIGH)
    confirmed = net["a"].send(E, b"x", net.now, priority=HIGH, confirm=True)
    asked = net["a"].request(E, b"x", net.now, priority=HIGH)
    net["a"].send(E, b"plain", net.now)
    net.pump()
    assert send == 0
    told = [(event.endpoint, event.reason) for event in net.seen(net["a"], events.UNDELIVERABLE)]
    assert told == [(E, codes.NO_PRIORITIES)]
    for token in (confirmed, asked):
        assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_PRIORITIES)]
    assert net.payloads(letters[-1], receiver) == [b"plain"]
    assert_settled(net)


@pytest.mark.parametrize(("letters", "pair"), [("ab", "ab"), ("abc", "bc")])
def test_broadcasts_are_dropped_and_counted(letters: str, pair: str) -> None:
    net = old(letters, pair)
    receiver = net[letters[-1]].register(E, BROADCAST)
    net.pump()
    net["a"].publish(E, b"x", net.now, priority=HIGH)
    net["a"].publish(E, b"plain", net.now)
    net.pump()
    assert net.payloads(letters[-1], receiver) == [b"plain"]
    assert net[pair[0]].origin.counters["broadcast_dropped"] == 1


@pytest.mark.parametrize("count", [2, 4, 9])  # with credit left; without; and behind others that wait for it
def test_nothing_with_a_lane_is_written_to_it(count: int) -> None:
    net = chain("ab")
    receiver = net["b"].register(E, ANYCAST, queue_max=8)
    net.pump()
    # Taken when the other way is left, so that there is credit to be told.
    sent = [net["a"].send(E, b"x", net.now, priority=HIGH) for _ in range(count)]
    token = net["a"].request(E, b"x", net.now, priority=HIGH)
    net.pump()
    net.join("ab", addressing=False, cost=50, via="tcp:old")
    net.pump()
    net.cables[0].cut()
    net.pump()
    mark = len(net.cables[1].ends[1].sent)
    for request in net.drain(net["b"], receiver):
        if isinstance(request, Request):
            net["b"].respond(request, b"x", net.now)
    sent.append(net["a"].send(E, b"x", net.now, priority=HIGH))
    net.advance(40_000)
    assert len(verdicts(net, net["a"], token)) == 1
    for waited in sent:
        assert not waited or len(verdicts(net, net["a"], waited)) == 1
    assert not net["a"].origin.pending
    for end in (net.cables[1].ends[0], net.cables[1].ends[1]):
        for body in bodies(end.sent[mark if end is net.cables[1].ends[1] else 0 :]):
            assert not (body[0] & codes.MESSAGE and body[0] & codes.HEAD_OPTIONS), body
    assert_settled(net)
