"""The board's end of a serial line as a channel, for a bus in the test's own process to be the board."""

from __future__ import annotations

import os
import random

from busway.drivers.channel import READ_SIZE
from tests.drivers.lines import Line


class Uart:
    """The board's end of a line as a channel. `flip` is the chance of a byte to be damaged on its way."""

    sort = "packet"
    realm = "localnet"
    mtu = 0
    via = ""
    address = "uart:0"
    dialled = False

    def __init__(self, wire: Line, flip: float = 0.0) -> None:
        self._fd = os.dup(wire.board)
        self._flip = flip
        self._random = random.Random(7)

    def fileno(self) -> int:
        return self._fd

    def connected(self) -> bool:
        return True

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        try:
            return self._noisy(os.read(self._fd, size_max))
        except BlockingIOError:
            return None

    def write(self, data: bytes | memoryview) -> int:
        try:
            return os.write(self._fd, self._noisy(bytes(data)))
        except BlockingIOError:
            return 0

    def _noisy(self, data: bytes) -> bytes:
        if not self._flip:
            return data
        return bytes(
            byte ^ (1 << self._random.randrange(8)) if self._random.random() < self._flip else byte
            for byte in data
        )

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    abandon = close
