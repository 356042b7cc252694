"""How the two sides of a link prove to each other that they may join (docs/protocol.md, section 3.2): now by
a token that both know.

A handshake asks here what to send and whether what came is right, and knows nothing of tokens.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class Authenticator:
    """One side's part in one session.

    Args: `prove` as of Link, None where nothing needs to be proved; `entropy` gives n random bytes.
    """

    __slots__ = ("_prove", "_wanted", "demands", "nonce")

    def __init__(self, prove: "Callable[[bytes], bytes] | None", entropy: "Callable[[int], bytes]") -> None:
        self._prove = None if prove is None else _guarded(prove)
        self._wanted = b""
        self.nonce = entropy(codes.NONCE_SIZE)  # in HELLO: what was proved in another session proves nothing
        self.demands = prove is not None  # that the other side proves something; HELLO says so

    def begin(self, mine: bytes, theirs: bytes) -> bytes:
        """Both HELLO bodies are known, and one side demands a proof: ours, to be sent. Raises Refusal."""
        self._wanted = write_proof(self._prove, theirs, mine)
        return write_proof(self._prove, mine, theirs)

    def check(self, proof: bytes) -> None:
        """Judge what the other side sent. Raises Refusal, with the reason, if that proves nothing."""
        check_proof(self._wanted, proof)


def _guarded(prove: "Callable[[bytes], bytes]") -> "Callable[[bytes], bytes]":
    """`prove`, whose errors end the link. The other side hears their sort only: a text might tell secrets."""

    def proved(message: bytes) -> bytes:
        try:
            return prove(message)
        except Exception as error:  # noqa: BLE001 - whatever it is
            text = "the token's proof could not be made: prove raised %s"
            raise Refusal(codes.TOKEN, text % type(error).__name__) from None

    return proved


def write_proof(prove: "Callable[[bytes], bytes] | None", mine: bytes, theirs: bytes) -> bytes:
    """The proof that the writer of the HELLO `mine` knows the token. Raises Refusal if we were given none."""
    if prove is None:
        raise Refusal(codes.TOKEN, "the other side demands a token and this side was given none")
    return prove(codes.AUTH_CONTEXT + mine + theirs)


def check_proof(wanted: bytes, proof: bytes) -> None:
    """Raise Refusal if a proof is not what the other side would have sent who knows our token."""
    if len(proof) != codes.PROOF_SIZE:
        raise Refusal(codes.MALFORMED, "a proof has 32 bytes")
    difference = len(wanted) ^ len(proof)
    for right, given in zip(wanted, proof):
        difference |= right ^ given  # all of them, so that the time tells nothing
    if difference:
        raise Refusal(codes.TOKEN, "the token is wrong: give both sides the same")
