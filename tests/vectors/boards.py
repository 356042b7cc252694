"""Runs the golden vectors of what boards compute: published ones of the primitives (boards.json), and those
of handshake pattern 3 (handshakes.json) through the small leaf's half.

One file for CPython, the compiled core and MicroPython. `run(folder, crypto)` returns how many checks were
made and raises AssertionError with a vector's name at the first that fails.
"""

import json

from busway.protocol.leaf.keyed import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Vector = dict[str, Any]


def unhex(text: str) -> bytes:
    return bytes([int(text[at : at + 2], 16) for at in range(0, len(text), 2)])


def check(ok: bool, *about: object) -> None:
    if not ok:
        raise AssertionError(" / ".join([str(item) for item in about]))


def load(folder: str, name: str) -> "Vector":
    with open(folder + "/" + name) as file:
        content: Vector = json.load(file)
    return content


def check_primitives(folder: str, crypto: "Any") -> int:
    """AES-CCM both ways, and with each byte of the sealed one changed; HMAC; HKDF as it is made of that."""
    vectors = load(folder, "boards.json")
    for vector in vectors["ccm"]:
        key, nonce, ad, plaintext, sealed = [
            unhex(vector[field]) for field in ("key", "nonce", "ad", "plaintext", "sealed")
        ]
        check(crypto.seal(key, nonce, ad, plaintext) == sealed, vector["name"], "is sealed otherwise")
        check(crypto.open(key, nonce, ad, sealed) == plaintext, vector["name"], "is not opened")
        for at in range(len(sealed)):
            changed = bytearray(sealed)
            changed[at] ^= 1 << (at & 7)
            check(crypto.open(key, nonce, ad, bytes(changed)) is None, vector["name"], "changed at", at)
            check(crypto.open(key, nonce, ad, sealed[:at]) is None, vector["name"], "cut at", at)
        check(crypto.open(key, nonce, ad + b"x", sealed) is None, vector["name"], "with other data")
    for vector in vectors["hmac"]:
        mac = crypto.hmac(unhex(vector["key"]), unhex(vector["message"]))
        check(mac == unhex(vector["mac"]), vector["name"])
    for vector in vectors["hkdf"]:
        secret = crypto.hmac(unhex(vector["salt"]), unhex(vector["secret"]))
        block = found = b""
        while len(found) < vector["size"]:
            block = crypto.hmac(secret, block + unhex(vector["info"]) + bytes((len(found) // 32 + 1,)))
            found += block
        check(found[: vector["size"]] == unhex(vector["key"]), vector["name"])
    return len(vectors["ccm"]) + len(vectors["hmac"]) + len(vectors["hkdf"])


def giving(plaintext: bytes) -> "Callable[[int, int], bytes]":
    """A link that has this to say."""
    return lambda size, now: plaintext


def check_handshake(vector: "Vector", crypto: "Any") -> None:
    """The leaf writes what the board does, and reads what the other side writes."""
    side = "initiator" if unhex(vector["initiator"]["key_id"])[0] or vector["token"] else "responder"
    own = vector[side]
    key = b"" if vector["token"] else unhex(vector["key"])
    secret = Secret(crypto, lambda size: unhex(own["nonce"]), key, vector["token"].encode())
    check(secret.id == unhex(own["key_id"]), vector["name"], "has another id")
    channel = secret.channel(vector["sort"] == "packet", vector["bus"])
    if side == "initiator":
        channel.begin()
    for number, each in enumerate(vector["handshake"] + vector["records"]):
        plaintext = unhex(each.get("plaintext", ""))
        told = unhex(each.get("frame") or each["record"])
        if each["from"] != side:
            check(channel.receive(told) == plaintext, vector["name"], "number", number, "is not read")
            check(channel.refusal is None, vector["name"], "number", number, "is refused")
            continue
        written = channel.write(giving(plaintext), 1024, 0)
        check(written == told, vector["name"], "number", number, "is not written")
    check(channel.ready, vector["name"], "does not come to records")


def check_handshakes(folder: str, crypto: "Any") -> int:
    """Those of pattern 3: the board begins, or the other side does."""
    count = 0
    for vector in load(folder, "handshakes.json")["handshakes"]:
        if vector["pattern"] == 3:
            check_handshake(vector, crypto)
            count += 1
    check(count == 3, "handshakes.json has", count, "handshakes of boards")
    return count


def run(folder: str, crypto: "Any") -> int:
    return check_primitives(folder, crypto) + check_handshakes(folder, crypto)
