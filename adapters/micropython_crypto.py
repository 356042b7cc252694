"""Cryptography of a board's link with a key: AES-128-CCM with a tag of 8 bytes, SHA-256 and HMAC with it, and
the file with the key.

Loaded by boards whose `Loop` has a key or a token. Knows no link; who uses which key when is the core's
(protocol/leaf/keyed.py).
"""

from hashlib import sha256

from busway.protocol.leaf.keyed import Secret as Secret

try:
    from cryptolib import aes  # type: ignore[import-not-found]
except ImportError:
    raise ImportError("this board's MicroPython was built without cryptolib: no link with a key") from None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

TAG_SIZE: "Final" = 8  # bytes
_ECB: "Final" = 1
_CBC: "Final" = 2
_PIECE: "Final" = 64  # bytes at a time: whole blocks; a board may have no room for all in one piece

# The cipher that was made last: a piece of 304 bytes, which the next one takes when there is no other room.
_last = [aes(bytes(16), _ECB)]


def _cipher(key: bytes, mode: int, *vector: bytes) -> "Any":
    _last[0] = None
    _last[0] = aes(key, mode, *vector)
    return _last[0]


class Crypto:
    """Primitives of the core, over the board's own `hashlib` and `cryptolib`."""

    def hash(self, data: bytes) -> bytes:
        """SHA-256, 32 bytes."""
        return sha256(data).digest()

    def hmac(self, key: bytes, data: bytes) -> bytes:
        """HMAC-SHA-256, 32 bytes. Source: RFC 2104."""
        if len(key) > 64:
            key = sha256(key).digest()
        number = int.from_bytes(key + bytes(64 - len(key)), "big")
        inner = sha256(_mask(number, 0x36))
        inner.update(data)
        outer = sha256(_mask(number, 0x5C))
        outer.update(inner.digest())
        return outer.digest()

    def seal(self, key: bytes, nonce: bytes, ad: bytes, plaintext: bytes) -> bytes:
        """The ciphertext and its tag. `key` 16 bytes, `nonce` 12 or 13, never one twice with one key;
        `plaintext` up to 65,535 bytes, `ad` up to 65,279. Source: RFC 3610.
        """
        parts = _crypt(key, nonce, _authenticate(key, nonce, ad, plaintext), plaintext, len(plaintext))
        parts.append(parts.pop(0)[:TAG_SIZE])
        return b"".join(parts)

    def open(self, key: bytes, nonce: bytes, ad: bytes, ciphertext: bytes) -> "bytes | None":
        """The plaintext; None for what was not sealed so."""
        size = len(ciphertext) - TAG_SIZE
        if size < 0:
            return None
        parts = _crypt(key, nonce, ciphertext[size:], ciphertext, size)
        told = parts.pop(0)[:TAG_SIZE]
        plaintext = b"".join(parts)
        parts = []  # not needed any more, and a board has no room for it
        tag = _authenticate(key, nonce, ad, plaintext)
        # As numbers: how long that takes does not tell where they differ.
        wrong = int.from_bytes(tag, "big") ^ int.from_bytes(told, "big")
        return None if wrong else plaintext


def _mask(number: int, byte: int) -> bytes:
    return (number ^ int.from_bytes(bytes((byte,)) * 64, "big")).to_bytes(64, "big")


def _authenticate(key: bytes, nonce: bytes, ad: bytes, plaintext: bytes) -> bytes:
    """CBC-MAC over the lengths, `ad` and `plaintext`, each filled up to whole blocks."""
    size = len(plaintext)
    at = 16 + (len(ad) + 17 & ~15 if ad else 0)
    stop = min(size, _PIECE)
    data = bytearray(at + (stop + 15 & ~15))
    width = 15 - len(nonce)
    data[0] = 23 + width
    data[1 : 16 - width] = nonce
    data[16 - width : 16] = size.to_bytes(width, "big")
    if ad:
        data[0] |= 64
        data[16] = len(ad) >> 8
        data[17] = len(ad) & 255
        data[18 : 18 + len(ad)] = ad
    data[at : at + stop] = plaintext[:stop]
    cipher = _cipher(key, _CBC, bytes(16))
    cipher.encrypt(data, data)
    while stop < size:
        piece = plaintext[stop : stop + _PIECE]
        stop += _PIECE
        data = bytearray(len(piece) + 15 & ~15)
        data[: len(piece)] = piece
        cipher.encrypt(data, data)
    return bytes(data[-16:-8])


def _crypt(key: bytes, nonce: bytes, tag: bytes, text: bytes, size: int) -> "list[bytes]":
    """Counter mode: block 0, which is the tag's, and pieces with the first `size` bytes of the text; what is
    behind them means nothing.
    """
    parts: "list[bytes]" = []
    cipher = _cipher(key, _ECB)
    head = bytes((14 - len(nonce),)) + nonce
    at = -16
    while at < size:
        stop = min(size, at + _PIECE)
        piece = text[max(0, at) : stop]
        if at < 0:
            piece = tag + bytes(16 - len(tag)) + piece
        mixed = bytearray(len(piece) + 15 & ~15)
        for place in range(0, len(mixed), 16):
            number = (at + place >> 4) + 1
            mixed[place : place + len(head)] = head
            mixed[place + 14] = number >> 8
            mixed[place + 15] = number & 255
        cipher.encrypt(mixed, mixed)
        # As numbers, which are in C: a loop over bytes takes a hundred times as long.
        number = int.from_bytes(piece, "big") ^ int.from_bytes(mixed[: len(piece)], "big")
        piece = number.to_bytes(len(piece), "big")
        if at < 0:
            parts.append(piece[:16])
            piece = piece[16:]
        parts.append(piece)
        at = stop
    return parts
