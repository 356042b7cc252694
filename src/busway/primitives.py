"""The cryptography that protected links need, over the library `cryptography`: what the core asks for in
protocol/secure/cipher.py. Imported when the first such link is opened.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, AESGCM, ChaCha20Poly1305


class ChaCha:
    """ChaCha20-Poly1305 with one key; the nonce as Noise has it: 4 zeros, the number least significant byte
    first (revision 34, section 12.3).
    """

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)

    def seal(self, n: int, ad: bytes, plaintext: bytes | memoryview) -> bytes:
        """The ciphertext and its tag of 16 bytes."""
        return self._aead.encrypt((n << 32).to_bytes(12, "little"), plaintext, ad)

    def open(self, n: int, ad: bytes, ciphertext: bytes | memoryview) -> bytes | None:
        """The plaintext, or None."""
        try:
            return self._aead.decrypt((n << 32).to_bytes(12, "little"), ciphertext, ad)
        except InvalidTag:
            return None


class Gcm:
    """AES-256-GCM with one key; the nonce as Noise has it: 4 zeros, the number most significant byte first
    (revision 34, section 12.4).
    """

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)

    def seal(self, n: int, ad: bytes, plaintext: bytes | memoryview) -> bytes:
        """The ciphertext and its tag of 16 bytes."""
        return self._aead.encrypt(n.to_bytes(12, "big"), plaintext, ad)

    def open(self, n: int, ad: bytes, ciphertext: bytes | memoryview) -> bytes | None:
        """The plaintext, or None."""
        try:
            return self._aead.decrypt(n.to_bytes(12, "big"), ciphertext, ad)
        except InvalidTag:
            return None


class Ccm:
    """AES-128-CCM with one key and a tag of 8 bytes; the nonce is 5 zeros and the number, most significant
    byte first (docs/protocol.md, section 3.2).
    """

    __slots__ = ("_aead",)

    def __init__(self, key: bytes) -> None:
        self._aead = AESCCM(key, tag_length=8)

    def seal(self, n: int, ad: bytes, plaintext: bytes | memoryview) -> bytes:
        """The ciphertext and its tag."""
        return self._aead.encrypt(n.to_bytes(13, "big"), plaintext, ad)

    def open(self, n: int, ad: bytes, ciphertext: bytes | memoryview) -> bytes | None:
        """The plaintext, or None."""
        try:
            return self._aead.decrypt(n.to_bytes(13, "big"), ciphertext, ad)
        except (InvalidTag, ValueError):  # the latter for what is shorter than a tag
            return None


class Primitives:
    """All of them."""

    def keypair(self) -> tuple[bytes, bytes]:
        """A new X25519 key: private and public, 32 bytes each."""
        private = X25519PrivateKey.generate()
        return private.private_bytes_raw(), private.public_key().public_bytes_raw()

    def dh(self, private: bytes, public: bytes) -> bytes:
        """The secret that the owners of both keys share, 32 bytes (RFC 7748); b"" for a key of low order."""
        try:
            return X25519PrivateKey.from_private_bytes(private).exchange(
                X25519PublicKey.from_public_bytes(public)
            )
        except ValueError:
            return b""

    def hash(self, data: bytes) -> bytes:
        """SHA-256."""
        return hashlib.sha256(data).digest()

    def hmac(self, key: bytes, data: bytes) -> bytes:
        """HMAC-SHA-256."""
        return hmac.digest(key, data, "sha256")

    def chacha(self, key: bytes) -> ChaCha:
        """A cipher with a key of 32 bytes."""
        return ChaCha(key)

    def gcm(self, key: bytes) -> Gcm:
        """A cipher with a key of 32 bytes."""
        return Gcm(key)

    def ccm(self, key: bytes) -> Ccm:
        """A cipher with a key of 16 bytes."""
        return Ccm(key)


def has_quick_aes(platform: str = sys.platform, cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether this machine has instructions for AES-GCM, without which ChaCha20-Poly1305 is quicker: on Linux
    as the file `cpuinfo` says, on Windows and macOS as good as always, else it is not known.
    """
    if platform != "linux":
        return platform in ("darwin", "win32")
    try:
        file = os.open(cpuinfo, os.O_RDONLY)
    except OSError:
        return False
    try:
        words = os.read(file, 8192).split()  # the first processor
    except OSError:
        return False
    finally:
        os.close(file)
    return b"aes" in words and (b"pclmulqdq" in words or b"pmull" in words)


PRIMITIVES = Primitives()
