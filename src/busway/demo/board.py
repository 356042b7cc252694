"""A board and its bridge: a real MicroPython runs firmware_examples/pump.py on a pty, as a Pico would at a
serial line, and this program joins it to the bus. Try: busway request --bus demo lab/pump '{"on": false}'

Only in a checkout with a MicroPython, which `make setup` fetches; `obstacle()` says what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import tty
from pathlib import Path

import busway
import busway.firmware as firmware
from busway.demo import program
from busway.demo.errors import DemoError
from busway.drivers.extras import missing

ROOT = Path(__file__).resolve().parents[3]
FIRMWARE = ROOT / "firmware_examples" / "pump.py"
PINS = ROOT / "tests" / "rigs" / "board"  # machine.py for a computer
MICROPYTHON = Path(sys.prefix, "bin", "micropython")
_TANK_S = 3.0  # the tank is filled and emptied as often
_BOOT_S = 60.0  # what MicroPython may take to start, on a machine that is busy


def obstacle() -> str:
    """Why there is no board here; "" if there can be."""
    try:
        import serial  # noqa: F401
    except ModuleNotFoundError:
        return missing("it needs", "serial")
    for path in (MICROPYTHON, FIRMWARE, PINS):
        if not path.exists():
            return f"{path.name} is missing: `make setup` in a checkout brings it"
    return ""


class Board:
    """A running board whose pins are files of `directory`; `line` is the path of its serial line."""

    def __init__(self, bus_name: str, directory: Path) -> None:
        firmware.build(directory, compiled=False)
        main = directory / "main.py"
        main.write_text(FIRMWARE.read_text().replace('BUS = "default"', f"BUS = {bus_name!r}"))
        self._ours, self._line = os.openpty()
        os.set_blocking(self._ours, False)
        tty.setraw(self._line)  # a serial line echoes nothing
        self.line = os.ttyname(self._line)
        self._directory = directory
        self._process = subprocess.Popen(
            [str(MICROPYTHON), "-X", "heapsize=256k", str(main)],
            pass_fds=[self._ours],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={
                "MICROPYPATH": f"{directory}:{PINS}",
                "BOARD": str(directory),
                "BOARD_UART": str(self._ours),
            },
        )

    def fill(self, water: bool) -> None:
        """Move its float switch, pin 14."""
        (self._directory / "pin14").write_text("0" if water else "1")

    def check(self) -> None:
        """Raises DemoError if the firmware has ended."""
        if self._process.poll() is not None:
            raise DemoError(f"the board's firmware ended with status {self._process.returncode}")

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)
        os.close(self._line)


async def weather(board: Board) -> None:
    """The events at the board: its tank is full, later empty, and so on."""
    water = True
    while True:
        board.fill(water)
        await asyncio.sleep(_TANK_S)
        board.check()
        water = not water


async def main(bus_name: str) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="bw-board-") as folder,
        contextlib.closing(Board(bus_name, Path(folder))) as board,
    ):
        async with busway.AsyncBus(bus_name, label="board", transit=True) as bus:
            await bus.connect(f"serial://{board.line}?baud=115200", wait=_BOOT_S)
            await weather(board)


if __name__ == "__main__":
    program.run(main)
