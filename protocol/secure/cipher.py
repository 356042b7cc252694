"""The cipher of one direction of a protected link. Knows no handshake and no frames.

What computes is injected, for the core imports nothing. A `primitives` has these methods, all over bytes:

    keypair() -> (private, public)        X25519 (RFC 7748), 32 bytes each
    dh(private, public) -> bytes          32 bytes; b"" where the other's key is of low order
    hash(data) -> bytes                   SHA-256, 32 bytes
    hmac(key, data) -> bytes              HMAC-SHA-256 (RFC 2104), 32 bytes
    chacha(key) -> cipher                 ChaCha20-Poly1305 (RFC 8439), key of 32 bytes, tag of 16
    ccm(key) -> cipher                    AES-128-CCM (RFC 3610), key of 16 bytes, nonce of 13, tag of 8

    cipher.seal(n, ad, plaintext) -> bytes           the ciphertext and its tag, under the nonce of number n
    cipher.open(n, ad, ciphertext) -> bytes | None   None where it is not what `seal` gave, bytes or a view
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class CipherState:
    """One direction: a cipher with its key, and the number of what is sealed or opened next.

    Source: Noise, revision 34, section 5.1. The number has 64 bits there, which no link uses up.
    """

    __slots__ = ("_cipher", "n")

    def __init__(self, cipher: "Any") -> None:
        self._cipher = cipher
        self.n = 0

    def encrypt(self, ad: bytes, plaintext: bytes) -> bytes:
        """The ciphertext, with its tag."""
        n = self.n
        self.n = n + 1
        sealed: bytes = self._cipher.seal(n, ad, plaintext)
        return sealed

    def decrypt(self, ad: bytes, ciphertext: "Any") -> "bytes | None":
        """The plaintext; None, and nothing changes, where it does not authenticate. `ciphertext`: bytes, or a
        view of them, which compiled code would not take for bytes.
        """
        plaintext: "bytes | None" = self._cipher.open(self.n, ad, ciphertext)
        if plaintext is not None:
            self.n += 1
        return plaintext
