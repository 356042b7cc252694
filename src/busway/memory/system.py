"""Picks what this system has of memory that can be shared."""

from __future__ import annotations

import sys
from functools import cache

if sys.platform == "linux":
    from busway.memory import memfd as system
else:
    from busway.memory import shm as system

__all__ = ["missing", "system"]


@cache
def missing() -> str:
    """The thing that this system lacks for memory to be shared at all, for people; "" if nothing."""
    try:
        import busway.memory.mapping  # noqa: F401
    except ImportError as error:
        return str(error)
    return system.missing()
