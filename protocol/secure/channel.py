"""The layer of a protected link between its bytes and its frames: a handshake, then records
(docs/protocol.md, section 3.2). Sans-IO: bytes in, the peer's stream out, and the other way round.

Knows nothing of what is in the records but a CLOSE, and no handshake by name.
"""

from busway.protocol.errors import Refusal
from busway.protocol.secure.cipher import AesState, CipherState
from busway.protocol.wire import codes
from busway.protocol.wire.control import is_close, is_unknown, length_end, refuse_length
from busway.protocol.wire.fields import Reader, frame, text8, varint
from busway.protocol.wire.hello import check_version
from busway.protocol.wire.strangers import check_stranger, stranger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Final

AES_RECORDS: "Final" = 0x01  # of HELLO's features: AES is quick here, and records may be sealed with it
RECORD_MAX: "Final" = 65535  # bytes behind a record's length
_PIECE_MIN: "Final" = (
    256  # bytes that a record is filled with if there are so many, however few are asked for
)
_OVERHEAD: "Final" = 19  # of a record
_VIEW_MIN: "Final" = 4096  # bytes of a record from which on a view of it costs less than its copy
_HANDSHAKE = bytes((codes.HANDSHAKE,))
_UNPROTECTED = (
    "one side has a token or a key and protects this link, the other has none: give both sides the same token"
)


class Handshake:
    """The face of a handshake. `write` and `read` are called in turn until it has finished."""

    pattern = 0
    finished = False
    my_turn = False  # to write
    tag_size = 16  # of its records, bytes
    remote_key = b""  # the X25519 key that the other side has proved, if it did
    remote_id = b""  # the node id that follows from the key that it proved, if it did
    hash = b""  # of all that was said: both sides have the same once it has finished

    def write(self) -> bytes:
        """Our next message. Raises Refusal."""
        raise NotImplementedError

    def read(self, message: bytes) -> None:
        """Take the other side's next message. Raises Refusal."""
        raise NotImplementedError

    def is_proved(self) -> bool:
        """Of one that has finished: whether the other side has proved itself, and may be told who we are."""
        return True

    def split(self) -> "tuple[CipherState, CipherState]":
        """The ciphers to send with, and to receive with."""
        raise NotImplementedError


class Channel:
    """One side of a protected link, for one session.

    Args: `security` as of security.py; `packets` whether the link is one of packets; `bus` the bus's name.
    """

    handshake: "Handshake | None" = None
    secured = False  # the handshake has finished
    ready = False  # this side may write records
    heard = False  # a record of the other side was read
    plain = False  # the other side began with HELLO, and may: its stream is all there is
    more = False  # `receive` has to be called again, with nothing
    refusal: "Refusal | None" = None  # what ends the link
    _sender: CipherState
    _receiver: "CipherState | None" = None
    _former: "CipherState | None" = None  # what they were opened with before both agreed on AES

    def __init__(self, security: "Any", packets: bool, bus: str) -> None:
        self.security = security
        self._packets = packets
        self._bus = bus
        self.out = b""  # bytes to be written before anything else
        self._chunks: "list[bytes]" = []  # an incomplete frame or record, as it came
        self._have = 0
        self._need = 0
        self._length_max = codes.HELLO_SIZE_MAX  # of a frame, or of a record with its tag
        self._tag_size = 0  # of records; 0 before they begin
        self._write_max = codes.HELLO_SIZE_MAX  # bytes that a record is filled with
        self.record_size = self._write_max + _OVERHEAD  # of a full one

    def begin(self) -> None:
        """This side is the initiator: it says the first message."""
        pattern: int = self.security.first
        self._shake(pattern, True)
        self._say(codes.MAGIC + bytes((codes.VERSION, pattern)))

    def agreed(self, frame_size_max: int, features: int = 0) -> None:
        """HELLO was read: records may be as large as frames, and both sides have these `features`."""
        if features & AES_RECORDS and self._receiver is not None and self._tag_size == 16:
            gcm = self.security.primitives.gcm
            self._former = self._receiver
            self._sender = AesState(gcm, self._sender)
            self._receiver = AesState(gcm, self._receiver)
        plaintext_max = min(frame_size_max, RECORD_MAX - self._tag_size)
        self._length_max = plaintext_max + self._tag_size
        self._write_max = min(plaintext_max, _PIECE_MIN) if self._packets else plaintext_max
        self.record_size = self._write_max + _OVERHEAD

    def _shake(self, pattern: int, initiator: bool) -> None:
        prologue = codes.PROLOGUE + bytes((1 if self._packets else 0, pattern)) + text8(self._bus)
        self.handshake = self.security.handshake(pattern, initiator, prologue)

    def _say(self, before: bytes) -> None:
        assert self.handshake is not None
        self.out += frame(bytes((codes.HANDSHAKE,)) + before + self.handshake.write())

    # Reading

    def receive(self, data: bytes) -> bytes:
        """Take in bytes; returns what of the other side's stream they brought. `refusal` tells whether the
        link ends behind that.
        """
        parts: "list[bytes]" = []
        pos = 0
        try:
            if self._chunks:
                self._have += len(data)
                rest = self._have - self._need  # behind the record that is waited for
                if rest < 0:
                    self._chunks.append(data)
                    self.more = False
                    return b""
                if self.heard and self._need and rest >= _VIEW_MIN:  # is not copied once more
                    pos = len(data) - rest
                    self._read(self._joined(data[:pos]), 0, parts)
                else:
                    data = self._joined(data)
            self._read(data, pos, parts)
        except Refusal as refusal:
            self.refusal = refusal
            self.more = False
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _joined(self, data: bytes) -> bytes:
        """Join what was kept and `data`."""
        self._chunks.append(data)
        data = b"".join(self._chunks)
        self._chunks = []
        return data

    def _read(self, data: bytes, pos: int, parts: "list[bytes]") -> None:
        """All whole frames and records in `data` from `pos` on, up to the first record; the rest is kept."""
        end = len(data)
        need = 0  # bytes from `pos` on that make a whole one; 0: to be looked at with the next that comes
        stopped = False
        while pos < end and not stopped:
            length = data[pos]
            start = pos + 1
            if length >= 0x80 and start < end and data[start] < 0x80:
                length = length & 0x7F | data[start] << 7
                start += 1
            elif length >= 0x80:
                start = length_end(data, pos, end)
                if not start:
                    break
                length = Reader(data, pos, start).varint()
            if length > self._length_max or not length:
                refuse_length(length, self._length_max)
            stop = start + length
            if stop > end:
                if self._receiver is None and (self.handshake is None or data[start:end][:1] != _HANDSHAKE):
                    check_stranger(data, start, end)
                else:
                    need = stop - pos
                break
            if self._receiver is not None:
                stopped = not self.heard  # what follows the first record may be longer: once HELLO was read
                parts.append(self._open(self._receiver, data, pos, start, stop))
            elif self._frame(data, start, stop):
                parts.append(data[pos:])
                pos = end
                break
            pos = stop
        self.more = pos < end and stopped
        if pos < end:
            self._chunks = [data[pos:] if pos else data]
            self._have = end - pos
            self._need = need

    def _open(self, receiver: CipherState, data: bytes, pos: int, start: int, stop: int) -> bytes:
        """Open a record."""
        if stop - start > self._tag_size:
            ciphertext: "Any" = data[start:stop] if stop - start < _VIEW_MIN else memoryview(data)[start:stop]
            plaintext = receiver.decrypt(b"", ciphertext)
            if plaintext is None and self._former is not None:  # CLOSE, of a side that has not agreed
                plaintext = self._former.decrypt(b"", ciphertext)
            if plaintext is not None:
                self.heard = self.ready = True
                return plaintext
        if not self.heard:
            if is_close(data[start:stop]):
                return data[pos:stop]  # of one who has no key, or another
            if not self.ready:
                raise Refusal(codes.TOKEN, "the token or key is wrong: give both sides the same")
        if stop - start <= self._tag_size:
            raise Refusal(codes.MALFORMED, "a record without contents")
        raise Refusal(
            codes.FORGED, "a record is not what the other side wrote: somebody changes bytes on the way"
        )

    def _frame(self, data: bytes, start: int, stop: int) -> bool:
        """A frame before all records. True: it, and all behind it, is for those who read plain frames."""
        head = data[start]
        reader = Reader(data, start + 1, stop)
        if head == codes.CLOSE:
            return True
        if head == codes.HELLO:
            check_version(reader)
            if self.handshake is None and self.security.plain:
                self.plain = True
                return True
            raise Refusal(codes.TOKEN, _UNPROTECTED)
        if head != codes.HANDSHAKE:
            if is_unknown(head):
                raise stranger(data, start)
            raise Refusal(codes.BAD_STATE, "a frame of kind %d before the handshake was over" % head)
        handshake = self.handshake
        if handshake is None:
            check_version(reader)
            self._shake(reader.u8(), False)
            handshake = self.handshake
            assert handshake is not None
        handshake.read(reader.rest())
        if handshake.my_turn:
            self._say(b"")
        if handshake.finished:
            self._sender, self._receiver = handshake.split()
            self._tag_size = handshake.tag_size
            self._length_max += handshake.tag_size
            self.secured = True
            self.ready = handshake.is_proved()
        return False

    # Writing

    def say(self, data: bytes) -> None:
        """The first record: HELLO."""
        self.out += self._seal(data)

    def write(self, source: "Callable[[int, int], bytes]", size_max: int, now: int) -> bytes:
        """At most `size_max` bytes to write now. `source` gives so many bytes of our stream as it is at
        `now`; what is more it will give again.
        """
        data = b"".join(self.write_buffers(source, size_max, now))
        self.out = data[size_max:]
        return data[:size_max] if self.out else data

    def write_buffers(self, source: "Callable[[int, int], bytes]", size_max: int, now: int) -> "list[bytes]":
        """As `write`, not joined; the last record is not cut, and may be 275 bytes more."""
        size = len(self.out)
        parts = [self.out] if size else []
        self.out = b""
        while size < size_max:
            if not self.ready:  # nothing but CLOSE
                parts.append(source(size_max - size, now)[: size_max - size])
                break
            wanted = min(max(size_max - size - _OVERHEAD, _PIECE_MIN), self._write_max)
            plaintext = source(wanted, now)
            if not plaintext:
                break
            have = len(plaintext)
            record = self._sender.encrypt(
                b"", plaintext if have <= wanted else memoryview(plaintext)[:wanted]
            )
            length = varint(len(record))
            parts.append(length)
            parts.append(record)
            size += len(length) + len(record)
            if have < wanted:
                break
        return parts

    def _seal(self, plaintext: bytes) -> bytes:
        record = self._sender.encrypt(b"", plaintext)
        return varint(len(record)) + record
