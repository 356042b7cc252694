"""Goodput of a Bluetooth LE link as its connection interval limits it, in virtual time: no radio, no waiting.

Each connection event lets each side send so many packets of the MTU; what of that arrives as payload? The
link layer repeats what it loses by itself, so packets are lost only where buffers overflow: 0 is the rule.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from busway.protocol import Connection, FullError, Link, Node, codes

ENDPOINT = bytes(range(16))
DURATION_MS = 60_000
WARM_UP_MS = 5_000
IN_FLIGHT = 64


class Case(NamedTuple):
    """The terms that a phone or board agrees on: `per_event` packets each way in every `interval_ms`."""

    att_mtu: int
    interval_ms: int
    per_event: int
    loss: float
    payload: int


class Result(NamedTuple):
    """`bytes_s` of payload, and what part that is of `capacity`, all bytes the packets have room for."""

    bytes_s: float
    capacity: float
    messages: int

    @property
    def fraction(self) -> float:
        return self.bytes_s / self.capacity


class Side:
    """A node and its end of the link."""

    def __init__(self, letter: bytes, seed: int, mtu: int, dialled: bool) -> None:
        draws = random.Random(seed)
        self.node = Node(letter * 16, entropy=draws.randbytes)
        link = Link(codes.LOCALNET, dialled, sort="packet", mtu=mtu, via="ble://model", cost=256)
        self.connection: Connection = self.node.connection(link, 0)

    def timers(self, now: int) -> None:
        due = self.node.next_deadline()
        if due is not None and due <= now:
            self.node.handle_timer(now)


def carry(source: Side, sink: Side, case: Case, draws: random.Random, now: int) -> None:
    """One side's part of a connection event."""
    for _ in range(case.per_event):
        packet = source.connection.data_to_send(case.att_mtu - 3, now)
        if not packet:
            return
        if draws.random() >= case.loss:
            sink.connection.receive_data(packet, now)


def offer(source: Side, payload: bytes, count: int, now: int) -> int:
    """Sends up to so many messages, to keep the link busy; returns how many there was credit for."""
    for number in range(count):
        try:
            if source.node.send(ENDPOINT, payload, now, wait=False):
                return number  # it was not accepted: the endpoint is not known yet
        except FullError:
            return number
    return count


def measure(case: Case, seed: int = 1) -> Result:
    """One direction is busy, the other one acknowledges."""
    draws = random.Random(seed)
    central, board = (
        Side(b"c", 2 * seed, case.att_mtu - 3, True),
        Side(b"b", 2 * seed + 1, case.att_mtu - 3, False),
    )
    receiver = central.node.register(ENDPOINT, codes.UNICAST)
    sent = taken = counted = 0
    for now in range(WARM_UP_MS + DURATION_MS):
        central.timers(now)
        board.timers(now)
        if now % case.interval_ms == 0:
            sent += offer(board, bytes(case.payload), IN_FLIGHT - (sent - taken), now)
            carry(central, board, case, draws, now)
            carry(board, central, case, draws, now)
            while receiver.queue.items:
                central.node.take(receiver, now)
                taken += 1
                counted += now >= WARM_UP_MS
        central.node.take_events()
        board.node.take_events()
    seconds = DURATION_MS / 1000
    capacity = 1000 / case.interval_ms * case.per_event * (case.att_mtu - 3)
    return Result(counted * case.payload / seconds, capacity, counted)
