"""The cipher of one direction of a protected link. Knows no handshake and no frames.

What computes is injected, for the core imports nothing. A `primitives` has these methods, all over bytes:

    keypair() -> (private, public)        X25519 (RFC 7748), 32 bytes each
    dh(private, public) -> bytes          32 bytes; b"" where the other's key is of low order
    hash(data) -> bytes                   SHA-256, 32 bytes
    hmac(key, data) -> bytes              HMAC-SHA-256 (RFC 2104), 32 bytes
    chacha(key) -> cipher                 ChaCha20-Poly1305 (RFC 8439), key of 32 bytes, tag of 16
    gcm(key) -> cipher                    AES-256-GCM (NIST SP 800-38D), key of 32 bytes, tag of 16
    ccm(key) -> cipher                    AES-128-CCM (RFC 3610), key of 16 bytes, nonce of 13, tag of 8

    cipher.seal(n, ad, plaintext) -> bytes           the ciphertext and its tag, under the nonce of number n;
                                                     of bytes or a view
    cipher.open(n, ad, ciphertext) -> bytes | None   None where it is not what `seal` gave, bytes or a view
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_LAST: "Final" = 0xFFFFFFFFFFFFFFFF  # a number that no record gets
_AES_RECORDS: "Final" = 1 << 20  # under one key: at most 64 GiB (RFC 8446, section 5.5, allows some more)


class CipherState:
    """One direction: a cipher with its key, and the number of what is sealed or opened next.

    Source: Noise, revision 34, section 5.1. The number has 64 bits there, which no link uses up.
    """

    __slots__ = ("_cipher", "n")

    def __init__(self, cipher: "Any") -> None:
        self._cipher = cipher
        self.n = 0

    def encrypt(self, ad: bytes, plaintext: "Any") -> bytes:
        """The ciphertext, with its tag. `plaintext`: bytes, or a view of them."""
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

    def next_key(self) -> bytes:
        """A key that follows from the present one, and does not tell it (section 4.2, REKEY)."""
        sealed: bytes = self._cipher.seal(_LAST, b"", bytes(32))
        return sealed[:32]


class AesState(CipherState):
    """The cipher that follows another where both sides compute AES quickly: AES-256-GCM with the next key,
    and again with the next one before its user would have to care how much one key has sealed.
    """

    __slots__ = ("_gcm",)

    def __init__(self, gcm: "Any", former: CipherState) -> None:
        super().__init__(gcm(former.next_key()))
        self._gcm = gcm
        self.n = former.n

    def encrypt(self, ad: bytes, plaintext: "Any") -> bytes:
        if not self.n % _AES_RECORDS:
            self._cipher = self._gcm(self.next_key())
        return super().encrypt(ad, plaintext)

    def decrypt(self, ad: bytes, ciphertext: "Any") -> "bytes | None":
        if not self.n % _AES_RECORDS:
            self._cipher = self._gcm(self.next_key())
        return super().decrypt(ad, ciphertext)
