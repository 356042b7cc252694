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

from busway import AsyncBus
from tests.rigs import aio
from tests.rigs.ble.radio import VirtualRadio
from tests.rigs.boards import EXAMPLES, MODULES, install
from tests.rigs.micropython import find
from tests.rigs.tree import ROOT


@contextlib.contextmanager
def board(radio: VirtualRadio, directory: Path, att_mtu: int) -> Iterator[None]:
    """MicroPython with the example as it is, and a chip on the virtual radio."""
    chip = radio.peripheral("chip", att_mtu=att_mtu, module="tests.rigs.ble.chip")
    install(directory)
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


async def heard(radio: VirtualRadio, drops: int) -> None:
    """Readings come, and again by themselves whenever the radio lost the connection."""
    async with AsyncBus(ipc=False, label="gateway") as bus:
        readings = bus.subscribe("lab/outside")
        await bus.connect("ble://lab-ble")
        for turn in range(drops + 1):
            for _ in range(2):
                message = await readings.receive(timeout=60)
                assert message.payload == {"celsius": 25.0}
            (hop,) = await bus.trace("", node=bus.links()[0].peer, timeout=60)
            assert (hop.medium, hop.cost) == ("ble", 256)
            if turn < drops:
                radio.tell("drop")


@pytest.mark.parametrize(("att_mtu", "drops"), [(23, 0), (103, 0), (247, 1)])
def test_readings_over_the_radio(radio: VirtualRadio, tmp_path: Path, att_mtu: int, drops: int) -> None:
    """Every third notification is refused for want of memory, so this passes by "busy", too."""
    with board(radio, tmp_path, att_mtu):
        aio.run(heard(radio, drops), timeout_s=120)
