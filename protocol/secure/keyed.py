"""The handshake with those who have a key and AES, but no X25519: boards (docs/protocol.md, section 3.2.3).
Boards themselves have leaf/keyed.py.
"""

from busway.protocol.errors import Refusal
from busway.protocol.secure.channel import Handshake
from busway.protocol.secure.cipher import CipherState
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

NO_KEY = bytes(16)
_UNKNOWN = "no key is known here for this board: give both sides the same token, or this side the board's key"


class KeyedHandshake(Handshake):
    """Pattern 3. Args: `primitives` as of cipher.py; `initiator` whether this side writes first; `key_id` of
    this side's own key, NO_KEY without; `key_of` gives the key of an id, NO_KEY: the token's, or None;
    `nonce` 16 random bytes.
    """

    pattern = codes.PSK_AES
    tag_size = 8
    _theirs = b""

    def __init__(
        self,
        primitives: "Any",
        initiator: bool,
        prologue: bytes,
        key_id: bytes,
        key_of: "Callable[[bytes], bytes | None]",
        nonce: bytes,
    ) -> None:
        self._primitives = primitives
        self._initiator = self.my_turn = initiator
        self._prologue = prologue
        self._key_of = key_of
        self._mine = key_id + nonce
        self._key = b""

    def write(self) -> bytes:
        self.my_turn = False
        self.finished = not self._initiator
        return self._mine

    def read(self, message: bytes) -> None:
        if len(message) != 32:
            raise Refusal(codes.MALFORMED, "a message of pattern 3 has 32 bytes")
        self._theirs = message
        self.my_turn = not self._initiator
        self.finished = self._initiator
        mine, theirs = self._mine[:16], message[:16]
        first, second = (mine, theirs) if self._initiator else (theirs, mine)
        named = first if first != NO_KEY else second
        key = self._key_of(named)
        if key is None:
            raise Refusal(codes.TOKEN, _UNKNOWN)
        self._key = key
        if named == theirs and named != NO_KEY:
            self.remote_id = named

    def is_proved(self) -> bool:
        return self._initiator

    def split(self) -> "tuple[CipherState, CipherState]":
        hmac = self._primitives.hmac
        first, second = (self._mine, self._theirs) if self._initiator else (self._theirs, self._mine)
        self.hash = self._primitives.hash(self._prologue + first + second)
        keys = hmac(hmac(first[16:] + second[16:], self._key), codes.KEYS_CONTEXT + self.hash + b"\1")
        ccm = self._primitives.ccm
        one, other = CipherState(ccm(keys[:16])), CipherState(ccm(keys[16:]))
        return (one, other) if self._initiator else (other, one)


def board_id(primitives: "Any", key: bytes) -> bytes:
    """The node id of a board with this key, 16 bytes."""
    digest: bytes = primitives.hash(codes.BOARD_ID_CONTEXT + key)
    return bytes((digest[0] | codes.BOUND,)) + digest[1:16]


def token_key(primitives: "Any", token: bytes) -> bytes:
    """The key of those who have a token, in UTF-8, and no key of their own."""
    key: bytes = primitives.hmac(codes.BOARD_TOKEN_CONTEXT, token)
    return key
