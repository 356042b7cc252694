"""Which descriptors a process has open, so that a test sees that none is left."""

from __future__ import annotations

import gc
import os


def descriptors(pid: int | str = "self") -> dict[int, str]:
    """By number, what each is open on, as the system says it."""
    if pid == "self":
        gc.collect()
    found = {}
    folder = f"/proc/{pid}/fd"
    for number in os.listdir(folder):
        try:
            found[int(number)] = os.readlink(f"{folder}/{number}")
        except FileNotFoundError:
            continue  # the one that lists them
    return found


def count(pid: int | str = "self") -> int:
    """How many."""
    return len(descriptors(pid))
