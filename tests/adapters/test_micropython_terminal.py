"""A board whose REPL and bus share one line: a real MicroPython REPL on a pty with Ctrl-C on."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import termios
import time
from pathlib import Path

from tests.adapters.test_micropython import Gateway

STARTING = """
import os, time
print("begun")
time.sleep_ms(1500)  # as long as a board imports, and Ctrl-C is on

os.system("stty -isig")  # on a board `Usb` does it, on a computer the terminal makes the signal
from busway.adapters.micropython import Loop, Usb

loop = Loop(Usb(), "board", node_id=b"b" * 16)
loop.serve("lab/pump")(lambda value: value)
loop.run()
"""


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_host_does_not_stop_the_program_of_a_board_that_starts(interpreter: str, board_files: Path) -> None:
    """The worst that may be drawn: random bytes which all are a 3."""
    (board_files / "starting.py").write_text(STARTING)
    gateway = Gateway(entropy=lambda size: b"\3" * size)
    end = gateway.board_end
    mode = termios.tcgetattr(end)
    mode[3] |= termios.ISIG
    termios.tcsetattr(end, termios.TCSANOW, mode)
    with subprocess.Popen(
        [interpreter, "-i", "-X", "heapsize=256k", "starting.py"],
        cwd=board_files,
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        preexec_fn=_own_terminal,
    ) as board:
        try:
            shown = b""
            until = time.monotonic() + 20
            while b"begun" not in shown:
                assert time.monotonic() < until, shown
                if select.select([gateway.line], [], [], 1)[0]:
                    shown += os.read(gateway.line, 256)
            every_byte = "".join(map(chr, range(128)))  # now it is no Ctrl-C
            assert [gateway.ask(value) for value in ("x", every_byte)] == ["x", every_byte], gateway.texts()
        finally:
            board.kill()
    os.close(gateway.line)
    os.close(gateway.board_end)
