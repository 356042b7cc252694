"""A board's own USB serial port as a stream for `Loop`: what its program's standard input and output are.

Knows the terminal and that Ctrl-C must not end the program; nothing of what travels.
"""

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Usb:
    """A terminal as a stream; from now on a byte 3 that comes is no Ctrl-C."""

    def __init__(self) -> None:
        try:
            from micropython import kbd_intr

            kbd_intr(-1)
        except ImportError:
            pass
        self.polled = sys.stdin
        self.read: "Any" = getattr(sys.stdin, "buffer", sys.stdin).read
        self.write: "Any" = getattr(sys.stdout, "buffer", sys.stdout).write
