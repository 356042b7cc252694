"""Cryptography of a board's link with a key: AES-128-CCM with a tag of 8 bytes, SHA-256 and HMAC with it, and
the file with the key.

Loaded by boards whose `Loop` has a key or a token. Knows no link; who uses which key when is the core's
(protocol/leaf/keyed.py).
"""

from binascii import unhexlify
from hashlib import sha256

from busway.protocol.leaf.keyed import Secret

try:
    from cryptolib import aes  # type: ignore[import-not-found]
except ImportError:
    raise ImportError("this board's MicroPython was built without cryptolib: no link with a key") from None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

TAG_SIZE: "Final" = 8  # bytes
KEY_SIZE: "Final" = 32
_ECB: "Final" = 1
_CBC: "Final" = 2
_PIECE: "Final" = 64


def secret_of(entropy: "Callable[[int], bytes]", key: "bytes | str", token: str = "") -> Secret:
    """The secret that `key` and `token` of a `Loop` mean: a key's 32 bytes, or the name of its file as
    `busway firmware --key` writes it. Raises ValueError, OSError.
    """
    if isinstance(key, str) and key:
        with open(key) as file:
            key = unhexlify(file.read().strip())
    if len(key) != (0 if token else KEY_SIZE):
        raise ValueError("a key has 32 bytes, or is the name of its file; and a link has a key or a token")
    return Secret(Crypto(), entropy, bytes(key) if key else b"", token.encode())


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
        size = len(plaintext)
        mixed = _crypt(key, nonce, _authenticate(key, nonce, ad, plaintext), plaintext, size)
        return bytes(mixed[16 : 16 + size] + mixed[:TAG_SIZE])

    def open(self, key: bytes, nonce: bytes, ad: bytes, ciphertext: bytes) -> "bytes | None":
        """The plaintext; None for what was not sealed so."""
        size = len(ciphertext) - TAG_SIZE
        if size < 0:
            return None
        mixed = _crypt(key, nonce, ciphertext[size:], ciphertext, size)
        plaintext = bytes(mixed[16 : 16 + size])
        mixed = mixed[:TAG_SIZE]  # the rest is not needed, and a board has no room for it
        tag = _authenticate(key, nonce, ad, plaintext)
        # As numbers: how long that takes does not tell where they differ.
        wrong = int.from_bytes(tag, "big") ^ int.from_bytes(mixed, "big")
        return None if wrong else plaintext


def _mask(number: int, byte: int) -> bytes:
    return (number ^ int.from_bytes(bytes((byte,)) * 64, "big")).to_bytes(64, "big")


def _authenticate(key: bytes, nonce: bytes, ad: bytes, plaintext: bytes) -> bytes:
    """CBC-MAC over the lengths, `ad` and `plaintext`, each filled up to whole blocks."""
    size = len(plaintext)
    at = 16 + (len(ad) + 17 & ~15 if ad else 0)
    data = bytearray(at + (size + 15 & ~15))
    width = 15 - len(nonce)
    data[0] = 23 + width
    data[1 : 16 - width] = nonce
    data[16 - width : 16] = size.to_bytes(width, "big")
    if ad:
        data[0] |= 64
        data[16] = len(ad) >> 8
        data[17] = len(ad) & 255
        data[18 : 18 + len(ad)] = ad
    data[at : at + size] = plaintext
    aes(key, _CBC, bytes(16)).encrypt(data, data)
    return bytes(data[-16:-8])


def _crypt(key: bytes, nonce: bytes, tag: bytes, text: bytes, size: int) -> bytearray:
    """Counter mode: block 0 is the tag's, the others are those of the first `size` bytes of the text; what is
    behind them means nothing.
    """
    mixed = bytearray(size + 31 & ~15)
    head = bytes((14 - len(nonce),)) + nonce
    for at in range(0, len(mixed), 16):
        mixed[at : at + len(head)] = head
        mixed[at + 14] = at >> 12
        mixed[at + 15] = at >> 4 & 255
    aes(key, _ECB).encrypt(mixed, mixed)
    # As numbers, which are in C: a loop over bytes takes a hundred times as long. In pieces, to save memory.
    for at in range(-_PIECE, size, _PIECE):
        piece = tag
        to = 0
        if at >= 0:
            piece = text[at : min(at + _PIECE, size)]
            to = 16 + at
        stop = to + len(piece)
        number = int.from_bytes(piece, "big") ^ int.from_bytes(mixed[to:stop], "big")
        mixed[to:stop] = number.to_bytes(len(piece), "big")
    return mixed
