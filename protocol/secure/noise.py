"""Handshakes of the Noise Protocol Framework, revision 34: the state machine, and the two patterns that links
use. Knows no frames and no links.
"""

from busway.protocol.errors import LocalError
from busway.protocol.secure.cipher import CipherState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

E: "Final" = 0  # tokens of a message pattern (section 7.1)
S: "Final" = 1
EE: "Final" = 2
ES: "Final" = 3
SE: "Final" = 4
PSK: "Final" = 5

DH_SIZE: "Final" = 32
TAG_SIZE: "Final" = 16


class Pattern:
    """A handshake: its name, and the tokens of its messages, of which the initiator writes the first."""

    __slots__ = ("messages", "name", "needs_psk")

    def __init__(self, name: str, messages: "tuple[tuple[int, ...], ...]") -> None:
        self.name = name.encode() + b"_25519_ChaChaPoly_SHA256"
        self.messages = messages
        self.needs_psk = any([PSK in tokens for tokens in messages])


XXPSK3 = Pattern("Noise_XXpsk3", ((E,), (E, EE, S, ES), (S, SE, PSK)))
NNPSK0 = Pattern("Noise_NNpsk0", ((PSK, E), (E, EE)))


class SymmetricState:
    """The chaining key, the hash of all that was said, and the cipher of the moment (section 5.2)."""

    __slots__ = ("_chaining", "_cipher", "_primitives", "hash")

    def __init__(self, primitives: "Any", name: bytes) -> None:
        self._primitives = primitives
        short = len(name) <= 32
        self.hash: bytes = name + b"\0" * (32 - len(name)) if short else primitives.hash(name)
        self._chaining = self.hash
        self._cipher: "CipherState | None" = None

    def mix_key(self, material: bytes) -> None:
        """Take a secret in."""
        self._chaining, key, _ = hkdf(self._primitives, self._chaining, material)
        self._cipher = CipherState(self._primitives.chacha(key))

    def mix_hash(self, data: bytes) -> None:
        """Take in what both sides know."""
        self.hash = self._primitives.hash(self.hash + data)

    def mix_key_and_hash(self, material: bytes) -> None:
        """Take in a secret that both sides had before."""
        self._chaining, told, key = hkdf(self._primitives, self._chaining, material)
        self.mix_hash(told)
        self._cipher = CipherState(self._primitives.chacha(key))

    def encrypt(self, plaintext: bytes) -> bytes:
        """Bytes to be written; as they are while there is no key."""
        data = plaintext if self._cipher is None else self._cipher.encrypt(self.hash, plaintext)
        self.mix_hash(data)
        return data

    def decrypt(self, data: bytes) -> "bytes | None":
        """Decrypt; None where it does not authenticate."""
        plaintext = data if self._cipher is None else self._cipher.decrypt(self.hash, data)
        self.mix_hash(data)
        return plaintext

    def tag_size(self) -> int:
        """Bytes that encryption adds now."""
        return 0 if self._cipher is None else TAG_SIZE

    def split(self) -> "tuple[CipherState, CipherState]":
        """The ciphers of both directions, the initiator's first."""
        first, second, _ = hkdf(self._primitives, self._chaining, b"")
        chacha = self._primitives.chacha
        return CipherState(chacha(first)), CipherState(chacha(second))


class HandshakeState:
    """One side of a handshake (section 5.3).

    Args: `primitives` as of cipher.py; `prologue` what both sides must agree on; `psk` 32 bytes, b"" for a
    pattern without; `static` the pair (private, public) of who has one. Raises LocalError.
    """

    def __init__(
        self,
        primitives: "Any",
        pattern: Pattern,
        initiator: bool,
        prologue: bytes,
        psk: bytes = b"",
        static: "tuple[bytes, bytes]" = (b"", b""),
    ) -> None:
        if len(psk) != (32 if pattern.needs_psk else 0):
            raise LocalError("psk must be 32 bytes where the pattern has one, else empty")
        self._primitives = primitives
        self._psk = psk
        self._with_psk = pattern.needs_psk
        self._messages = list(pattern.messages)
        self.initiator = initiator
        self._static, self._static_public = static
        self._ephemeral = b""
        self._remote_ephemeral = b""
        self.remote_static = b""  # the other side's key, once it is proved
        self._symmetric = SymmetricState(primitives, pattern.name)
        self._symmetric.mix_hash(prologue)
        self._my_turn = initiator

    @property
    def finished(self) -> bool:
        """Whether all messages have been written and read."""
        return not self._messages

    @property
    def my_turn(self) -> bool:
        """Whether this side writes the next message."""
        return self._my_turn and not self.finished

    @property
    def hash(self) -> bytes:
        """Of all that was said, 32 bytes: once the handshake has finished both sides have the same."""
        return self._symmetric.hash

    def split(self) -> "tuple[CipherState, CipherState]":
        """The ciphers of a handshake that has finished: to send with, to receive with."""
        first, second = self._symmetric.split()
        return (first, second) if self.initiator else (second, first)

    def write_message(self, payload: bytes = b"") -> bytes:
        """The next message; b"" if the other side has given a key of low order, with which nobody who is
        honest comes. After that nothing more is read or written.
        """
        symmetric = self._symmetric
        data = b""
        for token in self._next():
            if token == E:
                self._ephemeral, public = self._primitives.keypair()
                data += public
                self._mix_ephemeral(public)
            elif token == S:
                data += symmetric.encrypt(self._static_public)
            elif not self._mix(token):
                return b""
        return data + symmetric.encrypt(payload)

    def read_message(self, message: bytes) -> "bytes | None":
        """The payload of the other side's next message; None if it is no message of somebody who knows what
        this side knows. After that nothing more is read or written.
        """
        symmetric = self._symmetric
        pos = 0
        for token in self._next():
            if token == E:
                self._remote_ephemeral = message[:DH_SIZE]
                pos = DH_SIZE
                if len(message) < DH_SIZE:
                    return None
                self._mix_ephemeral(self._remote_ephemeral)
            elif token == S:
                stop = pos + DH_SIZE + symmetric.tag_size()
                key = symmetric.decrypt(message[pos:stop])
                if key is None or len(key) != DH_SIZE:
                    return None
                pos = stop
                self.remote_static = key
            elif not self._mix(token):
                return None
        return symmetric.decrypt(message[pos:])

    def _next(self) -> "tuple[int, ...]":
        self._my_turn = not self._my_turn
        return self._messages.pop(0)

    def _mix_ephemeral(self, public: bytes) -> None:
        self._symmetric.mix_hash(public)
        if self._with_psk:  # section 9.2: it stands for the randomness that a psk lacks
            self._symmetric.mix_key(public)

    def _mix(self, token: int) -> bool:
        """A token that stands for a secret. False where the other side's key is of low order."""
        if token == PSK:
            self._symmetric.mix_key_and_hash(self._psk)
            return True
        mine = token == EE or (token == ES) == self.initiator  # by its ephemeral key
        theirs = token == EE or (token == SE) == self.initiator
        private = self._ephemeral if mine else self._static
        public = self._remote_ephemeral if theirs else self.remote_static
        secret: bytes = self._primitives.dh(private, public)
        if secret:
            self._symmetric.mix_key(secret)
        return bool(secret)


def hkdf(primitives: "Any", salt: bytes, material: bytes) -> "tuple[bytes, bytes, bytes]":
    """Three keys of 32 bytes out of key material (section 4.3: RFC 5869 without `info`)."""
    hmac = primitives.hmac
    secret = hmac(salt, material)
    first = hmac(secret, b"\1")
    second = hmac(secret, first + b"\2")
    return first, second, hmac(secret, second + b"\3")
