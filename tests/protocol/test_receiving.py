"""The destination's side: registration, names that two hold, requests, realms, probes."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import (
    ClosedError,
    EndpointTakenError,
    FullError,
    Limits,
    LocalError,
    Node,
    Request,
    codes,
    events,
)
from busway.protocol.messaging.correspondent import talk
from busway.protocol.messaging.ids import Ids
from busway.protocol.routing.peers import Entry
from tests.protocol.helpers import A, B, assert_settled, fill, payloads, verdicts
from tests.protocol.pairs import Cable, E, F, Net, Pair
from tests.rigs.uncounted import uncounted


def take(net: Net, node: Node, receiver: Any) -> Request:
    message = node.take(receiver, net.now)
    assert isinstance(message, Request)
    return message


# Registration


@pytest.mark.parametrize("kind", [codes.UNICAST, codes.ANYCAST, codes.BROADCAST])
@pytest.mark.parametrize("other", [codes.UNICAST, codes.ANYCAST, codes.BROADCAST])
@pytest.mark.parametrize("where", ["here", "there"])
def test_a_name_that_is_held_is_refused_at_once(kind: int, other: int, where: str) -> None:
    net = Pair()
    (net.a if where == "here" else net.b).register(E, kind, name="lab/x")
    net.pump()
    if kind == other != codes.UNICAST:
        net.a.register(E, other)
        return
    says = "this node" if where == "here" else r"node 62626262 \(B\)"
    with pytest.raises(EndpointTakenError, match=says + ".* of kind " + codes.KIND_NAMES[kind]):
        net.a.register(E, other)
    assert len(net.a.endpoints()) == (1 if where == "here" else 0)
    net.pump()
    assert net.seen(kind=events.RECEIVER_TAKEN) == []


def test_a_second_receiver_has_the_realm_of_the_first() -> None:
    net = Net()
    node = net.node("a")
    node.register(E, codes.BROADCAST, codes.USERSPACE)
    with pytest.raises(LocalError, match="realm userspace"):
        node.register(E, codes.BROADCAST, codes.GLOBAL)


def test_a_private_name_conflicts_with_nobody_elsewhere() -> None:
    net = Pair()
    net.b.register(E, codes.UNICAST)
    net.pump()
    net.a.register(E, codes.UNICAST, codes.PROCESS)
    net.b.register(F, codes.UNICAST, codes.PROCESS)
    net.a.register(F, codes.BROADCAST)
    net.pump()
    assert net.seen(kind=events.RECEIVER_TAKEN) == []
    assert [entry.uuid for entry in net.a.entries()] == [E]
    assert [entry.uuid for entry in net.b.entries()] == [F]


def test_endpoints_are_bounded() -> None:
    net = Pair(limits=Limits(frame_size_max=1 << 20))
    with uncounted():
        receivers = [
            net.a.register(number.to_bytes(16, "big"), codes.UNICAST) for number in range(codes.ENTRIES_MAX)
        ]
    with pytest.raises(LocalError, match="close some first"):
        net.a.register(E, codes.UNICAST)
    with uncounted():
        net.pump(1 << 20)
    assert len(net.b.entries()) == codes.ENTRIES_MAX
    assert net.ca.state == codes.OPEN
    net.a.deregister(receivers[0], net.now)
    net.a.register(E, codes.UNICAST)
    net.pump(1 << 20)
    assert len(net.b.entries()) == codes.ENTRIES_MAX
    assert net.ca.state == codes.OPEN


def test_deregistering_is_told_once_and_twice_is_once() -> None:
    net = Pair()
    first = net.b.register(E, codes.ANYCAST)
    second = net.b.register(E, codes.ANYCAST)
    net.pump()
    net.b.deregister(first, net.now)
    net.pump()
    assert [entry.uuid for entry in net.a.entries()] == [E]
    net.b.deregister(second, net.now)
    net.b.deregister(second, net.now)
    net.b.deregister(first, net.now)
    net.pump()
    assert net.a.entries() == []
    assert len(net.seen(net.a, events.ENDPOINT_DOWN)) == 1
    with pytest.raises(ClosedError):
        net.b.take(second, net.now)


# Names that two nodes raced for


def raced(kind: int, other: int) -> tuple[Pair, Any, Any]:
    net = Pair()
    ours = net.a.register(E, kind)
    theirs = net.b.register(E, other)
    return net, ours, theirs


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        (codes.UNICAST, codes.UNICAST),
        (codes.UNICAST, codes.ANYCAST),
        (codes.ANYCAST, codes.UNICAST),
        (codes.ANYCAST, codes.BROADCAST),
        (codes.BROADCAST, codes.UNICAST),
    ],
)
def test_of_two_that_raced_the_smaller_node_id_keeps_the_name(kind: int, other: int) -> None:
    net, ours, theirs = raced(kind, other)
    net.pump()
    assert [event.receiver for event in net.seen(kind=events.RECEIVER_TAKEN)] == [theirs]
    assert (ours.endpoint.yielded, theirs.endpoint.yielded) == (False, True)
    assert net.a.entries() == []
    assert [(entry.uuid, entry.kind) for entry in net.b.entries()] == [(E, kind)]
    assert net.b.take(theirs, net.now) is None
    net.b.deregister(theirs, net.now)  # the program lets go of it
    if kind != codes.BROADCAST:
        assert net.b.send(E, b"x", net.now) == 0
        net.pump()
        assert payloads(net.drain(net.a, ours)) == [b"x"]


@pytest.mark.parametrize("how", ["it lets go", "it ends", "its link is lost"])
def test_the_loser_of_a_name_gets_it_back_when_the_winner_goes(how: str) -> None:
    net, ours, theirs = raced(codes.UNICAST, codes.UNICAST)
    net.pump()
    token = net.b.send(E, b"for whoever has it", net.now, ttl_ms=9000, node_id=net.b.node_id)
    if how == "it lets go":
        net.a.deregister(ours, net.now)
    elif how == "it ends":
        net.a.close(net.now)
    else:
        net.cable.cut()
    net.pump()
    assert [event.receiver for event in net.seen(net.b, events.RECEIVER_BACK)] == [theirs]
    assert [endpoint.uuid for endpoint in net.b.endpoints()] == [E]
    assert [entry.peer.node_id for entry in net.a.entries()] == ([B] if how == "it lets go" else [])
    assert payloads(net.drain(net.b, theirs)) == [b"for whoever has it"]
    assert verdicts(net, net.b, token) == [(events.ACCEPTED, 0)]
    net.b.deregister(theirs, net.now)
    assert net.b.endpoints() == []


@pytest.mark.parametrize("kind", [codes.UNICAST, codes.BROADCAST])
def test_a_node_knows_whether_it_takes_broadcasts(kind: int) -> None:
    """Also when another keeps the name, and when it is ours again."""
    net, ours, theirs = raced(codes.UNICAST, kind)
    taken = int(kind == codes.BROADCAST)
    assert [net.a.receiving.subscribed, net.b.receiving.subscribed] == [0, taken]
    net.pump()
    assert net.b.receiving.subscribed == 0
    net.a.deregister(ours, net.now)
    net.pump()
    assert net.b.endpoints() != []
    assert net.b.receiving.subscribed == taken
    net.b.deregister(theirs, net.now)
    assert net.b.receiving.subscribed == 0


def test_a_name_that_its_program_has_let_go_of_does_not_come_back() -> None:
    net, ours, theirs = raced(codes.UNICAST, codes.UNICAST)
    net.pump()
    net.b.deregister(theirs, net.now)
    net.a.deregister(ours, net.now)
    net.pump()
    assert (net.b.endpoints(), net.a.entries()) == ([], [])
    with pytest.raises(ClosedError):
        net.b.take(theirs, net.now)


def test_of_two_losers_one_gets_it_back() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    receivers = [node.register(E, codes.UNICAST) for node in (a, b, c)]
    net.pump()
    assert [receiver.endpoint.yielded for receiver in receivers] == [False, True, True]
    a.close(net.now)
    net.pump()
    assert [receiver.endpoint.yielded for receiver in receivers[1:]] == [False, True]
    assert [entry.peer.node_id for entry in c.entries()] == [B]


def test_a_name_of_ours_that_took_its_place_here_keeps_it() -> None:
    """While another node keeps the name, the program registers it for itself."""
    net, ours, theirs = raced(codes.UNICAST, codes.UNICAST)
    net.pump()
    private = net.b.register(E, codes.UNICAST, codes.PROCESS)
    net.a.deregister(ours, net.now)
    net.pump()
    assert theirs.endpoint.yielded
    assert net.b.endpoints() == [private.endpoint]


def test_while_two_hold_a_name_its_keeper_sends_to_itself() -> None:
    net, ours, theirs = raced(codes.UNICAST, codes.UNICAST)
    net.cable.block(net.a)  # b does not hear that it has lost
    net.pump()
    assert len(net.a.entries()) == 1
    net.a.send(E, b"x", net.now)
    assert payloads(net.drain(net.a, ours)) == [b"x"]
    assert net.drain(net.b, theirs) == []


def test_the_loser_of_a_name_can_still_be_read_to_its_end() -> None:
    net = Net()
    a, b, c = net.mesh("abc")
    for cable in net.cables:
        cable.block(a)
    winner = a.register(E, codes.UNICAST)
    loser = b.register(E, codes.UNICAST)
    net.pump()
    c.send(E, b"1", net.now)
    asked = c.request(E, b"2", net.now)
    own = b.send(E, b"3", net.now, confirm=True)
    net.pump()
    for cable in net.cables:
        cable.block(a, False)
    net.pump()
    assert [event.receiver for event in net.seen(kind=events.RECEIVER_TAKEN)] == [loser]
    messages = net.drain(b, loser)
    assert sorted(message.payload for message in messages) == [b"1", b"2", b"3"]
    b.respond(next(m for m in messages if m.payload == b"2"), b"r", net.now)
    assert b.take(loser, net.now) is None
    c.send(E, b"4", net.now)
    b.send(E, b"5", net.now)
    net.pump()
    assert sorted(message.payload for message in net.drain(a, winner)) == [b"4", b"5"]
    assert verdicts(net, c, asked) == [(events.REPLIED, 0)]
    assert verdicts(net, b, own) == [(events.TAKEN, 0)]
    a.deregister(winner, net.now)
    net.pump()
    c.send(E, b"6", net.now)
    net.pump()
    assert payloads(net.drain(b, loser)) == [b"6"]
    assert_settled(net)


def test_what_waits_for_the_loser_goes_to_the_winner() -> None:
    net = Pair()
    a, b = net.a, net.b
    loser = b.register(E, codes.UNICAST, queue_max=8)
    tokens = fill(net, b, E, 6)
    winner = a.register(E, codes.UNICAST)
    net.pump()
    assert payloads(net.drain(b, loser)) == [b"0", b"1", b"2", b"3"]
    assert payloads(net.drain(a, winner)) == [b"4", b"5"]
    assert [verdicts(net, b, token) for token in tokens[4:]] == [[(events.ACCEPTED, 0)]] * 2


def test_a_third_party_takes_whom_it_knew_first() -> None:
    """It sees both for a moment: neither hears of the other."""
    net = Net()
    a, b, c = net.mesh("abc")
    for node in (a, b):
        net.cables[0].block(node)
    second = b.register(E, codes.UNICAST)
    net.pump()
    first = a.register(E, codes.ANYCAST)
    net.pump()
    assert len(c.entries()) == 2
    c.send(E, b"x", net.now)
    net.pump()
    assert payloads(net.drain(b, second)) == [b"x"]
    assert net.drain(a, first) == []
    for kind in (codes.UNICAST, codes.ANYCAST):
        with pytest.raises(EndpointTakenError):
            c.register(E, kind)


# Requests that end without an answer


def test_the_deadline_of_a_request_holds_at_the_server_too() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.cable.block(net.b)  # the server hears no cancel
    net.a.request(E, b"queued", net.now, timeout_ms=100)
    net.a.send(E, b"sure", net.now, timeout_ms=100, confirm=True)
    net.pump()
    net.cable.block(net.a)
    net.advance(100)
    assert net.drain(net.b, receiver) == []
    assert net.b.receiving.counters["expired"] == 2
    assert net.seen(net.b, events.REQUEST_CANCELLED) == []
    net.cable.block(net.a, False)
    net.cable.block(net.b, False)
    net.a.request(E, b"taken", net.now, timeout_ms=100)
    net.pump()
    request = take(net, net.b, receiver)
    net.cable.block(net.a)
    net.advance(100)
    assert [event.request for event in net.seen(net.b, events.REQUEST_CANCELLED)] == [request]
    assert net.b.respond(request, b"late", net.now) == 0
    assert net.b.respond_error(request, 256, "late", net.now) == 0
    net.cable.block(net.a, False)
    net.pump()
    assert_settled(net)


@pytest.mark.parametrize("where", ["here", "there"])
def test_a_receiver_may_decline_requests(where: str) -> None:
    net = Pair()
    holder = net.a if where == "here" else net.b
    receiver = holder.register(E, codes.UNICAST)
    receiver.decline = "it only listens"
    net.pump()
    for turn in range(2):
        token = net.a.request(E, b"asked", net.now)
        sure = net.a.send(E, b"sure", net.now, confirm=True)
        net.pump()
        assert payloads(net.drain(holder, receiver)) == [b"asked", b"sure"]
        net.pump()
        (outcome,) = net.outcomes(net.a, token)
        assert (outcome.status, outcome.code, outcome.text) == (
            events.UNDELIVERED,
            codes.WRONG_KIND,
            "it only listens",
        )
        assert verdicts(net, net.a, sure) == [(events.TAKEN, 0)]
        told = net.seen(holder, events.RECEIVER_ASKED)
        assert [event.receiver for event in told] == [receiver], turn  # once
    assert_settled(net)


def test_a_deadline_travels_as_what_remains() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.cable.block(net.a)
    net.a.request(E, b"q", net.now, timeout_ms=1000)
    net.advance(400)
    net.cable.block(net.a, False)
    net.pump()
    assert take(net, net.b, receiver).timeout_ms == 600


def test_when_the_origin_goes_handlers_are_told_and_queued_messages_stay() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.a.request(E, b"taken", net.now)
    net.a.request(E, b"queued", net.now)
    net.a.send(E, b"sure", net.now, confirm=True)
    net.a.send(E, b"plain", net.now)
    net.pump()
    request = take(net, net.b, receiver)
    net.cable.cut()
    assert [event.request for event in net.seen(net.b, events.REQUEST_CANCELLED)] == [request]
    assert payloads(net.drain(net.b, receiver)) == [b"sure", b"plain"]
    assert net.b.respond(request, b"r", net.now) == 0
    net.advance(60_000)
    assert_settled(net)


def test_a_cancelled_request_that_is_still_queued_gets_no_answer() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, b"q", net.now)
    net.pump()
    net.a.cancel(token, net.now)
    net.pump()
    net.b.deregister(receiver, net.now)
    net.pump()
    assert net.a.origin.counters["unknown_reply"] == 0
    assert verdicts(net, net.a, token) == [(events.CANCELLED, 0)]


def test_a_cancel_for_what_is_over_or_cannot_be_cancelled_is_ignored() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    confirm = net.a.send(E, b"sure", net.now, confirm=True)
    net.pump()
    peer = talk(net.b.routes.peers[A])
    net.b.receiving.cancelled(peer, confirm)
    net.b.receiving.cancelled(peer, 999)
    net.b.receiving.part_credit(peer, 999, 5, net.now)
    net.b.receiving.part_credit(peer, confirm, 5, net.now)
    assert payloads(net.drain(net.b, receiver)) == [b"sure"]
    net.pump()
    assert verdicts(net, net.a, confirm) == [(events.TAKEN, 0)]


def test_credit_for_parts_that_is_old_changes_nothing() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, b"q", net.now, window=3)
    net.pump()
    request = take(net, net.b, receiver)
    assert request.stream is not None
    for limit in (3, 2, 40_000):
        net.b.receiving.part_credit(talk(net.b.routes.peers[A]), token, limit, net.now)
        assert request.stream.limit == 3
    net.b.receiving.part_credit(talk(net.b.routes.peers[A]), token, 5, net.now)
    assert request.stream.limit == 5


def test_an_id_used_again_ends_the_former_request() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.a.origin.ids = Ids(bytes)
    net.a.request(E, b"1", net.now)
    net.pump()
    first = take(net, net.b, receiver)
    net.a.origin.pending.clear()
    again = net.a.request(E, b"2", net.now)
    net.pump()
    assert [event.request for event in net.seen(net.b, events.REQUEST_CANCELLED)] == [first]
    second = take(net, net.b, receiver)
    net.b.respond(first, b"one", net.now)
    net.b.respond(second, b"two", net.now)
    net.pump()
    assert [o.payload for o in net.outcomes(net.a, again)] == [b"two"]


def test_one_request_is_answered_once() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, b"q", net.now)
    net.pump()
    request = take(net, net.b, receiver)
    net.b.respond(request, b"1", net.now)
    net.b.respond(request, b"2", net.now)
    net.b.respond_error(request, 256, "3", net.now)
    net.pump()
    assert [o.payload for o in net.outcomes(net.a, token)] == [b"1"]
    assert net.a.origin.counters["unknown_reply"] == 0


def test_a_plain_request_takes_no_parts() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.a.request(E, b"q", net.now)
    net.pump()
    request = take(net, net.b, receiver)
    with pytest.raises(LocalError, match="one reply"):
        net.b.respond_part(request, b"x", net.now)
    with pytest.raises(LocalError, match="one reply"):
        net.b.respond_end(request, net.now)


@pytest.mark.parametrize("code", [0, -1, 1 << 32])
def test_error_codes_fit_the_wire(code: int) -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, b"q", net.now)
    net.pump()
    request = take(net, net.b, receiver)
    with pytest.raises(LocalError, match="error code"):
        net.b.respond_error(request, code, "x", net.now)
    net.b.respond_error(request, 0xFFFFFFFF, "x", net.now)
    net.pump()
    assert verdicts(net, net.a, token) == [(events.FAILED, 0xFFFFFFFF)]


def narrow() -> tuple[Pair, int, Request]:
    """The link takes 100 bytes, the server 16 MiB."""
    net = Pair(a_node={"limits": Limits(message_size_max=100)})
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, b"q", net.now, window=2)
    net.pump()
    return net, token, take(net, net.b, receiver)


def test_a_reply_too_large_for_the_link_is_told_to_the_origin() -> None:
    net, token, request = narrow()
    net.b.respond(request, bytes(101), net.now)
    net.pump()
    (outcome,) = net.outcomes(net.a, token)
    assert (outcome.status, outcome.code) == (events.UNDELIVERED, codes.MESSAGE_TOO_LARGE)
    assert_settled(net)


def test_an_error_text_too_large_for_the_link_is_left_out() -> None:
    net, token, request = narrow()
    net.b.respond_error(request, 256, "x" * 101, net.now)
    net.pump()
    (outcome,) = net.outcomes(net.a, token)
    assert (outcome.status, outcome.code, outcome.text) == (events.FAILED, 256, "")


def test_a_part_too_large_for_the_link_ends_the_stream() -> None:
    net, token, request = narrow()
    parked = [net.b.respond_part(request, b"x", net.now) for _ in range(4)]
    net.b.respond_part(request, bytes(101), net.now)
    net.pump()
    assert verdicts(net, net.a, token)[-1] == (events.UNDELIVERED, codes.MESSAGE_TOO_LARGE)
    assert [verdicts(net, net.b, one) for one in parked[2:]] == [[(events.CANCELLED, 0)]] * 2
    assert [event.request for event in net.seen(net.b, events.REQUEST_CANCELLED)] == [request]
    assert_settled(net)


def test_a_stream_waits_for_a_slow_reader_but_not_for_a_dead_one() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, b"q", net.now, window=2, timeout_ms=1000)
    net.pump()
    request = take(net, net.b, receiver)
    waiting = [net.b.respond_part(request, b"x", net.now) for _ in range(3)][2]
    net.pump()
    net.advance(20_000)
    assert verdicts(net, net.b, waiting) == []
    assert net.b.receiving.counters["expired"] == 0
    for _ in range(2):
        net.a.consume_part(token, net.now)
    net.pump()
    assert verdicts(net, net.b, waiting) == [(events.ACCEPTED, 0)]
    net.cable.cut()
    assert [event.request for event in net.seen(net.b, events.REQUEST_CANCELLED)] == [request]
    assert_settled(net)


def test_a_respond_that_finds_too_much_outstanding_can_be_repeated() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    token = net.a.request(E, b"q", net.now)
    asked = net.a.request(codes.INTROSPECTION, b"", net.now, node_id=B)
    net.pump()
    assert verdicts(net, net.a, asked) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
    request = take(net, net.b, receiver)
    net.cable.block(net.b)
    with uncounted():
        held = [net.b.send(F, b"", net.now, ttl_ms=60_000) for _ in range(codes.OUTSTANDING_MAX)]
    net.cb.outbox.queue.size += codes.QUEUE_SIZE_MAX  # no room
    with pytest.raises(FullError):
        net.b.respond(request, b"r", net.now)
    net.b.cancel(held[0], net.now)
    assert net.b.respond(request, b"r", net.now) > 0
    net.cb.outbox.queue.size = 0
    net.cb.touch()  # there is room again
    net.cable.block(net.b, False)
    net.pump()
    net.pump()  # the first made room, without a byte
    assert [o.payload for o in net.outcomes(net.a, token)] == [b"r"]


def test_the_built_in_endpoint_survives_too_much_outstanding() -> None:
    net = Pair(b_node={"encode": lambda report: b"report"})
    with uncounted():
        for _ in range(codes.OUTSTANDING_MAX):
            net.b.send(F, b"", net.now, ttl_ms=60_000)
    net.cb.outbox.queue.size += codes.QUEUE_SIZE_MAX
    token = net.a.request(codes.INTROSPECTION, b"", net.now, node_id=B, timeout_ms=100)
    net.cable.block(net.b)
    net.pump()
    net.cb.outbox.queue.size = 0
    net.cable.block(net.b, False)
    net.advance(100)
    assert verdicts(net, net.a, token) == [(events.TIMED_OUT, codes.EXPIRED)]
    assert net.ca.state == codes.OPEN


# Realms


class Liar:
    """Node a sees, over a link of `realm`, endpoints of b that were not told there."""

    def __init__(self, realm: int, of: int) -> None:
        self.net = Pair(realm=realm)
        self.receiver = self.net.b.register(E, codes.UNICAST, of)
        self.net.pump()
        self.told = [entry.realm for entry in self.net.a.entries()]
        if not self.told:  # it makes its own node believe it
            entry = Entry(self.net.a.routes.peers[B], E, codes.UNICAST, codes.GLOBAL)
            self.net.a.mesh.entry_announced(entry, self.net.now)


REALMS = [codes.USERSPACE, codes.LOCALNET, codes.GLOBAL]


@pytest.mark.parametrize("link", REALMS)
@pytest.mark.parametrize("endpoint", [codes.PROCESS, *REALMS])
def test_realms_hold_for_what_is_told_and_for_what_is_delivered(link: int, endpoint: int) -> None:
    case = Liar(link, endpoint)
    net = case.net
    assert case.told == ([endpoint] if endpoint >= link else [])
    plain = net.a.send(E, b"x", net.now)
    token = net.a.request(E, b"q", net.now)
    assert plain == 0
    net.pump()
    if endpoint >= link:
        assert len(case.receiver.queue) == 2
    else:
        assert len(case.receiver.queue) == 0
        assert verdicts(net, net.a, token) == [(events.UNDELIVERED, codes.NO_ENDPOINT)]
        assert [event.reason for event in net.seen(net.a, events.UNDELIVERABLE)] == [codes.NO_ENDPOINT]
        assert case.receiver.endpoint.active == {}  # and it takes no share of the queue
        assert net.b.receiving.counters["no_endpoint"] == 2


def test_the_wider_side_of_a_link_decides() -> None:
    net = Pair(realm=codes.USERSPACE, b_options={"realm": codes.GLOBAL})
    net.a.register(E, codes.UNICAST, codes.LOCALNET)
    net.b.register(F, codes.UNICAST, codes.GLOBAL)
    net.pump()
    assert net.b.entries() == []
    assert [entry.uuid for entry in net.a.entries()] == [F]
    assert net.ca.realm == net.cb.realm == codes.GLOBAL


def two_links() -> tuple[Pair, Cable]:
    net = Pair(realm=codes.LOCALNET, via="tcp://h:1")
    local = net.link(net.a, net.b)
    net.pump()
    return net, local


def test_of_two_links_the_narrower_realm_carries_messages() -> None:
    net, local = two_links()
    receiver = net.b.register(E, codes.UNICAST, codes.USERSPACE)
    net.pump()
    fill(net, net.a, E, 1)
    net.pump()
    assert len(net.drain(net.b, receiver)) == 1
    assert net.a.routes.peers[B].hop is local.a


# Wrong kinds


def test_a_publish_to_what_is_no_broadcast_any_more_is_dropped_with_a_count() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.BROADCAST)
    net.pump()
    net.cable.block(net.b)
    net.b.deregister(receiver, net.now)
    other = net.b.register(E, codes.UNICAST)
    net.a.publish(E, b"x", net.now)
    net.pump()
    assert net.drain(net.b, other) == []
    assert net.b.receiving.counters["wrong_kind"] == 1
    net.b.deregister(other, net.now)
    net.a.publish(E, b"x", net.now)
    net.pump()
    assert net.b.forwarder.counters["pruned"] == 1
    net.cable.block(net.b, False)
    net.pump()
    assert net.seen(net.a, events.UNDELIVERABLE) == []


def test_a_probe_for_what_is_not_there_is_not_answered() -> None:
    net = Pair()
    net.b.receiving.probed(net.cb, talk(net.b.routes.peers[A]), E, 7, net.now)
    assert talk(net.b.routes.peers[A]).in_flows == {}
    net.pump()
    assert net.ca.state == codes.OPEN


def test_a_probe_that_is_older_than_what_arrived_takes_nothing_back() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST, queue_max=8)
    net.pump()
    fill(net, net.a, E, 3)
    net.pump()
    flow = talk(net.b.routes.peers[A]).in_flows[E]
    for sent in (3, 2, 40_000):
        net.b.receiving.probed(net.cb, talk(flow.peer), E, sent, net.now)
        assert flow.received == 3
    assert [message.missed for message in net.drain(net.b, receiver)] == [0, 0, 0]


def test_what_is_forgotten_of_a_peer_is_forgotten_on_its_link_too() -> None:
    net = Pair()
    receiver = net.b.register(E, codes.UNICAST)
    net.pump()
    net.a.send(E, b"one", net.now)
    net.pump()
    peer = net.cb.peer
    assert peer is not None
    assert talk(peer).in_flows
    talk(peer).forget_received()
    assert not net.cb.intakes
    assert net.cb.intakes is talk(peer).in_flows
    assert payloads(net.drain(net.b, receiver)) == [b"one"]
