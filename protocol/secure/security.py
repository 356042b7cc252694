"""Protection of one link of a router, and who may come over it: a token, keys, or neither.

Chooses the handshake. What computes is injected (cipher.py), and so is who decides about keys.
"""

from busway.protocol.errors import LocalError, Refusal
from busway.protocol.secure.channel import AES_RECORDS, Channel, Handshake
from busway.protocol.secure.cipher import CipherState
from busway.protocol.secure.keyed import NO_KEY, KeyedHandshake, token_key
from busway.protocol.secure.noise import NNPSK0, XXPSK3, HandshakeState
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Sequence

_SIZES = {codes.XXPSK3: (48, 96, 64), codes.NNPSK0: (48, 48)}
_BUS_NAME = "the bus names differ (this side's is %r), or somebody on the way changes bytes"
_TOKEN = "the token is wrong, or one side has none: give both sides the same"
_TOKEN_OR_BUS = "the token or the bus name is another: give both sides the same"
_FORGED = "the handshake is not what the other side wrote: somebody changes bytes on the way"


class NoiseHandshake(Handshake):
    """Patterns 1 and 2. Args as of HandshakeState, and the number of the pattern."""

    def __init__(
        self,
        primitives: "Any",
        pattern: int,
        initiator: bool,
        prologue: bytes,
        psk: bytes,
        static: "tuple[bytes, bytes]",
    ) -> None:
        self.pattern = pattern
        self.my_turn = initiator
        noise = XXPSK3 if pattern == codes.XXPSK3 else NNPSK0
        self._state = HandshakeState(primitives, noise, initiator, prologue, psk, static)
        self._primitives = primitives
        self._bus = prologue[len(codes.PROLOGUE) + 3 :].decode()
        self._number = 0  # of the next message

    def write(self) -> bytes:
        message = self._state.write_message()
        if not message:
            raise self._failure()
        self._step()
        return message

    def read(self, message: bytes) -> None:
        size = _SIZES[self.pattern][self._number]
        if len(message) != size:
            raise Refusal(codes.MALFORMED, "this message of the handshake has %d bytes" % size)
        if self._state.read_message(message) is None:
            raise self._failure()
        self._step()

    def _step(self) -> None:
        state = self._state
        self._number += 1
        self.finished = state.finished
        self.my_turn = state.my_turn
        self.hash = state.hash
        if self.finished and state.remote_static:
            self.remote_key = state.remote_static
            self.remote_id = node_id_of(self._primitives, state.remote_static)

    def _failure(self) -> Refusal:
        """Why the message that was read last does not authenticate: what it is the first to depend on."""
        if self.pattern == codes.NNPSK0:
            return Refusal(codes.FORGED, _FORGED) if self._number else Refusal(codes.TOKEN, _TOKEN_OR_BUS)
        if self._number == 2:
            return Refusal(codes.TOKEN, _TOKEN)
        return Refusal(codes.BUS_NAME, _BUS_NAME % self._bus)

    def split(self) -> "tuple[CipherState, CipherState]":
        return self._state.split()


def node_id_of(primitives: "Any", public: bytes) -> bytes:
    """The node id of who has the X25519 key `public`, 16 bytes."""
    digest: bytes = primitives.hash(codes.ID_CONTEXT + public)
    return bytes((digest[0] | codes.BOUND,)) + digest[1:16]


class Security:
    """One link's protection.

    Args:
        primitives: as of cipher.py.
        entropy: gives n random bytes.
        first: the pattern that this side begins with where it is the initiator: XXPSK3, NNPSK0, PSK_AES.
        takes: the patterns that it takes where it is the responder; PLAIN among them: HELLO without any.
        token: in UTF-8; b"": none. Both sides of a link have the same.
        static: this node's X25519 key, private and public; b"" twice: a new one for each session.
        board_key: gives the 32 bytes of a board's key, by its node id; None for one that is not known.
        admit: decides who may come, once a handshake has finished: given it (`pattern`, `remote_key`,
            `remote_id`, `hash`; None for a plain link) it returns ROLE_ROUTER, ROLE_LEAF for one that may
            come as a leaf only, or ROLE_NONE. None: all who know the token are routers. It is not asked about
            boards with a key of their own: those are leaves.
        quick_aes: whether this machine computes AES quickly: then records use it, if the other's does, too.

    Raises LocalError.
    """

    offers = 0  # what a SYN says of it, see lines.py
    plain_role = codes.ROLE_NONE  # of others over a plain link: there is none

    def __init__(
        self,
        primitives: "Any",
        entropy: "Callable[[int], bytes]",
        *,
        first: int = codes.XXPSK3,
        takes: "Sequence[int]" = (codes.XXPSK3, codes.NNPSK0, codes.PSK_AES),
        token: bytes = b"",
        static: "tuple[bytes, bytes]" = (b"", b""),
        board_key: "Callable[[bytes], bytes | None] | None" = None,
        admit: "Callable[[Handshake | None], int] | None" = None,
        quick_aes: bool = False,
    ) -> None:
        if not codes.XXPSK3 <= first <= codes.PSK_AES:
            raise LocalError("first must be XXPSK3, NNPSK0 or PSK_AES (1, 2, 3), not %r" % first)
        if not token and first == codes.NNPSK0:
            raise LocalError("pattern 2 needs a token")
        self.primitives = primitives
        self.features = AES_RECORDS if quick_aes else 0  # of HELLO
        self._entropy = entropy
        self.first = first
        self.plain = codes.PLAIN in takes
        self._takes = takes
        self._psk = primitives.hmac(codes.TOKEN_CONTEXT, token) if token else bytes(32)
        self._token_key = token_key(primitives, token) if token else None
        self._static = static
        self._board_key = board_key
        self._admit = admit

    def channel(self, packets: bool, bus: str) -> Channel:
        """For a new link."""
        return Channel(self, packets, bus)

    def facing(self, offered: int) -> "Security | None":
        """On a packet link: the same whoever is there (lines.py chooses)."""
        return self

    def handshake(self, pattern: int, initiator: bool, prologue: bytes) -> Handshake:
        """For one session. Raises Refusal for a pattern that is not taken."""
        if not initiator:
            self._check_taken(pattern)
        if pattern == codes.PSK_AES:
            nonce = self._entropy(16)
            return KeyedHandshake(self.primitives, initiator, prologue, NO_KEY, self._key_of, nonce)
        static = self._static
        if pattern == codes.XXPSK3 and not static[0]:
            static = self.primitives.keypair()
        return NoiseHandshake(self.primitives, pattern, initiator, prologue, self._psk, static)

    def _check_taken(self, pattern: int) -> None:
        if pattern == codes.PLAIN or pattern not in self._takes:
            raise Refusal(codes.PATTERN, "this side does not take handshake %d" % pattern)
        if pattern == codes.NNPSK0 and self._token_key is None:
            raise Refusal(codes.PATTERN, "this side has no token, so it takes no handshake by one")

    def _key_of(self, key_id: bytes) -> "bytes | None":
        if key_id == NO_KEY:
            return self._token_key
        return None if self._board_key is None else self._board_key(key_id)

    def admit(self, handshake: "Handshake | None") -> int:
        """The role in which who has shaken hands may come; None: who has not. Raises Refusal."""
        if handshake is not None and handshake.pattern == codes.PSK_AES and handshake.remote_id:
            return codes.ROLE_LEAF  # a board whose key is known here: that lets it speak for itself only
        if self._admit is None:
            return codes.ROLE_ROUTER
        role = self._admit(handshake)
        if role == codes.ROLE_NONE:
            raise Refusal(codes.UNTRUSTED, "this key is not trusted here: ask whoever runs the other side")
        return role
