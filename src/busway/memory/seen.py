"""Mappings of regions that have come to this process, kept for a while: as a rule the same come again, and to
map one anew costs a fault of the processor for each of its pages. Only those that cannot be written.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from busway.memory.cache import IDLE_S, Cache
from busway.memory.mapping import Mapping

SIZE_MAX: Final = 1 << 28  # bytes of all that are kept


class Seen:
    """Mappings of `size_max` bytes in all; what has not come for ten seconds is given back. Any thread may
    call it.
    """

    def __init__(self, size_max: int = SIZE_MAX, idle_s: float = IDLE_S) -> None:
        self.cache = Cache(size_max)
        self._idle_s = idle_s
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def mapping_of(self, fd: int) -> Mapping:
        """The memory of a descriptor that has come, whose lease it does not have. Raises ValueError, OSError
        as Cache.
        """
        with self._lock:
            found = self.cache.mapping_of(fd)
            if self._timer is None or not self._timer.is_alive():  # a child has no thread of its parent
                self._sweep_later()
        return found

    def _sweep_later(self) -> None:
        self._timer = threading.Timer(self._idle_s, self._sweep)
        self._timer.daemon = True
        self._timer.start()

    def _sweep(self) -> None:
        with self._lock:
            self._timer = None
            if self.cache.sweep():
                self._sweep_later()

    def renew(self) -> None:
        """In a forked child, amid whatever other threads of its parent did."""
        self.cache = Cache(self.cache.size_max)
        self._lock = threading.Lock()
        self._timer = None


seen: Final = Seen()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=seen.renew)
