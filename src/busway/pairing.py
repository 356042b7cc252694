"""Pairing: two people who each sit at a machine make sure, by six words on both screens, that each machine
has the other's key and not that of somebody in between (docs/protocol.md, section 14). Bytes in, bytes out:
no sockets.

Words over the hash of a handshake alone could be had by trial: whoever is in between would make handshakes
with both sides until the words agree. So each side adds 32 random bytes of its own, and the dialler is bound
to its by a commitment before it sees the other's. Whoever is in between has then one guess at 48 bits,
however much it computes: 1 in 281,474,976,710,656, and a wrong one is seen. (The scheme of Vaudenay, "Secure
communications over insecure channels based on short authenticated strings", 2005, its commitment a hash.)

A guess costs nothing while nobody sees that it was wrong. So a listener tells its bytes to one dialler only,
and a pairing that ends behind that is over for the people, too.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final

from busway import words
from busway.ephemeral import is_ephemeral
from busway.protocol import codes
from busway.protocol.errors import Refusal
from busway.protocol.secure.noise import XXPSK3, HandshakeState
from busway.protocol.wire.control import length_end, read_close, write_close
from busway.protocol.wire.fields import Reader, clip_text, frame, lenient_text
from busway.settings import name_problem

PATTERN: Final = 4  # of the first HANDSHAKE frame, so that neither a bus nor this takes one for the other
NONCE_SIZE: Final = 32
FRAME_SIZE_MAX: Final = 512

# The states of a pairing: the handshake; the random bytes; people compare; the end, one way or the other.
HANDSHAKE: Final = 0
WORDS: Final = 1
COMPARING: Final = 2
PAIRED: Final = 3
ENDED: Final = 4

_HELLO = bytes((0x02,)) + codes.MAGIC + bytes((codes.VERSION, PATTERN))
_TAG = b"busway-pair-2"
_NO_BUS = "`busway pair --listen` waits there, and no bus: `busway pair URL` is for it"
_ONE_RUN = "the other side's key is of one run, so trusting it is of no use: it needs one to keep"
_A_BUS = "a bus listens there, and nobody who pairs: run `busway pair --listen` there, at another port"
_NOT_WANTED = "the other side pairs with another machine now: end both and begin anew"
_ANOTHER = "another machine pairs with that one now: end both and begin anew"
_COMMIT, _NONCE, _REVEAL, _YES, _NO = 1, 2, 3, 4, 5


class Pairing:
    """One side of a pairing.

    Args: `primitives` and `static` as of protocol/secure/noise.py; `dialled` whether this side did; `name`
    what the other side may call us; `nonce` 32 random bytes that are used for nothing else; `may_tell` of who
    listens is asked before the dialler gets that, and must say yes to one of all that come.
    """

    def __init__(
        self,
        primitives: Any,
        static: tuple[bytes, bytes],
        dialled: bool,
        name: str,
        nonce: bytes,
        may_tell: Callable[[], bool] = lambda: True,
    ) -> None:
        if len(nonce) != NONCE_SIZE:
            raise ValueError(f"nonce must be {NONCE_SIZE} random bytes, not {len(nonce)}")
        self.state = HANDSHAKE
        self.words = ""  # from COMPARING on
        self.name = ""  # what the other side calls itself: nobody has checked it
        self.public = b""  # the other side's key; proved to be its, not whose it is
        self.trouble = ""  # why it ended
        self.told = False  # the other side got the nonce: what it does then is its one guess
        self._name = clip_text(name, codes.TEXT_SIZE_MAX)
        self._nonce = nonce
        self._may_tell = may_tell
        self._theirs = b""  # the other side's commitment, or its nonce
        self._mine: bool | None = None  # what the people said
        self._other: bool | None = None
        self._dialled = dialled
        self._handshake = HandshakeState(primitives, XXPSK3, dialled, _TAG, bytes(32), static)
        self._first = True
        self._kept = b""
        self._out = b""
        self._ciphers: tuple[Any, Any] | None = None
        if dialled:
            self._write_handshake()

    def data_to_send(self) -> bytes:
        """The bytes that are to be written now."""
        out, self._out = self._out, b""
        return out

    def answer(self, same: bool) -> None:
        """The person here says whether the words are the same. Only in COMPARING."""
        if self.state != COMPARING or self._mine is not None:
            raise ValueError("there are no words to be compared now")
        self._mine = same
        self._say(_YES if same else _NO)
        self._conclude()

    def receive_eof(self) -> None:
        """The other side is gone."""
        if self.state < PAIRED:
            self._end("the other side went away")

    def receive_data(self, data: bytes) -> None:
        """Bytes of the other side; whatever they are, they lead to another state at most."""
        if self.state < PAIRED:
            self._kept += data
        try:
            while self.state < PAIRED and (body := self._next_frame()):
                self._take(body)
        except Refusal as refusal:
            self._refuse(refusal.code, refusal.text)

    def _next_frame(self) -> bytes:
        end = length_end(self._kept, 0, len(self._kept))
        if not end:
            return b""
        length = Reader(self._kept, 0, end).varint()
        if not 0 < length <= FRAME_SIZE_MAX:
            raise Refusal(codes.NOT_BUSWAY, "that is no pairing")
        if self._ciphers is None and self._kept[end : end + 1] > bytes((codes.CLOSE,)):
            raise Refusal(
                codes.NOT_BUSWAY, "that is no pairing"
            )  # what would never become one is told so at once
        if len(self._kept) < end + length:
            return b""
        body, self._kept = self._kept[end : end + length], self._kept[end + length :]
        return body

    def _take(self, body: bytes) -> None:
        if self.state == HANDSHAKE:
            self._take_handshake(body)
            return
        assert self._ciphers is not None
        text = self._ciphers[1].decrypt(b"", body)
        if not text:
            raise Refusal(codes.MALFORMED, "somebody changed what was said")
        if text[0] == _NO:
            self._other = False
            self._conclude()
        elif self.state == WORDS:
            self._take_nonce(text[0], text[1:])
        elif text == bytes((_YES,)) and self._other is None:
            self._other = True
            self._conclude()
        else:
            raise Refusal(codes.MALFORMED, "that is no pairing")

    # The handshake

    def _take_handshake(self, body: bytes) -> None:
        if body[0] == codes.CLOSE:
            code, text = read_close(Reader(body, 1, len(body)))
            self._end(_A_BUS if code == codes.PATTERN else text or "the other side ended it")
            return
        message = self._handshake_message(body)
        if self._handshake.read_message(message) is None:
            raise Refusal(codes.MALFORMED, "the handshake failed")
        if self._handshake.my_turn:
            self._write_handshake()
        if self._handshake.finished:
            self.public = self._handshake.remote_static
            self._ciphers = self._handshake.split()
            self.state = WORDS
            if is_ephemeral(self.public):
                self._say(_NO)
                self._end(_ONE_RUN)
            elif self._dialled:
                self._say(_COMMIT, self._commitment(self._nonce) + self._name.encode())

    def _handshake_message(self, body: bytes) -> bytes:
        head = b"\x02" if self._dialled or not self._first else _HELLO
        self._first = False
        if not body.startswith(head):
            known = body[0] in (codes.HELLO, 0x02)
            raise Refusal(codes.NOT_BUSWAY, _NO_BUS if known else "that is no pairing")
        return body[len(head) :]

    def _write_handshake(self) -> None:
        first, self._first = self._first and self._dialled, False
        message = self._handshake.write_message()
        if not message:
            raise Refusal(codes.MALFORMED, "the handshake failed")
        self._out += frame((_HELLO if first else b"\x02") + message)

    # The random bytes

    def _take_nonce(self, kind: int, data: bytes) -> None:
        part, name = data[:NONCE_SIZE], data[NONCE_SIZE:]
        expected = _NONCE if self._dialled else _COMMIT if not self._theirs else _REVEAL
        if kind != expected or len(part) != NONCE_SIZE:
            raise Refusal(codes.MALFORMED, "that is no pairing")
        if kind == _REVEAL:
            if not hmac.compare_digest(self._commitment(part), self._theirs):
                raise Refusal(codes.MALFORMED, "it is not what it had committed itself to")
            self._compare(part, self._nonce)
            return
        self._theirs = part
        self.name = _plain_name(name)
        if self._dialled:
            self._say(_REVEAL, self._nonce)
            self._compare(self._nonce, part)
        elif not self._may_tell():
            self._say(_NO)
            self._end(_ANOTHER)
        else:
            self.told = True
            self._say(_NONCE, self._nonce + self._name.encode())

    def _commitment(self, nonce: bytes) -> bytes:
        return hashlib.sha256(_TAG + b"commit" + self._handshake.hash + nonce).digest()

    def _compare(self, dialler: bytes, listener: bytes) -> None:
        digest = hashlib.sha256(_TAG + b"words" + self._handshake.hash + dialler + listener).digest()
        self.words = words.words_of(digest[: words.COUNT])
        self.state = COMPARING

    # The end

    def _say(self, kind: int, data: bytes = b"") -> None:
        assert self._ciphers is not None
        self._out += frame(self._ciphers[0].encrypt(b"", bytes((kind,)) + data))

    def _conclude(self) -> None:
        if self._mine is False:
            self._end("the words were not the same here")
        elif self._other is False:
            told = "the words were not the same for the other side"
            self._end(told if self.words else _NOT_WANTED)
        elif self._mine and self._other:
            self.state = PAIRED

    def _refuse(self, code: int, text: str) -> None:
        if self._ciphers is None:
            self._out += write_close(code, text)
        self._end(text)

    def _end(self, trouble: str) -> None:
        self.state = ENDED
        self.trouble = trouble


def _plain_name(raw: bytes) -> str:
    """The name that the other side gives itself, or "" if it can be none."""
    name = lenient_text(raw[: codes.TEXT_SIZE_MAX]).strip()
    return "" if name_problem(name) else name
