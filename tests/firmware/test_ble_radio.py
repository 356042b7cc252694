"""The Bluetooth example on a real MicroPython, heard and called through bleak's own BlueZ backend over the
virtual radio.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from busway import AsyncBus, firmware
from tests.rigs import aio
from tests.rigs.ble.radio import VirtualRadio
from tests.rigs.boards import EXAMPLES, MODULES
from tests.rigs.micropython import find
from tests.rigs.tree import ROOT


@contextlib.contextmanager
def board(radio: VirtualRadio, directory: Path) -> Iterator[None]:
    """MicroPython with the example as it is, and a chip on the virtual radio."""
    chip = radio.peripheral("chip", module="tests.rigs.ble.chip")
    firmware.build(directory, compiled=False)
    shutil.copy(ROOT / "tests" / "rigs" / "ble" / "bluetooth.py", directory)
    command = find()
    assert command, "no MicroPython here: run `make setup`, or name one in BUSWAY_MICROPYTHON"
    environment = {
        **os.environ,
        "BUSWAY_CHIP": chip.line(),
        "MICROPYPATH": f"{directory}:{MODULES}",
        "BOARD": str(directory),
    }
    with subprocess.Popen(
        [command, "-X", "heapsize=256k", EXAMPLES / "ble_sensor.py"], env=environment
    ) as process:
        try:
            yield
        finally:
            process.kill()


@pytest.fixture
def radio(monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualRadio]:
    with VirtualRadio() as found:
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", found.buses[0])
        yield found


async def heard(radio: VirtualRadio) -> None:
    """Readings come, and again by themselves after the radio lost the connection."""
    async with AsyncBus(ipc=False, label="gateway") as bus:
        readings = bus.subscribe("lab/outside")
        await bus.connect("ble://lab-ble")
        for turn in range(2):
            for _ in range(2):
                message = await readings.receive(timeout=20.0)
                assert message.payload == {"celsius": 25.0}
            if turn == 0:
                radio.tell("drop")


def test_readings_over_the_radio(radio: VirtualRadio, tmp_path: Path) -> None:
    with board(radio, tmp_path):
        aio.run(heard(radio), timeout_s=60)
