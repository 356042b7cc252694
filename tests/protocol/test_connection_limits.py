"""Limits of what a peer can make a connection keep: lengths on the header, large messages, entries, at their
bounds.
"""

from __future__ import annotations

import pytest

from busway.protocol import Connection, Limits, codes
from busway.protocol.routing.advertising import adverts
from busway.protocol.wire.fields import frame, varint

from .pairs import E, F, G, bodies
from .streams import (
    HELLO_FRAME,
    NOW,
    STATES,
    Cut,
    Listener,
    at_random,
    check_outcome,
    one_by_one,
    opened,
    whole,
)

# The length, on the header


def limits_pair() -> tuple[Listener, Connection]:
    listener = opened()
    return listener, listener.connection


@pytest.mark.parametrize("cut", [whole, one_by_one])
@pytest.mark.parametrize(
    ("state", "most"), [("greeting", 512), ("securing", 512), ("open", 200), ("closing", 200)]
)
def test_a_length_is_taken_at_its_maximum_and_refused_one_past_it_before_the_body(
    state: str, most: int, cut: Cut
) -> None:
    listener = STATES[state]()
    listener.feed(cut(varint(most)))
    assert listener.connection.state != codes.CLOSED
    holder = listener.connection.channel or listener.connection
    assert holder._have == len(varint(most))
    listener = STATES[state]()
    listener.feed(cut(varint(most + 1)))
    assert listener.connection.state == codes.CLOSED
    assert listener.connection.close_code in (codes.TOO_LARGE, 0)
    assert (listener.connection.channel or listener.connection)._chunks == []


def test_an_oversize_frame_is_refused_on_its_header_with_the_sizes() -> None:
    listener, connection = limits_pair()
    listener.feed([varint(201)])
    assert (connection.close_code, connection.state) == (codes.TOO_LARGE, codes.CLOSED)
    assert connection.close_text == "a frame of 201 bytes, but 200 were agreed"


@pytest.mark.parametrize("size", [1, 127, 128, 200])
def test_the_longest_frame_is_taken_however_it_is_cut(size: int) -> None:
    for cut in (whole, one_by_one, at_random(size)):
        listener, connection = limits_pair()
        listener.feed(cut(frame(b"\x7f" * size) + frame(b"\x04\x01")))
        assert connection.state == codes.OPEN
        assert connection.skipped_frames == 1


@pytest.mark.parametrize("raw", ["00", "8000", "8080808000"])
@pytest.mark.parametrize("state", ["greeting", "securing", "open"])
def test_a_length_of_zero_is_malformed(raw: str, state: str) -> None:
    listener = STATES[state]()
    listener.feed([bytes.fromhex(raw)])
    assert listener.connection.close_code == codes.MALFORMED


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("ffffffff0f", codes.TOO_LARGE),
        ("ffffffff10", codes.MALFORMED),
        ("8080808080", codes.MALFORMED),
        ("ffffffffff", codes.MALFORMED),
    ],
)
@pytest.mark.parametrize("cut", [whole, one_by_one])
def test_a_length_that_is_no_varint_is_malformed_as_soon_as_it_shows(raw: str, code: int, cut: Cut) -> None:
    listener, connection = limits_pair()
    data = bytes.fromhex(raw)
    listener.feed(cut(data[:4]))
    assert connection.state == codes.OPEN
    listener.feed(cut(data[4:]))
    assert connection.close_code == code


def test_a_padded_length_is_taken() -> None:
    listener, connection = limits_pair()
    listener.feed(one_by_one(b"\x82\x80\x00\x04\x07"))
    assert connection.state == codes.OPEN
    assert connection.data_to_send(100, NOW) == b"\x02\x05\x07"


def test_a_slow_frame_is_kept_in_pieces_and_joined_once() -> None:
    listener, connection = limits_pair()
    data = frame(b"\x7f" * 200)
    for count, byte in enumerate(one_by_one(data[:-1]), 1):
        listener.feed([byte])
        assert connection._have == count
    listener.feed([data[-1:]])
    assert connection._chunks == []
    assert connection.skipped_frames == 1


# Large messages: assemblies at their bound


def first_piece(partial: int, size: int, payload: bytes, seq: int = 1, uuid: bytes = E) -> bytes:
    cut = bytes((codes.OPTION_CUT, 5, partial)) + size.to_bytes(4, "big")
    return frame(b"\x84\x07" + cut + b"\x00\x01" + uuid + seq.to_bytes(2, "big") + payload)


def more(partial: int, payload: bytes) -> bytes:
    return frame(bytes((codes.MORE, partial)) + payload)


def ends_with(code: int, *data: bytes) -> None:
    for cut in (whole, one_by_one):
        listener = opened()
        listener.feed(cut(b"".join(data)))
        assert listener.connection.state == codes.CLOSED
        assert listener.connection.close_code == code
        assert listener.connection.inbox.assemblies == {}
        check_outcome(listener, codes.OPEN)


def payloads(listener: Listener) -> list[bytes]:
    return [message.payload for message in listener.receivers[0].queue.drain()]


def test_a_message_of_the_agreed_size_is_taken_and_one_byte_more_is_refused_on_its_first_frame() -> None:
    listener = opened()
    listener.feed([first_piece(0, 2000, b"x" * 100)])
    for _ in range(19):
        assert payloads(listener) == []
        listener.feed([more(0, b"x" * 100)])
    assert payloads(listener) == [b"x" * 2000]
    ends_with(codes.TOO_LARGE, first_piece(0, 2001, b"x"))
    ends_with(codes.TOO_LARGE, first_piece(0, 0xFFFFFFFF, b"x"))


def test_as_many_at_once_as_agreed_and_no_more() -> None:
    listener = opened()
    listener.feed([first_piece(0, 4, b"a1"), first_piece(1, 4, b"b1", 2)])
    assert len(listener.connection.inbox.assemblies) == 2
    listener.feed([more(1, b"b2"), more(0, b"a2"), first_piece(1, 2, b"c", 3), more(1, b"c")])
    assert payloads(listener) == [b"b1b2", b"cc"]  # a's number had been overtaken: late, dropped
    assert listener.node.receiving.counters["late"] == 1
    ends_with(codes.TOO_MANY, first_piece(2, 4, b"x"))
    ends_with(codes.TOO_MANY, first_piece(255, 4, b"x"))
    ends_with(codes.TOO_MANY, first_piece(0, 4, b"x"), first_piece(0, 4, b"x"))
    ends_with(codes.TOO_MANY, more(0, b"x"))
    ends_with(codes.TOO_MANY, first_piece(0, 4, b"xx"), more(0, b"xx"), more(0, b"x"))


def test_pieces_that_do_not_add_up_are_malformed() -> None:
    ends_with(codes.MALFORMED, first_piece(0, 0, b""))
    ends_with(codes.MALFORMED, first_piece(0, 4, b"xxxx"))
    ends_with(codes.MALFORMED, first_piece(0, 4, b"xxxxx"))
    ends_with(codes.MALFORMED, first_piece(0, 4, b"xx"), more(0, b""))
    ends_with(codes.MALFORMED, first_piece(0, 4, b"xx"), more(0, b"xxx"))
    ends_with(codes.MALFORMED, frame(b"\x07"))


def test_a_first_piece_may_be_empty() -> None:
    listener = opened()
    listener.feed(one_by_one(first_piece(0, 2, b"") + more(0, b"x") + more(0, b"y")))
    assert payloads(listener) == [b"xy"]


def test_tiny_pieces_cost_no_more_than_their_bytes() -> None:
    listener = opened()
    listener.feed([first_piece(1, 2000, b"x")])
    for _ in range(999):
        listener.feed([more(1, b"ab")])
    (assembly,) = listener.connection.inbox.assemblies.values()
    assert assembly.buffer.__sizeof__() < 3000
    listener.feed([more(1, b"y")])
    assert len(payloads(listener)[0]) == 2000


def test_the_aliases_of_a_first_piece_are_those_of_its_time() -> None:
    listener = opened()
    rebind = frame(b"\x90\x00\x01" + G + b"\x00\x01all")
    listener.feed([first_piece(0, 4, b"xx") + rebind + more(0, b"yy")])
    assert payloads(listener) == [b"xxyy"]


# The directory at its bound


def entry(number: int, head: int = 0x02) -> bytes:
    return bytes((head,)) + number.to_bytes(16, "big")


def line(base: int, version: int, *entries: bytes, head: int = codes.LOCALNET) -> bytes:
    """A change of a line of the neighbour's own."""
    return frame(bytes((codes.DIRECTORY, head, 1)) + varint(base) + varint(version) + b"".join(entries))


@pytest.mark.no_cover  # slow under coverage, and the rest reaches its lines
def test_as_many_entries_as_a_neighbour_may_have_and_one_more() -> None:
    listener = Listener(Limits())
    listener.feed([HELLO_FRAME])
    connection = listener.connection
    peer = adverts(connection).peer
    assert peer is not None
    most = codes.ENTRIES_MAX
    for start in range(0, most, 8):
        entries = [entry(number) for number in range(start + 1, start + 9)]
        listener.happened += connection.receive_data(line(start, start + 8, *entries), NOW)
    assert len(peer.entries) == most
    assert connection.state == codes.OPEN
    listener.feed([line(most, most + 1, entry(5, 0x03))])  # a known one may change
    listener.feed([line(most + 1, most + 2, entry(6, 0), entry(most + 1))])  # one goes, one comes
    assert connection.state == codes.OPEN
    assert len(peer.entries) == most
    listener.feed([line(most + 2, most + 3, entry(5, 0), entry(most + 2), entry(most + 3))])
    assert connection.state == codes.OPEN  # what is over is ignored and counted
    assert len(peer.entries) == most
    assert listener.node.counters["entries_over"] == 1


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        ("06", codes.MALFORMED),
        ("06 02", codes.MALFORMED),
        ("06 02 01", codes.MALFORMED),
        ("06 02 01 00", codes.MALFORMED),
        ("06 02 09 00 02", codes.UNKNOWN_ALIAS),
        ("06 02 00 01" + "11" * 20 + "00 02", codes.UNKNOWN_ALIAS),  # the sender's number is not to be bound
        ("06 00 01 00 02", codes.MALFORMED),  # realm PROCESS
        ("06 06 01 02 61", codes.MALFORMED),  # no end of the label
        ("06 06 01 01 ff 00 02", codes.MALFORMED),
        ("06 02 01 01 02 02", codes.MALFORMED),
        ("06 02 01 01 02 82" + "11" * 16, codes.MALFORMED),  # bit 7
        ("06 02 01 01 02 06" + "11" * 16, codes.MALFORMED),  # bits 2 and 3
        ("06 02 01 01 02 0a" + "11" * 16, codes.MALFORMED),
        ("06 02 01 01 02 20" + "11" * 16 + "05", codes.MALFORMED),  # withdrawn, with a cost
        ("06 02 01 01 02 12" + "11" * 16, codes.MALFORMED),  # no credit
        ("06 02 01 01 02 22" + "11" * 16, codes.MALFORMED),  # no cost
        ("06 02 01 01 02 42" + "11" * 16, codes.MALFORMED),  # no name
        ("06 02 01 01 02 42" + "11" * 16 + "41" + "61" * 65, codes.MALFORMED),
        ("06 02 01 01 02 42" + "11" * 16 + "01 ff", codes.MALFORMED),
        ("08 07", codes.MALFORMED),
        ("08 01", codes.MALFORMED),
        ("08 01 01 0001 00", codes.MALFORMED),
        ("08 03 02 00", codes.MALFORMED),  # a version for each of three realms
        ("08 04 02 00", codes.MALFORMED),
        ("08 06 00", codes.MALFORMED),
        ("08 06 7fff", codes.MALFORMED),  # so many were not sent
        ("08 02 09", codes.UNKNOWN_ALIAS),
        ("09", codes.MALFORMED),
        ("09 01 00", codes.MALFORMED),
        ("04", codes.MALFORMED),
        ("04 05 00", codes.MALFORMED),
        ("05", codes.MALFORMED),
        ("05 05 00", codes.MALFORMED),
        ("03", codes.MALFORMED),
    ],
)
def test_broken_control_frames_are_malformed(raw: str, code: int) -> None:
    listener = opened()
    listener.feed([frame(bytes.fromhex(raw))])
    assert (listener.connection.state, listener.connection.close_code) == (codes.CLOSED, code)


def test_an_entry_brings_credit_cost_and_name() -> None:
    listener = opened()
    listener.feed([line(1, 2, b"\x72" + F[::-1] + b"\x90\x4e" + b"\xff\xff\x7f" + b"\x05hello")])
    (found,) = [item for item in listener.node.entries() if item.uuid == F[::-1]]
    assert (found.kind, found.realm, found.credit, found.cost, found.name) == (2, 2, 10_000, 0x3FFF, "hello")


def test_a_line_narrower_than_the_link_is_ignored_and_counted() -> None:
    listener = Listener(realm=codes.LOCALNET)
    listener.feed([HELLO_FRAME])
    for realm in (codes.USERSPACE, codes.LOCALNET, codes.GLOBAL):
        listener.feed([line(0, 1, entry(realm), head=realm)])
    assert {item.uuid[-1] for item in listener.node.entries()} == {2, 3}
    assert listener.node.counters["narrow_entry"] == 1


def test_a_link_is_in_sync_once_stage_three_has_been_read() -> None:
    listener = Listener()
    listener.feed([HELLO_FRAME])
    synced = []
    for stage in (b"\x01", b"\x02", b"\x3f", b"\x03", b"\x03"):  # another stage is ignored
        listener.feed([frame(b"\x09" + stage)])
        synced.append(listener.connection.synced)
    assert synced == [False, False, False, True, True]
    assert listener.connection.state == codes.OPEN
    assert [
        body for body in bodies(listener.connection.data_to_send(1000, NOW)) if body[0] == codes.SYNC
    ] == [
        b"\x09\x01",
        b"\x09\x02",
        b"\x09\x03",
        b"\x09\x04",
    ]
