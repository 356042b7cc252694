"""The packets of docs/protocol.md, section 12, described with construct: for reading, not for traffic.

Written from that page, apart from the core's own code, which the tests hold against it.
"""

from __future__ import annotations

import binascii
from typing import Any

import construct as c  # type: ignore[import-untyped]

__all__ = ["CRC16_SIZE_MAX", "PACKET_NAMES", "Packet", "checksum", "decode_cobs", "name_of"]

CRC16_SIZE_MAX = 32
PACKET_NAMES = {1: "SYN", 2: "ACK", 3: "LOG", 0x40: "DATA", 0x80: "LOSSY"}

_Syn = c.Struct(
    "nonce" / c.Bytes(4),
    "echo" / c.Bytes(4),
    "mtu" / c.Int16ub,
    "window" / c.Int8ub,
    "more" / c.GreedyBytes,
)
_SynHead = c.BitStruct("asks" / c.Flag, c.Padding(1), "version" / c.BitsInteger(6))
_Numbers = c.BitStruct("flags" / c.BitsInteger(2), "ack" / c.BitsInteger(6))


def name_of(first: int) -> str:
    """The packet that a first byte begins; "unknown" for those of a later version."""
    return PACKET_NAMES.get(first if first < 0x40 else first & 0xC0, "unknown")


def _is_syn(this: Any) -> bool:
    return bool(this.first == 1)


Packet = c.Struct(
    "first" / c.Int8ub,
    "kind" / c.Computed(lambda this: name_of(this.first)),
    "seq" / c.Computed(lambda this: this.first & 63 if this.kind == "DATA" else None),
    "second" / c.IfThenElse(_is_syn, _SynHead, _Numbers),
    "body" / c.IfThenElse(_is_syn, _Syn, c.GreedyBytes),
)
"""A packet without its checksum."""


def decode_cobs(coded: bytes) -> bytes | None:
    """The bytes that were encoded, or None if `coded`, bytes between two zeros, is no COBS."""
    plain = bytearray()
    position = 0
    while position < len(coded):
        stop = position + coded[position]
        if stop > len(coded):
            return None
        plain += coded[position + 1 : stop]
        if coded[position] < 255 and stop < len(coded):
            plain.append(0)
        position = stop
    return bytes(plain)


def checksum(packet: bytes, before: bytes) -> bytes:
    """The checksum of a packet; `before` is what it is taken over before the packet."""
    if len(packet) <= CRC16_SIZE_MAX:
        return (binascii.crc_hqx(before + packet, 0xFFFF) ^ 0xFFFF).to_bytes(2, "big")
    return binascii.crc32(before + packet).to_bytes(4, "big")
