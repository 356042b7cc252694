"""Explains what was captured on a serial line, packet by packet: the work behind `busway decode --packets`.

Knows packets, not the frames that they carry, nor time. Nothing that carries traffic imports it.
"""

from __future__ import annotations

from typing import Any

import construct  # type: ignore[import-untyped]

from busway.decode_views import Field, Frame
from busway.wire_packets import CRC16_SIZE_MAX, Packet, checksum, decode_cobs

__all__ = ["explain_packets"]


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
    packet = decode_cobs(coded)
    if packet is not None and len(packet) >= 4:
        size = len(packet) - 2 if len(packet) - 2 <= CRC16_SIZE_MAX else len(packet) - 4
        try:
            parsed = Packet.parse(packet[:size])
        except construct.ConstructError:
            parsed = None
        if parsed is not None and parsed.kind != "unknown":
            verdict = _verdict(packet[:size], packet[size:], parsed, known)
            if verdict != "wrong":
                return entry(
                    parsed.kind, [*_fields(parsed), ("checksum", f"{packet[size:].hex()}, {verdict}")]
                )
    if len(coded) > 1 and all(byte in b"\t\n\r\x1b\x08" or 32 <= byte < 127 for byte in coded):
        return entry("text", [("text", repr(coded.decode()))])
    if not raw.endswith(b"\0"):
        return entry("incomplete", [], "the bytes end within a packet: expected a delimiter, 00")
    return entry("damaged", [], "expected a packet with a right checksum, or a text")


def _verdict(packet: bytes, given: bytes, parsed: Any, known: _Direction) -> str:
    """Whether the checksum is right: "right", "wrong", or that it cannot be told."""
    if parsed.kind == "SYN":
        if checksum(packet, b"") != given:
            return "wrong"
        known.greet(parsed.body.nonce + parsed.body.echo)
        return "right"
    if not known.nonces:
        return "of a session whose SYN was not seen"
    seq = _near(packet[0] & 63, known.seq) if parsed.kind == "DATA" else 0
    ack = _near(parsed.second.ack, known.ack)
    if checksum(packet, known.nonces + bytes((seq >> 6 & 0xFF, ack >> 6 & 0xFF))) != given:
        return "wrong"
    known.seq = max(known.seq, seq)
    known.ack = max(known.ack, ack)
    return "right"


def _near(low: int, near: int) -> int:
    return near + ((low - near + 32) & 63) - 32


def _fields(parsed: Any) -> list[tuple[str, str]]:
    if parsed.kind == "SYN":
        return [
            ("version", str(parsed.second.version)),
            ("asks", "for an answer" if parsed.second.asks else "for nothing"),
            ("nonce", parsed.body.nonce.hex()),
            ("echo", parsed.body.echo.hex() if any(parsed.body.echo) else "none yet"),
            ("mtu", str(parsed.body.mtu)),
            ("window", str(parsed.body.window)),
        ]
    fields = [("seq", str(parsed.seq))] if parsed.kind == "DATA" else []
    fields.append(("ack", str(parsed.second.ack)))
    if parsed.kind == "ACK":
        bits = int.from_bytes(parsed.body, "little")
        early = [str(parsed.second.ack + 1 + at) for at in range(len(parsed.body) * 8) if bits >> at & 1]
        return [*fields, ("early", ", ".join(early) or "none")]
    if parsed.kind == "LOG":
        return [*fields, ("text", repr(parsed.body.decode(errors="replace")))]
    return [*fields, ("body", parsed.body.hex(" "))]
