"""Takes a secret out of the words that a command was started with, as other users see them (ps, /proc)."""

from __future__ import annotations

import ctypes
import sys


def hide(secret: str) -> bool:
    """Overwrite `secret` in this process's command line; whether that was possible. On Linux it is.

    It stood there until now, and stands in the shell's history.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        start, end = int(fields[45]), int(fields[46])  # proc(5): arg_start and arg_end, fields 48 and 49
    except (OSError, ValueError, IndexError):
        return False
    if not 0 < start < end:  # the kernel does not tell
        return False
    words, wanted = ctypes.string_at(start, end - start), secret.encode(errors="surrogateescape")
    at = words.find(wanted)
    while at >= 0:
        ctypes.memset(start + at, ord("*"), len(wanted))
        at = words.find(wanted, at + len(wanted))
    return True
