"""Says on stderr what is being measured: one line that is overwritten, or lines in a log."""

from __future__ import annotations

import sys
import time


class Progress:
    def __init__(self) -> None:
        self.steps = 0
        self.done = 0
        self.began = time.monotonic()
        self.live = sys.stderr.isatty()

    def expect(self, steps: int) -> None:
        """So many more steps will come."""
        self.steps += steps

    def step(self, what: str) -> None:
        self.done += 1
        self.note(f"{self.done}/{self.steps}  {what}")

    def skip(self, steps: int) -> None:
        """So many steps will not come after all."""
        self.steps -= steps

    def note(self, what: str) -> None:
        text = f"{time.monotonic() - self.began:4.0f} s  {what}"
        sys.stderr.write(f"\r\x1b[K{text}" if self.live else f"{text}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        if self.live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
