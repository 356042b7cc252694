"""How many things wait where, when they are free, and what a peer cannot do with them."""

from __future__ import annotations

import weakref
from typing import Any

import pytest

from busway.protocol import Limits, Request, codes, events
from busway.protocol.fifo import Fifo
from busway.protocol.link.aside import Beside
from busway.protocol.messaging.viewed import ViewedMessage
from busway.protocol.wire.fields import frame, varint
from busway.protocol.wire.things import SHARED_MIN

from .beside import Machine, Machines, Memory, Thing, held, numbers, things, waiting
from .nets import ANYCAST, BROADCAST, UNICAST, alias, u16
from .pairs import E, F, Pair
from .test_things import verdicts

LARGE = bytes(SHARED_MIN)
SEND = codes.MESSAGE | codes.HEAD_OPTIONS | codes.SEND << 4


def send_with(options: bytes, payload: bytes = b"x", number: int = 1, uuid: bytes = E) -> bytes:
    """A SEND with these options, as a neighbour writes it."""
    return frame(bytes((SEND,)) + varint(len(options)) + options + alias(1, uuid) + u16(number) + payload)


def option(which: int, value: bytes) -> bytes:
    return bytes((which, len(value))) + value


def with_things(regions: int, files: int) -> bytes:
    return option(8, bytes((regions, files)))


def loose(count: int) -> tuple[list[Thing], list[weakref.ref[Thing]]]:
    """Things, and what tells whether they are there still."""
    made = things(*range(count))
    return made, [weakref.ref(thing) for thing in made]


def alive(references: list[weakref.ref[Thing]]) -> int:
    return sum(reference() is not None for reference in references)


# In receivers' queues


def test_so_many_things_of_one_link_wait_and_no_more() -> None:
    net = Machines("abc", "ab cb")
    receiver = net["b"].register(E, UNICAST)
    other = net["b"].register(F, UNICAST)
    net.pump()
    tokens = [net["a"].send(E, b"a", net.now, confirm=True, things=things(*range(64))) for _ in range(4)]
    net.pump()
    assert held(net.cable["ab"].b) == 256
    one_more = net["a"].request(F, b"a", net.now, things=things(1))
    net["a"].send(F, b"plain", net.now)
    net["a"].send(F, LARGE, net.now)
    net["c"].send(F, b"c", net.now, things=things(1))
    net.pump()
    assert verdicts(net, net["a"], one_more) == [(events.UNDELIVERED, codes.FILES_FULL)]
    assert (held(net.cable["cb"].b), net["b"].receiving.pool.held) == (1, 257)
    came = net.drain(net["b"], other)
    assert [message.payload for message in came] == [b"plain", LARGE, b"c"]
    assert not isinstance(came[1], ViewedMessage)  # copied, for as many wait as may
    assert [len(message.things) for message in net.drain(net["b"], receiver)] == [64] * 4
    net.pump()
    assert [verdicts(net, net["a"], token) for token in tokens] == [[(events.TAKEN, 0)]] * 4
    assert (held(net.cable["ab"].b), net["b"].receiving.pool.held) == (0, 0)
    assert net["b"].receiving.counters["refused"] == other.refused == 1
    net["a"].send(E, b"again", net.now, things=things(1))
    net.pump()
    assert len(net.drain(net["b"], receiver)) == 1


def test_a_plain_send_that_is_one_too_many_comes_back() -> None:
    net = Machine()
    net.b.register(E, UNICAST)
    net.pump()
    for _ in range(4):
        net.a.send(E, b"a", net.now, things=things(*range(64)))
    net.pump()
    net.b.register(F, UNICAST)
    net.pump()
    net.a.send(F, b"b", net.now, things=things(1))
    net.pump()
    [event] = net.seen(net.a, events.UNDELIVERABLE)
    assert (event.endpoint, event.reason) == (F, codes.FILES_FULL)


def test_so_many_things_wait_at_a_node_and_no_more() -> None:
    net = Machines("abcdez", "az bz cz dz ez")
    receiver = net["z"].register(E, ANYCAST)
    net["z"].register(E, ANYCAST)
    net.pump()
    for letter in "abcd":
        for _ in range(4):
            net[letter].send(E, b"x", net.now, things=things(*range(64)))
    net.pump()
    assert net["z"].receiving.pool.held == 1024
    token = net["e"].send(E, b"x", net.now, confirm=True, things=things(1))
    mine = net["z"].send(E, b"x", net.now, confirm=True, things=things(1))
    net.pump()
    assert verdicts(net, net["e"], token) == [(events.UNDELIVERED, codes.FILES_FULL)]
    assert verdicts(net, net["z"], mine) == [(events.UNDELIVERED, codes.FILES_FULL)]
    for each in list(receiver.endpoint.receivers):
        net["z"].deregister(each, net.now)
    assert net["z"].receiving.pool.held == 0


def test_broadcasts_beyond_it_are_dropped_with_a_count_and_missed() -> None:
    net = Machine()
    receivers = [net.b.register(E, BROADCAST, policy=codes.DROP_NEWEST) for _ in "12"]
    net.pump()
    for number in range(4):
        net.a.publish(E, b"%d" % number, net.now, things=things(*range(60)))
    net.a.publish(E, b"plain", net.now)
    net.pump()
    assert held(net.cb) == 240  # two each of both receivers
    for receiver in receivers:
        came = net.drain(net.b, receiver)
        assert [(message.payload, message.missed) for message in came] == [
            (b"0", 0),
            (b"1", 0),
            (b"plain", 2),
        ]
        assert receiver.dropped == 2
    assert net.b.receiving.counters["dropped"] == 4


def test_a_payload_is_copied_when_its_message_may_wait_but_not_its_memory() -> None:
    net = Machine()
    net.b.register(E, UNICAST)
    other = net.b.register(F, UNICAST)
    net.pump()
    for count in (64, 64, 64, 63):
        net.a.send(E, b"x", net.now, things=things(*range(count)))
    net.pump()
    net.a.send(F, LARGE, net.now, things=things(7))
    net.pump()
    assert held(net.cb) == 256
    [last] = net.drain(net.b, other)
    assert (isinstance(last, ViewedMessage), last.payload, numbers(last.things)) == (False, LARGE, [7])


def test_who_brings_many_things_is_given_little_credit() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    came = []
    for number in range(400):
        net.a.send(E, b"%d" % number, net.now, things=things(*range(64)) if number % 10 < 5 else ())
    for _ in range(400):
        net.pump()
        came += [message.payload for message in [net.b.take(receiver, net.now)] if message is not None]
    assert came == [b"%d" % number for number in range(400)]
    assert net.seen(net.a, events.UNDELIVERABLE) == []


def untaken(net: Machines, count: int) -> int:
    """Messages from a to b with so many things that wait when b takes none, but has taken many."""
    receiver = net["b"].register(E, UNICAST)
    net.pump()
    for _ in range(700):
        net["a"].send(E, b"x", net.now, things=things(*range(count)))
    taken = 0
    while taken < 700:
        taken += len(net.drain(net["b"], receiver))
        net.pump()
    for _ in range(700):
        net["a"].send(E, b"x", net.now, things=things(*range(count)))
    net.pump()
    waiting = len(receiver.queue)
    while net.drain(net["b"], receiver):
        net.pump()
    assert net.seen(net["a"], events.UNDELIVERABLE) == []
    return waiting


@pytest.mark.parametrize(("count", "most"), [(1, 16), (2, 8), (5, 4), (64, 4)])
def test_over_other_nodes_a_pair_has_16_things_under_way(count: int, most: int) -> None:
    """A sixteenth of what a link passes on, as of bytes; but 4 messages."""
    assert untaken(Machines("arb", "ar rb"), count) == most


@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_between_neighbours_as_many_as_may_wait(count: int) -> None:
    assert 128 < untaken(Machines("ab", "ab"), count) * count <= 256


def test_things_of_a_message_hold_back_plain_ones_only_for_a_while() -> None:
    net = Machines("arb", "ar rb")
    receiver = net["b"].register(E, UNICAST)
    net.pump()
    net["a"].send(E, b"x", net.now, things=things(*range(16)))
    net.pump()
    for _ in range(700):
        net["a"].send(E, b"x", net.now)
    rounds = 0
    while net.drain(net["b"], receiver):
        net.pump()
        rounds += 1
    assert rounds < 100
    assert receiver.endpoint.things == 0
    for _ in range(700):
        net["a"].send(E, b"x", net.now)
    net.pump()
    assert len(receiver.queue) > 16


# When they are free


def taken(net: Machine, receiver: Any) -> None:
    *_, request = net.drain(net.b, receiver)
    net.b.respond(request, b"", net.now)


def taken_many(net: Machine, receiver: Any) -> None:
    *_, request = net.b.take_many(receiver, 10)
    assert isinstance(request, Request)
    net.b.respond(request, b"", net.now)


def receiver_closed(net: Machine, receiver: Any) -> None:
    net.b.deregister(receiver, net.now)


def node_closed(net: Machine, receiver: Any) -> None:
    net.b.close(net.now)


@pytest.mark.parametrize("leaves", [taken, taken_many, receiver_closed, node_closed])
def test_things_are_free_when_their_message_has_left_the_queue(leaves: Any) -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    mine, references = loose(3)
    net.a.send(E, b"x", net.now, things=mine[:1])
    net.a.send(E, LARGE, net.now, confirm=True, things=mine[1:2])
    net.a.request(E, LARGE, net.now, things=mine[2:])
    mine.clear()
    net.pump()
    net.cable.ends[0].batches.clear()
    assert (alive(references), held(net.cb)) == (3, 5)
    leaves(net, receiver)
    net.pump()
    assert (alive(references), held(net.cb), net.b.receiving.pool.held) == (0, 0, 0)
    assert receiver.holding == 0


@pytest.mark.parametrize("policy", [codes.DROP_OLDEST, codes.DROP_NEWEST, codes.REFUSE, codes.LATEST])
def test_things_of_what_a_full_queue_drops_are_free(policy: int) -> None:
    net = Machine()
    kind = BROADCAST if policy == codes.LATEST else UNICAST
    receiver = net.b.register(E, kind, queue_max=2, policy=policy)
    net.pump()
    mine, references = loose(4)
    for thing in mine:
        if kind == BROADCAST:
            net.a.publish(E, b"x", net.now, things=[thing])
        else:
            net.a.send(E, b"x", net.now, things=[thing])
    del thing
    mine.clear()
    net.pump()
    net.cable.ends[0].batches.clear()
    waits = 1 if policy == codes.LATEST else 2
    assert (alive(references), held(net.cb), receiver.holding) == (waits, waits, waits)
    assert len(net.drain(net.b, receiver)) == waits
    assert (alive(references), held(net.cb), receiver.holding) == (0, 0, 0)


def test_an_urgent_message_takes_the_place_of_one_with_things() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST, queue_max=2, policy=codes.DROP_OLDEST)
    net.pump()
    for number in range(2):
        net.a.send(E, b"x", net.now, things=things(number))
    net.pump()
    net.a.send(E, b"y", net.now, priority=codes.URGENT, things=things(3))
    net.pump()
    assert (held(net.cb), receiver.holding) == (2, 2)
    assert [numbers(message.things) for message in net.drain(net.b, receiver)] == [[3], [1]]
    assert (held(net.cb), receiver.holding, receiver.plain) == (0, 0, True)


@pytest.mark.parametrize("how", ["cancelled", "expired", "its origin is gone"])
def test_things_of_a_request_that_is_over_are_free_though_it_still_waits(how: str) -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    mine, references = loose(1)
    token = net.a.request(E, b"x", net.now, timeout_ms=1000, things=mine)
    mine.clear()
    net.pump()
    net.cable.ends[0].batches.clear()
    assert alive(references) == 1
    if how == "cancelled":
        net.a.cancel(token, net.now)
        net.pump()
    elif how == "expired":
        net.advance(1001)
    else:
        net.cable.cut()
        net.advance(3000)
    assert alive(references) == 0
    assert net.b.take(receiver, net.now) is None
    assert (receiver.holding, net.b.receiving.pool.held) == (0, 0)


def test_a_request_that_is_gone_brought_none() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    token = net.a.request(E, b"x", net.now)
    net.pump()
    net.a.cancel(token, net.now)
    net.pump()
    assert net.b.take(receiver, net.now) is None


def test_things_that_were_handed_over_are_free_though_an_answer_is_awaited() -> None:
    net = Machine(Memory(0), limits=Limits(frame_size_max=2000))
    net.b.register(E, UNICAST)
    net.pump()
    net.a.request(E, b"x", net.now, things=things(1))
    net.a.request(E, LARGE, net.now, things=things(2))
    net.pump(1000)
    beside: list[Any] = [pending.out.things() for pending in net.a.origin.pending.values()]
    assert [each.items for each in beside] == [(), ()]


@pytest.mark.parametrize("room", [0, 1 << 20])
def test_what_is_cancelled_before_it_is_written_is_free_at_once(room: int) -> None:
    net = Machine(Memory(room))
    net.b.register(E, UNICAST)
    net.pump()
    net.cable.block(net.a)
    mine, references = loose(2)
    tokens = [net.a.request(E, payload, net.now, things=mine[:1]) for payload in (b"x", LARGE)]
    tokens.append(net.a.send(E, b"x", net.now, confirm=True, things=mine[1:]))
    tokens.append(net.a.request(E, b"x", net.now))
    mine.clear()
    for token in tokens:
        net.a.cancel(token, net.now)
    assert alive(references) == 0
    net.cable.block(net.a, False)
    net.pump()
    assert net.ca.queue.size == 0
    assert net.cable.ends[0].batches == []


def test_what_expires_or_finds_nobody_is_free() -> None:
    net = Machine()
    mine, references = loose(3)
    net.a.send(E, b"x", net.now, things=mine[:1])
    net.a.send(F, b"x", net.now, ttl_ms=1000, things=mine[1:2])
    net.a.publish(E, b"x", net.now, things=mine[2:])
    mine.clear()
    net.pump()
    assert alive(references) == 1
    net.advance(1001)
    assert alive(references) == 0


def test_what_a_link_takes_with_it_is_free() -> None:
    net = Machine()
    net.b.register(E, UNICAST)
    net.b.register(F, BROADCAST)
    net.pump()
    mine, references = loose(3)
    net.cable.block(net.a)
    net.a.send(E, b"x", net.now, things=mine[:1])
    net.a.publish(F, b"x", net.now, things=mine[1:2])
    net.cb.receive_things(mine[2:], net.now)
    mine.clear()
    assert alive(references) == 3
    net.cable.cut()
    net.advance(3000)
    net.log.clear()
    assert alive(references) == 0


# In links' queues


def test_a_links_queue_counts_things() -> None:
    net = Machine()
    net.b.register(E, UNICAST)
    net.b.register(F, BROADCAST)
    net.pump()
    net.cable.block(net.a)
    for _ in range(2):
        net.a.send(E, b"x", net.now, things=things(*range(64)))
        net.a.send(E, b"x", net.now, priority=codes.HIGH, things=things(*range(64)))
        net.a.publish(F, b"x", net.now, things=things(*range(64)))
        net.a.publish(F, b"x", net.now, priority=codes.LOW, things=things(*range(64)))
    assert (net.ca.queue.size, net.ca.broadcasts.size) == (4 * (64 * 4096 + 33), 4 * (64 * 4096 + 33))
    assert not net.ca.has_room()
    net.a.publish(F, b"kept", net.now, things=things(*range(64)))
    net.cable.block(net.a, False)
    net.pump()
    assert (net.ca.queue.size, net.ca.broadcasts.size, net.ca.backlog.size) == (0, 0, 0)


def test_a_low_broadcast_with_things_gives_way() -> None:
    net = Machine()
    receiver = net.b.register(F, BROADCAST)
    net.pump()
    net.cable.block(net.a)
    for _ in range(4):
        net.a.publish(F, b"low", net.now, priority=codes.LOW, things=things(*range(64)))
    net.a.publish(F, b"high", net.now, priority=codes.HIGH, patience_ms=-1)
    net.cable.block(net.a, False)
    net.pump()
    assert net.ca.broadcasts.size == 0
    assert net.drain(net.b, receiver)[0].payload == b"high"


def test_a_router_has_room_for_so_many_things_on_their_way() -> None:
    net = Machines("arb", "ar rb")
    receiver = net["b"].register(E, UNICAST)
    net["b"].register(F, UNICAST)
    net.pump()
    net.cable["rb"].block(net["r"])
    for _ in range(4):
        net["a"].send(E, b"x", net.now, things=things(*range(64)))
    net.pump()
    assert net.cable["rb"].a.transit.size == 4 * (64 * 32000 + 33)
    one_more = net["a"].send(F, b"x", net.now, confirm=True, things=things(*range(64)))
    net.pump()
    assert verdicts(net, net["a"], one_more) == [(events.UNDELIVERED, codes.QUEUE_FULL)]
    net.cable["rb"].block(net["r"], False)
    net.pump()
    assert net.cable["rb"].a.transit.size == 0
    assert len(net.drain(net["b"], receiver)) == 4


def test_things_wait_with_their_message_for_a_way_that_was_lost() -> None:
    net = Machines("arbc", "ar rb bc")
    net.near("rc", cost=100)
    receiver = net["c"].register(E, UNICAST)
    net.pump()
    net.cable["bc"].block(net["b"])
    net["a"].send(E, b"x", net.now, things=things(1))
    net.pump()
    net.cable["bc"].cut()
    net.advance(5000)
    assert net["b"].forwarder._held == 0
    assert len(net.drain(net["c"], receiver)) <= 1


# What a peer cannot do


def broken(net: Pair, data: bytes, code: int, text: str) -> None:
    net.note(net.b, net.cb.receive_data(data, net.now))
    [event] = net.closings(net.cb)
    assert (event.code, event.by_peer) == (code, False)
    assert text in event.text


@pytest.mark.parametrize(
    ("options", "payload", "text"),
    [
        (with_things(0, 2), b"", "fewer files and regions have come"),
        (option(10, b"\0\0\0\1") + with_things(0, 1), b"", "fewer files and regions have come"),
        (with_things(0, 0), b"", "option THINGS has not 2 bytes, of 1 to 64"),
        (with_things(33, 32), b"", "option THINGS has not 2 bytes, of 1 to 64"),
        (option(8, b"\1"), b"", "option THINGS has not 2 bytes"),
        (option(8, b"\0\1\0"), b"", "option THINGS has not 2 bytes"),
        (with_things(0, 1) * 2, b"", "option THINGS has not 2 bytes, of 1 to 64 in all, or comes twice"),
        (option(10, b""), b"", "option SHARED has not 1 to 64 bytes"),
        (option(10, b"x" * 65), b"", "option SHARED has not 1 to 64 bytes"),
        (option(10, b"x") * 2, b"", "option SHARED has not 1 to 64 bytes, or comes twice"),
        (option(10, b"\0\0\0\1"), b"bytes", "a payload in shared memory, and bytes"),
        (option(10, b"\0\0\0\1"), b"", "the memory is not what the other side says"),
        (option(1, b"\0\0\0\0\2") + option(10, b"x"), b"", "a cut message in shared memory"),
    ],
)
def test_options_that_do_not_fit_end_the_link(options: bytes, payload: bytes, text: str) -> None:
    net = Machine()
    net.b.register(E, UNICAST)
    net.pump()
    net.cb.receive_things(things(1), net.now)
    broken(net, send_with(options, payload), codes.MALFORMED, text)


def test_memory_larger_than_a_message_may_be_ends_the_link() -> None:
    net = Machine(limits=Limits(message_size_max=70_000))
    net.pump()
    net.cb.receive_things([bytes(70_001)], net.now)
    broken(net, send_with(option(10, (70_001).to_bytes(4, "big")), b""), codes.TOO_LARGE, "70001 bytes")


def test_both_options_may_come_in_any_order() -> None:
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    for number, options in enumerate(
        (with_things(1, 1) + option(10, b"\0\0\0\3"), option(10, b"\0\0\0\3") + with_things(1, 1)), 1
    ):
        net.cb.receive_things([b"abc", *things(1, 2)], net.now)
        net.cb.receive_data(send_with(options, b"", number), net.now)
    for message in net.drain(net.b, receiver):
        assert (message.payload, numbers(message.regions), numbers(message.files)) == (b"abc", [1], [2])


def test_things_and_their_options_end_a_link_that_takes_none() -> None:
    net = Pair()
    net.b.register(E, UNICAST)
    net.pump()
    net.cb.receive_things([], net.now)
    broken(net, send_with(with_things(0, 1)), codes.MALFORMED, "on a link that takes none")
    net = Pair()
    net.cb.receive_things(things(1), net.now)
    broken(net, b"", codes.MALFORMED, "on a link that takes none")
    net.cb.receive_things(things(1), net.now)
    assert len(net.closings(net.cb)) == 1


def test_things_with_a_hello_are_kept_if_it_takes_them() -> None:
    net = Machine(opened=False)
    hello = net.ca.data_to_send(65536, net.now)
    net.cb.receive_things(things(1), net.now)
    net.cb.receive_data(hello, net.now)
    assert (net.cb.state, waiting(net.cb)) == (codes.OPEN, 1)
    other = Pair(b_options={"aside": Memory()}, opened=False)
    hello = other.ca.data_to_send(65536, other.now)
    other.cb.receive_things(things(1), other.now)
    broken(other, hello, codes.MALFORMED, "on a link that takes none")


def test_more_things_than_frames_say_end_the_link() -> None:
    net = Machine()
    net.cb.receive_things(things(*range(317)), net.now)
    net.cb.receive_data(b"", net.now)
    assert net.cb.state == codes.OPEN
    net.cb.receive_things(things(1), net.now)
    broken(net, b"", codes.TOO_MANY, "more files and regions than the frames say")
    assert waiting(net.cb) == 0


def test_things_of_a_link_that_waits_for_another_wait_with_its_frames() -> None:
    """It is read when the one that lost to it has ended, or when more comes than may wait."""
    net = Machine()
    receiver = net.b.register(E, UNICAST)
    net.pump()
    net.cb.waits_for = net.cb
    made = with_things(0, 64)
    for number in range(1, 5):
        net.cb.receive_things(things(*range(64)), net.now)
        net.cb.receive_data(send_with(made, b"x", number), net.now)
    assert (net.drain(net.b, receiver), waiting(net.cb)) == ([], 256)
    net.cb.receive_things(things(*range(64)), net.now)
    assert (len(net.drain(net.b, receiver)), waiting(net.cb)) == (4, 64)
    net.cb.receive_data(send_with(made, b"x", 5), net.now)
    assert (net.cb.state, len(net.drain(net.b, receiver))) == (codes.OPEN, 1)


def test_a_large_message_with_things_that_is_given_up_lets_them_go() -> None:
    net = Machine(Memory(0))
    net.b.register(E, UNICAST)
    net.pump()
    mine, references = loose(1)
    net.cb.receive_things(mine, net.now)
    mine.clear()
    net.cb.receive_data(send_with(option(1, b"\0\0\0\1\0") + with_things(0, 1)), net.now)
    assert alive(references) == 1
    net.advance(codes.UNFINISHED_MS * 2)
    assert alive(references) == 0


def test_a_question_about_values_may_lie_in_memory_and_harms_nobody() -> None:
    """No node asks so, but one might."""
    net = Machine()
    net.b.register(E, BROADCAST)
    net.pump()
    asks = bytes((codes.MESSAGE | codes.HEAD_OPTIONS | codes.REQUEST << 4,))
    options = option(10, b"\0\0\0\1") + option(7, b"\0\0\0\1")
    body = asks + varint(len(options)) + options + alias(1, E) + u16(1) + varint(1 << 29) + varint(1000)
    net.cb.receive_things([b"\0"], net.now)
    net.cb.receive_data(frame(body), net.now)
    assert net.cb.state == codes.OPEN


def test_what_beside_is_given_back() -> None:
    beside = Beside(Memory())
    beside.leaving.append(Thing(1))
    assert numbers(beside.leave()) == [1]
    assert beside.leave() == []
    assert Fifo().items == []
