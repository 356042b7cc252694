"""Vectors of docs/protocol.md, section 15: an offer, messages sealed with fixed keys, and answers to them.

Computed here with tests/rigs/hpke.py, which is RFC 9180 written out, hashlib and the library `cryptography`.
May not import busway.
"""

import hashlib
import hmac
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.rigs import hpke
from tests.vectors.pieces import Vector

SENDER, RECEIVER, EPHEMERAL = bytes(range(32)), bytes(range(32, 64)), bytes(range(64, 96))
ENDPOINT = bytes.fromhex("6e8bc430 9c3a 11d9 9669 0800200c9a66".replace(" ", ""))
EPOCH, NONCE, SESSION = b"an epoch 16 byte", b"a nonce, 16 byte", b"a sessio"
SECRET = bytes(range(96, 128))
TYPE = bytes(range(16))
KEY_ID, CHAIN = SESSION + b"\0\0\0\7", bytes(range(128, 160))


def mac(key: bytes, data: bytes, size: int = 32) -> bytes:
    return hmac.digest(key, data, "sha256")[:size]


def public(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def node_id(key: bytes) -> bytes:
    digest = hashlib.sha256(b"busway-id-2" + key).digest()[:16]
    return bytes((digest[0] | 0x80,)) + digest[1:]


def auth_key(sender: bytes, receiver: bytes) -> bytes:
    """Of two public keys, by the private one of the vectors' sender."""
    other = receiver if sender == public(SENDER) else sender
    shared = X25519PrivateKey.from_private_bytes(SENDER).exchange(X25519PublicKey.from_public_bytes(other))
    return mac(mac(b"busway-seal-2", shared), b"auth" + sender + receiver + b"\x01")


S, R = public(SENDER), public(RECEIVER)
INFO = b"busway-seal-2\x01" + node_id(S) + node_id(R) + S + R + ENDPOINT + EPOCH


def message(what: int, number: int, deadline: int, secret: bytes, packed: bytes) -> Vector:
    inner = bytes((what,)) + SESSION + number.to_bytes(8, "big") + deadline.to_bytes(8, "big")
    inner += secret + packed
    encrypted = hpke.encrypt(EPHEMERAL, R, INFO, inner)
    sealed = b"\x01" + mac(auth_key(S, R), b"message" + INFO + encrypted, 16) + encrypted
    typed = 17 if packed[0] == 3 else 1
    return {
        "what": what,
        "number": number,
        "deadline": deadline,
        "secret": secret.hex(),
        "format": packed[0],
        "type": packed[1:typed].hex(),
        "payload": packed[typed:].hex(),
        "inner": inner.hex(),
        "sealed": sealed.hex(),
    }


def answer(count: int, what: int, data: bytes) -> Vector:
    """The `count`-th of those to SECRET, or an error."""
    aead = ChaCha20Poly1305(mac(auth_key(S, R), b"answer" + SECRET))
    nonce = b"\xff" * 12 if what == 1 else count.to_bytes(12, "big")
    head = bytes((0, what))
    return {"what": what, "data": data.hex(), "sealed": (head + aead.encrypt(nonce, data, head)).hex()}


def offer(time: int) -> Vector:
    body = b"\x01\x01" + EPOCH + time.to_bytes(8, "big")
    sealed = body + mac(auth_key(R, S), b"offer" + NONCE + body)
    return {"nonce": NONCE.hex(), "epoch": EPOCH.hex(), "time": time, "offer": sealed.hex()}


def published(generation: int, number: int, packed: bytes) -> Vector:
    """By the sender, with the key of that generation."""
    chain = CHAIN
    for _ in range(generation):
        chain = mac(chain, b"next")
    head = b"\x03" + KEY_ID + generation.to_bytes(4, "big") + number.to_bytes(8, "big")
    aead = ChaCha20Poly1305(mac(chain, b"key"))
    bound = b"busway-seal-2" + head + S + ENDPOINT
    return {
        "generation": generation,
        "number": number,
        "chain": chain.hex(),
        "format": packed[0],
        "payload": packed[1:].hex(),
        "sealed": (head + aead.encrypt(number.to_bytes(12, "big"), packed, bound)).hex(),
    }


SEALED: dict[str, Any] = {
    "about": "docs/protocol.md section 15",
    "sender": {"private": SENDER.hex(), "public": S.hex(), "id": node_id(S).hex()},
    "receiver": {"private": RECEIVER.hex(), "public": R.hex(), "id": node_id(R).hex()},
    "ephemeral": EPHEMERAL.hex(),
    "endpoint": ENDPOINT.hex(),
    "epoch": EPOCH.hex(),
    "session": SESSION.hex(),
    "info": INFO.hex(),
    "offers": [offer(12345)],
    "messages": [
        message(1, 1, 20000, b"", b"\x00hello"),
        message(2, 2, 42345, SECRET, b"\x01\xa1\x63rpm\x19\x01\x2c"),
        message(3, 1 << 40, (1 << 64) - 1, SECRET, b"\x03" + TYPE + b"\xf6"),
    ],
    "answers": [
        answer(1, 0, b"\x00one"),
        answer(2, 0, b"\x01\x02"),
        answer(3, 3, b"\x00part"),
        answer(4, 2, b""),
        answer(0, 1, b"\x00\x00\x01\x00no water"),
    ],
    "key": (KEY_ID + bytes(4) + CHAIN).hex(),
    "published": [published(0, 5, b"\x00news"), published(0, 6, b"\x01\xf5"), published(3, 1 << 33, b"\x00")],
}
