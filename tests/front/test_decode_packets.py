"""Packets explained: what the core writes is what the description reads."""

from __future__ import annotations

from busway.decode_packets import explain_packets
from busway.protocol.packet.packets import PacketLayer
from tests.front.cli_rig import busway


class Once:
    """A stream of one piece."""

    def __init__(self, piece: bytes = b"") -> None:
        self.piece = piece

    def __call__(self, size: int, now: int) -> bytes:
        piece, self.piece = self.piece, b""
        return piece


def session() -> bytes:
    """One direction of a line: SYN, 70 DATA, an ACK of what came early, LOSSY, LOG, and a text between."""
    a, b = (PacketLayer(nonce, 0, 31, 0) for nonce in (b"aaaa", b"bbbb"))
    now = 0
    written = b""

    def turn(ours: bytes = b"", theirs: bytes = b"", *, lost: bool = False) -> None:
        nonlocal now, written
        for _ in range(3):
            data = a.write(Once(ours), 1000, now)
            ours = b""
            written += data
            b.receive(data, now)
            now += 30
            for layer in (a, b):
                if 0 <= layer.deadline() <= now:
                    layer.handle_timer(now)
            answer = b.write(Once(theirs), 1000, now)
            theirs = b""
            if not lost:
                a.receive(answer, now)

    turn()
    for number in range(70):
        turn(bytes((number,)) * (number + 1))
    turn(theirs=b"lost", lost=True)
    turn(theirs=b"early")
    a.offer(b"\x90\x01\x00\x07")
    a.log(b"pump on")
    turn()
    return written + b"Traceback\r\n\0"


def test_a_whole_session() -> None:
    data = session()
    found = explain_packets(data, direction="a to b")
    assert b"".join(frame.raw for frame in found) == data
    assert [frame.problem for frame in found if frame.problem] == []
    names = [frame.name for frame in found]
    assert names[0] == "SYN"
    assert names[-1] == "text"
    assert names.count("DATA") == 70
    assert {"ACK", "LOSSY", "LOG"} <= set(names)
    fields = [(frame.name, field.name, field.value) for frame in found for field in frame.fields]
    assert {value.split(", ")[1] for _, name, value in fields if name == "checksum"} == {"right"}
    assert ("ACK", "early", "1") in fields
    assert ("LOG", "text", "'pump on'") in fields
    assert ("LOSSY", "body", "90 01 00 07") in fields
    assert ("DATA", "seq", "5") in fields


def test_what_is_wrong_is_said() -> None:
    data = bytearray(session())
    third = data.index(0, data.index(0, 1) + 2) + 5
    data[third] ^= 1
    problems = [frame.problem for frame in explain_packets(bytes(data)) if frame.problem]
    assert problems == ["expected a packet with a right checksum, or a text"]
    for raw, name in (
        (b"\0\0", "delimiters"),
        (b"\x05\x41", "incomplete"),
        (b"\x02\x01\0", "damaged"),
        (b"\x05\x41\0", "damaged"),
        (b"\x06\x01\x05\x01\x02\x03\0", "damaged"),
    ):
        (found,) = explain_packets(raw)
        assert found.name == name
    (unseen,) = explain_packets(b"\x06\x02\x05\x01\x02\x03\0")
    assert [field.value for field in unseen.fields[1:]] == [
        "5",
        "6",
        "0203, of a session whose SYN was not seen",
    ]


def test_command() -> None:
    data = session()
    lines = busway("decode", "--packets", data[: data.index(0, 1) + 1].hex()).ok().lines
    assert any("nonce" in line for line in lines)
    assert busway("decode", "--packets", "0201 00").status == 1
