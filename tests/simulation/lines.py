"""A bad line in virtual time, all from one seed: a UART that flips, drops, inserts, doubles and cuts, or a
radio that loses, doubles, delays and reorders packets. Both directions. Knows no protocol.

    line = Line(seed, uart(9600, Trouble(ber=1e-4)))
    line.attach(0, station)             # what speaks: see Station
    line.run(1000)                      # ms
    line.reset(1, station)              # a board starts anew and prints what it prints then

A piece is what one read gives: up to 14 bytes of a serial line (the usual FIFO), or one packet.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

FIFO = 14  # bytes
BOOT = b"\r\nets Jul 29 2019 12:21:46\r\nrst:0x1 (POWERON_RESET),boot:0x13\r\n"


class Station(Protocol):
    """One end: takes bytes, gives bytes, has one timer. Times are ms."""

    def incoming(self, data: bytes, now: int) -> None: ...

    def outgoing(self, size_max: int, now: int) -> bytes: ...

    def deadline(self) -> int: ...

    def fire(self, now: int) -> None: ...


@dataclass
class Trouble:
    """Faults on the way. Rates are of a bit (ber), a byte (burst, noise) or a piece (others)."""

    ber: float = 0.0
    burst: float = 0.0  # to begin a burst, in which up to `burst_size` bytes are dropped
    burst_size: int = 200
    noise: float = 0.0  # to be preceded by up to 30 bytes that nobody sent
    double: float = 0.0
    cut: float = 0.0  # to lose its tail
    loss: float = 0.0
    late: float = 0.0  # to be late by up to `late_ms`, so that others overtake it (packets only)
    late_ms: int = 60


class Sort(NamedTuple):
    """A line between two stations. `buffer`: bytes that a driver may have waiting; `byte_us`, `piece_us` on
    the line for each byte and piece; `mtu` 0: bytes without boundaries; `delay_us` until a piece is read.
    """

    byte_us: float
    buffer: int
    trouble: Trouble
    mtu: int = 0
    piece_us: float = 0.0
    delay_us: float = 0.0


def uart(baud: int, trouble: Trouble | None = None, *, buffer: int = 256, delay_us: float = 1000.0) -> Sort:
    """A serial line: ten bit times for each byte."""
    return Sort(1e7 / baud, buffer, trouble or Trouble(), delay_us=delay_us)


def radio(mtu: int, trouble: Trouble | None = None, *, packets: int = 4) -> Sort:
    """Bluetooth LE at 1 Mbit/s: 8 us a byte, and for each packet some 800 us of gaps and answers."""
    return Sort(8.0, packets * mtu, trouble or Trouble(), mtu, 800.0, 7500.0)


class Way:
    """One direction."""

    def __init__(self, line: Line, to: int) -> None:
        self.line = line
        self.sort = line.sort
        self.random = random.Random(f"{line.seed} {to}")
        self.to = to
        self.free_us = 0.0  # when the last byte will have left
        self.session = 0  # what an earlier one had not written yet is gone
        self.burst_left = 0
        self.next_flip = self._bits()
        self.next_burst = self._bytes(line.sort.trouble.burst)
        self.next_noise = self._bytes(line.sort.trouble.noise)
        self.bytes = 0
        self.damages = 0
        self.burst_ended_ms: list[int] = []

    def _bits(self) -> float:
        ber = self.sort.trouble.ber
        return self.random.expovariate(ber) if ber else float("inf")

    def _bytes(self, rate: float) -> float:
        return self.random.expovariate(rate) if rate else float("inf")

    def room(self) -> int:
        """Bytes that the driver takes now."""
        waiting = max(0.0, self.free_us - self.line.us) / self.sort.byte_us
        if self.sort.mtu:  # a packet counts as a whole, with what goes round it
            waiting = max(0.0, self.free_us - self.line.us) / (
                self.sort.byte_us + self.sort.piece_us / self.sort.mtu
            )
        return self.sort.buffer - int(waiting)

    def write(self, data: bytes) -> int:
        """Take bytes, perhaps not all; a packet whole."""
        if not self.sort.mtu and self.random.random() < 0.1:
            data = data[: self.random.randint(1, len(data))]
        size = self.sort.mtu or FIFO
        for pos in range(0, len(data), size):
            piece = data[pos : pos + size]
            self.free_us = (
                max(self.free_us, self.line.us) + len(piece) * self.sort.byte_us + self.sort.piece_us
            )
            self.line.at(self.free_us + self.sort.delay_us, self._leave, (self.session, piece))
        self.bytes += len(data)
        return len(data)

    def drop_waiting(self) -> None:
        """The sender's memory is lost, its transmit buffer as well."""
        self.session += 1
        self.free_us = self.line.us

    def print(self, text: bytes) -> None:
        """Bytes that no program wrote."""
        if not self.sort.mtu:
            for pos in range(0, len(text), FIFO):
                piece = text[pos : pos + FIFO]
                self.free_us = max(self.free_us, self.line.us) + len(piece) * self.sort.byte_us
                self.line.at(self.free_us + self.sort.delay_us, self._leave, (self.session, piece))

    def _leave(self, what: object) -> None:
        assert isinstance(what, tuple)
        session, piece = what
        if session != self.session:
            return
        trouble, rng = self.sort.trouble, self.random
        if self.line.calm:
            self.line.deliver(self.to, piece)
            return
        if trouble.loss and rng.random() < trouble.loss:
            self.damages += 1
            return
        piece = self._damage(piece)
        copies = 2 if trouble.double and rng.random() < trouble.double else 1
        for _ in range(copies):
            if trouble.late and rng.random() < trouble.late:
                wait = rng.random() * trouble.late_ms * 1000
                self.line.at(self.line.us + wait, self._arrive, (session, piece))
            elif piece:
                self.line.deliver(self.to, piece)

    def _arrive(self, what: object) -> None:
        assert isinstance(what, tuple)
        if what[0] == self.session:
            self.line.deliver(self.to, what[1])

    def _damage(self, piece: bytes) -> bytes:
        size = len(piece)
        self.next_burst -= size
        if self.next_burst < 0:
            self.burst_left = self.random.randint(1, self.sort.trouble.burst_size)
            self.next_burst = self._bytes(self.sort.trouble.burst) + self.burst_left
        if self.burst_left:
            self.damages += 1
            gone = min(size, self.burst_left)
            self.burst_left -= gone
            if not self.burst_left:
                self.burst_ended_ms.append(self.line.now)
            piece = piece[gone:]
        self.next_flip -= size * 8
        while self.next_flip < 0:
            piece = self._flip(piece)
            self.next_flip += self._bits()
        self.next_noise -= size
        if self.next_noise < 0:
            self.damages += 1
            self.next_noise = self._bytes(self.sort.trouble.noise)
            piece = self.random.randbytes(self.random.randint(1, 30)) + piece
        if self.sort.trouble.cut and self.random.random() < self.sort.trouble.cut:
            self.damages += 1
            piece = piece[: self.random.randrange(len(piece) + 1)]
        return piece

    def _flip(self, piece: bytes) -> bytes:
        self.damages += 1
        if not piece:
            return piece
        at = self.random.randrange(len(piece))
        return piece[:at] + bytes((piece[at] ^ 1 << self.random.randrange(8),)) + piece[at + 1 :]


class Line:
    """Two stations and what joins them. `us` is the time in microseconds, `now` in ms."""

    def __init__(self, seed: int, sort: Sort) -> None:
        self.seed = seed
        self.sort = sort
        self.us = 1e9
        self.calm = False  # no trouble any more: for the judgement
        self.agenda: list[tuple[float, int, Callable[[object], None], object]] = []
        self.serial = 0
        self.ways = (Way(self, 1), Way(self, 0))  # from station 0, from station 1
        self.stations: list[Station | None] = [None, None]
        self.pending = [b"", b""]  # of a short write
        self.timers = [-1, -1]
        self.waking = [False, False]

    @property
    def now(self) -> int:
        return int(self.us / 1000)

    def at(self, us: float, do: Callable[[object], None], what: object) -> None:
        self.serial += 1
        heapq.heappush(self.agenda, (us, self.serial, do, what))

    def attach(self, which: int, station: Station) -> None:
        self.stations[which] = station
        self.pending[which] = b""
        self.serve(which)

    def reset(self, which: int, station: Station) -> None:
        """The board starts anew: memory and transmit buffer are lost, its boot noise is on the line."""
        way = self.ways[which]
        way.drop_waiting()
        way.print(way.random.randbytes(way.random.randrange(60)) + BOOT)
        self.attach(which, station)

    def deliver(self, to: int, data: bytes) -> None:
        station = self.stations[to]
        if station is not None and data:
            station.incoming(data, self.now)
            self.serve(to)

    def serve(self, which: int) -> None:
        """Write what the station has and the line takes; set its alarm."""
        station, way = self.stations[which], self.ways[which]
        assert station is not None
        least = self.sort.mtu or 1
        while (room := way.room()) >= least:
            if not self.pending[which]:
                self.pending[which] = station.outgoing(self.sort.mtu or room, self.now)
            data = self.pending[which]
            if not data:
                break
            self.pending[which] = data[way.write(data[:room] if not self.sort.mtu else data) :]
        if way.room() < least and not self.waking[which]:
            self.waking[which] = True
            enough = self.sort.mtu or min(64, self.sort.buffer // 2)
            factor = self.sort.byte_us + (self.sort.piece_us / self.sort.mtu if self.sort.mtu else 0)
            self.at(max(self.us, way.free_us - (self.sort.buffer - enough) * factor + 1), self._wake, which)
        due = station.deadline()
        if due >= 0 and not self.now < self.timers[which] <= due:
            self.timers[which] = max(due, self.now)
            self.at(max(self.us, due * 1000.0), self._ring, (which, self.timers[which]))

    def _wake(self, which: object) -> None:
        assert isinstance(which, int)
        self.waking[which] = False
        self.serve(which)

    def _ring(self, what: object) -> None:
        assert isinstance(what, tuple)
        which, due = what
        if self.timers[which] != due:
            return  # another alarm was set since
        self.timers[which] = -1
        station = self.stations[which]
        assert station is not None
        if 0 <= station.deadline() <= self.now:
            station.fire(self.now)
        self.serve(which)  # or only the alarm, for what is due later than it was

    def run(self, ms: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, until `until` holds. Whether it does."""
        end = self.us + ms * 1000
        while self.agenda and self.agenda[0][0] <= end:
            self.us, _, do, what = heapq.heappop(self.agenda)
            do(what)
            if until():
                return True
        self.us = max(self.us, end)
        return until()
