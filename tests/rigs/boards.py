"""A board: a real MicroPython that runs a firmware example, with pins in files and a pty as its UART.

Only what tests/rigs/board/ holds is substituted: modules that a board has and a computer has not.
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from busway import firmware
from tests.drivers.lines import Line
from tests.rigs.micropython import find
from tests.rigs.tree import ROOT

MODULES = ROOT / "tests" / "rigs" / "board"
EXAMPLES = ROOT / "firmware_examples"
_BOUND_S = 60


@functools.cache
def _modules() -> dict[str, bytes]:
    """What `busway firmware --py` writes, by file name; made once."""
    with tempfile.TemporaryDirectory() as made:
        firmware.build(Path(made), compiled=False)
        files = [path for path in Path(made).rglob("*") if path.is_file()]
        return {str(path.relative_to(made)): path.read_bytes() for path in files}


def install(directory: Path) -> None:
    """Lays out what a board has installed, as .py files."""
    for name, text in _modules().items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(text)


class Board:
    """One board that runs `program`, from `board()`.

    url: for the driver that is to reach it by its serial line.
    """

    def __init__(self, program: Path, directory: Path, heap: str) -> None:
        self.line = Line()
        self.url = self.line.url
        self._directory = directory
        self._program = program
        self._heap = heap
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the MicroPython that runs now."""
        assert self._process is not None
        return self._process.pid

    def power(self) -> None:
        """Switch it on. Its UART is the line's end; both stay when the board is reset."""
        command = find()
        assert command is not None, "make setup fetches a MicroPython"
        with (self._directory / "stderr").open("ab") as errors:
            self._process = subprocess.Popen(
                [command, "-X", f"heapsize={self._heap}", str(self._program)],
                pass_fds=(self.line.board,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={
                    "MICROPYPATH": f"{self._directory}:{MODULES}",
                    "BOARD": str(self._directory),
                    "BOARD_UART": str(self.line.board),
                },
            )

    def cut(self) -> None:
        """Switch it off, in the midst of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def reset(self) -> None:
        """The reset button."""
        self.cut()
        self.power()

    def complaint(self) -> str:
        """The words of MicroPython on a program that failed."""
        return (self._directory / "stderr").read_text()

    def pin(self, number: int) -> int:
        """The level of an output pin."""
        return self.shown(f"pin{number}")

    def shown(self, name: str) -> int:
        """The outputs that the board shows now, as of `until`."""
        return int((self._directory / name).read_text())

    def until_pin(self, number: int, level: int) -> None:
        """Wait until it has this level. AssertionError after a minute."""
        self.until(f"pin{number}", level)

    def until(self, name: str, value: int) -> None:
        """Wait until the board shows this: "pin25", "asleep" (ms), "joins". AssertionError after a minute."""
        place = self._directory / name
        end = time.monotonic() + _BOUND_S
        while not place.exists() or int(place.read_text()) != value:
            assert time.monotonic() < end, f"{name} not {value} within {_BOUND_S} s: {self.complaint()}"
            time.sleep(0.002)

    def put(self, name: str, value: int) -> None:
        """Does to an input what the world does: "pin14" or "adc4"."""
        made = self._directory / f".{name}"
        made.write_text(str(value))
        made.rename(self._directory / name)

    def close(self) -> None:
        self.cut()
        self.line.unplug()


@contextlib.contextmanager
def board(program: str | Path, directory: Path, *, heap: str = "256k") -> Iterator[Board]:
    """A board that is switched on, for the duration of a with statement.

    Args: `program` is a file of firmware_examples/ or a path; `directory` an empty folder to lay out what the
    board has installed; `heap` as in 64k.
    """
    install(directory)
    made = Board(EXAMPLES / program, directory, heap)
    try:
        made.power()
        yield made
    finally:
        made.close()
