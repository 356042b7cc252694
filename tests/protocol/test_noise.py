"""The packet layer that talks to boards: no Ctrl-C before a session stands (texts: test_packets.py)."""

from __future__ import annotations

import random

from busway.protocol.packet import cobs
from busway.protocol.packet.noise import ListeningLayer
from busway.protocol.packet.packets import PacketLayer


def nothing(size: int, now: int) -> bytes:
    return b""


def nonces(seed: int, count: int) -> list[bytes]:
    """Random ones, and what is rare among them: with a 3, or with zeros, whose distance COBS writes down."""
    draw = random.Random(seed)
    made = [draw.randbytes(4) for _ in range(count)]
    return [b"\3\3\3\3", b"\1\2\3\4", b"\0\0\0\3", b"\1\0\1\0", *made]


def test_nothing_is_a_ctrl_c_until_the_session_stands() -> None:
    """A board that starts may still have Ctrl-C on; it switches it off before it says its first byte."""
    for nonce, theirs in zip(nonces(7, 600), reversed(nonces(8, 600)), strict=True):
        layer = ListeningLayer(nonce, 0, 8, 0)
        other = ListeningLayer(theirs, 0, 8, 0)
        said = layer.write(nothing, 256, 0)
        layer.handle_timer(50)
        said += layer.write(nothing, 256, 50)
        layer.receive(other.write(nothing, 256, 50), 50)
        answer = layer.write(nothing, 256, 50)
        other.receive(said + answer, 50)
        assert b"\3" not in said + answer
        assert other.established


def test_a_radio_has_no_terminal() -> None:
    for nonce in nonces(9, 300):
        layer = ListeningLayer(nonce, 20, 8, 0)
        assert len(layer.write(nothing, 20, 0)) == 15


def test_a_board_whose_own_nonce_has_a_3_is_answered_all_the_same() -> None:
    layer = ListeningLayer(b"gate", 0, 8, 0)
    other = PacketLayer(b"bord", 0, 8, 0)
    other._nonce = b"b\3rd"  # as those do that do not mind
    layer.receive(other.write(nothing, 256, 0), 0)
    said = layer.write(nothing, 256, 0)
    assert b"\3" in said
    assert b"b\3rd" in cobs.decode(said.strip(b"\0"))
    other.receive(said, 0)
    assert other.established


def joined() -> tuple[ListeningLayer, PacketLayer, int]:
    """A host and a board that have heard one another, and when."""
    host, board = ListeningLayer(b"host", 0, 8, 0), PacketLayer(b"bord", 0, 8, 0)
    for now in range(3):
        board.receive(host.write(nothing, 4096, now), now)
        host.receive(board.write(nothing, 4096, now), now)
    assert host.established
    assert board.established
    return host, board, 3


class Source:
    """A stream that is a sequence of packets' bodies."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)

    def __call__(self, size_max: int, now: int) -> bytes:
        return self.bodies.pop(0) if self.bodies else b""


def times_out(host: ListeningLayer) -> int:
    due = host.deadline()
    host.handle_timer(due)
    return due


def test_what_a_silent_board_would_take_for_a_ctrl_c_waits_until_it_is_heard() -> None:
    """It may have been reset: it is asked first, as often as a packet would be repeated."""
    host, board, now = joined()
    source = Source(b"\3" * 40, b"\3" * 40)
    lost = host.write(source, 4096, now)
    assert lost.count(b"\3") >= 80  # nobody can know it yet
    asked = b""
    for _ in range(5):
        now = times_out(host)
        assert host.wants_write()
        asked = host.write(Source(b"\3" * 40), 4096, now)
        assert asked
        assert b"\3" not in asked
        assert not host.wants_write()
        assert not host.has_room()
        assert host.write(Source(b"\3" * 40), 4096, now) == b""
        assert not host.settled()
    board.receive(asked, now)
    assert host.receive(board.write(nothing, 4096, now), now) == b""
    came = board.receive(host.write(source, 4096, now), now)
    for _ in range(5):
        host.receive(board.write(nothing, 4096, now), now)
        came += board.receive(host.write(source, 4096, now), now)
        now += 30
        board.handle_timer(now)
    assert came == b"\3" * 80
    assert host.settled()


def test_what_has_no_ctrl_c_is_repeated_at_once_and_what_follows_it_waits() -> None:
    host, board, now = joined()
    host.write(Source(b"\6" * 40), 4096, now)
    now = times_out(host)
    said = host.write(Source(b"\3" * 40), 4096, now)
    assert b"\6" * 40 in said
    assert b"\3" not in said
    came = board.receive(said, now)
    host.receive(board.write(nothing, 4096, now), now)
    came += board.receive(host.write(nothing, 4096, now), now)
    assert came == b"\6" * 40 + b"\3" * 40


def test_a_best_effort_message_to_a_silent_board_is_lost_rather_than_stop_it() -> None:
    host, board, now = joined()
    host.write(Source(b"\6" * 40), 4096, now)
    now = times_out(host)
    host.offer(b"\3" * 20)
    said = host.write(nothing, 4096, now)
    assert b"\3" not in said
    board.receive(said, now)
    host.receive(board.write(nothing, 4096, now), now)
    board.receive(host.write(nothing, 4096, now), now)
    assert board.frames == []
    host.offer(b"\3" * 20)
    board.receive(host.write(nothing, 4096, now), now)
    assert board.frames == [b"\3" * 20]


def test_a_board_that_was_reset_hears_nothing_that_stops_it_before_it_is_known() -> None:
    host, board, now = joined()
    assert host.receive(board.write(Source(b"hello"), 4096, now), now) == b"hello"
    host.write(Source(b"\3" * 40), 4096, now)
    now = times_out(host)
    said = host.write(nothing, 4096, now)
    anew = PacketLayer(b"anew", 0, 8, now)
    while not host.restarted:
        anew.receive(said, now)
        host.receive(anew.write(nothing, 4096, now), now)
        said = host.write(nothing, 4096, now)
        assert b"\3" not in said
        now += 50
        anew.handle_timer(now)
    assert not host.wants_write()


def test_an_acknowledgement_that_is_withheld_is_not_waited_for() -> None:
    """The timer asks again, whatever was withheld."""
    host, _, now = joined()
    host.write(Source(b"y" * 20), 4096, now)
    now = times_out(host)
    host._ack_at_once = 2  # as if it had come before the packet timed out
    host._expected = 3
    said = host.write(nothing, 4096, now)
    assert b"\3" not in said
    assert host.deadline() > now


def test_over_a_radio_nothing_is_withheld() -> None:
    host, board = ListeningLayer(b"host", 100, 8, 0), PacketLayer(b"bord", 100, 8, 0)
    for now in range(3):
        board.receive(host.write(nothing, 100, now), now)
        host.receive(board.write(nothing, 100, now), now)
    host.write(Source(b"\3" * 40), 100, 3)
    assert host.write(nothing, 100, times_out(host)).count(b"\3") >= 40
