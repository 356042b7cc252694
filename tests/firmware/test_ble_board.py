"""The Bluetooth example on a real MicroPython: its radio's other end is a socket that the test holds."""

from __future__ import annotations

import errno
import select
import socket
from pathlib import Path

import pytest

import busway
from busway.drivers.channel import READ_SIZE
from tests.rigs import aio
from tests.rigs.boards import Board, board

SERVICE = bytes.fromhex("48120001f71f577c9e12807faa345906")[::-1]


class Central:
    """What a computer's Bluetooth makes of the air: a channel of whole packets."""

    sort = "packet"
    realm = "localnet"
    via = "ble://lab-ble"
    address = "ble://lab-ble"
    dialled = True

    def __init__(self, radio: socket.socket, mtu: int) -> None:
        self.mtu = mtu
        self._radio = radio
        self._came = b""
        self.advertisements: list[bytes] = []
        radio.setblocking(False)
        self._say(b"C")

    def _say(self, data: bytes) -> None:
        data = len(data).to_bytes(2, "big") + data
        assert self._radio.send(data) == len(data)

    def fileno(self) -> int:
        return self._radio.fileno()

    def connected(self) -> bool:
        return True

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        while True:
            size = int.from_bytes(self._came[:2], "big")
            if len(self._came) >= 2 + size and self._came:
                frame, self._came = self._came[2 : 2 + size], self._came[2 + size :]
                if frame[:1] == b"N":
                    assert len(frame) - 1 <= self.mtu
                    return frame[1:]
                self.advertisements.append(frame[1:])
                continue
            try:
                data = self._radio.recv(2 + size - len(self._came) if len(self._came) >= 2 else 2)
            except BlockingIOError:
                return None
            if not data:
                raise OSError(errno.EIO, "the board is off")
            self._came += data

    def write(self, data: bytes | memoryview) -> int:
        if data:
            if not select.select([], [self._radio], [], 0)[1]:
                return 0
            self._say(b"W" + bytes(data))
        return len(data)

    def close(self) -> None:
        if self._radio.fileno() >= 0:
            self._say(b"D")

    def abandon(self) -> None:
        pass


@pytest.mark.parametrize("mtu", [20, 100, 244])
def test_readings_by_radio(tmp_path: Path, mtu: int) -> None:
    """Every third notification is refused for want of memory, so this passes by "busy", too."""

    async def main(found: Board) -> None:
        async with busway.AsyncBus(label="gateway") as bus:
            central = Central(found.radio, mtu)
            bus.attach(central)
            taken = 0
            async for message in bus.subscribe("lab/outside"):
                assert message.payload == {"celsius": 25.0}
                taken += 1
                if taken == 3:
                    break
            (first, *_) = central.advertisements
            assert SERVICE in first
            assert first.endswith(b"lab-ble")

    with board("ble_sensor.py", tmp_path) as found:
        aio.run(main(found))
