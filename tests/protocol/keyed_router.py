"""The router's half of a link with a board's key, written by hand from docs/protocol.md, sections 3.2.3 and
3.2.4, before a plain connection. What the leaf says is judged by this, and by the core's own half.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from busway.protocol import codes, events
from busway.protocol.wire.fields import frame

NO_KEY = bytes(16)


class Crypto:
    """What the leaf asks for, as adapters/micropython_crypto.py has it for boards."""

    def hash(self, data: bytes) -> bytes:
        return hashlib.sha256(data).digest()

    def hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, "sha256")

    def seal(self, key: bytes, nonce: bytes, ad: bytes, plaintext: bytes) -> bytes:
        return AESCCM(key, 8).encrypt(nonce, plaintext, ad)

    def open(self, key: bytes, nonce: bytes, ad: bytes, ciphertext: bytes) -> bytes | None:
        try:
            return AESCCM(key, 8).decrypt(nonce, ciphertext, ad)
        except (InvalidTag, ValueError):  # the latter for what is shorter than a tag
            return None


class Direction:
    """The records of one direction."""

    def __init__(self, key: bytes) -> None:
        self._aead = AESCCM(key, 8)
        self._number = 0

    def _nonce(self) -> bytes:
        self._number += 1
        return bytes(5) + (self._number - 1).to_bytes(8, "big")

    def seal(self, plain: bytes) -> bytes:
        return frame(self._aead.encrypt(self._nonce(), plain, None))

    def open(self, body: bytes) -> bytes:
        return self._aead.decrypt(self._nonce(), body, None)


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """The bodies of whole frames, or records, and what is left."""
    found = []
    while len(data) > 1:
        size, at = (data[0], 1) if data[0] < 128 else (data[0] & 127 | data[1] << 7, 2)
        if len(data) < at + size:
            break
        found.append(data[at : at + size])
        data = data[at + size :]
    return found, data


class KeyedRouter:
    """Has the face of the connection behind it.

    Args: `inner` is plain; `keys` are those of boards, by id, and with NO_KEY that of the token.
    """

    def __init__(self, inner: Any, keys: dict[bytes, bytes], bus: str = "default", sort: int = 0) -> None:
        self.inner = inner
        self.keys = keys
        self.sent: list[bytes] = []  # the plain bytes of each record, either way
        self.came: list[bytes] = []
        self.refused = b""  # CLOSE, in plain text
        self._prologue = b"busway-2\0" + bytes((sort, 3, len(bus))) + bus.encode()
        self._in = b""
        self._out = b""
        self._reads: Direction | None = None
        self._writes: Direction | None = None

    @property
    def done(self) -> bool:
        return not self._out and (bool(self.refused) or self.inner.done)

    def receive_data(self, data: bytes, now: int) -> list[events.Event]:
        bodies, self._in = split(self._in + data)
        happened: list[events.Event] = []
        for body in bodies:
            if self._reads is None:
                self._answer(body)
                continue
            try:
                plain = self._reads.open(body)
            except InvalidTag:
                self.refuse()
                break
            self.came.append(plain)
            happened += self.inner.receive_data(plain, now)
        return happened

    def refuse(self) -> None:
        self.refused = frame(bytes((codes.CLOSE, codes.TOKEN)) + b"no such key")
        self._out += self.refused

    def _answer(self, body: bytes) -> None:
        assert (body[:5], body[6]) == (b"\2BSWY", 3)
        message = body[7:]
        assert len(message) == 32
        key = self.keys.get(message[:16])
        if key is None:
            self.refuse()
            return
        answer = bytes(16) + bytes(range(16))
        told = hashlib.sha256(self._prologue + message + answer).digest()
        secret = hmac.digest(message[16:] + answer[16:], key, "sha256")
        keys = hmac.digest(secret, b"busway-keys-2" + told + b"\1", "sha256")
        self._reads, self._writes = Direction(keys[:16]), Direction(keys[16:])
        self._out += frame(b"\2" + answer)

    def data_to_send(self, size_max: int, now: int) -> bytes:
        if not self._out and self.came and not self.refused and self._writes is not None:
            plain = self.inner.data_to_send(512 if not self.sent else 200, now)
            if plain:
                self.sent.append(plain)
                self._out = self._writes.seal(plain)
        data = self._out[:size_max]
        self._out = self._out[size_max:]
        return data

    def receive_eof(self, now: int) -> list[events.Event]:
        found: list[events.Event] = self.inner.receive_eof(now)
        return found
