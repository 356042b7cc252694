"""Packet links (docs/protocol.md, section 12) byte by byte, as traces. May not import busway.

A step is one of: write (what the source of the stream gives, and all packets that are written then), read
(what comes, and what of the stream that gives), wait (ms, then the timer), offer (a frame that may be lost),
log (a text), tells (what was read besides the stream). "says" are bits that the SYN has besides. Checksums
come from Python's binascii.

A choice is what protects a link between two whose SYN have these second bytes: pattern 1, or null: what a
board is met with.
"""

from typing import Any

from tests.vectors.pieces import hexed

CODED = [
    {"plain": hexed(plain), "coded": hexed(coded)}
    for plain, coded in (
        ("", "01"),
        ("00", "01 01"),
        ("11 22 00 33", "03 11 22 02 33"),
        ("11 00 00 00", "02 11 01 01 01"),
        ("01" * 254, "ff" + "01" * 254),
        ("01" * 255, "ff" + "01" * 254 + "02 01"),
        ("01" * 254 + "00", "ff" + "01" * 254 + "01 01"),
    )
]
# "crc16" as it is before it is inverted, "crc16_sent" as a packet has it; nonces and numbers left out.
CHECKSUMS = [
    {"hex": "313233343536373839", "crc16": 0x29B1, "crc16_sent": 0xD64E, "crc32": 0xCBF43926},
    {"hex": "", "crc16": 0xFFFF, "crc16_sent": 0, "crc32": 0},
]
A, B, C = "01020304", "a1a2a3a4", "c1c2c3c4"


def write(source: str, *packets: str) -> dict[str, Any]:
    return {"write": hexed(source), "packets": [hexed(packet) for packet in packets]}


def read(packet: str, stream: str = "") -> dict[str, Any]:
    return {"read": hexed(packet), "stream": hexed(stream)}


OPENING = [
    write("", f"01 81 {A} 00000000 0040 1f f1bc"),
    read(f"01 81 {B} {A} 0014 04 e7d1"),
]
ANSWER = f"01 01 {A} {B} 0040 1f a82a"

TRACES = [
    {
        "name": "a session: SYN, two DATA, an ACK, a reply that acknowledges",
        "mtu": 64,
        "steps": [
            *OPENING,
            write(
                "30313233343536373839616263646566 6768696a",
                ANSWER,
                "40 00 30313233343536373839616263646566 3ad9",
                "41 00 6768696a 3d9d",
            ),
            read("02 02 f1b0"),
            read("40 02 796573 5055", "796573"),
            {"offer": "900100072a"},
            {"log": "626f6f740a"},
            write("", "80 01 900100072a e0a6", "03 01 626f6f740a ddb2"),
        ],
    },
    {
        "name": "the third DATA is lost, those behind it are not; doubles and damage change nothing",
        "mtu": 64,
        "steps": [
            *OPENING,
            write(
                "30313233343536373839616263646566 6768696a",
                ANSWER,
                "40 00 30313233343536373839616263646566 3ad9",
                "41 00 6768696a 3d9d",
            ),
            read("40 02 796573 5055", "796573"),
            read("40 02 796573 5055"),
            read("40 02 796573 5054"),
            write("32", "02 01 6bdf", "42 01 32 177e"),
            write("33", "43 01 33 306f"),
            write("34", "44 01 34 c518"),
            write("35", "45 01 35 e209"),
            write("36"),
            read("02 02 07 21d6"),
            write("", "42 01 32 177e"),
            read("02 06 b134"),
            {"tells": {"damaged": 1, "duplicates": 1, "resent": 1}},
        ],
    },
    {
        "name": "nothing is acknowledged: the oldest is repeated after 500 ms and after 1,000 more",
        "mtu": 64,
        "steps": [
            *OPENING,
            write("6768696a", ANSWER, "40 00 6768696a 783d"),
            {"wait": 499},
            write(""),
            {"wait": 1},
            write("", "40 00 6768696a 783d"),
            {"wait": 1000},
            write("", "40 00 6768696a 783d"),
        ],
    },
    {
        "name": "the peer starts anew, and proves it",
        "mtu": 64,
        "steps": [
            *OPENING,
            write("", ANSWER),
            read("40 00 796573 bd3d", "796573"),
            read(f"01 81 {C} 00000000 0014 04 20f6"),
            write("", f"01 81 {A} {C} 0040 1f ae87"),
            read(f"01 81 {C} 00000000 0014 04 20f6"),
            {"tells": {"restarted": False}},
            read(f"01 01 {C} {A} 0014 04 9d55"),
            {"tells": {"restarted": True}},
            write("6768"),
        ],
    },
    {
        "name": "both take handshake 1 and have a key, and the peer has dialled: one more version 1",
        "mtu": 64,
        "says": 0x30,
        "steps": [
            write("", f"01 b1 {A} 00000000 0040 1f a84c"),
            read(f"01 f1 {B} {A} 0014 04 6361"),
            write("6768696a", f"01 31 {A} {B} 0040 1f f1da", "40 00 6768696a 783d"),
        ],
    },
    {
        "name": "a serial line: delimiters, a CRC-32, a text in between",
        "mtu": 0,
        "steps": [
            write("", "00 0701810102030401010101 05861f4d4e 00"),
            read("626f6f740d0a 00"),
            {"tells": {"texts": ["626f6f740d0a"]}},
            read("0b0101a1a2a3a40102030405861f90a3 00"),
            write(
                "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627",
                "00 0240 012c 0102030405060708090a0b0c0d0e0f10111213141516171819"
                "1a1b1c1d1e1f2021222324252627 951d5315 00",
            ),
        ],
    },
]
_PLAIN, _BOARD, _ABLE, _KEYED = 0x01, 0x41, 0x61, 0x71
CHOICES = [
    {"here": here, "there": there, "pattern": pattern}
    for here, there, pattern in (
        (_KEYED, _KEYED, 1),
        (_KEYED, _ABLE, 1),
        (_ABLE, _KEYED, 1),
        (_KEYED, 0xB1, 1),  # who dialled, and asks, does not matter
        (_ABLE, _ABLE, None),
        (_KEYED, _BOARD, None),
        (_KEYED, _PLAIN, None),
        (_PLAIN, _KEYED, None),
        (_KEYED, 0x51, None),
        (0x51, 0x51, None),
    )
]
PACKETS = {
    "about": "docs/protocol.md section 12",
    "coded": CODED,
    "checksums": CHECKSUMS,
    "traces": TRACES,
    "choices": CHOICES,
}
