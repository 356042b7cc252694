"""What protects a board's link, as adapters/micropython_crypto.py has it for boards, over the library
`cryptography`.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM


class Crypto:
    """What the leaf asks for."""

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
