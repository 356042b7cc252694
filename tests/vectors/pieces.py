"""Pieces of hex and of JSON that the vectors are put together from. May not import busway."""

from typing import Any

E1 = "e1" * 16
E2 = "e2" * 16
T1 = "71" * 16  # a message type

NODE_A = "000102030405060708090a0b0c0d0e0f"
NODE_B = "101112131415161718191a1b1c1d1e1f"
INCARNATION_A = "a0a1a2a3"
INCARNATION_B = "b0b1b2b3"
NODE_C = "202122232425262728292a2b2c2d2e2f c0c1c2c3"  # and its incarnation

MAGIC = "42535759"
IDS_B = f"{NODE_B} {INCARNATION_B}"
# no features, frames to 4096, messages to 65536, 127 aliases, 4 partials, no keepalive
LIMITS = "00 8020 808004 7f 04 00"
DEFAULT = "07 64656661756c74"

# B dialled, over ipc: router, USERSPACE.
HELLO_B = f"32 01 {MAGIC} 02 0a {IDS_B} {LIMITS} {DEFAULT} 01 62 03 697063"
# The same, a leaf.
HELLO_B_LEAF = f"32 01 {MAGIC} 02 0b {IDS_B} {LIMITS} {DEFAULT} 01 62 03 697063"
# The same as the first, and it takes RUN.
HELLO_B_RUNS = HELLO_B.replace(LIMITS, f"02 {LIMITS[3:]}")
# The same as the first, and it takes things beside the bytes.
HELLO_B_ASIDE = HELLO_B.replace(LIMITS, f"08 {LIMITS[3:]}")
# A was dialled.
HELLO_A = f"2f 01 {MAGIC} 02 02 {NODE_A} {INCARNATION_A} {LIMITS} {DEFAULT} 01 61 00"

HELLO_A_RUNS = HELLO_A.replace(LIMITS, f"02 {LIMITS[3:]}")
HELLO_A_ASIDE = HELLO_A.replace(LIMITS, f"08 {LIMITS[3:]}")

Vector = dict[str, Any]


def hexed(text: str) -> str:
    """The pieces without their spaces; raises ValueError if they are no hex."""
    return bytes.fromhex(text).hex()


def vector(
    name: str, data: str, *frames: Vector, state: str = "open", canonical: bool = True, **more: Any
) -> Vector:
    return {
        "name": name,
        "state": state,
        "canonical": canonical,
        "hex": hexed(data),
        "frames": list(frames),
    } | more


def error(name: str, data: str, code: int | None, *, state: str = "open", scope: str = "format") -> Vector:
    return {"name": name, "state": state, "code": code, "scope": scope, "hex": hexed(data)}


def good(data: str, value: int, *, canonical: bool = True) -> Vector:
    return {"hex": hexed(data), "value": value, "canonical": canonical}


def bind(field: str, number: int) -> Vector:
    """Keys for an alias that is bound by the frame."""
    return {f"{field}_alias": number, f"{field}_binds": True}


LIMIT_FIELDS = {
    "features": 0,
    "frame_size_max": 4096,
    "message_size_max": 65536,
    "aliases_max": 127,
    "partials_max": 4,
    "keepalive_ms": 0,
}


def hello(**changes: Any) -> Vector:
    """The words of HELLO_B."""
    frame = {
        "kind": "HELLO",
        "version": 2,
        "leaf": False,
        "realm": "USERSPACE",
        "dialled": True,
        "lookups": False,
        "node": NODE_B,
        "incarnation": INCARNATION_B,
        **LIMIT_FIELDS,
        "bus": "default",
        "label": "b",
        "via": "ipc",
    }
    return frame | changes


HELLO_A_FIELDS = hello(dialled=False, node=NODE_A, incarnation=INCARNATION_A, label="a", via="")

SEND_BINDS = f"1a 80 0001 {E1} 0001 68656c6c6f"
