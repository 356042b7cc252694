"""A board's side of a Bluetooth link in real MicroPython, only its radio substituted, with bleak's own BlueZ
backend at the other end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from busway.drivers import ble
from tests.drivers import waiting
from tests.rigs import micropython
from tests.rigs.ble.radio import VirtualRadio
from tests.rigs.tree import ROOT

# Written as it would be for a board: nothing here knows that the radio is not real.
ECHO = f"""\
import struct
import time
import bluetooth

SERVICE = bluetooth.UUID("{ble.SERVICE}")
RX = (bluetooth.UUID("{ble.RX}"), bluetooth.FLAG_WRITE_NO_RESPONSE)
TX = (bluetooth.UUID("{ble.TX}"), bluetooth.FLAG_NOTIFY)

central = None
inbox = []


def field(kind, value):
    return struct.pack("BB", len(value) + 1, kind) + value


def advertise():
    ble.gap_advertise(
        100000,
        field(0x01, b"\\x06") + field(0x07, bytes(SERVICE)),
        resp_data=field(0x09, b"MicroPython sensor"),
    )


def happened(event, data):
    global central
    if event == 1:
        central = data[0]
    elif event == 2:
        central = None
        inbox.clear()
        advertise()
    elif event == 3:
        inbox.append(ble.gatts_read(data[1]))


ble = bluetooth.BLE()
ble.active(True)
ble.config(mtu=247)
ble.irq(happened)
((rx, tx),) = ble.gatts_register_services(((SERVICE, (RX, TX)),))
ble.gatts_set_buffer(rx, 244)
advertise()
while True:
    if inbox and central is not None:
        try:
            ble.gatts_notify(central, tx, inbox[0])
        except OSError:
            pass  # ENOMEM: the radio is busy
        else:
            inbox.pop(0)
    else:
        time.sleep_ms(1)
"""


@contextmanager
def board(radio: VirtualRadio, source: str, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """MicroPython with the program and the substituted module."""
    chip = radio.peripheral("chip", module="tests.rigs.ble.chip")
    shutil.copy(ROOT / "tests" / "rigs" / "ble" / "bluetooth.py", directory)
    (directory / "main.py").write_text(source)
    command = micropython.find()
    assert command, "no MicroPython here: run `make setup`, or name one in BUSWAY_MICROPYTHON"
    environment = {**os.environ, "BUSWAY_CHIP": chip.line(), "MICROPYPATH": str(directory)}
    with subprocess.Popen([command, "main.py"], cwd=directory, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def radio(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualRadio]:
    with VirtualRadio() as found:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", found.buses[0])
        yield found


def dialled(url: str) -> ble.BleChannel:
    channel = ble.dial(ble.candidates(url)[0], url)
    while not channel.connected():
        waiting.writable(channel)
    return channel


def test_packets_to_micropython_and_back_and_again_after_a_loss(radio: VirtualRadio, tmp_path: Path) -> None:
    with board(radio, ECHO, tmp_path):
        for _ in range(2):
            with closing(dialled("ble://MicroPython%20sensor")) as channel:
                assert channel.mtu == 244
                for number in range(50):
                    sent = bytes([number]) * (1 + 5 * number % 244)
                    while not channel.write(sent):
                        waiting.writable(channel)
                    waiting.readable(channel)
                    assert channel.read() == sent
                radio.tell("drop")
