"""Two textbook links to compare with: stop-and-wait and go-back-N, with our framing, checksums and the same
adaptive timeout. Sans-IO, with PacketLayer's face. They know no resets: for measurements only.

Sources: A. Tanenbaum, D. Wetherall, Computer Networks, 5th ed., sections 3.3 and 3.4 (protocols 3 and 5);
REJ as in HDLC (ISO/IEC 13239); the timeout of RFC 6298.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Callable

from busway.protocol.packet.cobs import crc16, decode, encode

DATA, ACK, REJECT = 0x40, 0x02, 0x03
ACK_MS = 20
ACK_EVERY = 4
RTO_MIN_MS, RTO_FIRST_MS, RTO_MAX_MS, RTO_MARGIN_MS = 100, 500, 4000, 50
PACKET_MAX = 136


class GoBackN:
    """Takes packets in order only; a gap is answered with one REJECT, on which all is sent again from there.

    Args: `body_max` bytes of the stream in a packet; `window` packets under way, 1 to 31.
    """

    def __init__(self, body_max: int = 128, window: int = 31) -> None:
        self.body_max = body_max
        self.window = window
        self.sent: list[tuple[int, bytes]] = []  # from the oldest without acknowledgement
        self.next = 0  # index in `sent` of what is to be written
        self.base = 0
        self.expected = 0
        self.rejected = False
        self.ack_now = 0  # kind of an acknowledgement to be written
        self.ack_at = -1
        self.unacked = 0
        self.timed: tuple[int, int] | None = (
            None  # number and time of the packet whose round trip is measured
        )
        self.srtt = self.rttvar = -1
        self.rto = RTO_FIRST_MS
        self.rto_at = -1
        self.buffer = b""
        self.spill = b""
        self.resent = 0

    def receive(self, data: bytes, now: int) -> bytes:
        chunks = (self.buffer + data).split(b"\0")
        self.buffer = chunks.pop()[:PACKET_MAX]
        return b"".join(self._take(decode(chunk), now) for chunk in chunks if len(chunk) > 4)

    def _take(self, packet: bytes, now: int) -> bytes:
        stop = len(packet) - 2 if len(packet) <= 34 else len(packet) - 4
        if stop < 2 or _check(packet[:stop]) != packet[stop:]:
            return b""
        ack = self.base + ((packet[1] - self.base) & 63)
        if ack <= self.base + len(self.sent):
            self._acknowledge(ack, now)
            if packet[0] == REJECT:
                self._go_back(now)
        if packet[0] < DATA:
            return b""
        if packet[0] & 63 != self.expected & 63:
            behind = (self.expected - packet[0]) & 63 <= self.window
            if behind or not self.rejected:
                self.ack_now = ACK if behind else REJECT
            self.rejected = self.rejected or not behind
            return b""
        self.expected += 1
        self.rejected = False
        self.unacked += 1
        if self.unacked >= min(ACK_EVERY, self.window):
            self.ack_now = self.ack_now or ACK
        elif self.ack_at < 0:
            self.ack_at = now + ACK_MS
        return packet[2:stop]

    def _acknowledge(self, ack: int, now: int) -> None:
        if ack == self.base:
            return
        count = ack - self.base
        self.base = ack
        self.next = max(0, self.next - count)
        self.sent[:count] = []
        if self.timed is not None and self.timed[0] < ack:
            self._measure(now - self.timed[1])
            self.timed = None
        if self.srtt >= 0:
            self.rto = min(RTO_MAX_MS, max(RTO_MIN_MS, self.srtt + max(RTO_MARGIN_MS, 4 * self.rttvar)))
        self.rto_at = now + self.rto if self.sent else -1

    def _measure(self, rtt: int) -> None:
        if self.srtt < 0:
            self.srtt, self.rttvar = rtt, rtt >> 1
        else:
            self.rttvar += (abs(self.srtt - rtt) - self.rttvar) >> 2
            self.srtt += (rtt - self.srtt) >> 3

    def _go_back(self, now: int) -> None:
        self.resent += self.next
        self.next = 0
        self.timed = None  # Karn
        self.rto_at = now + self.rto if self.sent else -1

    def write(self, source: Callable[[int, int], bytes], size_max: int, now: int) -> bytes:
        data = self.spill
        while len(data) < size_max and (packet := self._next(source, now)):
            data += encode(packet) + b"\0"
        self.spill = data[size_max:]
        return data[:size_max]

    def _next(self, source: Callable[[int, int], bytes], now: int) -> bytes:
        if self.ack_now == REJECT:
            return self._seal(REJECT, b"")
        if (
            self.next == len(self.sent)
            and len(self.sent) < self.window
            and (body := source(self.body_max, now))
        ):
            self.sent.append((self.base + len(self.sent), body))
            if self.timed is None:
                self.timed = (self.sent[-1][0], now)
        if self.next < len(self.sent):
            seq, body = self.sent[self.next]
            self.next += 1
            if self.rto_at < 0:
                self.rto_at = now + self.rto
            return self._seal(DATA | seq & 63, body)
        return self._seal(ACK, b"") if self.ack_now else b""

    def _seal(self, first: int, body: bytes) -> bytes:
        self.ack_now = self.unacked = 0
        self.ack_at = -1
        packet = bytes((first, self.expected & 63)) + body
        return packet + _check(packet)

    def deadline(self) -> int:
        return min((at for at in (self.ack_at, self.rto_at) if at >= 0), default=-1)

    def handle_timer(self, now: int) -> None:
        if 0 <= self.ack_at <= now:
            self.ack_at = -1
            self.ack_now = self.ack_now or ACK
        if 0 <= self.rto_at <= now:
            self.rto = min(RTO_MAX_MS, self.rto * 2)
            self.rejected = False
            self._go_back(now)


class StopAndWait(GoBackN):
    """One packet under way, acknowledged at once."""

    def __init__(self, body_max: int = 128) -> None:
        super().__init__(body_max, 1)


def _check(packet: bytes) -> bytes:
    if len(packet) <= 32:
        return crc16(packet, 0xFFFF).to_bytes(2, "big")
    return crc32(packet, 0).to_bytes(4, "big")
