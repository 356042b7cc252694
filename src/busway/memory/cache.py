"""Mappings of what others have sent, kept for when the same memory comes again: to map it anew costs a fault
of the processor for each of its pages.
"""

from __future__ import annotations

import errno
import os
import time
from typing import Final
from weakref import WeakSet

from busway.memory.mapping import Mapping
from busway.memory.system import system

COUNT_MAX: Final = 1024  # what several who send in turn have on the way; one less, and each is mapped anew
IDLE_S: Final = 10.0
SIZE_MAX: Final = 1 << 33  # a message has less than 2^32 bytes, its block less than twice as many


class Cache:
    """Mappings of `size_max` bytes in all, read only; those seen last are kept."""

    def __init__(self, size_max: int) -> None:
        self.size_max = size_max
        self.size = 0
        # When it was seen last, and of whom; the one seen last is at the end.
        self._known: dict[object, tuple[Mapping, float, object]] = {}
        self._made: WeakSet[Mapping] = WeakSet()

    def __len__(self) -> int:
        return len(self._known)

    def mapping_of(self, fd: int, source: object = None, *, whole: bool = False) -> Mapping:
        """The memory of a descriptor that has come, from `source`. Raises ValueError for what is not to be
        trusted, OSError: it cannot be mapped here, or is to be `whole` and has holes.
        """
        size, key = system.check(fd)
        known = self._known.pop(key, None)
        if known is None:
            if whole and system.has_holes(fd):
                raise OSError(errno.ENODATA, "shared memory came that is not all there")
            mapping = _map(fd, size)
            self._made.add(mapping)
            self.size += size
        else:
            mapping = known[0]
        self._known[key] = mapping, time.monotonic(), source
        while self._known and (self.size > self.size_max or len(self._known) > COUNT_MAX):
            self._forget(next(iter(self._known)))
        return mapping

    def mapped(self) -> int:
        """Bytes of all that is mapped: what is kept here, and what was forgotten but is still looked at."""
        return sum(mapping.size for mapping in self._made)

    def _forget(self, key: object) -> None:
        self.size -= self._known.pop(key)[0].size

    def sweep(self) -> bool:
        """Forget what has not been seen for long; whether there is anything left to be looked at later."""
        oldest = time.monotonic() - IDLE_S
        for key in [key for key, (_, seen, _) in self._known.items() if seen <= oldest]:
            self._forget(key)
        return bool(self._known)

    def clear(self, source: object = None) -> None:
        """Forget all that came from there last."""
        for key in [key for key, (_, _, last) in self._known.items() if last is source]:
            self._forget(key)


def _map(fd: int, size: int) -> Mapping:
    """By an open file of its own: the one that has come has a lock, which is to end with the last view."""
    system.check_pages(fd)
    if not 0 < size <= SIZE_MAX:
        raise ValueError(f"shared memory of {size} bytes came")
    own = system.reopen(fd, writable=False)
    try:
        return Mapping(own, size, writable=False)
    finally:
        os.close(own)
