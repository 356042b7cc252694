"""Writes the golden vectors of docs/protocol.md next to itself: `python -m tests.vectors.make`.

Every byte in this folder was written by hand from that page; no code of ours computes one, so that the files
can judge all of our code. (UUIDs come from `openssl dgst`; handshakes from other people's libraries.) The
scripts join pieces to JSON. They may not import busway.

varints.json   good (hex, value, canonical), refused (hex, why), incomplete (hex).
names.json     human names and their UUIDs.
setup.json     how a connection gets into a state: its own side, what it sends, what to feed it first.
frames.json    "hex" is fed to a connection in "state"; "frames" is what it says. "messages", where present,
               is what its messages amount to, put together. "canonical" is true where a sender would write
               the very same bytes; "redundant" is true where they say what goes without saying. Frames
               marked "skipped" are passed over and counted.
errors.json    "hex" is fed to a connection in "state" and leads to the link error "code"; null: to none.
               "scope" is "format" where the bytes alone show it, "link" where it takes limits or a state,
               "extension" where it is in the extension of an entry, into which a leaf need not look.
packets.json   COBS, checksums ("crc16" before it is inverted, "crc16_sent" as a packet has it), and traces
               of packet links, with what each step writes, reads and tells.
handshakes.json  whole handshakes with fixed keys, and records behind them.
arrays.json    arrays of numbers in CBOR; "refused" are errors, "left" are tags without a meaning.
sealed.json    what a node offers, messages sealed with fixed keys, and their answers (section 15).

Ids, uuids and payloads are hex. An endpoint or type has its uuid under its name, the alias under "_alias",
and "_binds": true if the frame binds it. A directory entry has defaults filled in where a field is absent,
but for "labels" and "gone" (format, type and payload of a last word), which only those have that say them.
"""

import json
import sys
from pathlib import Path

from tests.vectors.arrays import ARRAYS
from tests.vectors.errors import ERRORS
from tests.vectors.frames import FRAMES
from tests.vectors.handshakes import HANDSHAKES
from tests.vectors.packets import PACKETS
from tests.vectors.pieces import (
    HELLO_A,
    HELLO_A_ASIDE,
    HELLO_A_FIELDS,
    HELLO_A_RUNS,
    HELLO_B,
    HELLO_B_ASIDE,
    HELLO_B_LEAF,
    HELLO_B_RUNS,
    Vector,
    good,
    hexed,
)
from tests.vectors.sealed import SEALED

HERE = Path(__file__).parent

VARINTS = {
    "about": "docs/protocol.md section 1",
    "good": [
        good("00", 0),
        good("01", 1),
        good("7f", 127),
        good("80 01", 128),
        good("ff 7f", 16383),
        good("80 80 01", 16384),
        good("ff ff 7f", 2097151),
        good("80 80 80 01", 2097152),
        good("ff ff ff 7f", 268435455),
        good("80 80 80 80 01", 268435456),
        good("ff ff ff ff 0f", 4294967295),
        good("ac 02", 300),
        good("80 00", 0, canonical=False),
        good("81 80 80 80 00", 1, canonical=False),
        good("ff 00", 127, canonical=False),
    ],
    "refused": [
        {"hex": "8080808010", "why": "2^32"},
        {"hex": "ffffffff1f", "why": "2^33 - 1"},
        {"hex": "ffffffff7f", "why": "35 bits"},
        {"hex": "808080808000", "why": "6 bytes"},
        {"hex": "ffffffffff01", "why": "6 bytes"},
    ],
    "incomplete": [{"hex": ""}, {"hex": "80"}, {"hex": "ffffff"}, {"hex": "80808080"}],
}

NAMES = {
    "about": "docs/protocol.md section 1: UUID version 5 of the UTF-8 bytes in the namespace",
    "namespace": "f20665000bc64ea29d3a7801eb92bb6c",
    "names": [
        {"name": "lab/temperature", "uuid": "4128e4563a715415a5a9944d3f9d9d00"},
        {"name": "busway/introspection", "uuid": "528d7fc3ac295b889d2eda2dc1833636"},
        {"name": "labör/℃", "uuid": "118ee73638705dc1beb27a32f95a7fb3"},
        {"name": "a", "uuid": "8c20cf33e3b5575ba0f1f0fe310f677c"},
    ],
}

SETUP = {
    "about": "How a connection of node A gets into each state: setup, what it sends at once, what to feed;"
    " with the token it takes pattern 3 only;"
    ' only with "runs" it takes RUN, and only with "aside" things beside the bytes, which not every'
    " implementation does",
    "own": HELLO_A_FIELDS,
    "sends": hexed(HELLO_A),
    "token": "secret",
    "states": {
        "greeting": {"token": False, "feed": ""},
        "securing": {"token": True, "sends": "", "feed": ""},
        "open": {"token": False, "feed": hexed(HELLO_B)},
        "open to a leaf": {"token": False, "feed": hexed(HELLO_B_LEAF)},
        "open with runs": {
            "token": False,
            "runs": True,
            "sends": hexed(HELLO_A_RUNS),
            "feed": hexed(HELLO_B_RUNS),
        },
        "open with things": {
            "token": False,
            "aside": True,
            "sends": hexed(HELLO_A_ASIDE),
            "feed": hexed(HELLO_B_ASIDE),
        },
    },
}

FILES: dict[str, Vector] = {
    "varints.json": VARINTS,
    "names.json": NAMES,
    "setup.json": SETUP,
    "frames.json": FRAMES,
    "errors.json": ERRORS,
    "packets.json": PACKETS,
    "handshakes.json": HANDSHAKES,
    "sealed.json": SEALED,
    "arrays.json": ARRAYS,
}


def text_of(content: Vector) -> str:
    """The JSON as it stands in the file: a line to each vector, so that changes show as such."""
    lines = []
    for key, value in content.items():
        if isinstance(value, list):
            items = ",\n".join("  " + json.dumps(item) for item in value)
            lines.append(f"{json.dumps(key)}: [\n{items}\n ]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def main() -> int:
    for name, content in FILES.items():
        (HERE / name).write_text(text_of(content), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
