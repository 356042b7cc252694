"""What protects a link: the handshakes of who has a token, and the records behind them (3.2).

A stranger that dials has pattern 2, by another's implementation of Noise; one that is dialled, pattern 3.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from noise.connection import NoiseConnection
from noise.exceptions import NoiseInvalidMessage

from tests.stranger.wire import Fault, Reader, Short, text8, varint

_FIRST: Final = b"\2BSWY\2"


def framed(body: bytes) -> bytes:
    return varint(len(body)) + body


class Wall:
    """Bytes of the wire in, of the stream out, and the other way round; `out` is what it says by itself."""

    def __init__(self, token: str, bus: str, *, packets: bool, dialled: bool) -> None:
        self.out = b""
        self.ready = False  # records may be written
        self._token = token.encode()
        self._dialled = dialled
        self._came = b""
        self._records = False  # what comes is one
        self._heard = False
        self._prologue = b"busway-2\0" + bytes((packets, 2 if dialled else 3)) + text8(bus)
        if dialled:
            self._noise = NoiseConnection.from_name(b"Noise_NNpsk0_25519_ChaChaPoly_SHA256")
            self._noise.set_psks(hmac.digest(b"busway-token-2", self._token, "sha256"))
            self._noise.set_prologue(self._prologue)
            self._noise.set_as_initiator()
            self._noise.start_handshake()
            self.out = framed(_FIRST + b"\2" + bytes(self._noise.write_message()))

    def receive(self, data: bytes) -> bytes:
        self._came += data
        found = b""
        while self._came:
            reader = Reader(self._came)
            try:
                size = reader.varint()
            except Short:
                break
            if not 0 < size <= 65535:
                raise Fault(10, "a record too large")
            if reader.left() < size:
                break
            body = reader.take(size)
            self._came = self._came[reader.at :]
            found += self._record(body) if self._records else self._message(body)
        return found

    def _message(self, body: bytes) -> bytes:
        if body[0] == 3:
            return framed(body)
        if body[0] != 2:
            raise Fault(7, "the other side has no token")
        if self._dialled:
            try:
                self._noise.read_message(body[1:])
            except InvalidTag:
                raise Fault(23, "somebody changes bytes") from None
            self.ready = True
        else:
            self._answer(body)
        self._records = True
        return b""

    def _answer(self, first: bytes) -> None:
        if not first.startswith(_FIRST + b"\3") or first[7:23] != bytes(16):
            raise Fault(27, "pattern 3 by the token is all there is")
        theirs, mine = first[7:], bytes(16) + os.urandom(16)
        spoken = hashlib.sha256(self._prologue + theirs + mine).digest()
        key = hmac.digest(b"busway-board-token-2", self._token, "sha256")
        secret = hmac.digest(theirs[16:] + mine[16:], key, "sha256")
        keys = hmac.digest(secret, b"busway-keys-2" + spoken + b"\1", "sha256")
        self._in, self._out = AESCCM(keys[:16], 8), AESCCM(keys[16:], 8)
        self._read = self._written = 0
        self.out += framed(b"\2" + mine)

    def _record(self, body: bytes) -> bytes:
        try:
            if self._dialled:
                plain = bytes(self._noise.decrypt(body))
            else:
                plain = self._in.decrypt(self._read.to_bytes(13, "big"), body, None)
                self._read += 1
        except (InvalidTag, NoiseInvalidMessage, ValueError):
            if not self._heard and body[0] == 3:
                return framed(body)
            raise Fault(23 if self._heard or self.ready else 7, "a record that is none") from None
        self._heard = self.ready = True
        return plain

    def seal(self, data: bytes) -> bytes:
        if self._dialled:
            return framed(bytes(self._noise.encrypt(data)))
        sealed = self._out.encrypt(self._written.to_bytes(13, "big"), data, None)
        self._written += 1
        return framed(sealed)
