"""The life of a link: its ends, keepalive, what the adapter is told, links that replace each other."""

from __future__ import annotations

from typing import Any

import pytest

from busway.protocol import Connection, Limits, Receiver, codes, events
from busway.protocol.messaging.correspondent import talk
from busway.protocol.wire.fields import frame, varint
from busway.protocol.wire.messages import Frame, signal
from tests.rigs.uncounted import uncounted

from .pairs import E, Entropy, F, Net, Pair, bodies, guard

CLOSE = bytes((codes.CLOSE,))


def close_frames(data: bytes | bytearray) -> list[bytes]:
    return [body for body in bodies(data) if body[0] == codes.CLOSE]


def one_end(net: Net, connection: Connection) -> tuple[int, bool]:
    """Number and side of the one LINK_CLOSED of a connection."""
    (closed,) = net.closings(connection)
    assert connection.state == codes.CLOSED
    return closed.code, closed.by_peer


def busy_pair(**options: Any) -> tuple[Pair, Receiver]:
    """a has queued messages for b, small and large, that have not been written."""
    pair = Pair(limits=Limits(frame_size_max=256), **options)
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    for payload in (b"small", bytes(3000), b"last"):
        assert pair.a.send(E, payload, pair.now) == 0
    return pair, receiver


# The end in order


@pytest.mark.parametrize("size", [1, 10, 300, 65536])
def test_a_goodbye_delivers_everything_that_was_queued(size: int) -> None:
    pair, receiver = busy_pair()
    pair.ca.close(pair.now)
    assert pair.ca.state == codes.CLOSING
    pair.pump(size, split=7)
    assert [m.payload for m in pair.drain(pair.b, receiver)] == [b"small", bytes(3000), b"last"]
    assert one_end(pair, pair.ca) == (codes.GOODBYE, False)
    assert one_end(pair, pair.cb) == (codes.GOODBYE, True)
    assert pair.ca.done
    assert pair.cb.done
    assert close_frames(pair.cable.ends[0].sent) == [CLOSE + b"\x00"]
    assert close_frames(pair.cable.ends[1].sent) == [CLOSE + b"\x00"]


def test_close_is_the_last_frame_of_each_direction() -> None:
    pair, _ = busy_pair(keepalive_ms=1000)
    pair.ca.close(pair.now)
    data = pair.ca.data_to_send(1 << 20, pair.now)
    assert bodies(data)[-1] == CLOSE + b"\x00"
    pair.ca.receive_data(frame(bytes((codes.PING,)) + varint(1)), pair.now)
    pair.advance(1000, pump=False)
    assert pair.ca.data_to_send(1 << 20, pair.now) == b""  # neither a PONG nor a PING
    pair.note(pair.b, pair.cb.receive_data(data, pair.now))
    assert bodies(pair.cb.data_to_send(1 << 20, pair.now))[-1] == CLOSE + b"\x00"
    assert pair.cb.data_to_send(1 << 20, pair.now) == b""


def test_a_close_without_drain_finishes_the_message_under_way_and_leaves_the_rest() -> None:
    pair, receiver = busy_pair()
    data = pair.ca.data_to_send(400, pair.now)
    pair.note(pair.b, pair.cb.receive_data(data, pair.now))
    assert pair.ca.outbox.in_pieces()
    pair.ca.close(pair.now, codes.REPLACED, "a newer one", drain=False)
    pair.pump()
    assert [m.payload for m in pair.drain(pair.b, receiver)] == [b"small", bytes(3000)]
    assert one_end(pair, pair.ca) == (codes.REPLACED, False)
    assert one_end(pair, pair.cb) == (codes.REPLACED, True)
    (lost,) = pair.seen(pair.a, events.UNDELIVERABLE)
    assert (lost.seq, lost.reason) == (3, codes.NO_ROUTE)


def test_what_is_sent_while_a_link_drains_still_goes() -> None:
    pair, receiver = busy_pair()
    pair.ca.close(pair.now)
    assert pair.a.send(E, b"late", pair.now) == 0
    pair.pump(300)
    assert [m.payload for m in pair.drain(pair.b, receiver)][-1] == b"late"


def test_closes_that_cross_end_both_sides_once_with_their_own_number() -> None:
    pair = Pair()
    pair.ca.close(pair.now)
    pair.cb.close(pair.now, codes.REPLACED, "other reason")
    ours, theirs = (c.data_to_send(1000, pair.now) for c in (pair.ca, pair.cb))
    pair.note(pair.a, pair.ca.receive_data(theirs, pair.now))
    pair.note(pair.b, pair.cb.receive_data(ours, pair.now))
    assert one_end(pair, pair.ca) == (codes.GOODBYE, False)
    assert one_end(pair, pair.cb) == (codes.REPLACED, False)
    assert pair.ca.done
    assert pair.cb.done
    assert pair.ca.data_to_send(1000, pair.now) == pair.cb.data_to_send(1000, pair.now) == b""


def test_a_close_read_while_draining_is_answered_with_our_own() -> None:
    pair, _ = busy_pair()
    pair.ca.close(pair.now, codes.MESH_FULL, "too many")
    pair.note(pair.a, pair.ca.receive_data(frame(CLOSE + b"\x00"), pair.now))
    assert one_end(pair, pair.ca) == (codes.MESH_FULL, False)
    assert not pair.ca.done
    assert close_frames(pair.ca.data_to_send(1000, pair.now)) == [
        CLOSE + varint(codes.MESH_FULL) + b"too many"
    ]
    assert pair.ca.done


def test_closing_twice_is_closing_once() -> None:
    pair = Pair()
    pair.ca.close(pair.now)
    pair.ca.close(pair.now, codes.REPLACED, "not this")
    pair.pump()
    pair.ca.close(pair.now)
    pair.ca.fail(codes.SILENT, "not this either", pair.now)
    assert one_end(pair, pair.ca) == (codes.GOODBYE, False)


def test_the_other_close_is_awaited_for_two_seconds_from_when_ours_was_written() -> None:
    pair, _ = busy_pair()
    pair.cable.block(pair.b)
    pair.cable.block(pair.a)
    pair.ca.close(pair.now)
    pair.advance(10_000)  # nothing can be written: it waits
    assert pair.ca.state == codes.CLOSING
    pair.cable.ends[0].writable = True
    pair.pump()
    pair.advance(1999)
    assert pair.ca.state == codes.CLOSING
    pair.advance(1)
    assert one_end(pair, pair.ca) == (codes.GOODBYE, False)
    assert pair.ca.done


def test_a_loser_whose_peer_does_not_read_ends_within_two_seconds() -> None:
    pair, _ = busy_pair()
    pair.cable.block(pair.a)
    pair.ca.close(pair.now, codes.REPLACED, "a newer one", drain=False)
    pair.advance(1999)
    assert pair.ca.state == codes.CLOSING
    pair.advance(1)
    assert one_end(pair, pair.ca) == (codes.REPLACED, False)


def test_fail_while_draining_tells_the_peer_why_and_after_the_goodbye_does_not() -> None:
    pair, _ = busy_pair()
    pair.ca.close(pair.now)
    pair.ca.fail(codes.NOT_READING, "enough", pair.now)
    assert close_frames(pair.ca.data_to_send(1000, pair.now)) == [
        CLOSE + varint(codes.NOT_READING) + b"enough"
    ]
    other = Pair()
    other.ca.close(other.now)
    assert other.ca.data_to_send(1000, other.now)
    other.ca.fail(codes.NOT_READING, "enough", other.now)
    assert other.ca.data_to_send(1000, other.now) == b""
    assert other.ca.done


def test_the_sentence_of_a_close_is_clipped_to_what_fits_every_frame() -> None:
    pair = Pair(limits=Limits(frame_size_max=128))
    pair.ca.close(pair.now, codes.MESH_FULL, "ä" * 100)
    data = pair.ca.data_to_send(1000, pair.now)
    assert len(bodies(data)[0]) <= 128
    pair.note(pair.b, pair.cb.receive_data(data, pair.now))
    assert pair.cb.close_text == "ä" * 60


def test_a_sentence_that_is_not_utf8_is_shown_as_it_can() -> None:
    pair = Pair()
    pair.note(pair.b, pair.cb.receive_data(frame(CLOSE + b"\x09caf\xe9\n"), pair.now))
    assert one_end(pair, pair.cb) == (codes.MALFORMED, True)
    assert pair.cb.close_text == "caf??"


def test_a_sentence_longer_than_allowed_is_clipped_when_read() -> None:
    pair = Pair()
    pair.cb.receive_data(frame(CLOSE + b"\x09" + b"x" * 1000), pair.now)
    assert pair.cb.close_text == "x" * codes.CLOSE_TEXT_SIZE_MAX


def test_what_follows_a_close_is_not_read_and_what_came_before_counts() -> None:
    pair = Pair()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    first = frame(b"\x80\x00\x01" + E + b"\x00\x01before")
    behind = frame(b"\x80\x01\x00\x02behind") + b"\xff" * 50
    pair.note(pair.b, pair.cb.receive_data(first + frame(CLOSE + b"\x00") + behind, pair.now))
    pair.note(pair.b, pair.cb.receive_data(behind, pair.now))
    assert [m.payload for m in pair.drain(pair.b, receiver)] == [b"before"]
    assert one_end(pair, pair.cb) == (codes.GOODBYE, True)


# Every state


def greeting(**options: Any) -> Pair:
    return Pair(opened=False, **options)


def securing() -> Pair:
    pair = Pair(opened=False, security=guard())
    pair.cb.receive_data(pair.ca.data_to_send(1000, pair.now), pair.now)
    assert pair.cb.state == codes.SECURING
    return pair


def draining() -> Pair:
    pair = Pair()
    pair.cb.close(pair.now)
    return pair


def closing() -> Pair:
    pair = draining()
    pair.cb.data_to_send(1000, pair.now)
    assert pair.cb.state == codes.CLOSING
    return pair


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (greeting, codes.LOST),
        (securing, codes.LOST),
        (Pair, codes.LOST),
        (draining, codes.GOODBYE),
        (closing, codes.GOODBYE),
    ],
)
def test_the_end_of_the_connection_ends_every_state_once_and_leaves_nothing_to_write(
    make: Any, code: int
) -> None:
    pair = make()
    opened = pair.cb.opened_at >= 0
    pair.note(pair.b, pair.cb.receive_eof(pair.now, "reset by peer"))
    assert one_end(pair, pair.cb) == (code, False)
    assert pair.cb.close_text == ("reset by peer" if code == codes.LOST else "")
    assert pair.cb.done
    assert pair.cb.data_to_send(1000, pair.now) == b""
    assert pair.cb.receive_eof(pair.now) == []
    assert pair.b.counters["links_lost" if opened else "links_refused"] == 1
    assert pair.b.connections == []
    pair.cable.ends[1].unplugged = True
    pair.advance(60_000, pump=False)
    assert len(pair.closings(pair.cb)) == 1


def test_the_end_of_the_connection_in_the_midst_of_a_frame_leaves_no_half_frame_to_write() -> None:
    pair, _ = busy_pair()
    assert pair.ca.data_to_send(100, pair.now)
    assert pair.ca.outbox.has_bytes(False)
    pair.note(pair.a, pair.ca.receive_eof(pair.now))
    assert pair.ca.done


def test_after_the_end_bytes_are_ignored_and_events_of_the_node_still_come() -> None:
    pair = Pair()
    pair.note(pair.b, pair.cb.receive_eof(pair.now))
    before = pair.cb.bytes_in
    token = pair.b.request(F, b"", pair.now)
    happened = pair.cb.receive_data(b"\xff" * 100, pair.now)
    assert [event.token for event in happened if isinstance(event, events.Outcome)] == [token]
    assert pair.cb.bytes_in == before


def test_bytes_may_come_as_any_buffer() -> None:
    pair = Pair()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    for kind in (bytes, bytearray, memoryview):
        pair.a.send(E, b"x", pair.now)
        data: Any = kind(pair.ca.data_to_send(1000, pair.now))
        pair.cb.receive_data(data, pair.now)
        (message,) = pair.drain(pair.b, receiver)
        assert type(message.payload) is bytes


# What the adapter is told


def wants(connection: Connection) -> bool:
    return connection.wants_write


@pytest.mark.parametrize("size", [1, 2, 3, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 80, 128])
def test_wants_write_holds_as_long_as_there_is_something(size: int) -> None:
    # pairs.py checks at every step that nothing is written of which wants_write knew nothing.
    pair = Pair(opened=False)
    for node in (pair.a, pair.b):
        node.register(node.node_id, codes.UNICAST, name="x" * 20)
    pair.pump(size)
    assert not wants(pair.ca)
    assert not wants(pair.cb)
    assert len(pair.a.entries()) == len(pair.b.entries()) == 1
    pair.a.send(b"b" * 16, b"x", pair.now)
    assert wants(pair.ca)
    pair.ca.close(pair.now)
    assert wants(pair.ca)
    pair.pump(size)
    assert not wants(pair.ca)
    assert pair.ca.done


def test_a_connection_with_something_to_write_is_listed_once() -> None:
    pair = Pair()
    pair.b.register(E, codes.UNICAST)
    assert pair.b.connections_to_flush() == [pair.cb]
    assert pair.b.connections_to_flush() == []
    pair.b.register(F, codes.UNICAST)
    assert pair.b.connections_to_flush() == []  # still listed: nothing was written since
    pair.cb.data_to_send(1000, pair.now)
    pair.cb.receive_data(frame(bytes((codes.PING,)) + varint(1)), pair.now)
    assert pair.b.connections_to_flush() == [pair.cb]


@pytest.mark.parametrize("what", ["answer", "credit", "line", "message", "broadcast", "close"])
def test_whatever_there_is_to_write_lists_the_connection(what: str) -> None:
    pair = Pair()
    pair.a.register(E, codes.UNICAST)
    pair.pump()
    pair.b.send(E, b"", pair.now)
    pair.pump()
    peer = pair.ca.peer
    assert peer is not None
    assert pair.a.connections_to_flush() == []
    assert not wants(pair.ca)
    out = signal(codes.CANCEL, peer.key, b"", 0, 1)
    if what == "answer":
        pair.ca.answer(out)
    elif what == "credit":
        pair.ca.credit(talk(pair.a.routes.peers[b"b" * 16]).in_flows[E])
    elif what == "line":
        pair.a.register(F, codes.BROADCAST)
    elif what == "message":
        pair.ca.enqueue(Frame(codes.SEND, peer.key, F, 1, b"", codes.RAW, b""))
    elif what == "broadcast":
        pair.ca.enqueue_broadcast(Frame(codes.PUBLISH, b"", F, 1, b"", codes.RAW, b""))
    else:
        pair.ca.close(pair.now)
    assert pair.a.connections_to_flush() == [pair.ca]
    assert wants(pair.ca)
    assert pair.ca.data_to_send(1000, pair.now)


def test_bytes_are_counted() -> None:
    pair, _ = busy_pair()
    pair.pump(100, 3)
    for here, there in (pair.cable.ends, pair.cable.ends[::-1]):
        assert here.connection.bytes_out == len(here.sent) == there.connection.bytes_in


def test_distance_puts_the_realm_before_the_cost() -> None:
    net = Net()
    a, b = net.node("a"), net.node("b")
    near = net.link(a, b, cost=16382)
    far = net.link(a, b, realm=codes.LOCALNET, via="tcp", cost=1)
    net.pump()
    assert near.a.distance() < far.a.distance()
    assert near.a.peer is not None
    assert near.a.peer.hop is near.a


# Keepalive


def quiet(pair: Pair, ms: int, *, until_dead: bool = False) -> None:
    """Let time pass for b while nothing arrives: a is stopped."""
    pair.cable.block(pair.a)
    pair.advance(ms)
    assert (pair.cb.state == codes.CLOSED) == until_dead


def test_silence_brings_pings_and_nothing_ends_while_they_are_answered() -> None:
    pair = Pair(keepalive_ms=1000)
    pair.advance(60_000)
    assert pair.ca.state == pair.cb.state == codes.OPEN
    pings = [body for body in bodies(pair.cable.ends[1].sent) if body[0] == codes.PING]
    pongs = [body for body in bodies(pair.cable.ends[0].sent) if body[0] == codes.PONG]
    assert 0 < len(pings) <= 60
    assert [ping[1:] for ping in pings] == [pong[1:] for pong in pongs]


def test_while_something_is_read_pings_only_measure_now_and_then() -> None:
    pair = Pair(keepalive_ms=1000)
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    for _ in range(2 * 2 * codes.MEASURE_INTERVALS):
        pair.a.send(E, b"x", pair.now)
        pair.pump()
        pair.drain(pair.b, receiver)
        pair.advance(500)
    assert len([body for body in bodies(pair.cable.ends[1].sent) if body[0] == codes.PING]) == 2
    assert pair.ca.rtt_ms == pair.cb.rtt_ms == 0  # also that of the side which reads the other's PINGs


def test_without_an_interval_nothing_is_ever_sent() -> None:
    pair = Pair()
    sent = len(pair.cable.ends[0].sent)
    pair.advance(3_600_000)
    assert len(pair.cable.ends[0].sent) == sent
    assert pair.ca.state == codes.OPEN


def test_a_silent_link_ends_after_three_intervals_and_the_time_to_read() -> None:
    pair = Pair(keepalive_ms=1000)
    pair.cable.block(pair.a)
    pair.advance(3000)
    assert pair.cb.state == codes.OPEN  # a last chance: what has arrived is to be read first
    pair.advance(249)
    assert pair.cb.state == codes.OPEN
    pair.advance(1)
    assert one_end(pair, pair.cb) == (codes.SILENT, False)
    assert pair.cb.close_text == "nothing was heard for 3250 ms"
    pair.cable.block(pair.a, False)
    pair.pump()
    assert one_end(pair, pair.ca) == (codes.SILENT, True)


def test_a_program_that_was_stopped_reads_first() -> None:
    pair = Pair(keepalive_ms=1000)
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    pair.a.send(E, b"meanwhile", pair.now)
    arrived = pair.ca.data_to_send(1000, pair.now)
    pair.now += 3_600_000  # b was stopped for an hour; its timer is what runs first
    pair.note(pair.b, pair.b.handle_timer(pair.now))
    assert pair.cb.state == codes.OPEN
    pair.note(pair.b, pair.cb.receive_data(arrived, pair.now))
    assert pair.b.next_deadline() is not None
    pair.note(pair.b, pair.b.handle_timer(pair.now + 250))
    assert pair.cb.state == codes.OPEN
    assert len(pair.drain(pair.b, receiver)) == 1


def test_a_program_that_was_stopped_and_finds_nothing_gives_up_soon() -> None:
    pair = Pair(keepalive_ms=1000)
    pair.cable.block(pair.a)
    pair.now += 3_600_000
    pair.note(pair.b, pair.b.handle_timer(pair.now))
    assert pair.b.next_deadline() == pair.now + 250
    pair.now += 250
    pair.note(pair.b, pair.b.handle_timer(pair.now))
    assert one_end(pair, pair.cb) == (codes.SILENT, False)


def test_anything_read_in_time_lifts_the_suspicion() -> None:
    pair = Pair(keepalive_ms=1000)
    pair.cable.block(pair.a)
    pair.advance(3249)
    pair.note(pair.b, pair.cb.receive_data(b"\x02\x04", pair.now))  # not even a whole frame
    pair.advance(3000)
    assert pair.cb.state == codes.OPEN
    pair.advance(250)
    assert one_end(pair, pair.cb) == (codes.SILENT, False)


def test_the_round_trip_is_measured_by_the_ping_that_is_answered() -> None:
    pair = Pair(keepalive_ms=1000)
    assert pair.cb.rtt_ms == -1
    pair.cable.block(pair.a)
    pair.advance(1000)  # b's PING goes out
    pair.advance(37)
    assert pair.cb.rtt_ms == -1
    pair.cable.block(pair.a, False)
    pair.pump()
    assert pair.cb.rtt_ms == 37


def test_a_pong_that_answers_no_ping_of_ours_measures_nothing() -> None:
    pair = Pair(keepalive_ms=1000)
    late = frame(bytes((codes.PONG,)) + varint(pair.now))
    pair.note(pair.b, pair.cb.receive_data(late, pair.now))
    assert pair.cb.rtt_ms == -1
    pair.cable.block(pair.a)
    pair.advance(1000)
    pair.note(pair.b, pair.cb.receive_data(frame(bytes((codes.PONG,)) + varint(5)), pair.now + 3))
    assert pair.cb.rtt_ms == -1
    assert pair.cb.state == codes.OPEN


def test_of_several_pings_the_last_is_answered() -> None:
    pair = Pair()
    pings = b"".join(frame(bytes((codes.PING,)) + varint(token)) for token in (1, 2, 300))
    pair.cb.receive_data(pings, pair.now)
    assert pair.cb.data_to_send(1000, pair.now) == frame(bytes((codes.PONG,)) + varint(300))


def test_a_clock_beyond_28_bits_still_measures() -> None:
    pair = Pair(opened=False, keepalive_ms=1000)
    pair.now = 1 << 45
    pair.pump()
    pair.advance(5000)
    assert pair.ca.rtt_ms == pair.cb.rtt_ms == 0


def test_a_link_that_drains_is_kept_alive_and_dies_of_silence_only() -> None:
    pair, receiver = busy_pair(keepalive_ms=1000)
    pair.ca.close(pair.now)
    for _ in range(20):  # a can write a little at a time; b reads and answers PINGs
        pair.cable.ends[0].writable = False
        pair.advance(500)
        data = pair.ca.data_to_send(150, pair.now)
        pair.note(pair.b, pair.cb.receive_data(data, pair.now))
    assert pair.ca.state == codes.CLOSING
    pair.cable.ends[0].writable = True
    pair.pump()
    assert len(pair.drain(pair.b, receiver)) == 3
    assert one_end(pair, pair.ca) == (codes.GOODBYE, False)
    dead, _ = busy_pair(keepalive_ms=1000)
    dead.cable.block(dead.a)
    dead.cable.block(dead.b)
    dead.ca.close(dead.now)
    dead.advance(3250)
    assert one_end(dead, dead.ca) == (codes.SILENT, False)


# Links that replace each other


def second_link(pair: Pair, *, dialled_by_a: bool = True) -> tuple[Connection, Connection]:
    cable = pair.link(pair.a, pair.b) if dialled_by_a else pair.link(pair.b, pair.a)
    return (cable.a, cable.b) if dialled_by_a else (cable.b, cable.a)


def test_of_two_links_dialled_by_one_side_the_newer_stays_and_nothing_is_lost() -> None:
    pair, receiver = busy_pair()
    pair.ca.data_to_send(0, pair.now)
    ca, cb = second_link(pair)
    pair.pump(200)
    assert one_end(pair, pair.ca) == (codes.REPLACED, False)
    assert one_end(pair, pair.cb) == (codes.REPLACED, True)
    assert ca.state == cb.state == codes.OPEN
    pair.a.send(E, b"after", pair.now)
    pair.pump()
    payloads = [m.payload for m in pair.drain(pair.b, receiver)]
    assert payloads == [b"small", bytes(3000), b"last", b"after"]
    assert pair.b.receiving.counters["missed"] == pair.b.receiving.counters["late"] == 0
    assert not pair.seen(kind=events.NODE_DOWN)


@pytest.mark.parametrize("second_by_a", [True, False])
def test_of_two_links_dialled_by_different_sides_the_smaller_nodes_stays(second_by_a: bool) -> None:
    net = Net()
    a, b = net.node("a"), net.node("b")
    net.link(*((b, a) if second_by_a else (a, b)))
    net.pump()
    net.link(*((a, b) if second_by_a else (b, a)))
    net.pump()
    (left,) = a.connections
    assert left.link.dialled  # a is the smaller
    (other,) = b.connections
    assert not other.link.dialled
    assert [event.code for event in net.seen(kind=events.LINK_CLOSED)] == [codes.DUPLICATE_LINK] * 2


def test_links_over_different_addresses_coexist() -> None:
    pair = Pair()
    pair.link(pair.a, pair.b, via="tcp://host:1")
    pair.pump()
    assert len(pair.a.connections) == len(pair.b.connections) == 2
    assert not pair.seen(kind=events.LINK_CLOSED)


def test_a_dead_older_link_is_ended_by_the_dialled_side_after_two_seconds() -> None:
    pair = Pair()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    pair.cable.block(pair.a)  # a's end of the old link is gone without a trace
    pair.cable.block(pair.b)
    second_link(pair)
    pair.pump()
    pair.note(pair.a, pair.ca.receive_eof(pair.now))
    pair.a.send(E, b"new", pair.now)
    pair.pump()
    assert receiver.queue.items == []  # held: the old link might still bring what was sent before it
    pair.advance(2000)
    assert pair.cb.state == codes.CLOSING
    pair.advance(2000)
    assert one_end(pair, pair.cb) == (codes.REPLACED, False)
    assert [m.payload for m in pair.drain(pair.b, receiver)] == [b"new"]


def held_pair() -> tuple[Pair, Connection, Receiver]:
    """b's new link, whose bytes are held because the older one has not been read to its end."""
    pair = Pair()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    pair.cable.block(pair.a)
    pair.cable.block(pair.b)
    _, cb = second_link(pair)
    pair.pump()
    assert cb.waits_for is pair.cb
    return pair, cb, receiver


def test_what_is_held_for_the_older_links_sake_is_bounded() -> None:
    pair, cb, receiver = held_pair()
    message = frame(b"\x80\x00\x01" + E + b"\x00\x01first")
    pair.note(pair.b, cb.receive_data(message, pair.now))
    room = codes.QUEUE_SIZE_MAX - cb._held_size
    filler = frame(b"\x7e" + bytes(1000)) * (room // 1000)
    pair.note(pair.b, cb.receive_data(filler[:room], pair.now))
    assert cb._held_size == sum(map(len, cb._held))
    held = cb.waits_for
    assert held is pair.cb
    assert cb._held_size == codes.QUEUE_SIZE_MAX
    assert not receiver.queue.items
    pair.note(pair.b, cb.receive_data(filler[room : room + 1], pair.now))
    assert cb._held_size == 0
    assert [m.payload for m in pair.drain(pair.b, receiver)] == [b"first"]
    assert cb.skipped_frames >= room // 1003
    pair.note(pair.b, pair.cb.receive_eof(pair.now))
    assert cb.state == codes.OPEN


def test_a_held_link_that_ends_is_read_to_its_end_first() -> None:
    pair, cb, receiver = held_pair()
    pair.note(pair.b, cb.receive_data(frame(b"\x80\x00\x01" + E + b"\x00\x01held"), pair.now))
    pair.note(pair.b, cb.receive_eof(pair.now))
    assert [m.payload for m in pair.drain(pair.b, receiver)] == [b"held"]
    assert one_end(pair, cb) == (codes.LOST, False)


def test_bytes_behind_the_hello_are_held_too() -> None:
    pair = Pair()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    ca, cb = second_link(pair)
    hello = ca.data_to_send(1000, pair.now)
    message = frame(b"\x80\x00\x01" + E + b"\x00\x01behind")
    pair.note(pair.b, cb.receive_data(hello + message + b"\x05", pair.now))
    assert (cb.state, cb.waits_for) == (codes.OPEN, pair.cb)
    assert not receiver.queue.items
    pair.note(pair.b, pair.cb.receive_eof(pair.now))
    assert [m.payload for m in pair.drain(pair.b, receiver)] == [b"behind"]
    pair.note(pair.b, cb.receive_data(b"\x80\x01\x00\x02", pair.now))
    assert [m.payload for m in pair.drain(pair.b, receiver)] == []
    pair.note(pair.b, cb.receive_data(b"!", pair.now))
    assert [m.payload for m in pair.drain(pair.b, receiver)] == [b"!"]


def test_a_newer_incarnation_takes_over_at_once() -> None:
    pair = Pair()
    reborn = pair.node("a", entropy=Entropy(99))
    cable = pair.link(reborn, pair.b)
    pair.pump()
    assert one_end(pair, pair.cb) == (codes.REPLACED, False)
    assert one_end(pair, pair.ca) == (codes.REPLACED, True)
    assert cable.b.state == codes.OPEN
    assert cable.b.peer is not None
    assert cable.b.peer.incarnation == reborn.me.incarnation


def test_links_from_beyond_the_machine_leave_places_for_programs_on_it() -> None:
    """And who comes when all are taken hears why, in a sentence."""
    net = Net()
    node, other = net.node("a"), net.node("b")
    most = codes.LINKS_MAX - codes.LINKS_RESERVED
    with uncounted():
        wide = [net.link(node, other, via=str(n), realm=codes.LOCALNET) for n in range(most)]
    refused = net.link(node, net.node("c"), realm=codes.GLOBAL)
    with uncounted():
        near = [net.link(node, other, via=f"near {n}") for n in range(codes.LINKS_RESERVED - 1)]
    near.append(net.link(node, other, via="the last near one"))
    assert {cable.a.state for cable in wide + near} == {codes.GREETING}
    assert len(node.connections) == codes.LINKS_MAX
    one_more = net.link(node, net.node("d"))
    assert [cable.a.state for cable in (refused, one_more)] == [codes.CLOSED, codes.CLOSED]
    net.cables = [refused, one_more]  # the others have nothing to say about it
    net.pump()
    heard = [closing for cable in net.cables for closing in net.closings(cable.b)]
    assert [(closing.code, closing.by_peer, closing.text) for closing in heard] == [
        (codes.MESH_FULL, True, "this node holds 1024 links beyond its machine, as many as it may"),
        (codes.MESH_FULL, True, "this node holds 1280 links, as many as it may"),
    ]


def test_a_link_tells_where_it_leads_and_how_it_is() -> None:
    pair = Pair()
    pair.pump()
    assert repr(pair.ca).endswith(f" to {pair.ca.peer!r}, open>")
    pair.ca.close(pair.now)
    assert repr(pair.ca).endswith(", closing>")
