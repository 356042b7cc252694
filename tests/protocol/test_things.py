"""Things beside the bytes of a link: which message they go with, whatever is cut, batched or passed on, and
where they do not go.
"""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Limits, Request, codes, events
from busway.protocol.errors import FullError, LocalError
from busway.protocol.messaging.viewed import ViewedMessage
from busway.protocol.wire.things import SHARED_MIN

from .beside import Machine, Machines, Memory, Thing, held, numbers, things, waiting
from .nets import ANYCAST, BROADCAST, LOCALNET, UNICAST, USERSPACE
from .pairs import E, F, G, Net, Pair, guard
from .test_selecting import where

LARGE = bytes(SHARED_MIN)


def verdicts(net: Net, node: Any, token: int) -> list[tuple[int, int]]:
    return [(event.status, event.code) for event in net.outcomes(node, token)]


# Where they may go


def test_both_sides_have_to_take_them() -> None:
    both = Machine()
    assert (both.ca.aside_on, both.cb.aside_on) == (True, True)
    assert (both.ca.takes_things, both.cb.takes_things) == (True, True)
    one = Pair(a_options={"aside": Memory()})
    assert (one.ca.aside_on, one.cb.aside_on) == (False, False)
    assert (one.ca.takes_things, one.cb.takes_things) == (False, False)


def test_who_may_take_them_reads_for_them_from_the_first_byte_on() -> None:
    net = Machine(opened=False)
    assert (net.ca.aside_on, net.ca.takes_things) == (False, True)
    assert net.ca.things_to_send() == []


@pytest.mark.parametrize(
    "options",
    [
        {"realm": codes.LOCALNET},
        {"a_options": {"realm": codes.LOCALNET}},
        {"b_options": {"realm": codes.LOCALNET}},
        {"a_options": {"security": guard()}, "b_options": {"security": guard(seed=5)}},
    ],
    ids=["localnet", "one side", "the other", "protected"],
)
def test_links_that_leave_the_machine_or_are_protected_carry_none(options: dict[str, Any]) -> None:
    net = Pair(aside=Memory(), **options)
    assert net.ca.state == codes.OPEN
    assert (net.ca.aside_on, net.cb.aside_on) == (False, False)
    net.b.register(E, UNICAST)
    net.pump()
    token = net.a.send(E, b"x", net.now, things=things(1))
    net.pump()
    assert verdicts(net, net.a, token) == [(events.UNDELIVERED, codes.NO_FILES)]


# Which message they go with


def test_a_message_brings_its_things() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    token = net.a.send(E, b"with", net.now, things=things(1, 2, 3), regions=1)
    net.a.send(E, b"without", net.now)
    net.pump()
    assert verdicts(net, net.a, token) == [(events.ACCEPTED, 0)]
    first, second = net.drain(net.b, receiver)
    assert (first.payload, numbers(first.things)) == (b"with", [1, 2, 3])
    assert (numbers(first.regions), numbers(first.files)) == ([1], [2, 3])
    assert (second.payload, second.things, second.regions, second.files) == (b"without", (), [], [])


def test_requests_replies_and_parts_have_things() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    token = net.a.request(E, LARGE, net.now, things=things(7))
    stream = net.a.request(E, b"parts", net.now, window=4)
    net.pump()
    request, parts = net.drain(net.b, receiver)
    assert (request.payload, numbers(request.things), parts.things) == (LARGE, [7], ())
    net.b.respond(request, LARGE, net.now, things=things(8, 9), regions=1)
    net.b.respond_part(parts, b"1", net.now, things=things(1))
    net.b.respond_part(parts, LARGE, net.now, things=things(2))
    net.b.respond_end(parts, net.now)
    net.pump()
    [reply] = net.outcomes(net.a, token)
    beside: Any = reply.beside
    assert (reply.status, reply.payload) == (events.REPLIED, LARGE)
    assert (numbers(beside.regions), numbers(beside.files)) == ([8], [9])
    told: list[Any] = net.outcomes(net.a, stream)
    assert [event.status for event in told] == [events.PARTIAL, events.PARTIAL, events.ENDED]
    assert [event.beside and numbers(event.beside.items) for event in told] == [[1], [2], None]


def test_a_confirmed_message_and_one_of_high_priority_have_things() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    confirm = net.a.send(E, b"1", net.now, confirm=True, things=things(1))
    net.a.send(E, b"2", net.now, priority=codes.URGENT, things=things(2))
    net.a.send(E, LARGE, net.now, priority=codes.HIGH)
    net.pump()
    brought = {bytes(message.payload): numbers(message.things) for message in net.drain(net.b, receiver)}
    assert brought == {b"1": [1], b"2": [2], LARGE: []}
    net.pump()
    assert verdicts(net, net.a, confirm) == [(events.TAKEN, 0)]


def test_things_for_a_receiver_of_the_same_node_are_given_as_they_are() -> None:
    net = Net()
    node = net.node("a")
    receiver, heard = node.register(E, UNICAST), node.register(F, BROADCAST)
    [thing] = things(1)
    node.send(E, memoryview(LARGE), net.now, things=[thing])
    node.publish(F, LARGE, net.now, things=[thing], regions=1)
    node.publish(F, b"plain", net.now, realm=codes.USERSPACE)
    message = node.take(receiver, net.now)
    assert message is not None
    assert (message.payload, message.things) == (LARGE, (thing,))
    message = node.take(heard, net.now)
    assert message is not None
    assert (message.payload, message.regions, message.files) == (LARGE, [thing], [])
    token = node.request(E, b"?", net.now, things=[thing])
    request = node.take(receiver, net.now)
    node.respond(request, memoryview(b"!"), net.now, things=[thing])  # type: ignore[arg-type]
    net.note(node, node.take_events())
    [reply] = net.outcomes(node, token)
    assert (reply.payload, reply.beside.items) == (b"!", (thing,))


@pytest.mark.parametrize("at_once", [False, True], ids=["bytes", "buffers"])
@pytest.mark.parametrize(("size", "split"), [(65536, 0), (200, 7), (1 << 20, 1000)])
def test_each_thing_comes_with_its_own_message(at_once: bool, size: int, split: int) -> None:
    net = Machine(Memory(100_000))
    net.at_once = at_once
    receivers = {uuid: net.b.register(uuid, UNICAST) for uuid in (E, F)}
    net.pump()
    sent: dict[bytes, list[tuple[bytes, list[int]]]] = {E: [], F: []}
    number = 0
    for step in range(120):
        uuid = F if step % 3 else E
        count = (0, 1, 0, 64, 2)[step % 5]
        payload = bytes((step,)) * (1, 10, 2000, 70_000, 130_000)[step * 7 % 5]
        mine = list(range(number, number + count))
        number += count
        net.a.send(uuid, payload, net.now, things=things(*mine), regions=min(count, 1))
        sent[uuid].append((payload, mine))
        if step % 4 == 3:
            net.pump(size, split)
            for came, receiver in receivers.items():
                wanted = sent[came]
                for message in net.drain(net.b, receiver):
                    payload, mine = wanted.pop(0)
                    assert (message.payload, numbers(message.things)) == (payload, mine)
    net.pump(size, split)
    for came, receiver in receivers.items():
        assert [(m.payload, numbers(m.things)) for m in net.drain(net.b, receiver)] == sent[came]
    assert net.memory.given
    assert waiting(net.cb) == held(net.cb) == net.b.receiving.pool.held == 0


@pytest.mark.parametrize("priority", [codes.NORMAL, codes.HIGH])
def test_a_write_takes_no_more_things_than_one_call_does(priority: int) -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    net.cable.block(net.a)
    for step in range(4):
        net.a.send(E, b"%d" % step, net.now, things=things(*range(64)), priority=priority)
        net.a.send(F, b"nobody", net.now, ttl_ms=1000)
    net.cable.block(net.a, False)
    net.a.close(net.now)  # the goodbye waits until all is written
    net.pump()
    assert [len(batch) for batch in net.cable.ends[0].batches] == [128, 128]
    assert [message.payload for message in net.drain(net.b, receiver)] == [b"0", b"1", b"2", b"3"]
    assert net.ca.close_code == codes.GOODBYE


def test_a_write_takes_no_more_shared_payloads_than_one_call_does() -> None:
    net = Machine()
    receiver = net.b.register(E, BROADCAST)
    net.pump()
    net.ca.broadcast_size_max = 1 << 30
    net.cable.block(net.a)
    for _ in range(200):
        net.a.publish(E, LARGE, net.now)
    net.cable.block(net.a, False)
    net.pump()
    assert [len(batch) for batch in net.cable.ends[0].batches] == [126, 74]
    assert len(net.drain(net.b, receiver)) == 200


# Large payloads


def test_a_large_payload_is_shared() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    sent = net.ca.bytes_out
    for size in (SHARED_MIN - 1, SHARED_MIN, 1 << 20):
        net.a.send(E, bytes(size), net.now)
        net.a.send(E, bytes(size), net.now, confirm=True)
        net.pump()
    assert net.ca.bytes_out - sent < 2 * SHARED_MIN + 400
    came = net.drain(net.b, receiver)
    assert [isinstance(message, ViewedMessage) for message in came[::2]] == [False, True, True]
    payloads = [message.payload for message in came]
    assert payloads == [bytes(size) for size in (SHARED_MIN - 1, SHARED_MIN, 1 << 20) for _ in "12"]
    assert [type(payload) for payload in payloads] == [bytes] * 6


@pytest.mark.parametrize("frame_size_max", [128, 511, 512, 1 << 20])
def test_a_payload_that_is_not_shared_goes_as_bytes(frame_size_max: int) -> None:
    limits = Limits(frame_size_max=frame_size_max)
    net = Machine(Memory(100_000), limits=limits)
    receiver = net.b.register(E, UNICAST)
    net.pump()
    for payload in (LARGE, bytes(200_000)):
        net.a.send(E, payload, net.now, things=things(1))
        net.a.send(E, memoryview(payload), net.now)
        net.pump()
        assert [(message.payload, numbers(message.things)) for message in net.drain(net.b, receiver)] == [
            (payload, [1]),
            (payload, []),
        ]
    assert net.memory.given == (2 if frame_size_max >= 512 else 0)


def test_a_publication_is_given_once_for_all_links() -> None:
    net = Machines("abcd", "ab ac ad")
    receivers = [net[letter].register(E, BROADCAST) for letter in "bcd"]
    net.pump()
    net["a"].publish(E, LARGE, net.now)
    net["a"].publish(E, LARGE, net.now, things=things(1))
    net.pump()
    for letter, receiver in zip("bcd", receivers, strict=True):
        assert net.payloads(letter, receiver) == [LARGE, LARGE]
    assert net.memory.given == 2


def test_a_retained_value_is_the_keepers_own() -> None:
    net = Machine()
    receiver = net.b.register(E, BROADCAST)
    net.pump()
    net.a.retain(E, memoryview(LARGE), net.now)
    net.pump()
    [message] = net.drain(net.b, receiver)
    assert isinstance(message, ViewedMessage)
    later = net.b.register(E, BROADCAST)
    [message] = net.drain(net.b, later)
    assert (isinstance(message, ViewedMessage), message.payload) == (False, LARGE)


def test_a_selector_takes_things_to_whom_it_picks() -> None:
    net = Machine()
    receiver = net.b.register(E, ANYCAST, labels=["gpu"])
    net.pump()
    token = net.a.send(where("gpu"), LARGE, net.now, things=things(1))
    net.pump()
    [message] = net.drain(net.b, receiver)
    assert (message.payload, numbers(message.things)) == (LARGE, [1])
    assert verdicts(net, net.a, token)[-1] == (events.ACCEPTED, 0)


# Over several hops


def test_things_and_shared_payloads_are_passed_on() -> None:
    net = Machines("arb", "ar rb")
    receiver = net["b"].register(E, UNICAST)
    heard = net["b"].register(F, BROADCAST)
    net.pump()
    net["a"].send(E, b"small", net.now, things=things(1, 2))
    net["a"].send(E, LARGE, net.now)
    net["a"].publish(F, LARGE, net.now, things=things(3))
    token = net["a"].request(E, LARGE, net.now, things=things(4))
    net.pump()
    small, large, request = net.drain(net["b"], receiver)
    assert (numbers(small.things), large.payload, numbers(request.things)) == ([1, 2], LARGE, [4])
    [cast] = net.drain(net["b"], heard)
    assert (cast.payload, numbers(cast.things)) == (LARGE, [3])
    net["b"].respond(request, LARGE, net.now, things=things(5))
    net.pump()
    [reply] = net.outcomes(net["a"], token)
    assert (reply.payload, numbers(reply.beside.items)) == (LARGE, [5])
    assert (net.memory.given, net.memory.taken) == (4, 8)  # each looked at twice, given by its origin alone


@pytest.mark.parametrize("size", [SHARED_MIN, 300_000])
def test_a_shared_payload_leaves_the_machine_as_bytes(size: int) -> None:
    net = Machines("arb", "ar")
    net.join("rb")
    receiver = net["b"].register(E, UNICAST)
    heard = net["b"].register(F, BROADCAST)
    net.pump()
    payload = bytes(range(256)) * (size // 256)
    net["a"].send(E, payload, net.now)
    net["a"].publish(F, payload, net.now)
    net.pump(9000, 1000)
    assert net.payloads("b", receiver) == [payload]
    assert net.payloads("b", heard) == [payload]
    assert net.memory.given == 2


def test_what_came_as_bytes_is_shared_on_the_machine() -> None:
    net = Machines("arbc", "rb rc")
    net.join("ar")
    receiver = net["b"].register(E, UNICAST)
    heard = [net[letter].register(F, BROADCAST) for letter in "bc"]
    net.pump()
    payload = bytes(300_000)
    net["a"].send(E, payload, net.now)
    net["a"].publish(F, payload, net.now)
    net.pump()
    assert net.payloads("b", receiver) == [payload]
    assert [net.payloads(letter, each) for letter, each in zip("bc", heard, strict=True)] == [[payload]] * 2


def test_a_message_that_would_leave_the_machine_is_refused_at_its_origin() -> None:
    net = Machines("arb", "ar")
    net.join("rb")
    net["b"].register(E, UNICAST)
    net.pump()
    send = net["a"].send(E, b"x", net.now, things=things(1))
    request = net["a"].request(E, b"x", net.now, things=things(1))
    net.note(net["a"], net["a"].take_events())
    for token in (send, request):
        assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_FILES)]
    net["a"].send(E, b"next", net.now)
    net.pump()
    assert net["r"].forwarder.counters["unroutable"] == 0


def refused_on_the_way() -> Machines:
    """All on one machine, but the second link takes no things."""
    net = Machines("arb", "ar")
    net.near("rb", aside=None)
    net.pump()
    return net


def test_a_router_refuses_what_its_next_link_does_not_take() -> None:
    net = refused_on_the_way()
    receiver = net["b"].register(E, UNICAST)
    heard = net["b"].register(F, BROADCAST)
    net.pump()
    confirm = net["a"].send(E, b"x", net.now, confirm=True, things=things(1))
    request = net["a"].request(E, b"x", net.now, things=things(1))
    net["a"].send(E, b"x", net.now, things=things(1))
    net["a"].publish(F, b"1", net.now, things=things(1))
    net["a"].publish(F, b"2", net.now)
    net.pump()
    assert verdicts(net, net["a"], confirm) == [(events.UNDELIVERED, codes.NO_FILES)]
    assert verdicts(net, net["a"], request) == [(events.UNDELIVERED, codes.NO_FILES)]
    assert net.undelivered("a") == [codes.NO_FILES]
    assert net.payloads("b", receiver) == []
    [message] = net.drain(net["b"], heard)
    assert (message.payload, message.missed) == (b"2", 0)  # the first that it gets sets the base
    assert net["r"].origin.counters["broadcast_dropped"] == 1


def workers(without: str = "d", opening: int = 4) -> tuple[Machines, dict[str, Any]]:
    """Three equally cheap holders of an anycast name for "a", of which some are reached without things."""
    net = Machines("abcd", " ".join("a" + letter for letter in "bcd" if letter not in without))
    for letter in without:
        net.near("a" + letter, aside=None)
    found = {letter: net[letter].register(E, ANYCAST, opening=opening) for letter in "bcd"}
    net.pump()
    return net, found


def taken(net: Machines, receivers: dict[str, Any]) -> dict[str, int]:
    """How many messages came to each; requests are answered."""
    counts = {}
    for letter, receiver in receivers.items():
        messages = net.drain(net[letter], receiver)
        counts[letter] = len(messages)
        for message in messages:
            if isinstance(message, Request):
                net[letter].respond(message, b"", net.now)
    net.pump()
    return counts


@pytest.mark.parametrize("kind", ["send", "confirm", "request"])
def test_of_equally_cheap_holders_one_that_can_have_things_gets_them(kind: str) -> None:
    net, receivers = workers()

    def send(*given: Thing) -> int:
        if kind == "request":
            return net["a"].request(E, b"x", net.now, things=given)
        return net["a"].send(E, b"x", net.now, confirm=kind == "confirm", things=given)

    tokens = []
    counts = dict.fromkeys("bcd", 0)
    for number in range(8):
        tokens.append(send(Thing(number)))
        net.pump()
        for letter, count in taken(net, receivers).items():
            counts[letter] += count
    assert counts == {"b": 4, "c": 4, "d": 0}
    net.note(net["a"], net["a"].take_events())
    wanted = {"send": events.ACCEPTED, "confirm": events.TAKEN, "request": events.REPLIED}[kind]
    assert [verdicts(net, net["a"], token) for token in tokens] == [[(wanted, 0)]] * 8
    for _ in range(3):
        send()
        net.pump()
    assert sum(taken(net, receivers).values()) == 3  # plain ones are shared as ever
    assert net.undelivered("a") == []


def test_it_waits_for_one_that_can_have_things_while_another_is_free() -> None:
    net, receivers = workers(opening=1)
    tokens = [net["a"].request(E, b"x", net.now, things=things(number)) for number in range(4)]
    for _ in range(2):
        net.advance(1000)
        assert taken(net, receivers) == {"b": 1, "c": 1, "d": 0}
    assert [verdicts(net, net["a"], token) for token in tokens] == [[(events.REPLIED, 0)]] * 4


def test_where_no_holder_can_have_things_the_sender_is_told() -> None:
    net, receivers = workers("bcd")
    token = net["a"].send(E, b"x", net.now, things=things(1))
    net.note(net["a"], net["a"].take_events())
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_FILES)]
    assert taken(net, receivers) == {"b": 0, "c": 0, "d": 0}


def test_of_those_that_a_selector_means_one_that_can_have_things_gets_them() -> None:
    net = Machines("abcd", "ab ac")
    net.near("ad", aside=None)
    receivers = {letter: net[letter].register(E, ANYCAST, labels=["cam"]) for letter in "bcd"}
    net.pump()
    for number in range(6):
        net["a"].send(where("cam"), b"x", net.now, things=things(number))
        net.pump()
    assert taken(net, receivers) == {"b": 3, "c": 3, "d": 0}
    net.cable["ab"].block(net["a"])
    net.cable["ac"].block(net["a"])
    for number in range(2):  # one for each of them
        net["a"].send(where("cam"), b"x", net.now, things=things(number))
    net.cable["ab"].cut()
    net.cable["ac"].block(net["a"], False)
    net.advance(3000)
    assert taken(net, {"c": receivers["c"], "d": receivers["d"]}) == {"c": 2, "d": 0}
    assert net.undelivered("a") == []


def test_a_holder_whose_way_is_lost_may_be_the_one() -> None:
    net, receivers = workers()
    net.cable["ab"].block(net["a"])
    net.cable["ab"].cut()
    for number in range(2):
        net["a"].send(E, b"x", net.now, things=things(number))
    net.advance(3000)
    assert taken(net, receivers) == {"b": 0, "c": 2, "d": 0}


def test_an_answer_with_things_that_would_leave_the_machine_is_an_error() -> None:
    net = Machines("arb", "rb")
    net.join("ar")
    receiver = net["b"].register(E, UNICAST)
    net.pump()
    token = net["a"].request(E, b"?", net.now)
    stream = net["a"].request(E, b"?", net.now, window=4)
    net.pump()
    request, parts = net.drain(net["b"], receiver)
    net["b"].respond(request, b"!", net.now, things=things(1))
    net["b"].respond_part(parts, b"!", net.now)
    net["b"].respond_part(parts, b"!", net.now, things=things(1))
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_FILES)]
    assert verdicts(net, net["a"], stream) == [
        (events.PARTIAL, 0),
        (events.UNDELIVERED, codes.NO_FILES),
    ]
    assert net.seen(net["b"], events.REQUEST_CANCELLED) != []


def test_an_answer_that_a_router_cannot_pass_on_ends_its_request() -> None:
    net = Machines("arb", "rb")
    net.near("ar", aside=None)
    receiver = net["b"].register(E, UNICAST)
    net.pump()
    token = net["a"].request(E, b"?", net.now)
    net.pump()
    net["b"].respond(net.asked("b", receiver), b"!", net.now, things=things(1))
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.UNDELIVERED, codes.NO_FILES)]


def test_a_leaf_of_the_machine_takes_part() -> None:
    net = Machines("rb", "rb")
    net.leaf("l", "r", realm=USERSPACE, medium="ipc", aside=net.memory)
    receiver = net["b"].register(E, UNICAST)
    mine = net["l"].register(F, UNICAST)
    heard = net["b"].register(G, BROADCAST)
    net.pump()
    net["l"].send(E, LARGE, net.now, things=things(1))
    net["b"].send(F, LARGE, net.now, things=things(2))
    net["l"].publish(G, LARGE, net.now, things=things(3))
    net.pump()
    for letter, each, number in (("b", receiver, 1), ("l", mine, 2), ("b", heard, 3)):
        [message] = net.drain(net[letter], each)
        assert (message.payload, numbers(message.things)) == (LARGE, [number])


def test_a_pattern_gets_the_things_of_what_it_means() -> None:
    net = Machine()
    net.a.supplements.name_of = lambda uuid: "cam/front"
    receiver = net.b.register(E, BROADCAST, name="cam/*")
    both = net.b.register(E, BROADCAST, name="cam/*")
    net.pump()
    net.a.publish(F, LARGE, net.now, things=things(1))
    net.pump()
    for each in (receiver, both):
        [message] = net.drain(net.b, each)
        assert (message.name, message.payload, numbers(message.things)) == ("cam/front", LARGE, [1])


# When ways change


def test_what_was_not_written_takes_its_things_along_another_way() -> None:
    net = Machines("abcd", "ab bd dc")
    net.near("bc")
    receiver = net["c"].register(E, UNICAST)
    heard = net["c"].register(F, BROADCAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    net["b"].send(E, b"ours", net.now, things=things(1))
    net["a"].send(E, LARGE, net.now, things=things(2))
    net["b"].publish(F, b"cast", net.now, things=things(3))
    net.pump()
    net.cable["bc"].cut()
    net.advance(3000)
    brought = {bytes(message.payload): numbers(message.things) for message in net.drain(net["c"], receiver)}
    assert brought == {b"ours": [1], LARGE: [2]}
    assert len(net.drain(net["c"], heard)) <= 1  # its tree has changed


def lose_the_way_that_takes_them() -> tuple[Machines, int, int]:
    """The way that is left takes no things: of a confirmed send, and a publication."""
    net = Machines("bc", "")
    net.near("bc")
    net.near("bc", aside=None, via="other", medium="pipe", cost=50)
    first = net.cables[0]
    net["c"].register(E, UNICAST)
    net["c"].register(F, BROADCAST)
    net.pump()
    first.block(net["b"])
    confirm = net["b"].send(E, b"x", net.now, confirm=True, things=things(1))
    send = net["b"].send(E, b"x", net.now, things=things(2))
    net["b"].publish(F, b"x", net.now, things=things(3))
    net["b"].publish(F, b"y", net.now)
    net.pump()
    first.cut()
    net.advance(3000)
    return net, confirm, send


def test_what_the_way_that_is_left_does_not_take_is_refused() -> None:
    net, confirm, send = lose_the_way_that_takes_them()
    assert verdicts(net, net["b"], confirm) == [(events.UNDELIVERED, codes.NO_FILES)]
    assert verdicts(net, net["b"], send) == [(events.ACCEPTED, 0)]
    assert net.undelivered("b") == [codes.NO_FILES]
    assert net["b"].origin.counters["broadcast_dropped"] == 1


def test_an_answer_that_the_way_left_does_not_take_is_an_error() -> None:
    net = Machines("bc", "")
    net.near("bc")
    net.near("bc", aside=None, via="other", medium="pipe", cost=50)
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    token = net["b"].request(E, b"?", net.now)
    net.pump()
    net.cables[0].block(net["c"])
    net["c"].respond(net.asked("c", receiver), b"!", net.now, things=things(1))
    net.cables[0].cut()
    net.advance(3000)
    assert verdicts(net, net["b"], token) == [(events.UNDELIVERED, codes.NO_FILES)]


def test_a_broadcast_with_things_goes_no_farther_on_a_way_that_is_left_than_it_may() -> None:
    net = Machines("bc", "")
    net.near("bc")
    net.join("bc", via="tcp:other", cost=50)
    heard = net["c"].register(F, BROADCAST)
    net.pump()
    net.cables[0].block(net["b"])
    net["b"].publish(F, b"x", net.now, things=things(3), realm=USERSPACE)
    net["b"].publish(F, b"y", net.now, things=things(3), realm=LOCALNET)
    net.pump()
    net.cables[0].cut()
    net.advance(3000)
    assert net.drain(net["c"], heard) == []
    assert net["b"].origin.counters["broadcast_dropped"] == 1


# Misuse by the caller


def test_misuse_is_told_and_sends_nothing() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    with pytest.raises(LocalError, match="64 files and regions, not 65: send several"):
        net.a.send(E, b"x", net.now, things=things(*range(65)))
    for regions in (-1, 2):
        with pytest.raises(LocalError, match="regions must be 0 to the number of things"):
            net.a.request(E, b"x", net.now, things=things(1), regions=regions)
    with pytest.raises(LocalError, match="regions must be 0"):
        net.a.publish(E, b"x", net.now, regions=1)
    words = memoryview(bytes(16)).cast("I")
    for view in (memoryview(bytes(16))[::2], words, memoryview(bytes(16)).cast("B", (4, 4))):
        with pytest.raises(LocalError, match="a view as a payload must be of bytes"):
            net.a.send(E, view, net.now)
    with pytest.raises(LocalError, match="must be bytes"):
        net.a.send(E, bytearray(16), net.now)
    net.pump()
    assert net.drain(net.b, receiver) == []


def test_without_room_and_without_waiting_it_is_full() -> None:
    net = Machine()
    net.b.register(E, UNICAST)
    net.pump()
    net.cable.block(net.a)
    for _ in range(4):
        net.a.send(E, b"x", net.now, things=things(*range(64)))
    with pytest.raises(FullError):
        net.a.send(E, b"x", net.now, things=[Thing()], wait=False)
    assert net.a.send(E, b"x", net.now, things=[Thing()]) != 0


def test_each_link_has_regions_and_shared_memory_of_its_own() -> None:
    """So that nobody can do anything about what the others have."""
    net = Machines("abc", "ab ac")
    heard = {letter: net[letter].register(E, BROADCAST) for letter in "bc"}
    single = net["b"].register(F, UNICAST)
    net.pump()
    region, file = things(1, 2)
    net["a"].publish(E, LARGE, net.now, things=[region, file], regions=1)
    token = net["a"].send(F, LARGE, net.now, confirm=True, things=[region, file], regions=1)
    net.pump()
    got = [net.drain(net[letter], heard[letter])[0] for letter in "bc"] + net.drain(net["b"], single)
    assert [bytes(message.payload) for message in got] == [LARGE] * 3
    regions: list[Any] = [message.things[0] for message in got]
    assert [each.of for each in regions] == [region] * 3
    assert len({id(each) for each in regions}) == 3
    assert [message.things[1] for message in got] == [file] * 3
    assert net.memory.given == 2
    net.pump()
    assert verdicts(net, net["a"], token) == [(events.TAKEN, 0)]


def test_who_is_alone_has_what_holds_a_payload_and_nobody_pays_for_another() -> None:
    """But a receiver in between looks at it, too."""
    net = Machines("abc", "ab bc")
    far = net["c"].register(E, BROADCAST)
    net.pump()
    net["a"].publish(E, LARGE, net.now)
    net.pump()
    assert len(net.drain(net["c"], far)) == 1
    assert net.memory.renewed == 0
    between = net["b"].register(E, BROADCAST)
    net.pump()
    net["a"].publish(E, LARGE, net.now)
    net.pump()
    assert [len(net.drain(net[letter], end)) for letter, end in (("b", between), ("c", far))] == [1, 1]
    assert net.memory.renewed == 1


def queued(net: Pair, payload: Any, priority: int) -> int:
    """How many broadcasts find room on a link that does not write."""
    count = 0
    while True:
        try:
            net.a.publish(E, payload, net.now, wait=False, patience_ms=-1, priority=priority)
        except FullError:
            return count
        count += 1


@pytest.mark.parametrize("priority", [codes.LOW, codes.NORMAL])
@pytest.mark.parametrize(("size", "counted"), [(1 << 18, SHARED_MIN), (1 << 22, 1 << 19)])
def test_payloads_that_are_only_announced_take_little_room_in_a_links_queue(
    size: int, counted: int, priority: int
) -> None:
    """For their memory has a bound of its own; what goes as bytes counts in full."""
    net = Machine(Memory(room=size))
    heard = net.b.register(E, BROADCAST)
    net.pump()
    net.cable.block(net.a)
    fits = -(-codes.BROADCAST_SIZE_MAX // (counted + 32))
    assert queued(net, memoryview(bytes(size)), priority) == fits
    net.cable.block(net.a, False)
    net.pump()
    assert net.memory.given == fits
    assert len(net.drain(net.b, heard)) == fits
    link = net.ca
    assert (link.queue.size, link.broadcasts.size) == (0, 0)
    net.cable.block(net.a)
    assert queued(net, bytes(size), priority) == -(-codes.BROADCAST_SIZE_MAX // (size + 32))
    net.cable.block(net.a, False)
    net.pump()
    assert len(net.drain(net.b, heard)) > 0
    assert (link.queue.size, link.broadcasts.size) == (0, 0)


def test_so_do_those_that_are_sent_to_one() -> None:
    net = Machine(Memory(room=1 << 18))
    net.b.register(E, UNICAST)
    net.pump()
    net.cable.block(net.a)
    for _ in range(4):
        net.a.send(E, memoryview(bytes(1 << 18)), net.now)
    assert (len(net.ca.queue), net.ca.queue.size) == (4, 4 * (SHARED_MIN + 32))
    net.cable.block(net.a, False)
    net.pump()
    assert (net.memory.given, net.ca.queue.size) == (4, 0)


def test_to_one_that_has_not_read_what_was_announced_it_goes_as_bytes() -> None:
    """And to the others it is announced, in the same order."""
    net = Machines("abc", "ab ac")
    near = {letter: net[letter].register(E, BROADCAST) for letter in "bc"}
    net.pump()
    beside = net.cable["ab"].a.beside
    assert beside is not None
    stopped = beside.aside = Memory()
    for number, lagging in enumerate((False, True, False)):
        stopped.lagging = lagging
        net["a"].publish(E, memoryview(bytes([number]) * SHARED_MIN), net.now)
        net.pump()
    for letter, receiver in near.items():
        assert [bytes(message.payload)[0] for message in net.drain(net[letter], receiver)] == [0, 1, 2]
    assert (stopped.given, stopped.renewed, net.memory.taken) == (2, 2, 5)


def test_over_other_links_they_count_in_full() -> None:
    net = Pair()
    net.b.register(E, BROADCAST)
    net.pump()
    net.cable.block(net.a)
    assert queued(net, memoryview(bytes(1 << 19)), codes.NORMAL) == 2
