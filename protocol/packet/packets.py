"""A reliable, ordered stream of bytes over a link that loses, damages, doubles and reorders packets; beside
it best-effort frames and a log. Sans-IO: bytes and times in, bytes out.

Knows nothing of frames and what they mean: that is connection.py's. What people read of it is texts.py's,
which boards go without. docs/protocol.md, section 12.
"""

from binascii import crc32

from busway.protocol.link.link import Unrepeated
from busway.protocol.packet.cobs import crc16, decode, encode
from busway.protocol.wire.fields import u16

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Final

VERSION: "Final" = 1
VERSION_BITS: "Final" = 0x0F  # of a SYN's second byte
CONTROL: "Final" = 0x00  # kinds of packet, in bits 7-6 of the first byte
DATA: "Final" = 0x40
LOSSY: "Final" = 0x80
SYN: "Final" = 1  # control packets, in bits 5-0
ACK: "Final" = 2
LOG: "Final" = 3
ANSWER: "Final" = 0x80  # of a SYN's second byte: its sender asks for one
DIALLED: "Final" = 0x40  # ... it dialled

NONCE_SIZE: "Final" = 4
MTU_MIN: "Final" = 20
MTU_SERIAL: "Final" = 134
WINDOW_MAX: "Final" = 31
CRC16_SIZE_MAX: "Final" = 32  # a packet up to here, checksum aside, has a CRC-16

_SYN_MS: "Final" = 50
_SYN_MAX_MS: "Final" = 2000
_ACK_MS: "Final" = 20
_ACK_EVERY: "Final" = 4
_RTO_FIRST_MS: "Final" = 500
_RTO_MIN_MS: "Final" = 100
_RTO_MARGIN_MS: "Final" = 50  # an answer that waits for one more packet on its way is not lost
_RTO_MAX_MS: "Final" = 4000
_TIMEOUTS_MAX: "Final" = 4  # in a row, from which on the session is doubted
_DAMAGED_MAX: "Final" = 4  # as well
_QUEUE_MAX: "Final" = 8  # best-effort frames that wait to be written; texts as well
_FORMER_MAX: "Final" = 4  # nonces of the peer's past that are remembered
_UNKNOWN = b"\0\0\0\0"
_NONE: "list[bytes]" = []  # never changed: an empty list takes 32 bytes of a board


class Sent:
    """A packet that has not been acknowledged."""

    __slots__ = ("arrived", "body", "due", "sent_at", "seq", "tries", "turn")

    def __init__(self, seq: int, body: bytes) -> None:
        self.seq = seq
        self.body = body
        self.turn = 0  # counts all that was ever written: which came later
        self.sent_at = 0
        self.tries = 0
        self.due = True  # to be written, again
        self.arrived = False  # out of order


class PacketLayer(Unrepeated):
    """Both directions of one packet link, for one session.

    Args: `nonce` 4 random bytes, new for each session; `mtu` bytes of the largest packet, 20 or more, 0: the
    link moves bytes without boundaries and packets are delimited here; `window` packets that may be under
    way, 1 to 31; `now` ms; `said` the bits that every SYN says of this side, such as DIALLED.
    """

    # What is seldom otherwise: on a board an object's own values take memory, in one piece with all others.
    restarted = False
    wrong_version = -1
    echoed = False  # the line gives back what is written to it
    asleep = False  # the peer
    initiates = False  # this side begins the handshake of a protected link
    _stopped = False
    _overlong = False
    _candidate = b""  # a nonce of a peer that says it started anew, until it has proved that
    _met = False  # the peer has known our nonce, and we its own, or some former one
    _doubts = 0
    _timeouts = 0
    # Counters
    damaged = 0
    duplicates = 0
    resent = 0
    lossy_dropped = 0
    log_dropped = 0

    def __init__(self, nonce: bytes, mtu: int, window: int, now: int, said: int = 0) -> None:
        self._said = said
        self._nonce = nonce if nonce != _UNKNOWN else b"\0\0\0\1"
        self.mtu = mtu
        self.packet_max = mtu or MTU_SERIAL  # of what is written, once the peer has said what it takes
        self._window = self._own_window = window
        # The session
        self._theirs = b""
        self._echo = _UNKNOWN  # the nonce that the next SYN shows to have been read
        self._former = _NONE
        self.established = False  # the peer knows our nonce and we know its own
        self._heard = False  # a packet of this session was read
        self._outbound = (0, 0)  # what the checksums begin with, CRC-16 and CRC-32
        self._inbound = (0, 0)
        self._syn_at = -1
        self._syn_ms = _SYN_MS
        self._probe = True  # a SYN that asks for an answer is to be written
        self._answer = False  # a SYN that gives one
        # Writing
        self._sent: "list[Sent]" = []  # from the oldest without acknowledgement, without a gap
        self._unacked = 0  # number of the first of them
        self._turn = 0
        self.pulled = 0  # bytes of the stream, taken from the source, and of these acknowledged
        self.acked = 0
        self.lossy = _NONE
        self.logs = _NONE
        self._spill = b""
        self.srtt = -1
        self._rttvar = 0
        self._rto = _RTO_FIRST_MS
        self._rto_at = -1
        # Reading
        self._buffer = b""
        self.heard_at = now  # when the peer was last heard, ms
        self._expected = 0
        self._early: "dict[int, bytes]" = {}
        self._acked = 0  # packets read since the last acknowledgement
        self._ack_at = -1
        self._ack_at_once = 0  # 1: with the next packet or alone, 2: alone, with the bitmap
        self.frames = _NONE  # best-effort frames that were read: the caller takes them

    # The caller's side

    def receive(self, data: bytes, now: int) -> bytes:
        """Take in bytes, or one packet; returns what of the peer's stream has come in order. `frames`,
        `restarted` and `wrong_version` tell the rest.
        """
        if self._stopped:
            return b""
        parts: "list[bytes]" = []
        if self.mtu:
            self._take_chunk(data, data, parts, now)
            return b"".join(parts)
        chunks = (self._buffer + data).split(b"\0")
        self._buffer = chunks.pop()
        for chunk in chunks:
            if self._overlong:
                self._overlong = False
                self._is_text(chunk, now)  # a board's first words may follow its noise
            elif chunk:
                self._take_chunk(decode(chunk) if len(chunk) <= MTU_SERIAL + 2 else b"", chunk, parts, now)
        if len(self._buffer) > MTU_SERIAL + 2:
            if not self._is_text(self._buffer, now):
                self._overlong = True
                self.damaged += 1
            self._buffer = b""
        return b"".join(parts)

    def write(self, source: "Callable[[int, int], bytes]", size_max: int, now: int) -> bytes:
        """Packets to write now, at most `size_max` bytes of them, cut anywhere; on a link of whole packets
        one packet, or b"" if `size_max` is below the MTU. `source` gives at most so many bytes of our stream
        as it is at `now`.
        """
        if self.mtu:
            return self._next(source, now) if size_max >= self.mtu else b""
        parts = [self._spill]
        size = len(self._spill)
        while size < size_max and (not size or size_max - size > self.packet_max):
            packet = self._next(source, now)
            if not packet:
                break
            if not size:
                parts.append(b"\0")  # a text that the board printed must not merge with the packet
            packet = encode(packet)
            parts.append(packet)
            parts.append(b"\0")
            size += len(packet) + 1
        data = b"".join(parts)
        self._spill = data[size_max:]
        return data[:size_max]

    def wants_write(self) -> bool:
        """Whether `write` has something, the source aside."""
        if self._spill or self._probe or self._answer:
            return True
        if not self.established:
            return False
        if self._ack_at_once:
            return True
        return not self.asleep and bool(self.lossy or self.logs or self._next_due() is not None)

    def has_room(self) -> bool:
        """Whether `write` would ask the source."""
        return self.established and len(self._sent) < self._window and not self._stopped and not self.asleep

    def settled(self) -> bool:
        """Whether all has arrived and nothing is to be said."""
        return not self._sent and not self.wants_write()

    def body_max(self) -> int:
        """Bytes that a packet carries besides header and checksum."""
        return self.packet_max - 4 if self.packet_max <= 34 else max(30, self.packet_max - 6)

    def deadline(self) -> int:
        """When `handle_timer` is due, in ms; -1: never."""
        due = -1
        for at in (self._syn_at, self._rto_at, self._ack_at):
            if at >= 0 and (due < 0 or at < due):
                due = at
        return due

    def handle_timer(self, now: int) -> None:
        """Do what is due; what is to be written waits for `write`."""
        if 0 <= self._syn_at <= now:
            self._syn_at = -1
            self._probe = True
        if 0 <= self._ack_at <= now:
            self._ack_at = -1
            self._ack_at_once = max(self._ack_at_once, 1)
        if 0 <= self._rto_at <= now:
            self._time_out()

    def log(self, text: bytes) -> None:
        """Queue a text for the peer's log; what exceeds 8 packets is dropped and counted."""
        size = self.body_max()
        for pos in range(0, len(text), size):
            if len(self.logs) == _QUEUE_MAX:
                self.log_dropped += 1
                return
            if not self.logs:
                self.logs = []
            self.logs.append(text[pos : pos + size])

    def offer(self, frame: bytes) -> None:
        """Queue a frame, of at most `body_max` bytes, that may be lost; of too many the oldest is dropped."""
        if len(self.lossy) == _QUEUE_MAX:
            self.lossy.pop(0)
            self.lossy_dropped += 1
        if not self.lossy:
            self.lossy = []
        self.lossy.append(frame)

    def pause(self, asleep: bool) -> None:
        """While the peer sleeps nothing is written; when it wakes what was under way is told again."""
        if self.asleep and not asleep and self._sent:
            self._sent[0].due = True
        self.asleep = asleep

    def stop(self) -> None:
        """The session is over: nothing more is read or written."""
        self._stopped = True
        self._sent = []
        self._spill = self._buffer = b""
        self.lossy = _NONE
        self.logs = _NONE
        self._probe = self._answer = False
        self._ack_at_once = 0
        self._syn_at = self._rto_at = self._ack_at = -1

    # Reading

    def _take_chunk(self, packet: bytes, raw: bytes, parts: "list[bytes]", now: int) -> None:
        """One chunk of what came: a packet, a text that the other side printed, or damage."""
        if self._stopped or self._take_packet(packet, parts, now) or self._is_text(raw, now):
            return
        self.damaged += 1
        if self._theirs and len(packet) >= 4 and packet[0] >= DATA:
            self._doubts += 1
            if self._doubts >= _DAMAGED_MAX:  # perhaps of another session: ask
                self._doubts = 0
                self._probe = True

    def _take_packet(self, packet: bytes, parts: "list[bytes]", now: int) -> bool:
        size = len(packet)
        if size < 4:
            return False
        first = packet[0]
        if first == SYN:
            return self._take_syn(packet, now)
        if not self._theirs:
            return False
        stop = size - 2
        if stop > CRC16_SIZE_MAX:
            stop -= 2
            if stop <= CRC16_SIZE_MAX:
                return False
        kind = first & 0xC0
        seq = _resolve(first & 63, self._expected) if kind == DATA else 0
        ack = _resolve(packet[1] & 63, self._unacked)
        if _checksum(packet[:stop], seq, ack, self._inbound) != packet[stop:]:
            if not self.echoed:
                return False
            seq = _resolve(first & 63, self._unacked) if kind == DATA else 0
            ack = _resolve(packet[1] & 63, self._expected)
            return _checksum(packet[:stop], seq, ack, self._outbound) == packet[stop:]  # our own, back
        self._heard = True
        if self._doubts:
            self._doubts = 0
        self.heard_at = now
        self._establish()
        body = packet[2:stop]
        self._take_ack(ack, body if first == ACK else b"", now)
        if kind == DATA:
            self._take_data(seq, body, parts, now)
        elif kind == LOSSY:
            if not self.frames:
                self.frames = []
            self.frames.append(body)
        elif first == LOG:
            self._note_log(body, now)
        return True  # one of a later version: nothing for us

    def _take_data(self, seq: int, body: bytes, parts: "list[bytes]", now: int) -> None:
        early = self._early
        if seq != self._expected:
            if seq < self._expected or seq in early:
                self.duplicates += 1
            elif seq < self._expected + self._window:
                early[seq] = body
            else:
                self.damaged += 1  # more than was agreed
                return
            self._ack_at_once = 2
            return
        if early:
            self._ack_at_once = 2
        parts.append(body)
        seq += 1
        while seq in early:
            parts.append(early.pop(seq))
            seq += 1
        self._expected = seq
        self._acked += 1
        if self._acked >= min(_ACK_EVERY, (self._window + 1) >> 1):
            self._ack_at_once = max(self._ack_at_once, 1)
        elif self._ack_at < 0:
            self._ack_at = now + _ACK_MS

    def _take_ack(self, ack: int, bitmap: bytes, now: int) -> None:
        """All before `ack` has arrived, and of what follows behind it what the bitmap names."""
        sent = self._sent
        if ack > self._unacked + len(sent):
            return
        news: "list[Sent]" = []
        while sent and sent[0].seq < ack:
            one = sent.pop(0)
            self.acked += len(one.body)
            self._unacked += 1
            if not one.arrived:
                news.append(one)
        for one in sent if bitmap else ():
            at = one.seq - ack - 1
            if not one.arrived and 0 <= at < len(bitmap) << 3 and bitmap[at >> 3] >> (at & 7) & 1:
                one.arrived = True
                one.due = False
                news.append(one)
        if not news:
            return
        newest = -1
        for one in news:
            if one.tries == 1:
                newest = max(newest, one.turn)
            elif now - one.sent_at >= self.srtt >> 1:  # else the first one has arrived, not this
                newest = max(newest, one.turn)
        one = news[-1]
        if one.tries == 1:  # Karn: of one that was repeated nobody knows which arrived
            self._measure(now - one.sent_at)
        self._settle_timer(now)
        # What was written before something that has arrived is lost; but packets may change their order.
        newest -= 2 if self.mtu else 0
        for one in sent:
            if one.turn < newest and not one.arrived:
                one.due = True

    def _settle_timer(self, now: int) -> None:
        """Something has arrived: the timer starts again."""
        if self._timeouts:
            self._timeouts = 0
        if self.srtt >= 0:
            self._rto = min(_RTO_MAX_MS, max(_RTO_MIN_MS, self.srtt + max(_RTO_MARGIN_MS, 4 * self._rttvar)))
        self._rto_at = now + self._rto if self._sent else -1

    def _measure(self, rtt: int) -> None:
        """A round trip in ms. Source: RFC 6298."""
        if self.srtt < 0:
            self.srtt = rtt
            self._rttvar = rtt >> 1
        else:
            self._rttvar += (abs(self.srtt - rtt) - self._rttvar) >> 2
            self.srtt += (rtt - self.srtt) >> 3

    def _time_out(self) -> None:
        self._rto_at = -1
        if self.asleep:
            return
        self._rto = min(_RTO_MAX_MS, self._rto * 2)
        self._timeouts += 1
        self._sent[0].due = True  # the answer to this one will tell of the others
        if self._timeouts >= _TIMEOUTS_MAX:
            self._probe = True

    # For people

    def _is_text(self, raw: bytes, now: int) -> bool:
        """Whether bytes that are no packet are a text, which is taken then. Nobody reads it here."""
        return False

    def _note_log(self, text: bytes, now: int) -> None:
        """The peer has logged a text."""

    # The session

    def _take_syn(self, packet: bytes, now: int) -> bool:
        stop = len(packet) - 2
        if stop < 6 or _check16(packet[:stop], 0xFFFF) != packet[stop:]:
            return False
        nonce = packet[2:6]
        if nonce == self._nonce:
            self.echoed = True
            return True
        if packet[1] & VERSION_BITS != VERSION:
            if not self._heard:
                self.wrong_version = packet[1] & VERSION_BITS
            return True
        mtu = packet[10] << 8 | packet[11] if stop >= 13 else 0
        knows_us = packet[6:10] == self._nonce
        if mtu < MTU_MIN or not packet[12] or nonce == _UNKNOWN or (nonce in self._former and not knows_us):
            return True
        if nonce != self._theirs:
            if self._heard:
                self._doubt(nonce, knows_us)
                return True
            packet_max = min(mtu, self.mtu or MTU_SERIAL)
            self._adopt(nonce, packet_max, min(packet[12], self._own_window), packet[1])
        self.heard_at = now
        self._echo = nonce
        if knows_us:
            self._establish()
        self._answer = self._answer or not knows_us or packet[1] & ANSWER != 0
        return True

    def _doubt(self, nonce: bytes, knows_us: bool) -> None:
        """Somebody says that the peer of a live session has started anew. An old packet may say that, too: it
        counts when the answer to it was answered.
        """
        if knows_us and nonce == self._candidate:
            self.stop()
            self.restarted = True
        else:
            self._candidate = self._echo = nonce
            self._answer = True

    def _adopt(self, nonce: bytes, packet_max: int, window: int, said: int) -> None:
        """A peer, or before anything of its session was read, its successor."""
        initiates = nonce < self._nonce  # if both dialled, or neither
        if (said ^ self._said) & DIALLED:
            initiates = self._said & DIALLED > 0
        if self._theirs:
            if not self._former:
                self._former = []
            self._former.append(self._theirs)
            if len(self._former) > _FORMER_MAX:
                self._former.pop(0)
        turned = self._met and initiates != self.initiates  # who begins was settled with the former one
        unfit = packet_max < self.packet_max or window < len(self._sent)
        if turned or (self._sent and unfit):
            self.stop()  # what is under way does not fit it
            self.restarted = True
            return
        self._theirs = nonce
        self.initiates = initiates
        self.packet_max = packet_max
        self._window = window
        self._outbound = _seeds(self._nonce + nonce)
        self._inbound = _seeds(nonce + self._nonce)
        self.established = False
        if self._syn_at < 0:
            self._probe = True
        for one in self._sent:
            one.due = True

    def _establish(self) -> None:
        if not self.established:
            self.established = self._met = True
            self._syn_at = -1
            self._probe = False

    def _write_syn(self, now: int) -> bytes:
        echo = self._echo
        asks = self._probe or not self.established or echo != self._theirs
        self._echo = self._theirs or _UNKNOWN
        self._probe = self._answer = False
        if not self.established:
            self._syn_at = now + self._syn_ms
            self._syn_ms = min(_SYN_MAX_MS, self._syn_ms * 2)
        mtu = self.mtu or MTU_SERIAL
        packet = bytes((SYN, VERSION | self._said | (ANSWER if asks else 0))) + self._nonce + echo
        return seal_syn(packet + u16(mtu) + bytes((self._own_window,)))

    # Writing

    def _next(self, source: "Callable[[int, int], bytes]", now: int) -> bytes:
        """The most urgent packet, or b""."""
        if self._probe or self._answer:
            return self._write_syn(now)
        if not self.established or self._stopped:
            return b""
        if self._ack_at_once == 2 or (self._ack_at_once and self.asleep):
            return self._write_ack()
        if self.asleep:
            return b""
        one = self._next_due()
        if one is None and not self.lossy and len(self._sent) < self._window:
            body = source(self.body_max(), now)
            if body:
                one = Sent(self._unacked + len(self._sent), body)
                self._sent.append(one)
                self.pulled += len(body)
        if one is not None:
            return self._write_data(one, now)
        if self.lossy:
            return self._seal(LOSSY, 0, self.lossy.pop(0))
        if self.logs:
            return self._seal(LOG, 0, self.logs.pop(0))
        return self._write_ack() if self._ack_at_once else b""

    def _next_due(self) -> "Sent | None":
        for one in self._sent:
            if one.due:
                return one
        return None

    def _write_data(self, one: Sent, now: int) -> bytes:
        if one.tries:
            self.resent += 1
        one.tries += 1
        one.due = False
        one.sent_at = now
        self._turn += 1
        one.turn = self._turn
        if self._rto_at < 0:
            self._rto_at = now + self._rto
        return self._seal(DATA | one.seq & 63, one.seq, one.body)

    def _write_ack(self) -> bytes:
        bitmap = bytearray(4)
        used = 0
        for seq in self._early:
            at = seq - self._expected - 1
            bitmap[at >> 3] |= 1 << (at & 7)
            used = max(used, (at >> 3) + 1)
        self._ack_at_once = 0
        return self._seal(ACK, 0, bytes(bitmap[:used]))

    def _seal(self, first: int, seq: int, body: bytes) -> bytes:
        """A packet; it acknowledges what was read so far."""
        self._ack_at = -1
        self._acked = 0
        if self._ack_at_once == 1:
            self._ack_at_once = 0
        ack = self._expected
        packet = bytes((first, ack & 63)) + body
        return packet + _checksum(packet, seq, ack, self._outbound)


def seal_syn(packet: bytes) -> bytes:
    """A SYN with its checksum."""
    return packet + _check16(packet, 0xFFFF)


def _check16(packet: bytes, value: int) -> bytes:
    """Inverted: else a zero behind a packet would not show, and one bit makes a delimiter into that."""
    return u16(crc16(packet, value) ^ 0xFFFF)


def _seeds(nonces: bytes) -> "tuple[int, int]":
    return crc16(nonces, 0xFFFF), crc32(nonces, 0)


def _resolve(low: int, near: int) -> int:
    """The whole number, next to `near`, whose low 6 bits travelled."""
    return near + ((low - near + 32) & 63) - 32


def _checksum(packet: bytes, seq: int, ack: int, seeds: "tuple[int, int]") -> bytes:
    """Over the high bits of both numbers, too, so that a packet from the round before is never taken for one
    of this.
    """
    high = bytes((seq >> 6 & 0xFF, ack >> 6 & 0xFF))
    if len(packet) <= CRC16_SIZE_MAX:
        return _check16(packet, crc16(high, seeds[0]))
    value = crc32(packet, crc32(high, seeds[1]))
    return u16(value >> 16) + u16(value)
