"""`busway.Registry`: regions that are used again once nobody has them any more."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet, ref

from busway.memory import region as regions
from busway.memory.pool import IDLE_S, Pool, Use
from busway.memory.region import Region
from busway.memory.room import MARGIN, Room

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE_MAX: Final = 1 << 28


class Registry:
    """Gives regions, and uses those anew that no program has any more: to make a region takes a system call
    for each page of it, to use one anew next to nothing.

    Args:
        size_max: bytes of all of its regions, those that others hold among them.
        idle: seconds after which one that nobody has is given back.

    Its regions are frozen: the program that takes one writes, whoever is sent it reads. What an earlier use
    has left in it is still there. Any thread may call it.
    Raises TypeError, ValueError, OSError as Region.
    """

    __slots__ = ("__weakref__", "_pool")

    def __init__(self, size_max: int = SIZE_MAX, *, idle: float = IDLE_S) -> None:
        if not isinstance(size_max, int) or isinstance(size_max, bool):
            raise TypeError(f"size_max is a number of bytes, not {size_max!r}")
        if not isinstance(idle, (int, float)) or isinstance(idle, bool):
            raise TypeError(f"idle is a number of seconds, not {idle!r}")
        if size_max < 1 or not 0 < idle <= threading.TIMEOUT_MAX:
            raise ValueError("size_max is 1 byte at least, and idle more than 0 seconds")
        regions.check_system()
        self._pool = Pool(size_max, idle)
        with _listing:
            _registries.add(self)

    def __repr__(self) -> str:
        return f"<Registry of {self._pool.count} regions, {self._pool.size} of {self._pool.size_max} bytes>"

    @property
    def size(self) -> int:
        """Bytes of all regions that there are."""
        return self._pool.size

    @property
    def held(self) -> int:
        """How many regions other programs have, or are on their way to them."""
        return self._pool.held()

    def take(self, size: int, tag: str = "") -> Region:
        """A region of `size` bytes at least, and less than twice as many, that nobody else has: one that was
        taken with the same tag before, or a new one. It comes back by itself when the program has neither it
        nor a view of it any more, and no receiver does.

        Raises TypeError, ValueError; MemoryError: `size_max` is reached, for others hold the regions or this
        program does; OSError: the system has no more.
        """
        if not isinstance(size, int) or isinstance(size, bool) or not isinstance(tag, str):
            raise TypeError(f"take() wants a number of bytes and a text, not {size!r} and {tag!r}")
        return regions.reused(self._use(size, tag))

    def array(self, shape: int | Sequence[int], dtype: object = "u1", tag: str = "") -> NDArray[Any]:
        """An array of numpy in memory that nobody else has, with room for all else that a payload has: sent
        alone or in a dict or a dataclass, whose other fields take less than 4 KiB, it is not copied. It is
        writable, and what an earlier use has left stands in it. Its memory comes back as a region's does.

        Args: `shape` and `dtype` as of numpy, of numbers or truth values.

        What is written in it after it was sent, its receivers see: take another one. Sent again with other
        things beside it, or in part, it is copied as any array.
        Raises as `take`, and ImportError without numpy.
        """
        import numpy

        kind = numpy.dtype(dtype)  # type: ignore[call-overload]
        if kind.kind not in "biufc" or not isinstance(tag, str):
            raise TypeError(f"array() wants a dtype of numbers and a text, not {kind} and {tag!r}")
        sides = tuple(map(index, (shape,) if isinstance(shape, int) else shape))
        if min(sides, default=1) < 1:
            raise ValueError(f"a shape is of numbers from 1 on, not {shape!r}")
        size = math.prod(sides) * kind.itemsize
        room = Room(self._use(size + 2 * MARGIN, tag), size)
        view = room.use.block.mapping.view(room)
        return numpy.ndarray(sides, kind, view, MARGIN)

    def _use(self, size: int, tag: str) -> Use:
        if not 0 < size <= regions.SIZE_MAX:
            raise ValueError(f"a region has 1 to 2^40 bytes, not {size}")
        pool = self._pool
        use = pool.take(size, tag)
        if use is None:
            raise MemoryError(
                f"no region of {size} bytes: {pool.size} of {pool.size_max} are in use, by this program or"
                f" those that it has sent regions to ({pool.lent()} regions): let go of regions and views of"
                " them, wait until receivers have, or give the registry a larger size_max"
            )
        if pool.wants_sweep():
            _sweep_later(ref(pool), pool.idle_s)
        return use


_registries: Final[WeakSet[Registry]] = WeakSet()
_listing: Final = threading.Lock()


def in_use() -> tuple[int, int]:
    """Bytes of the regions of all registries of this process, and how many of these others have."""
    with _listing:
        registries = list(_registries)
    return sum(each.size for each in registries), sum(each.held for each in registries)


def _sweep_later(pool: ref[Pool], after_s: float) -> None:
    """As long as the registry is there and has regions."""

    def sweep() -> None:
        found = pool()
        if found is not None and found.sweep():
            del found
            _sweep_later(pool, after_s)

    timer = threading.Timer(after_s, sweep)
    timer.daemon = True
    timer.start()
