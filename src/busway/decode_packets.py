"""Explains what was captured on a serial line, packet by packet: the work behind `busway decode --packets`.

Knows packets, not the frames that they carry, nor time. Nothing that carries traffic imports it.
"""

from __future__ import annotations

import binascii

from busway.decode_views import Field, Frame
from busway.protocol.packet import cobs
from busway.protocol.packet.packets import (
    ACK,
    ANSWER,
    CRC16_SIZE_MAX,
    DATA,
    DIALLED,
    LOG,
    LOSSY,
    SYN,
    VERSION_BITS,
)
from busway.protocol.secure.lines import ABLE, WANTS

__all__ = ["explain_packets"]

_NAMES = {SYN: "SYN", ACK: "ACK", LOG: "LOG", DATA: "DATA", LOSSY: "LOSSY"}
_SYN_SIZE = 13
_SAID = {DIALLED: "it dialled", ABLE: "it takes handshake 1", WANTS: "it has a key or token"}


class _Direction:
    """Remembers what the packets of one direction have told so far."""

    def __init__(self) -> None:
        self.nonces = b""  # the sender's and the receiver's, as soon as a SYN named both
        self.seq = 0
        self.ack = 0

    def greet(self, nonces: bytes) -> None:
        """A SYN names both sides; another pair is another session."""
        if nonces != self.nonces and any(nonces[4:]):
            self.nonces = nonces
            self.seq = self.ack = 0


def explain_packets(data: bytes, *, direction: str = "") -> list[Frame]:
    """Explains bytes of one direction of a serial line.

    Args:
        data: bytes that begin at a delimiter, or with a packet.
        direction: shown with every packet.

    Returns:
        An entry for each packet, text or damage; together they hold every byte of `data` once. Whether a
        checksum is right can be told once a SYN that names both nonces has been seen.
    """
    known = _Direction()
    found: list[Frame] = []
    position = 0
    while position < len(data):
        start = position
        while start < len(data) and not data[start]:
            start += 1  # delimiters before the packet
        stop = data.find(0, start)
        end = len(data) if stop < 0 else stop + 1
        found.append(_entry(data[position:end], position, direction, known))
        position = end
    return found


def _entry(raw: bytes, offset: int, direction: str, known: _Direction) -> Frame:
    coded = raw.strip(b"\0")
    at = offset + raw.index(coded)

    def entry(name: str, fields: list[tuple[str, str]], problem: str = "") -> Frame:
        listed = [Field(offset, len(raw), "coded", f"{len(coded)} bytes of COBS")]
        listed += [Field(at, 0, key, value) for key, value in fields]
        return Frame(direction, offset, raw, name, tuple(listed), problem)

    if not coded:
        return entry("delimiters", [])
    plain = cobs.decode(coded)
    if len(plain) >= 4:
        size = len(plain) - (2 if len(plain) - 2 <= CRC16_SIZE_MAX else 4)
        packet, given = plain[:size], plain[size:]
        name = _NAMES.get(packet[0] if packet[0] < 0x40 else packet[0] & 0xC0, "")
        if name and (name != "SYN" or size >= _SYN_SIZE):
            verdict = _verdict(name, packet, given, known)
            if verdict != "wrong":
                return entry(name, [*_fields(name, packet), ("checksum", f"{given.hex()}, {verdict}")])
    if len(coded) > 1 and all(byte in b"\t\n\r\x1b\x08" or 32 <= byte < 127 for byte in coded):
        return entry("text", [("text", repr(coded.decode()))])
    if not raw.endswith(b"\0"):
        return entry("incomplete", [], "the bytes end within a packet: expected a delimiter, 00")
    return entry("damaged", [], "expected a packet with a right checksum, or a text")


def _verdict(name: str, packet: bytes, given: bytes, known: _Direction) -> str:
    """Whether the checksum is right: "right", "wrong", or that it cannot be told."""
    if name == "SYN":
        if _checksum(packet, b"") != given:
            return "wrong"
        known.greet(packet[2:10])
        return "right"
    if not known.nonces:
        return "of a session whose SYN was not seen"
    seq = _near(packet[0] & 63, known.seq) if name == "DATA" else 0
    ack = _near(packet[1] & 63, known.ack)
    if _checksum(packet, known.nonces + bytes((seq >> 6 & 0xFF, ack >> 6 & 0xFF))) != given:
        return "wrong"
    known.seq = max(known.seq, seq)
    known.ack = max(known.ack, ack)
    return "right"


def _checksum(packet: bytes, before: bytes) -> bytes:
    """The checksum of a packet; `before` is what it is taken over before the packet."""
    if len(packet) <= CRC16_SIZE_MAX:
        return (cobs.crc16(before + packet, 0xFFFF) ^ 0xFFFF).to_bytes(2, "big")
    return binascii.crc32(before + packet).to_bytes(4, "big")


def _near(low: int, near: int) -> int:
    return near + ((low - near + 32) & 63) - 32


def _fields(name: str, packet: bytes) -> list[tuple[str, str]]:
    if name == "SYN":
        return [
            ("version", str(packet[1] & VERSION_BITS)),
            ("asks", "for an answer" if packet[1] & ANSWER else "for nothing"),
            (
                "says",
                ", ".join(word for bit, word in _SAID.items() if packet[1] & bit) or "nothing of itself",
            ),
            ("nonce", packet[2:6].hex()),
            ("echo", packet[6:10].hex() if any(packet[6:10]) else "none yet"),
            ("mtu", str(int.from_bytes(packet[10:12], "big"))),
            ("window", str(packet[12])),
        ]
    ack, body = packet[1] & 63, packet[2:]
    fields = [("seq", str(packet[0] & 63))] if name == "DATA" else []
    fields.append(("ack", str(ack)))
    if name == "ACK":
        bits = int.from_bytes(body, "little")
        early = [str(ack + 1 + at) for at in range(len(body) * 8) if bits >> at & 1]
        return [*fields, ("early", ", ".join(early) or "none")]
    if name == "LOG":
        return [*fields, ("text", repr(body.decode(errors="replace")))]
    return [*fields, ("body", body.hex(" "))]
