"""Protection of a board's link: handshake pattern 3 and the records behind it (docs/protocol.md, sections
3.2.3 and 3.2.4). Has the face of secure/channel.py, in the least memory.

Only boards with a key or a token load it. What computes is injected; knows nothing of what is in the records
but a CLOSE.
"""

from busway.protocol.errors import Refusal
from busway.protocol.wire import codes
from busway.protocol.wire.control import is_close, length_end, refuse_length
from busway.protocol.wire.fields import Reader, frame, text8

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Final

_NONCE_SIZE: "Final" = 16
_TAG_SIZE: "Final" = 8
_AROUND: "Final" = 10  # bytes that a record adds at most: its length and its tag
_LEAST: "Final" = 64  # bytes of a record, though a packet takes fewer, if as many wait
_MESSAGE_SIZE: "Final" = 32  # of a handshake: an id and a nonce
_FIRST = bytes((codes.HANDSHAKE,)) + codes.MAGIC + bytes((codes.VERSION, codes.PSK_AES))


class Secret:
    """The secret that a board and its router share.

    Args: `crypto` has `hash`, `hmac`, `seal` and `open`, as of adapters/micropython_crypto.py; `entropy`
    gives n random bytes, never the same; `key` 32 bytes of the board's own, or b"" and a `token`, in UTF-8,
    that all sides have.
    """

    def __init__(
        self, crypto: "Any", entropy: "Callable[[int], bytes]", key: bytes, token: bytes = b""
    ) -> None:
        self.crypto = crypto
        self.entropy = entropy
        self.id = bytes(codes.ID_SIZE)  # the board's node id; zeros: it has no key of its own
        if key:
            digest: bytes = crypto.hash(codes.BOARD_ID_CONTEXT + key)
            self.id = bytes((digest[0] | codes.BOUND,)) + digest[1 : codes.ID_SIZE]
        self.key: bytes = key or crypto.hmac(codes.BOARD_TOKEN_CONTEXT, token)

    def channel(self, packets: bool, bus: str) -> "KeyedChannel":
        """For a new link."""
        return KeyedChannel(self, packets, bus)


class KeyedChannel:
    """One side of a protected link, for one session.

    Args: `secret`; `packets` whether the link is of sort "packet"; `bus` the bus's name.
    """

    secured = False  # the keys are known
    ready = False  # this side may write records
    more = False  # `receive` has to be called again, with nothing
    refusal: "Refusal | None" = None  # what ends the link
    _begun = False  # this side is the initiator
    _max = codes.HELLO_SIZE_MAX  # bytes of a frame, or of what a record holds
    _key_out = b""
    _key_in = b""

    def __init__(self, secret: Secret, packets: bool, bus: str) -> None:
        self._secret = secret
        self._mine: bytes = secret.id + secret.entropy(_NONCE_SIZE)
        self._prologue = codes.PROLOGUE + bytes((1 if packets else 0, codes.PSK_AES)) + text8(bus)
        self.out = b""  # bytes to be written before anything else
        self._clear = False  # ... which have not been sealed yet
        self._in = b""  # the beginning of a record, or frame, whose end has not come
        self._sent = 0  # records; here, so that to count takes no memory
        self._came = 0

    def begin(self) -> None:
        """This side is the initiator: it says the first message."""
        self._begun = True
        self.out = frame(_FIRST + self._mine)

    def agreed(self, frame_size_max: int) -> None:
        """HELLO was read: records may be as large as frames."""
        self._max = frame_size_max

    # Reading

    def receive(self, data: bytes) -> bytes:
        """Take in bytes; returns what of the other side's stream the next record brought. `more` tells
        whether another may be there, `refusal` whether the link ends.
        """
        data = self._in + data
        self._in = b""  # a board has no room for it twice
        plain = b""
        self.more = False
        try:
            at = length_end(data, 0, len(data))
            if at:
                size = Reader(data, 0, at).varint()
                size_max = self._max + (_TAG_SIZE if self.secured else 0)
                if not 0 < size <= size_max:
                    refuse_length(size, size_max)
                size += at
                if size <= len(data):
                    body = data[at:size]
                    data = data[size:]  # before it is opened: a board has no room for it twice
                    self.more = len(data) > 0
                    plain = self._open(body)
        except Refusal as refusal:
            self.refusal = refusal
        self._in = data
        return plain

    def _open(self, body: bytes) -> bytes:
        """Open a record; before those, read a CLOSE."""
        if self.secured:
            nonce = self._came.to_bytes(13, "big")
            plain: "bytes | None" = self._secret.crypto.open(self._key_in, nonce, b"", body)
            if plain:
                self._came += 1
                self.ready = True
                return plain
            if plain is not None:
                raise Refusal(codes.MALFORMED, "a record without contents")
            if self._came:
                raise Refusal(codes.FORGED, "a record is not what the router wrote")
        if is_close(body):  # of a router that has no key, or another
            return frame(body)
        if self.secured:
            raise Refusal(
                codes.FORGED if self.ready else codes.TOKEN,
                "the router has another key, or somebody changes bytes on the way",
            )
        if body[0] != codes.HANDSHAKE:
            raise Refusal(codes.TOKEN, "this board has a key, and the router asks for none")
        self._agree(body)
        return b""

    def _agree(self, body: bytes) -> None:
        """The router's half of the handshake: the keys follow."""
        own = self._secret
        crypto = own.crypto
        mine = self._mine
        theirs = body[1:]
        if not self._begun:
            theirs = body[len(_FIRST) :]
            if body[: len(_FIRST)] != _FIRST:
                raise Refusal(codes.PATTERN, "a board takes handshake 3 only, of version 2")
        if len(theirs) != _MESSAGE_SIZE:
            raise Refusal(codes.MALFORMED, "a message of the handshake has 32 bytes")
        # Of two keys that are named the initiator's counts.
        if theirs[0] and theirs[: codes.ID_SIZE] != own.id and not (self._begun and own.id[0]):
            raise Refusal(codes.TOKEN, "the router names a key that this board does not have")
        first = mine
        second = theirs
        if not self._begun:
            first = theirs
            second = mine
            self.out = frame(bytes((codes.HANDSHAKE,)) + mine)
        told = crypto.hash(self._prologue + first + second)
        secret = crypto.hmac(first[codes.ID_SIZE :] + second[codes.ID_SIZE :], own.key)
        keys = crypto.hmac(secret, codes.KEYS_CONTEXT + told + b"\1")
        self._key_out = keys[:16]
        self._key_in = keys[16:]
        if not self._begun:
            self._key_out = self._key_in
            self._key_in = keys[:16]
        self._mine = self._prologue = b""  # not needed any more
        self.secured = True
        self.ready = self._begun  # the other side proves itself by its first record

    # Writing

    def say(self, data: bytes) -> None:
        """The first record: HELLO."""
        self.out += self._seal(data)

    def write(self, source: "Callable[[int, int], bytes]", size_max: int, now: int) -> bytes:
        """At most `size_max` bytes to write now. `source` gives at most so many bytes of our stream as it is
        at `now`.
        """
        if not self.out:
            if not self.ready:  # nothing but CLOSE
                return source(size_max, now)
            self.out = source(min(max(_LEAST, size_max) - _AROUND, self._max), now)
            self._clear = len(self.out) > 0
        if self._clear:
            self.out = self._seal(self.out)  # without memory for it nothing has changed
            self._clear = False
        data = self.out[:size_max]
        self.out = self.out[size_max:]
        return data

    def _seal(self, plaintext: bytes) -> bytes:
        nonce = self._sent.to_bytes(13, "big")
        record = frame(self._secret.crypto.seal(self._key_out, nonce, b"", plaintext))
        self._sent += 1  # takes no memory: no number is used twice
        return record
