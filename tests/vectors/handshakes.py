"""Vectors of docs/protocol.md, section 3.2: whole handshakes with fixed keys, and the records behind them.

Computed here by others: `noiseprotocol` for the patterns of Noise, hashlib and the library `cryptography` for
the rest. May not import busway.
"""

import hashlib
import hmac
import warnings
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM
from noise.connection import Keypair, NoiseConnection

from tests.vectors.pieces import DEFAULT, INCARNATION_A, INCARNATION_B, LIMITS, MAGIC, NODE_A, NODE_B, Vector

TOKEN = "mellow-otter-4f1e9c0a7d5b2e83"
BOARD_KEY = bytes(range(64, 96))
NAMES = {1: "Noise_XXpsk3_25519_ChaChaPoly_SHA256", 2: "Noise_NNpsk0_25519_ChaChaPoly_SHA256"}
LAB = "03 6c6162"
SIDES = ("initiator", "responder")


def varint(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 127 | 128, value >> 7))


def framed(body: bytes) -> bytes:
    return varint(len(body)) + body


def prologue(sort: int, pattern: int, bus: str) -> bytes:
    return b"busway-2\0" + bytes((sort, pattern)) + bytes.fromhex(bus)


def keyed(label: bytes, data: bytes) -> bytes:
    return hmac.digest(label, data, "sha256")


def bound(label: bytes, key: bytes) -> bytes:
    digest = hashlib.sha256(label + key).digest()[:16]
    return bytes((digest[0] | 0x80,)) + digest[1:]


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def hello(side: str, node: bytes, bus: str, *, leaf: bool = False) -> bytes:
    """The HELLO frame of a side: LOCALNET, the initiator dialled."""
    dialled = side == "initiator"
    flags = 0x04 | (0x08 if dialled else 0) | (0x01 if leaf else 0)
    incarnation, label, via = (INCARNATION_B, "62", "03 746370") if dialled else (INCARNATION_A, "61", "00")
    head = bytes.fromhex(f"01 {MAGIC} 02") + bytes((flags,)) + node
    return framed(head + bytes.fromhex(f"{incarnation} {LIMITS} {bus} 01 {label} {via}"))


def conversation(hello_i: bytes, hello_r: bytes) -> list[tuple[str, bytes]]:
    """What travels in records: both HELLO, PING and PONG, a frame cut over two records, and CLOSE."""
    ping, pong = bytes.fromhex("02 04 05"), bytes.fromhex("02 05 05")
    sent = bytes.fromhex("1a 80 00 01") + b"\xe1" * 16 + bytes.fromhex("00 01 68 65 6c 6c 6f")
    return [
        ("initiator", hello_i),
        ("responder", hello_r),
        ("initiator", ping),
        ("responder", pong + sent[:9]),
        ("responder", sent[9:]),
        ("initiator", bytes.fromhex("02 03 00")),
        ("responder", bytes.fromhex("02 03 00")),
    ]


def vector(
    name: str, pattern: int, sort: int, bus: str, messages: list[bytes], records: list[Any], **more: Any
) -> Vector:
    first = bytes.fromhex(f"02 {MAGIC} 02") + bytes((pattern,))
    frames = [framed((first if not at else b"\2") + message) for at, message in enumerate(messages)]
    return {
        "name": name,
        "pattern": pattern,
        "sort": ("stream", "packet")[sort],
        "bus": bytes.fromhex(bus)[1:].decode(),
        "prologue": prologue(sort, pattern, bus).hex(),
        **more,
        "handshake": [{"from": SIDES[at & 1], "frame": frame.hex()} for at, frame in enumerate(frames)],
        "records": [
            {"from": side, "plaintext": plain.hex(), "record": framed(sealed).hex()}
            for side, plain, sealed in records
        ],
    }


def noise(
    name: str, pattern: int, sort: int, bus: str, token: str, statics: Any = None, *, aes: bool = False
) -> Vector:
    """A handshake of Noise, by `noiseprotocol`; `aes`: at both sides AES is quick."""
    psk = keyed(b"busway-token-2", token.encode()) if token else bytes(32)
    sides = {}
    about: dict[str, Any] = {"token": token, "psk": psk.hex()}
    ids = {"initiator": bytes.fromhex(NODE_B), "responder": bytes.fromhex(NODE_A)}
    for at, side in enumerate(SIDES):
        one = NoiseConnection.from_name(NAMES[pattern].encode())
        one.set_psks(psk)
        one.set_prologue(prologue(sort, pattern, bus))
        one.set_as_initiator() if side == "initiator" else one.set_as_responder()
        ephemeral = bytes([0x11 + 0x11 * at]) * 32
        one.set_keypair_from_private_bytes(Keypair.EPHEMERAL, ephemeral)
        about[side] = {"ephemeral": ephemeral.hex()}
        if statics:
            one.set_keypair_from_private_bytes(Keypair.STATIC, statics[at])
            public = public_of(statics[at])
            ids[side] = bound(b"busway-id-2", public)
            about[side] |= {"static": statics[at].hex(), "public": public.hex()}
        about[side]["id"] = ids[side].hex()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that its ephemeral key is given
            one.start_handshake()
        sides[side] = one
    messages: list[bytes] = []
    while not sides["responder"].handshake_finished or not sides["initiator"].handshake_finished:
        writer, reader = SIDES if len(messages) % 2 == 0 else SIDES[::-1]
        messages.append(bytes(sides[writer].write_message()))
        sides[reader].read_message(messages[-1])
    about["hash"] = sides["initiator"].get_handshake_hash().hex()
    hellos = [hello(side, ids[side], bus) for side in SIDES]
    talk = conversation(*hellos)
    records = [(side, plain, sides[side].encrypt(plain)) for side, plain in talk] if not aes else []
    return vector(name, pattern, sort, bus, messages, records or sealed_with_aes(talk, sides), **about)


def sealed_with_aes(talk: list[tuple[str, bytes]], sides: dict[str, Any]) -> list[Any]:
    """The records of a conversation in which both HELLO say that AES is quick: those behind them use it, with
    the key that REKEY makes of the former one.
    """
    records = []
    numbers = dict.fromkeys(SIDES, 0)
    ciphers = {}
    for side, plain in talk:
        if not numbers[side]:
            at = plain.index(bytes.fromhex(LIMITS))  # the features stand before them
            data = plain[:at] + b"\1" + plain[at + 1 :]
            records.append((side, data, sides[side].encrypt(data)))
            sides[side].rekey_outbound_cipher()
            ciphers[side] = AESGCM(sides[side].noise_protocol.cipher_state_encrypt.k)
        else:
            nonce = bytes(4) + numbers[side].to_bytes(8, "big")
            records.append((side, plain, ciphers[side].encrypt(nonce, plain, b"")))
        numbers[side] += 1
    return records


def psk_aes(name: str, sort: int, bus: str, *, board: str = "", token: str = "") -> Vector:
    """Pattern 3: `board` is the side whose key it is; without one the token's key."""
    key = BOARD_KEY if board else keyed(b"busway-board-token-2", token.encode())
    identity = bound(b"busway-board-id-2", key)
    ids = {"initiator": bytes.fromhex(NODE_B), "responder": bytes.fromhex(NODE_A)}
    nonces = [bytes(range(0xA0 + 0x10 * at, 0xB0 + 0x10 * at)) for at in range(2)]
    about: dict[str, Any] = {"token": token, "key": key.hex()}
    messages = []
    for at, side in enumerate(SIDES):
        named = identity if side == board else bytes(16)
        ids[side] = identity if side == board else ids[side]
        about[side] = {"key_id": named.hex(), "nonce": nonces[at].hex(), "id": ids[side].hex()}
        messages.append(named + nonces[at])
    spoken = hashlib.sha256(prologue(sort, 3, bus) + b"".join(messages)).digest()
    secret = hmac.digest(nonces[0] + nonces[1], key, "sha256")
    keys = hmac.digest(secret, b"busway-keys-2" + spoken + b"\1", "sha256")
    about |= {"hash": spoken.hex(), "keys": keys.hex()}
    ciphers = {side: AESCCM(keys[16 * at : 16 * at + 16], tag_length=8) for at, side in enumerate(SIDES)}
    hellos = [hello(side, ids[side], bus, leaf=side == board) for side in SIDES]
    numbers = dict.fromkeys(SIDES, 0)
    records = []
    for side, plain in conversation(*hellos):
        sealed = ciphers[side].encrypt(numbers[side].to_bytes(13, "big"), plain, b"")
        numbers[side] += 1
        records.append((side, plain, sealed))
    return vector(name, 3, sort, bus, messages, records, **about)


STATICS = (bytes(range(1, 33)), bytes(range(33, 65)))

HANDSHAKES = {
    "about": "docs/protocol.md section 3.2; all frames and records with their lengths, in the order in which "
    "they are written; keys are private unless called public",
    "handshakes": [
        noise("pattern 1 with a token", 1, 0, DEFAULT, TOKEN, STATICS),
        noise("pattern 1 without a token", 1, 0, DEFAULT, "", STATICS),
        noise("pattern 1 over packets", 1, 1, LAB, TOKEN, STATICS[::-1]),
        noise("pattern 2", 2, 0, DEFAULT, TOKEN),
        noise("pattern 2 over packets", 2, 1, LAB, "tökén"),
        psk_aes("pattern 3, a board dials", 0, DEFAULT, board="initiator"),
        psk_aes("pattern 3, a board is dialled", 1, DEFAULT, board="responder"),
        psk_aes("pattern 3 with a token", 1, LAB, token=TOKEN),
    ],
    "switched": [
        noise("pattern 1, both have AES", 1, 0, DEFAULT, TOKEN, STATICS, aes=True),
        noise("pattern 2, both have AES", 2, 0, DEFAULT, TOKEN, aes=True),
    ],
}
