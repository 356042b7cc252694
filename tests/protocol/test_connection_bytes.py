"""Bytes into a connection: cut anywhere, garbage, and every frame in every state.

What may come of any bytes is listed in `streams.check_outcome`; an exception is never among it.
"""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from busway.protocol import Receiver, codes, events
from busway.protocol.wire.fields import frame, varint

from .pairs import E, G, Pair, bodies
from .streams import (
    A_SERVES,
    HELLO_FRAME,
    RECORD,
    STATES,
    Cut,
    Listener,
    at_random,
    check_outcome,
    hex_frame,
    one_by_one,
    opened,
    plain,
    whole,
)

# A valid stream, whatever its cuts, is one stream


def replay(cut: Cut) -> Any:
    listener = Listener()
    listener.feed(cut(RECORD[0]))
    listener.ask()
    listener.feed(cut(RECORD[1]))
    assert listener.connection.state == codes.CLOSED
    return listener.account()


WHOLE = replay(whole)


def test_the_recorded_stream_has_a_bit_of_everything() -> None:
    names = [event[0] for event in WHOLE[0]]
    for name in ("LinkEvent", "NodeEvent", "EndpointEvent", "MessagesEvent", "Outcome"):
        assert name in names
    assert len(names) >= 14
    assert names[-2:] != []
    assert all(WHOLE[1])
    assert WHOLE[6] == 0
    heads = [body[0] for body in bodies(RECORD[1])]
    assert heads.count(codes.RUN) == 2


def test_a_stream_read_byte_by_byte_is_the_same_stream() -> None:
    assert replay(one_by_one) == WHOLE


@pytest.mark.parametrize("size", [2, 3, 5, 64, 199, 201, 1000])
def test_a_stream_cut_evenly_is_the_same_stream(size: int) -> None:
    assert replay(lambda data: [data[pos : pos + size] for pos in range(0, len(data), size)]) == WHOLE


@given(st.integers(0, 1 << 30))
@settings(max_examples=40)
def test_a_stream_cut_at_random_is_the_same_stream(seed: int) -> None:
    assert replay(at_random(seed)) == WHOLE


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_a_stream_cut_in_two_anywhere_is_the_same_stream() -> None:
    for place in range(0, len(RECORD[1]), 61):
        assert replay(lambda data, at=place: [data[:at], data[at:]]) == WHOLE  # type: ignore[misc]


def test_a_length_behind_high_bytes_may_be_cut_like_any_other() -> None:
    pair = Pair()
    receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    data = frame(b"\x80\x00\x01" + E + b"\x00\x01\xff\xff\xff\xff") + frame(b"\x80\x01\x00\x02" + bytes(200))
    for byte in one_by_one(data):
        pair.note(pair.b, pair.cb.receive_data(byte, pair.now))
    assert [m.payload for m in pair.drain(pair.b, receiver)] == [b"\xff" * 4, bytes(200)]


class Open:
    """An open link with frames of 64 KiB, fed by hand."""

    def __init__(self) -> None:
        self.pair = Pair()
        self.receiver = self.pair.b.register(E, codes.UNICAST)
        self.pair.pump()
        self.connection = self.pair.cb

    def feed(self, data: bytes) -> None:
        self.pair.note(self.pair.b, self.connection.receive_data(data, self.pair.now))

    def begin(self, size: int, first: bytes = b"") -> bytes:
        """The first frame of a large message."""
        cut = bytes((codes.OPTION_CUT, 5, 0)) + size.to_bytes(4, "big")
        return frame(b"\x84\x07" + cut + b"\x00\x01" + E + b"\x00\x01" + first)

    def kept(self) -> tuple[int, int]:
        """What has come of the large message, and what of a frame that is not whole."""
        (assembly,) = self.connection.inbox.assemblies.values()
        return assembly.have, len(self.connection._chunks)


def test_what_completes_a_frame_is_joined_with_it_and_no_more() -> None:
    """Each large read ends within a frame: were what follows the rest of it joined, too, all would be copied
    once more.
    """
    link = Open()
    data = frame(bytes((codes.IGNORABLE,)) + bytes(9000)) * 200
    link.feed(data[:100])
    rest = data[100:]
    tracemalloc.start()
    try:
        link.connection.receive_data(rest, link.pair.now)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert link.connection.skipped_frames == 200
    assert peak < len(data) // 10


def test_a_piece_of_a_large_message_is_handed_on_as_it_comes() -> None:
    link = Open()
    payload = random.Random(7).randbytes(100_000)
    data = link.begin(100_000, payload[:40_000]) + frame(bytes((codes.MORE, 0)) + payload[40_000:])
    before = len(data) - 50_000
    link.feed(data[:before])
    assert link.kept() == (50_000, 0)
    link.feed(data[before : before + 30_000])
    assert link.kept() == (80_000, 0)
    link.feed(data[before + 30_000 :] + frame(b"\x80\x01\x00\x02behind"))
    assert [m.payload for m in link.pair.drain(link.pair.b, link.receiver)] == [payload, b"behind"]


def test_a_piece_that_is_too_long_is_refused_on_its_header() -> None:
    link = Open()
    link.feed(link.begin(10_000))
    link.feed(varint(10_003) + bytes((codes.MORE, 0, 1)))
    assert link.connection.close_code == codes.MALFORMED


def test_a_link_that_ends_within_a_piece_forgets_it() -> None:
    link = Open()
    link.feed(link.begin(10_000) + varint(9_002) + bytes((codes.MORE, 0, 1)))
    assert link.kept() == (1, 0)
    link.connection.receive_eof(link.pair.now)
    assert link.pair.b.unfinished.size == 0
    assert link.connection.inbox.assemblies == {}


def test_what_comes_of_a_piece_that_is_given_up_is_read_over() -> None:
    link = Open()
    link.feed(link.begin(10_000) + varint(9_002) + bytes((codes.MORE, 0, 1)))
    link.pair.advance(codes.UNFINISHED_MS)
    (assembly,) = link.connection.inbox.assemblies.values()
    assert (assembly.have, len(assembly.buffer)) == (0, 0)
    link.feed(bytes(8_999) + frame(bytes((codes.MORE, 0)) + bytes(1000)))
    assert link.connection.inbox.assemblies == {}
    link.feed(frame(b"\x80\x01\x00\x02behind"))
    assert [m.payload for m in link.pair.drain(link.pair.b, link.receiver)] == [b"behind"]
    link.feed(frame(b"\x84\x07" + bytes((codes.OPTION_CUT, 5, 0, 0, 0, 0, 9)) + b"\x01\x00\x03"))
    link.pair.advance(codes.UNFINISHED_MS)
    link.connection.receive_eof(link.pair.now)
    assert (link.pair.b.unfinished.size, link.pair.b.unfinished.buffers.size) == (0, 0)


def test_what_follows_a_sleep_ends_it_wherever_the_bytes_are_cut() -> None:
    data = frame(bytes((codes.SLEEP,)) + varint(60_000)) + frame(bytes((codes.PING, 0)))
    for place in range(len(data) + 1):
        listener = opened()
        listener.feed([data[:place], data[place:]])
        assert listener.connection.asleep_until < 0


# Any bytes at all, in every state


@pytest.mark.parametrize("state", STATES)
@given(data=st.binary(max_size=300), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_arbitrary_bytes(state: str, data: bytes, seed: int) -> None:
    listener = STATES[state]()
    before = listener.connection.state
    listener.feed(at_random(seed)(data))
    check_outcome(listener, before)


# Every valid frame in every state

BIND_E = "00 01" + E.hex()
S13, S12, S1 = codes.BAD_STATE, codes.UNKNOWN_FRAME, codes.NOT_BUSWAY
ENDING = ("greeting", "securing", "open", "draining", "closing")
LIVE = {"greeting": S13, "securing": S13}
UNKNOWN = {"greeting": S1, "securing": S1, "open": S12, "draining": S12, "closing": S12}

# Frame, and with what number the link ends in which state; where none is given it stays.
FRAMES: list[tuple[str, bytes, dict[str, int]]] = [
    ("hello", HELLO_FRAME, {"securing": codes.TOKEN} | dict.fromkeys(("open", "draining", "closing"), S13)),
    (
        "handshake",
        frame(bytes((codes.HANDSHAKE,)) + codes.MAGIC + b"\2\1" + bytes(48)),
        {"securing": codes.BUS_NAME, "greeting": codes.TOKEN}
        | dict.fromkeys(("open", "draining", "closing"), S13),
    ),
    (
        "close",
        hex_frame("03 12 66756c6c"),
        {"greeting": 18, "securing": 18, "open": 18, "draining": 0, "closing": 0},
    ),
    ("ping", hex_frame("04 05"), LIVE),
    ("pong", hex_frame("05 05"), LIVE),
    ("directory, emptied", hex_frame("06 0a 01 00 09"), LIVE),
    ("directory, nothing but a label", hex_frame("06 07 01 02 6869 00 00"), LIVE),
    ("directory, an entry", hex_frame("06 02 01 01 02 71" + "33" * 16 + "09 05 02 6869"), LIVE),
    ("directory, more of it comes", hex_frame("06 22 01 01 02 01" + "33" * 16), LIVE),
    ("directory, withdrawn", hex_frame("06 02 01 01 02 00" + A_SERVES.hex()), LIVE),
    ("directory, unknown withdrawn", hex_frame("06 02 01 01 02 00" + "34" * 16), LIVE),
    ("directory, nothing in between", hex_frame("06 02 01 07 08 01" + "33" * 16), LIVE),
    ("directory, another node", hex_frame("06 03 00 03" + "77" * 20 + "00 01 01" + "33" * 16), LIVE),
    ("directory, our own", hex_frame("06 03 02 00 01 01" + "33" * 16), LIVE),
    ("routes, nothing", hex_frame("08"), LIVE),
    ("routes, a way to another node", hex_frame("08 01 00 03" + "77" * 20 + "0001 4005"), LIVE),
    ("routes, no way to a node", hex_frame("08 00 00 03" + "77" * 20), LIVE),
    ("routes, a child", hex_frame("08 02 02"), LIVE),
    ("routes, a child with versions", hex_frame("08 03 02 00 01 8001"), LIVE),
    ("routes, a child of an unknown node", hex_frame("08 02 00 03" + "77" * 20), LIVE),
    ("routes, a number wanted", hex_frame("08 04 02 0009"), LIVE),
    ("routes, a number wanted by all", hex_frame("08 05 02 0009"), LIVE),
    ("routes, no way to the neighbour", hex_frame("08 00 01"), LIVE),
    ("sync", hex_frame("09 01"), LIVE),
    ("sync, answered", hex_frame("09 02"), LIVE),
    ("sync, unknown stage", hex_frame("09 3f"), LIVE),
    (
        "more of nothing",
        hex_frame("07 00 aa"),
        LIVE | dict.fromkeys(("open", "draining", "closing"), codes.TOO_MANY),
    ),
    ("send", hex_frame("80" + BIND_E + "0001 6869"), LIVE),
    ("send to nobody", hex_frame("80 00 01" + "55" * 16 + "0001 6869"), LIVE),
    ("send to a broadcast endpoint", hex_frame("80 00 01" + G.hex() + "0001 6869"), LIVE),
    ("send, typed", hex_frame("83" + BIND_E + "0001 00 02" + "66" * 16 + "a0"), LIVE),
    ("send, first piece", hex_frame("84 07 0105 00 00000100" + BIND_E + "0001 aa"), LIVE),
    ("publish", hex_frame("90 00 02" + G.hex() + "0001 6869"), LIVE),
    ("publish to nobody", hex_frame("90 00 02" + "55" * 16 + "0001 6869"), LIVE),
    ("publish to a unicast endpoint", hex_frame("90" + BIND_E + "0001 6869"), LIVE),
    ("confirm", hex_frame("a0" + BIND_E + "0001 05 64"), LIVE),
    ("confirm to nobody", hex_frame("a0 00 01" + "55" * 16 + "0001 05 64"), LIVE),
    ("request", hex_frame("b0" + BIND_E + "0001 05 64"), LIVE),
    ("request, a stream", hex_frame("b4 04 0202 0008" + BIND_E + "0001 05 64"), LIVE),
    ("introspection", hex_frame("b0 00 01" + codes.INTROSPECTION.hex() + "0001 05 64"), LIVE),
    ("reply", hex_frame("c1 01 a0"), LIVE),
    ("reply to nothing", hex_frame("c0 63"), LIVE),
    ("part", hex_frame("d0 03 0000 6869"), LIVE),
    ("part that is not the next", hex_frame("d0 03 0007 6869"), LIVE),
    ("part of no stream", hex_frame("d0 63 0000"), LIVE),
    ("error", hex_frame("e0 02 ac02 6f68206e6f"), LIVE),
    ("error, not UTF-8", hex_frame("e0 02 05 ff"), LIVE),
    ("error of nothing", hex_frame("e0 63 05"), LIVE),
    ("cancel", hex_frame("f0 01 05"), LIVE),
    ("credit", hex_frame("f0 02 00 01" + A_SERVES.hex() + "0040"), LIVE),
    ("credit for nothing", hex_frame("f0 02" + BIND_E + "0040"), LIVE),
    ("probe", hex_frame("f0 03" + BIND_E + "0005"), LIVE),
    ("probe for nothing", hex_frame("f0 03 00 01" + "55" * 16 + "0005"), LIVE),
    ("part credit", hex_frame("f0 04 05 0009"), LIVE),
    ("undeliverable", hex_frame("f0 05 00 01" + A_SERVES.hex() + "0001 02"), LIVE),
    ("undeliverable of nothing", hex_frame("f0 05" + BIND_E + "0001 02"), LIVE),
    ("end", hex_frame("f0 06 03 0000"), LIVE),
    ("end with another count", hex_frame("f0 06 03 0005"), LIVE),
    ("who", hex_frame("f0 07" + BIND_E), LIVE),
    ("have", hex_frame("f0 08 00 01" + A_SERVES.hex() + "79 01 0001 09 05 02 6869"), LIVE),
    ("have, nobody", hex_frame("f0 08" + BIND_E), LIVE),
    ("prune", hex_frame("f0 09" + BIND_E + "02"), LIVE),
    ("graft", hex_frame("f0 0a" + BIND_E + "02"), LIVE),
    ("trace", hex_frame("f0 0b 05"), LIVE),
    ("traced", hex_frame("f0 0c 05 01 01 03 697063 01 41"), LIVE),
    ("send for another node", hex_frame("88 04 ff 00 03" + "77" * 20 + BIND_E + "0001 6869"), LIVE),
    ("send of another node", hex_frame("88 0b ff 00 03" + "77" * 20 + BIND_E + "0001 6869"), LIVE),
    ("unknown signal", hex_frame("f0 63 aabbcc"), LIVE),
    ("unknown, must be known", hex_frame("3f aabbcc"), UNKNOWN),
    ("head 0", hex_frame("00"), UNKNOWN),
    ("unknown, may be ignored", hex_frame("7f aabbcc"), {"greeting": S1, "securing": S1}),
    ("head 0x40", hex_frame("40"), {"greeting": S1, "securing": S1}),
]


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
@pytest.mark.parametrize("cut", [whole, one_by_one])
@pytest.mark.parametrize("state", STATES)
def test_every_frame_in_every_state(state: str, cut: Cut) -> None:
    for name, data, ends in FRAMES:
        listener = STATES[state]()
        connection = listener.connection
        before = connection.state
        listener.feed(cut(data))
        if state in ends:
            assert (connection.state, connection.close_code) == (codes.CLOSED, ends[state]), name
        else:
            assert connection.state == (codes.OPEN if state == "greeting" else before), name
        check_outcome(listener, before)


FRAME_BYTES = st.sampled_from([item[1] for item in FRAMES])


@st.composite
def mostly_valid(draw: st.DrawFn) -> bytes:
    """Valid frames in any order, now and then with a byte changed, lost or doubled."""
    data = bytearray(b"".join(draw(st.lists(FRAME_BYTES, max_size=12))))
    for _ in range(draw(st.integers(0, 2))):
        if data:
            place = draw(st.integers(0, len(data) - 1))
            verb = draw(st.sampled_from(["change", "lose", "double"]))
            if verb == "change":
                data[place] = draw(st.integers(0, 255))
            elif verb == "lose":
                del data[place]
            else:
                data.insert(place, data[place])
    return bytes(data)


@pytest.mark.parametrize("state", STATES)
@given(data=mostly_valid(), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_valid_frames_in_any_order_and_damaged(state: str, data: bytes, seed: int) -> None:
    listener, other = STATES[state](), STATES[state]()
    before = listener.connection.state
    listener.feed(at_random(seed)(data))
    other.feed([data])
    assert [plain(event) for event in listener.happened] == [plain(event) for event in other.happened]
    check_outcome(listener, before)
    check_outcome(other, before)


@given(data=st.lists(FRAME_BYTES, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=40)
def test_what_was_read_before_a_broken_frame_counts(data: list[bytes], seed: int) -> None:
    listener = opened()
    first = frame(b"\x80\x00\x01" + E + b"\x12\x34first")
    listener.feed(at_random(seed)(first + b"".join(data) + b"\x00"))
    assert listener.connection.state == codes.CLOSED
    assert listener.receivers[0].queue.peek().payload == b"first"
    kinds = [event.kind for event in listener.happened]
    assert kinds.index(events.MESSAGES) < kinds.index(events.LINK_CLOSED)


def test_what_came_back_after_its_endpoint_closed_finds_nobody() -> None:
    # Found by these tests: flows of a node that was away outlived the endpoint.
    pair = Pair()
    receiver: Receiver = pair.b.register(E, codes.UNICAST)
    pair.pump()
    pair.a.send(E, b"x", pair.now)
    pair.pump()
    pair.cable.cut()
    pair.b.deregister(receiver, pair.now)
    again = pair.link(pair.a, pair.b)
    pair.pump()
    pair.note(pair.b, again.b.receive_data(frame(b"\x80\x00\x09" + E + b"\x00\x02hi"), pair.now))
    assert again.b.state == codes.OPEN
    assert pair.b.receiving.counters["no_endpoint"] == 1
