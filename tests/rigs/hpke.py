"""HPKE (RFC 9180) in base mode, written out from X25519, HKDF and ChaCha20-Poly1305, to judge what a library
seals. Imports nothing of busway.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

X25519 = 0x0020  # DHKEM(X25519, HKDF-SHA256)
MLKEM768_X25519 = 0x647A  # draft-ietf-hpke-pq; its combiner is X-Wing's (draft-connolly-cfrg-xwing-kem)
_KDF = 0x0001  # HKDF-SHA256
_AEAD = 0x0003  # ChaCha20Poly1305
_MLKEM_CIPHERTEXT = 1088
_XWING = bytes.fromhex("5c2e2f2f5e5c")


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
    labeled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.digest(prk, labeled + b"\x01", "sha256")[:size]


def _key_and_nonce(kem: int, shared: bytes, info: bytes) -> tuple[bytes, bytes]:
    """RFC 9180, section 5.1: the key schedule with mode 0, no psk."""
    suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (kem, _KDF, _AEAD))
    context = b"\x00" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    secret = _extract(suite, shared, b"secret", b"")
    return _expand(suite, secret, b"key", context, 32), _expand(suite, secret, b"base_nonce", context, 12)


def _dh_shared(dh: bytes, enc: bytes, public: bytes) -> bytes:
    """Section 4.1: ExtractAndExpand."""
    suite = b"KEM" + X25519.to_bytes(2, "big")
    return _expand(suite, _extract(suite, b"", b"eae_prk", dh), b"shared_secret", enc + public, 32)


def encrypt(ephemeral: bytes, public: bytes, info: bytes, plain: bytes) -> bytes:
    """enc and ciphertext for a public X25519 key, with this ephemeral private key."""
    private = X25519PrivateKey.from_private_bytes(ephemeral)
    enc = private.public_key().public_bytes_raw()
    shared = _dh_shared(private.exchange(X25519PublicKey.from_public_bytes(public)), enc, public)
    key, nonce = _key_and_nonce(X25519, shared, info)
    return enc + ChaCha20Poly1305(key).encrypt(nonce, plain, b"")


def decrypt(private: X25519PrivateKey, info: bytes, data: bytes) -> bytes:
    """The plaintext of enc and ciphertext."""
    enc = data[:32]
    public = private.public_key().public_bytes_raw()
    shared = _dh_shared(private.exchange(X25519PublicKey.from_public_bytes(enc)), enc, public)
    key, nonce = _key_and_nonce(X25519, shared, info)
    return ChaCha20Poly1305(key).decrypt(nonce, data[32:], b"")


def decrypt_hybrid(mlkem: MLKEM768PrivateKey, private: X25519PrivateKey, info: bytes, data: bytes) -> bytes:
    """The same of the hybrid suite."""
    enc, rest = data[: _MLKEM_CIPHERTEXT + 32], data[_MLKEM_CIPHERTEXT + 32 :]
    dh_enc = enc[_MLKEM_CIPHERTEXT:]
    public = private.public_key().public_bytes_raw()
    both = mlkem.decapsulate(enc[:_MLKEM_CIPHERTEXT])
    both += private.exchange(X25519PublicKey.from_public_bytes(dh_enc)) + dh_enc + public
    shared = hashlib.sha3_256(both + _XWING).digest()
    key, nonce = _key_and_nonce(MLKEM768_X25519, shared, info)
    return ChaCha20Poly1305(key).decrypt(nonce, rest, b"")
