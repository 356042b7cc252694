"""Queues, their budgets, and windows: plain arithmetic, without a node."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from busway.protocol import Link, Node, codes
from busway.protocol.link.face import LinkFace
from busway.protocol.messaging.endpoints import Endpoint, EndpointHost, InFlow, Message, Receiver
from busway.protocol.messaging.leaving import note_lost, pull
from busway.protocol.messaging.payload import size_of
from busway.protocol.messaging.requests import Request
from busway.protocol.routing.peers import Entry, Peer, PeerKeeper
from tests.protocol.pairs import E, Entropy
from tests.rigs.effort import effort

ME = Peer(PeerKeeper(), b"a" * 16, b"inca", "A", False)


def endpoint(kind: int = codes.ANYCAST, *queues: int, size_max: int = 1 << 20) -> Endpoint:
    made = Endpoint(EndpointHost(), E, kind, codes.LOCALNET, "", 0)
    made.receivers = [Receiver(made, queue_max, size_max, codes.REFUSE) for queue_max in queues]
    return made


def flow_of(of: Endpoint) -> InFlow:
    made = InFlow(ME, of, 0, 0)
    of.activate(made)
    return made


def message(flow: InFlow, payload: object = b"x", missed: int = 0) -> Message:
    return Message(flow, 1, payload, codes.RAW, b"", missed, 0)


class Seal:
    """What an adapter puts on a message that came sealed."""

    verified = "pump"


def test_sizes_count_bytes_and_a_little_for_objects() -> None:
    assert size_of(b"12345") == 5
    assert size_of({"any": "thing"}) == 64


def test_a_queue_has_room_by_count_and_by_bytes() -> None:
    of = endpoint(codes.UNICAST, 2, size_max=10)
    receiver = of.receivers[0]
    flow = flow_of(of)
    assert receiver.has_room(1000)  # an empty queue takes one of any size
    assert receiver.put(message(flow, b"12345"), 5)
    assert receiver.has_room(5)
    assert not receiver.put(message(flow, b"123456"), 6)
    assert receiver.put(message(flow, b""), 0)
    assert not receiver.put(message(flow, b""), 0)
    assert of.queued() == flow.queued == 2
    assert pull(receiver).payload == b"12345"
    assert receiver.size == 0
    assert flow.queued == 1


@pytest.mark.parametrize("policy", [codes.DROP_OLDEST, codes.DROP_NEWEST])
def test_what_was_dropped_is_shown_once(policy: int) -> None:
    of = endpoint()
    receiver = Receiver(of, 2, 100, policy)
    of.receivers = [receiver]
    flow, other = flow_of(of), flow_of(of)
    receiver.put(message(flow), 1)
    note_lost(receiver, message(flow, missed=4))
    note_lost(receiver, message(flow))
    note_lost(receiver, message(other))
    receiver.put(message(flow), 1)
    shown = [pull(receiver).missed, pull(receiver).missed]
    assert shown == ([6, 0] if policy == codes.DROP_OLDEST else [0, 6])
    assert receiver.lost == {other: 1}
    assert receiver.dropped == 3
    of.deactivate(other)
    assert receiver.lost == {}
    of.deactivate(other)  # twice is once
    note_lost(receiver, message(other))
    assert receiver.lost == {}  # its origin is gone: there is no next one to show it on


def test_the_shortest_queue_is_picked() -> None:
    of = endpoint(codes.ANYCAST, 9, 9, 9)
    flow = flow_of(of)
    picked = []
    for _ in range(6):
        receiver = of.pick()
        picked.append(of.receivers.index(receiver))
        receiver.put(message(flow), 1)
    assert picked == [0, 1, 2, 0, 1, 2]


def test_the_window_is_half_the_queue_shared_and_at_least_one() -> None:
    of = endpoint(codes.ANYCAST, 60, 40)
    flows = [flow_of(of)]
    assert of.window(flows[0]) == 50
    flows += [flow_of(of) for _ in range(9)]
    assert of.window(flows[0]) == 5
    others = [flow_of(of) for _ in range(90)]
    assert of.window(flows[0]) == 1
    for flow in flows:
        of.deactivate(flow)
    assert list(of.active) == others


def test_the_window_follows_the_size_of_messages() -> None:
    of = endpoint(codes.UNICAST, 1000, size_max=10_000)
    flow = flow_of(of)
    assert of.window(flow) == 500
    of.message_size = 1000
    assert of.window(flow) == 5
    for _ in range(200):
        of.raise_limit(flow, True)
    assert of.message_size < 20  # small ones again: the window opens slowly
    assert of.window(flow) > 250


def test_the_window_can_be_told_in_16_bits() -> None:
    of = endpoint(codes.UNICAST, 1 << 20, size_max=1 << 40)
    assert of.window(flow_of(of)) == codes.WINDOW_MAX


NODE = Node(b"m" * 16, entropy=Entropy(1))


def way() -> LinkFace:
    """A link of which only counts that it is not another."""
    return LinkFace(NODE, Link(), NODE.limits, 0)


def busy(of: Endpoint, link: LinkFace, times: int = 20) -> InFlow:
    """An origin behind that link that sends all it may, and is read."""
    made = InFlow(ME, of, 0, 0)
    made.session = link
    of.activate(made)
    for _ in range(times):
        made.received = made.limit
        of.raise_limit(made, True)
    return made


def test_links_share_the_queue_and_then_the_origins_behind_each() -> None:
    one, other = way(), way()
    of = endpoint(codes.UNICAST, 400)
    crowd = [busy(of, one) for _ in range(4)]
    alone = busy(of, other)
    assert alone.limit - alone.received == of.window(alone) == 100
    for flow in crowd * 5:
        flow.received = flow.limit
        of.raise_limit(flow, True)
    assert [flow.limit - flow.received for flow in crowd] == [of.window(flow) for flow in crowd] == [25] * 4


def test_who_invents_origins_takes_nothing_of_the_other_links() -> None:
    honest, hostile = way(), way()
    of = endpoint(codes.UNICAST, 4096)
    flow = busy(of, honest)
    assert flow.limit - flow.received == 2048
    for _ in range(3000):
        busy(of, hostile, 1)
    for _ in range(20):
        flow.received = flow.limit
        of.raise_limit(flow, True)
    assert flow.limit - flow.received == 1024  # half of what there is, for there are two links
    late = busy(of, way())
    assert late.limit - late.received == 2048 // 3


def test_who_holds_much_and_sends_nothing_does_not_keep_the_others_at_one() -> None:
    of = endpoint(codes.UNICAST, 4096)
    hoarder = busy(of, way())
    assert hoarder.limit - hoarder.received == 2048
    flow = busy(of, way())
    assert flow.limit - flow.received == 1024
    small = endpoint(codes.UNICAST, 100)  # a small queue has nothing to spare for that
    busy(small, way())
    flow = busy(small, way())
    assert flow.limit - flow.received == 1


def test_who_sends_before_others_are_read_keeps_the_window_that_it_has() -> None:
    """Eight that all send: none gets more before it is read, and each its share once it is, at once."""
    of = endpoint(codes.UNICAST, 4096)
    flows = [busy(of, way()) for _ in range(8)]
    for flow in flows * 20:
        flow.received = flow.limit
        of.raise_limit(flow, True)
    for flow in flows:
        flow.received += 128
        flow.queued = 128
        assert not of.raise_limit(flow, False), "the others wait to be read"
    for flow in flows:
        flow.queued = 0
        assert of.raise_limit(flow, True)
        assert flow.limit - flow.received == 256


def test_many_that_send_in_turn_get_less_and_less_and_never_next_to_nothing() -> None:
    of = endpoint(codes.UNICAST, 4096)
    held = [flow.limit - flow.received for flow in [busy(of, way()) for _ in range(64)]]
    assert held[:10] == [2048, 1024, 128, 96, 72, 54, 40, 30, 23, 17]
    assert set(held[20:]) == {codes.OPENING_CREDIT}
    assert sum(held) + 64 * codes.OPENING_CREDIT <= 4096  # as many who come find room
    late = busy(of, way())
    assert late.limit - late.received == 1


def test_an_origin_that_comes_by_another_way_shares_with_those_there() -> None:
    one, other = way(), way()
    of = endpoint(codes.UNICAST, 400)
    flow, stays = busy(of, one), busy(of, one)
    flow.session = other
    of.raise_limit(flow, True)
    assert of.window(flow) == of.window(stays) == 100
    of.deactivate(stays)
    of.deactivate(flow)
    assert (of.shares, of.active) == ({}, {})


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_limit_is_found_in_the_same_time_however_many_share_the_queue() -> None:
    def raises(origins: int) -> float:
        of = endpoint(codes.UNICAST, 1 << 16)
        flows = [busy(of, way(), 1) for _ in range(origins)]

        def work() -> None:
            for flow in flows[:500]:
                flow.received = flow.limit
                of.raise_limit(flow, True)
                of.deactivate(flow)

        return effort(work)

    assert raises(10_000) < 20 * raises(500)


@given(
    st.integers(2, 200),
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["send", "take", "idle"])), max_size=200),
)
def test_an_origin_with_nothing_outstanding_can_always_send(
    queue_max: int, steps: list[tuple[int, str]]
) -> None:
    """Else it would wait for credit that nothing brings."""
    of = endpoint(codes.UNICAST, queue_max)
    receiver = of.receivers[0]
    flows = [InFlow(ME, of, 0, 0) for _ in range(5)]
    for flow in flows:
        of.activate(flow)
    for index, what in steps:
        flow = flows[index]
        if what == "send" and flow.received < flow.limit and receiver.has_room(1):
            if not flow.active:
                of.activate(flow)
            flow.received += 1
            receiver.put(message(flow), 1)
            if flow.limit - flow.received <= flow.half:
                of.raise_limit(flow, False)
        elif what == "take" and len(receiver.queue):
            flow = pull(receiver).flow
            if flow.limit - flow.received + flow.queued <= flow.half:
                of.raise_limit(flow, True)
        elif what == "idle" and not flow.queued:
            of.deactivate(flow)
        for one in flows:
            assert one.limit > one.received or one.queued, "stuck"
            assert one.limit - one.received + one.queued <= max(codes.OPENING_CREDIT, queue_max)


# What people see --------------------


def test_a_message_tells_where_it_came_from_and_when() -> None:
    of = Endpoint(EndpointHost(), E, codes.ANYCAST, codes.LOCALNET, "lab/log", 0)
    came = Message(flow_of(of), 3, b"21.5", codes.RAW, b"", 0, 1500)
    assert (came.endpoint_name, came.source_label, came.received_at) == ("lab/log", "A", 1.5)
    plain = came.verified
    came.seal = Seal()
    assert (plain, came.verified) == (None, "pump")
    assert repr(came) == "<message 3 to 'lab/log' from 'A': b'21.5'>"


def test_a_message_without_names_shows_ids_and_not_what_cannot_be_read() -> None:
    made = InFlow(Peer(PeerKeeper(), b"a" * 16, b"inca", "", False), endpoint(), 0, 0)
    came = Message(made, 3, b"?", codes.CBOR, b"", 0, 0)
    came.error = ValueError("not CBOR")
    assert repr(came) == f"<message 3 to {E.hex()} from {(b'a' * 16).hex()}: unreadable>"


@pytest.mark.parametrize("payload", [b"x" * 1000, "x" * 1000, ["x" * 9] * 1000])
def test_a_large_payload_is_shown_by_its_beginning(payload: object) -> None:
    shown = repr(message(flow_of(endpoint()), payload))
    assert len(shown) < 200
    assert shown.endswith("...>")


def test_a_request_says_what_it_is() -> None:
    asked = Request(flow_of(endpoint()), 1, b"", codes.RAW, b"", 0, 0)
    assert repr(asked).startswith("<request 1 ")
    asked.confirm = True
    assert repr(asked).startswith("<confirmed message 1 ")


def test_the_payload_of_a_message_may_stand_in_an_annotation() -> None:
    assert Message.__class_getitem__(int) is Message  # what Message[int] calls


def test_endpoints_receivers_and_nodes_tell_what_they_are() -> None:
    of = endpoint(codes.UNICAST, 2)
    assert repr(of) == f"<endpoint {E.hex()}, unicast, localnet>"
    of.name = "lab/log"
    (receiver,) = of.receivers
    assert repr(receiver) == "<receiver of <endpoint 'lab/log', unicast, localnet>, 0 queued>"
    receiver.closed = True
    assert repr(receiver).endswith(", 0 queued, closed>")
    assert repr(ME) == f"<node 'A' {(b'a' * 16).hex()}>"
    assert repr(Peer(PeerKeeper(), b"a" * 16, b"inca", "", True)).endswith(", a leaf>")
    entry = Entry(ME, E, codes.ANYCAST, codes.GLOBAL)
    assert repr(entry) == f"<endpoint {E.hex()}, anycast, global, at 'A'>"
    entry.name, entry.kind = "lab/log", 0
    assert repr(entry) == "<endpoint 'lab/log', withdrawn, global, at 'A'>"
