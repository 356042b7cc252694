"""What is written as several buffers at once: the same bytes, without a copy of what is large."""

from __future__ import annotations

import random
from typing import Any

import pytest

from busway.protocol import Limits, codes
from busway.protocol.wire.fields import frame, varint

from .lines import Line
from .pairs import E, F, G, Pair, guard

SIZES = (0, 9, 300, 5000, 16_384, 65_536, 65_537, 200_000)


def filled(**options: Any) -> Pair:
    """A pair of which `a` has something of every size to write."""
    pair = Pair(**options)
    for uuid, kind in ((E, codes.UNICAST), (F, codes.UNICAST), (G, codes.BROADCAST)):
        pair.b.register(uuid, kind)
    pair.pump()
    for seed, size in enumerate(SIZES):
        payload = random.Random(seed).randbytes(size)
        pair.a.send(E if seed & 1 else F, payload, pair.now)
        pair.a.publish(G, payload[::-1], pair.now)
    pair.ca.receive_data(frame(bytes((codes.PING,)) + varint(77)), pair.now)
    return pair


def as_bytes(pair: Pair, size: int, at_once: bool) -> bytes:
    written = b""
    while True:
        if at_once:
            data = b"".join(pair.ca.buffers_to_send(size, pair.now))
        else:
            data = pair.ca.data_to_send(size, pair.now)
        if not data:
            return written
        written += data


def test_the_bytes_are_those_of_data_to_send() -> None:
    # In one go, for how much is asked for at a time decides whose turn it is.
    assert as_bytes(filled(), 1 << 24, True) == as_bytes(filled(), 1 << 24, False)


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("size", [1, 100, 5000, 65536, 131072])
@pytest.mark.parametrize("security", [None, guard])
def test_all_comes_in_order_however_little_is_asked_for(size: int, security: Any) -> None:
    own = {"security": security()} if security else {}
    theirs = {"security": security()} if security else {}
    pair = Pair(a_options=own, b_options=theirs)
    pair.at_once = True
    receivers = [pair.b.register(uuid, codes.UNICAST) for uuid in (E, F)]
    pair.pump(size)
    sent: dict[bytes, list[bytes]] = {E: [], F: []}
    for seed, length in enumerate(SIZES):
        uuid = E if seed % 3 else F
        sent[uuid].append(random.Random(seed).randbytes(length))
        pair.a.send(uuid, sent[uuid][-1], pair.now)
    pair.pump(size)
    for receiver, payloads in zip(receivers, sent.values(), strict=True):
        assert [message.payload for message in pair.drain(pair.b, receiver)] == payloads
    pair.ca.close(pair.now)
    pair.pump(size)
    assert pair.ca.done
    assert pair.cb.done
    assert (pair.ca.bytes_out, pair.cb.bytes_out) == (pair.cb.bytes_in, pair.ca.bytes_in)


def test_what_is_large_is_not_copied() -> None:
    pair = Pair()
    pair.b.register(E, codes.UNICAST)
    pair.pump()
    payload = random.Random(1).randbytes(1 << 20)
    pair.a.send(E, payload, pair.now)
    copied = 0
    views: list[bytes] = []
    while buffers := pair.ca.buffers_to_send(131072, pair.now):
        copied += sum(len(each) for each in buffers if not isinstance(each, memoryview))
        views += [bytes(each) for each in buffers if isinstance(each, memoryview) and each.obj is payload]
    assert b"".join(views) == payload
    assert copied < 500


def test_one_that_fits_a_frame_is_given_as_it_is() -> None:
    pair = Pair()
    pair.b.register(E, codes.UNICAST)
    pair.pump()
    payload = bytes(20_000)
    for _ in range(2):
        pair.a.send(E, payload, pair.now)
    assert sum(each is payload for each in pair.ca.buffers_to_send(1 << 20, pair.now)) == 2


@pytest.mark.parametrize(("count", "size"), [(10, 16), (500, 16), (100, 3000)])
def test_what_is_small_or_too_many_is_joined(count: int, size: int) -> None:
    pair = Pair()
    receiver = pair.b.register(G, codes.BROADCAST)
    pair.pump()
    for _ in range(count):
        pair.a.publish(G, bytes(size), pair.now)
    buffers = pair.ca.buffers_to_send(1 << 20, pair.now)
    assert len(buffers) <= max(1, size * count // 2048)
    assert len(buffers) <= codes.BUFFERS_MAX
    pair.cb.receive_data(b"".join(buffers), pair.now)
    assert len(pair.drain(pair.b, receiver)) == count


def test_there_is_nothing_when_there_is_nothing() -> None:
    pair = Pair()
    pair.pump()
    assert pair.ca.buffers_to_send(1 << 20, pair.now) == []
    pair.ca.touch()
    assert pair.ca.buffers_to_send(1 << 20, pair.now) == []
    pair.cb.sleep(60_000, pair.now)
    pair.pump()
    pair.ca.touch()
    assert pair.ca.asleep_until > pair.now
    assert pair.ca.buffers_to_send(1 << 20, pair.now) == []


def test_frames_that_end_at_what_is_asked_for_are_followed_by_the_rest() -> None:
    pair = Pair(limits=Limits(frame_size_max=256))
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    pair.a.send(E, bytes(5000), pair.now)
    while data := b"".join(pair.ca.buffers_to_send(1, pair.now)):
        assert len(data) <= 258  # one frame
        pair.note(pair.b, pair.cb.receive_data(data, pair.now))
    assert not pair.ca.wants_write
    assert [message.payload for message in pair.drain(pair.b, receiver)] == [bytes(5000)]


def test_a_packet_link_gives_its_packets() -> None:
    line = Line()
    line.run(3000)
    here, there = line.sides
    assert here.connection.state == codes.OPEN
    here.node.send(b"nobody has this.", b"x", line.now)
    here.connection.touch()
    buffers = here.connection.buffers_to_send(4096, line.now)
    assert len(buffers) <= 1
    while buffers:
        there.connection.receive_data(b"".join(buffers), line.now)
        buffers = here.connection.buffers_to_send(4096, line.now)
    here.connection.log(b"a word for people")
    (data,) = here.connection.buffers_to_send(4096, line.now)
    assert b"a word" in data


def test_a_protected_link_gives_one_full_record_at_a_time() -> None:
    """Nor does it cut what is left of the size that is asked for into small ones, each of which would have
    all that waits copied once more.
    """
    pair = Pair(a_options={"security": guard()}, b_options={"security": guard()})
    pair.at_once = True
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    pair.a.send(E, bytes(1 << 20), pair.now)
    sizes = []
    while data := b"".join(pair.ca.buffers_to_send(131072, pair.now)):
        sizes.append(len(data))
        pair.note(pair.b, pair.cb.receive_data(data, pair.now))
        assert pair.ca.wants_write or len(data) < 65_000
    assert [message.payload for message in pair.drain(pair.b, receiver)] == [bytes(1 << 20)]
    assert set(sizes[:-1]) == {65_538}
    assert len(sizes) == 17
