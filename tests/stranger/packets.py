"""Packet links, without input or output: delimiters, checksums, sessions, repetition (section 12)."""

from __future__ import annotations

import binascii
import os
from collections.abc import Callable
from typing import Final

_SERIAL_MTU: Final = 134
_WINDOW: Final = 31
_NOTHING: Final = bytes(4)


def cobs(data: bytes) -> bytes:
    """Blocks of a length and up to 254 bytes but zeros; a zero follows unless one is full, or the last."""
    out = b""
    pieces = data.split(b"\0")
    for number, piece in enumerate(pieces):
        blocks = [piece[at : at + 254] for at in range(0, len(piece), 254)] or [b""]
        if len(blocks[-1]) == 254 and number < len(pieces) - 1:
            blocks.append(b"")
        out += b"".join(bytes([len(block) + 1]) + block for block in blocks)
    return out


def uncobs(data: bytes) -> bytes | None:
    out = b""
    at = 0
    while at < len(data):
        size = data[at]
        if not size or at + size > len(data):
            return None
        out += data[at + 1 : at + size]
        at += size
        if size < 255 and at < len(data):
            out += b"\0"
    return out


def crc16(data: bytes) -> int:
    """As it is sent: inverted."""
    return binascii.crc_hqx(data, 0xFFFF) ^ 0xFFFF


def crc32(data: bytes) -> int:
    return binascii.crc32(data)


def checksum(packet: bytes, sender: bytes, receiver: bytes, number: int, ack: int) -> bytes:
    data = sender + receiver + bytes([number >> 6 & 255, ack >> 6 & 255]) + packet
    return crc16(data).to_bytes(2, "big") if len(packet) <= 32 else crc32(data).to_bytes(4, "big")


def nearest(low: int, expected: int) -> int:
    """The number with these 6 low bits that is nearest to the expected one."""
    number = (expected & ~63) | low
    if number - expected > 32:
        number -= 64
    elif expected - number >= 32:
        number += 64
    return number if number >= 0 else number + 64


class _Sent:
    def __init__(self, number: int, body: bytes) -> None:
        self.number = number
        self.body = body
        self.due = True
        self.arrived = False
        self.tries = 0
        self.turn = 0  # its place among all that was written
        self.at = 0


class PacketSession:
    """One side of a packet link; `mtu` 0 is a line of bytes. Times are in ms."""

    def __init__(self, nonce: bytes, mtu: int, now: int, says: int = 0) -> None:
        self.nonce = nonce
        self._says = says  # bits of every SYN
        self.mtu = mtu
        self.peer = b""
        self.established = False
        self.restarted = False
        self.damaged = self.duplicates = self.resent = 0
        self.texts: list[bytes] = []
        self.lossy: list[bytes] = []  # bodies of frames that came
        self._former: list[bytes] = []
        self._candidate = b""  # who may have started anew
        self._candidate_due = False
        self._heard = False  # a packet of the present session but SYN
        self._syn_at, self._syn_pause = now, 50
        self._syn_due = 0  # 1: a SYN is to be said, 2: one that asks
        self._packet_max = mtu or _SERIAL_MTU
        self._window = _WINDOW
        self._number = self._expected = self._turn = 0
        self._sent: list[_Sent] = []
        self._early: dict[int, bytes] = {}
        self._ack_now = False
        self._ack_at = -1
        self._unacked = 0  # packets that came since the last acknowledgement
        self._offers: list[bytes] = []
        self._rtt = self._spread = -1.0
        self._timeout = 500.0
        self._lost_at = -1.0
        self._timeouts = 0
        self._doubts = 0
        self._line = b""

    def offer(self, body: bytes) -> None:
        """A frame that may be lost."""
        self._offers.append(bytes([0x80]) + body)

    def log(self, text: bytes) -> None:
        self._offers.append(bytes([3]) + text)

    # ---- writing

    def write(self, take: Callable[[int], bytes], now: int) -> list[bytes]:
        """All that is to be written now, delimited on a line; `take(n)` gives up to n bytes of the stream."""
        if self.restarted:
            return []
        self._tick(now)
        packets = []
        if self._candidate and self._candidate_due:
            packets.append(self._syn(True, self._candidate))
            self._candidate_due = False
        if self._syn_due:
            packets.append(self._syn(self._syn_due == 2, self.peer or _NOTHING))
            self._syn_due = 0
        if self.established:
            if self._ack_now:
                packets.append(self._ack())
            packets += self._data(take, now)
            packets += [self._seal(offer[:1], offer[1:], 0) for offer in self._offers]
            self._offers = []
            if not self._ack_now and 0 <= self._ack_at <= now:
                packets.append(self._ack())
        return packets if self.mtu else [self._delimit(packet) for packet in packets]

    def _tick(self, now: int) -> None:
        if not self.established and now >= self._syn_at:
            self._syn_due = 2
            self._syn_at = now + self._syn_pause
            self._syn_pause = min(2000, self._syn_pause * 2)
        if 0 <= self._lost_at <= now and self._sent:
            self._timeout = min(4000.0, self._timeout * 2)
            self._timeouts += 1
            self._sent[0].due = True
            self._lost_at = -1
            if self._timeouts % 4 == 0:
                self._syn_due = 2

    def _syn(self, asks: bool, echo: bytes) -> bytes:
        packet = bytes([1, 1 | self._says | asks << 7]) + self.nonce + echo
        packet += (self.mtu or _SERIAL_MTU).to_bytes(2, "big") + bytes([_WINDOW])
        sealed = [packet + more + crc16(packet + more).to_bytes(2, "big") for more in _FILLINGS]
        if self.mtu:
            return sealed[0]
        return next((each for each in sealed if 3 not in cobs(each)), sealed[0])

    def _data(self, take: Callable[[int], bytes], now: int) -> list[bytes]:
        packets = [self._put(one, now) for one in self._sent if one.due]
        while len(self._sent) < self._window and (body := take(self._room())):
            one = _Sent(self._number, body)
            self._number += 1
            self._sent.append(one)
            packets.append(self._put(one, now))
        return packets

    def _room(self) -> int:
        """The bytes that fit one packet: with 4 bytes of checksum only if there are more than 32 to check."""
        long = self._packet_max - 6
        return long if long > 30 else min(30, self._packet_max - 4)

    def _put(self, one: _Sent, now: int) -> bytes:
        self.resent += one.tries > 0
        one.due, one.tries, one.at = False, one.tries + 1, now
        one.turn = self._turn = self._turn + 1
        if self._lost_at < 0:
            self._lost_at = now + self._timeout
        self._ack_at, self._unacked = -1, 0
        return self._seal(bytes([0x40 | one.number & 63]), one.body, one.number)

    def _ack(self) -> bytes:
        bitmap = bytearray(4)
        for number in self._early:
            at = number - self._expected - 1
            bitmap[at >> 3] |= 1 << (at & 7)
        self._ack_now = False
        self._ack_at, self._unacked = -1, 0
        return self._seal(b"\2", bytes(bitmap).rstrip(b"\0"), 0)

    def _seal(self, first: bytes, body: bytes, number: int) -> bytes:
        packet = first + bytes([self._expected & 63]) + body
        return packet + checksum(packet, self.nonce, self.peer, number, self._expected)

    def _delimit(self, packet: bytes) -> bytes:
        return b"\0" + cobs(packet) + b"\0"

    # ---- reading

    def receive(self, data: bytes, now: int) -> bytes:
        """The part of the stream that came."""
        if self.mtu:
            return self._take(data, data, now)
        *chunks, self._line = (self._line + data).split(b"\0")
        self._line = self._line[-137:]
        found = b""
        for chunk in chunks:
            if chunk and len(chunk) <= 136:
                found += self._take(uncobs(chunk) or b"", chunk, now)
        return found

    def _take(self, packet: bytes, raw: bytes, now: int) -> bytes:
        if self.restarted:
            return b""
        size = len(packet)
        if packet[:1] == b"\1" and size >= 15 and crc16(packet[:-2]).to_bytes(2, "big") == packet[-2:]:
            self._take_syn(packet)
            return b""
        stop = size - (2 if size <= 34 else 4)
        if self.peer and stop >= 2 and (size <= 34 or stop > 32):
            number = nearest(packet[0] & 63, self._expected) if packet[0] >> 6 == 1 else 0
            ack = nearest(packet[1] & 63, self._sent[0].number if self._sent else self._number)
            if checksum(packet[:stop], self.peer, self.nonce, number, ack) == packet[stop:]:
                return self._taken(packet[:stop], number, ack, now)
        self._take_noise(packet, raw)
        return b""

    def _take_noise(self, packet: bytes, raw: bytes) -> None:
        plain = all(
            byte in b"\t\n\r\b\x1b" or 32 <= byte < 127 or (byte > 127 and len(raw) >= 32) for byte in raw
        )
        if len(raw) >= 2 and plain:
            self.texts.append(raw)
            return
        self.damaged += 1
        if self.peer and len(packet) >= 4 and packet[0] >= 0x40:
            self._doubts += 1
            if self._doubts == 4:
                self._doubts, self._syn_due = 0, 2

    def _taken(self, packet: bytes, number: int, ack: int, now: int) -> bytes:
        self.established = self._heard = True
        self._doubts = 0
        first, body = packet[0], packet[2:]
        self._take_ack(ack, body if first == 2 else b"", now)
        if first == 3:
            self.texts.append(body)
        elif first >> 6 == 2:
            self.lossy.append(body)
        elif first >> 6 == 1:
            return self._take_data(number, body, now)
        return b""

    def _take_data(self, number: int, body: bytes, now: int) -> bytes:
        if number != self._expected:
            if number < self._expected or number in self._early:
                self.duplicates += 1
            elif number < self._expected + self._window:
                self._early[number] = body
            self._ack_now = True
            return b""
        self._ack_now = self._ack_now or bool(self._early)
        self._expected += 1
        while self._expected in self._early:
            body += self._early.pop(self._expected)
            self._expected += 1
        self._unacked += 1
        if self._unacked >= min(4, (self._window + 1) // 2):
            self._ack_at = now
        elif self._ack_at < 0:
            self._ack_at = now + 20
        return body

    def _take_ack(self, ack: int, bitmap: bytes, now: int) -> None:
        if ack > self._number:
            return
        news = []
        for one in self._sent:
            at = one.number - ack - 1
            named = 0 <= at < 8 * len(bitmap) and bitmap[at >> 3] >> (at & 7) & 1
            if not one.arrived and (one.number < ack or named):
                one.arrived, one.due = True, False
                news.append(one)
        self._sent = [one for one in self._sent if one.number >= ack]
        if not news:
            return
        if news[-1].tries == 1:
            self._measure(now - news[-1].at)
        self._timeouts = 0
        if self._rtt >= 0:
            self._timeout = max(100.0, self._rtt + max(50.0, 4 * self._spread))
        self._lost_at = now + self._timeout if self._sent else -1
        newest = max((one.turn for one in news if one.tries == 1), default=0) - (2 if self.mtu else 0)
        for one in self._sent:
            if not one.arrived and one.turn < newest:
                one.due = True

    def _measure(self, rtt: float) -> None:
        """RFC 6298."""
        if self._rtt < 0:
            self._rtt, self._spread = rtt, rtt / 2
        else:
            self._spread += (abs(self._rtt - rtt) - self._spread) / 4
            self._rtt += (rtt - self._rtt) / 8

    def _take_syn(self, packet: bytes) -> None:
        asks, nonce, echo = packet[1] >> 7, packet[2:6], packet[6:10]
        mtu, window = int.from_bytes(packet[10:12], "big"), packet[12]
        if nonce == self.nonce or packet[1] & 15 != 1 or nonce == _NOTHING or mtu < 20 or not window:
            return
        if self.peer and nonce != self.peer:
            if self._heard:
                self._take_newcomer(nonce, echo)
                return
            if nonce in self._former and echo != self.nonce:
                return
            self._former = [*self._former, self.peer][-4:]
        if nonce != self.peer:
            self.peer = nonce
            for one in self._sent:
                one.due = True
        self._packet_max = min(mtu, self.mtu or _SERIAL_MTU)
        self._window = min(window, _WINDOW)
        self.established = self.established or echo == self.nonce
        if asks or echo != self.nonce:
            self._syn_due = max(self._syn_due, 1)
        if self.established and self._syn_due == 2:
            self._syn_due = 1 if asks or echo != self.nonce else 0

    def _take_newcomer(self, nonce: bytes, echo: bytes) -> None:
        """A new nonce in a live session: an old packet, or the peer has started anew."""
        if echo == self.nonce and nonce == self._candidate:
            self.restarted = True
            return
        self._candidate, self._candidate_due = nonce, True


_FILLINGS: Final = (b"", *(bytes([byte]) for byte in range(1, 256)))


def fresh_nonce() -> bytes:
    """Without bytes 0 and 3, as a line wants it."""
    return bytes(byte if byte not in (0, 3) else 7 for byte in os.urandom(4))
