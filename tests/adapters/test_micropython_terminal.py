"""A board whose REPL and bus share one line: a real MicroPython REPL on a pty with Ctrl-C on."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import termios
import time
import tty
from pathlib import Path

from busway.adapters import micropython_cbor as small
from busway.adapters.micropython_names import uuid_of
from busway.protocol import codes
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


def _raw_with_ctrl_c(end: int) -> None:
    """A terminal as that of a board which starts: Ctrl-C, and no other key that does something."""
    tty.setraw(end)
    mode = termios.tcgetattr(end)
    mode[3] |= termios.ISIG
    mode[6][termios.VQUIT] = mode[6][termios.VSUSP] = b"\0"  # none; a computer's would end it at a byte 28
    termios.tcsetattr(end, termios.TCSANOW, mode)


def _start(interpreter: str, board_files: Path, end: int) -> subprocess.Popen[bytes]:
    _raw_with_ctrl_c(end)
    return subprocess.Popen(
        [interpreter, "-i", "-X", "heapsize=256k", "starting.py"],
        cwd=board_files,
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        preexec_fn=_own_terminal,
    )


def _threes(size: int) -> bytes:
    """The worst that may be drawn: random bytes which all are a 3. Only every fourth behind the first four
    differs, for numbers of requests are drawn many at a time, and no two requests may have the same.
    """
    return bytes(3 + at // 4 if at % 4 == 3 else 3 for at in range(size))


def test_a_host_does_not_stop_the_program_of_a_board_that_starts(interpreter: str, board_files: Path) -> None:
    (board_files / "starting.py").write_text(STARTING)
    gateway = Gateway(entropy=_threes)
    with _start(interpreter, board_files, gateway.board_end) as board:
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


def test_a_board_that_is_reset_under_traffic_goes_on(interpreter: str, board_files: Path) -> None:
    """The message under way is full of bytes 3, and is repeated while the board starts: not these."""
    (board_files / "starting.py").write_text(STARTING)
    gateway = Gateway(entropy=lambda size: (b"\x1c\x1a" + os.urandom(size))[:size])  # Ctrl-\\ and Ctrl-Z
    name = os.ttyname(gateway.board_end)
    for number in range(3):
        with _start(interpreter, board_files, gateway.board_end) as board:
            try:
                assert gateway.ask(number) == number, gateway.texts()
            finally:
                board.kill()
        os.close(gateway.board_end)  # a terminal whose program ends is hung up
        gateway.board_end = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        _raw_with_ctrl_c(gateway.board_end)
        for _ in range(8):
            gateway.node.request(
                uuid_of("lab/pump"), small.dumps("\3" * 200), gateway.now(), codes.CBOR, timeout_ms=60000
            )
        until = time.monotonic() + 1
        while time.monotonic() < until:  # as long as a chip is without its program, and hears nothing
            gateway.turn()
            if select.select([gateway.board_end], [], [], 0)[0]:
                os.read(gateway.board_end, 4096)
        os.set_blocking(gateway.board_end, True)
    with _start(interpreter, board_files, gateway.board_end) as board:
        try:
            assert gateway.ask("alive") == "alive", gateway.texts()
        finally:
            board.kill()
    os.close(gateway.line)
    os.close(gateway.board_end)
