"""The packet layer that talks to boards: no Ctrl-C before a session stands (texts: test_packets.py)."""

from __future__ import annotations

import random

from busway.protocol import cobs
from busway.protocol.noise import ListeningLayer
from busway.protocol.packets import PacketLayer


def nothing(size: int) -> bytes:
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
