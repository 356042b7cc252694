"""`busway.Region`: a piece of memory that programs of one machine have in common."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Final

from busway.drivers.descriptors import Sole
from busway.memory.mapping import Mapping
from busway.memory.seen import seen
from busway.memory.system import missing, system

if TYPE_CHECKING:
    from typing import Self

    from busway.drivers.descriptors import Descriptor
    from busway.memory.pool import Use

SIZE_MAX: Final = 1 << 40


class Region(Sole):
    """Memory of `size` bytes, zero at first, which is sent to other programs of the same user on this
    machine as it is: they see the same bytes, at the same time.

    `region.view` is a memoryview of all of it. Whoever has the region may write in it, until `freeze()`: then
    only those who had it by then, which is the program that made it, if it freezes it before it sends it. Its
    size never changes, so that no view of it can fail. It lasts as long as anybody has it, or a view of it;
    `close()` and `with` let go of it here.

    Raises TypeError, ValueError; OSError: there is no memory or no descriptor left, or the system has none
    to be shared.
    """

    __slots__ = ("__weakref__", "_fd", "_frozen", "_mapping", "_use", "size")

    _fd: int
    _frozen: bool
    _mapping: Mapping | None
    _use: Use | Descriptor | None
    size: int

    def __init__(self, size: int) -> None:
        self._fd = -1
        if not isinstance(size, int) or isinstance(size, bool):
            raise TypeError(f"size is a number of bytes, not {size!r}")
        if not 0 < size <= SIZE_MAX:
            raise ValueError(f"a region has 1 to 2^40 bytes, not {size}")
        check_system()
        self._use = None
        self._frozen = False
        self.size = size
        self._fd = system.make(size)
        self._mapping = Mapping(self._fd, size, writable=True)

    def __repr__(self) -> str:
        words = [f"{self.size} bytes"]
        words += ["frozen"] if self._frozen else []
        words += ["closed"] if self._mapping is None else []
        return f"<Region of {', '.join(words)}>"

    def __del__(self) -> None:
        self._let_go()

    @property
    def view(self) -> memoryview:
        """All of it. Writable, unless it came frozen. Raises ValueError once the region is closed; a view
        that was taken before stays as it is.
        """
        return self._mapped().view(self._use or self)

    @property
    def frozen(self) -> bool:
        """Whether those whom it is sent to can only read it, whoever has seen to that."""
        if not self._frozen and self._fd >= 0:
            self._frozen = system.is_frozen(self._fd)
        return self._frozen

    @property
    def held(self) -> bool:
        """Whether another program has it, or it is on its way to one. Of one that came from another: whether
        there is anybody else. Raises ValueError.
        """
        self._mapped()
        return system.is_held(self._fd)

    def freeze(self) -> None:
        """Let nobody write in it from now on who does not have it yet. Twice is once, also where another
        program that it was sent to was the first.

        Raises ValueError: it is closed; OSError: this system, or the one who sent it, allows no such thing.
        """
        self._mapped()
        if self.frozen:
            return
        try:
            system.freeze(self._fd)
        except OSError:
            if not self.frozen:  # else another program was faster
                raise
        self._frozen = True

    def close(self) -> None:
        """Let go of it. Views that were taken stay as they are. Twice is once."""
        self._mapping = None
        self._let_go()

    def _let_go(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0 and self._use is None:
            os.close(fd)
        self._use = None

    def _mapped(self) -> Mapping:
        if self._mapping is None:
            raise ValueError("this region is closed")
        return self._mapping

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_system() -> None:
    """Raises OSError where no memory can be shared."""
    lacking = missing()
    if lacking:
        raise OSError(f"regions need memory that can be shared: {lacking}")


def given(regions: Iterable[Region], most: int | None = None) -> tuple[Descriptor, ...]:
    """Descriptors of regions to be sent, `most` of them or all: each is held until that is closed, wherever
    it gets to.

    Raises TypeError; ValueError: one is closed; OSError.
    """
    if not isinstance(regions, Iterable):
        raise TypeError(f"regions= takes several, as in regions=[region], not {regions!r}")
    wanted = list(islice(regions, most))
    for region in wanted:
        if not isinstance(region, Region):
            raise TypeError(f"expected a busway.Region, not {region!r:.60}")
        region._mapped()
    return tuple(system.lease(region._fd, writable=not region.frozen) for region in wanted)


def received(descriptor: Descriptor) -> Region:
    """The region that somebody sent. Raises ValueError for what is none, OSError."""
    check_system()
    size, _ = system.check(descriptor.fd)
    system.check_pages(descriptor.fd)
    if not 0 < size <= SIZE_MAX:
        raise ValueError(f"a region of {size} bytes came")
    if system.has_holes(descriptor.fd):  # of any size, for nothing, and to map it would fill them
        raise ValueError(f"a region of {size} bytes came whose memory is not all there")
    frozen = system.is_frozen(descriptor.fd)
    if frozen and system.REUSES:
        # The mapping is not by this descriptor, so it does not hold the region: the region's own one does.
        mapping, descriptor = seen.mapping_of(descriptor.fd), descriptor.copy()
    else:
        mapping = Mapping(descriptor.fd, size, writable=not frozen)
    region = _bare(size, frozen, descriptor.fd)
    region._use = descriptor
    region._mapping = mapping
    return region


def reused(use: Use) -> Region:
    """A block of a pool as a region: its pool gets it back when that, and all views of it, are gone."""
    region = _bare(use.block.mapping.size, True, use.block.fd)
    region._use = use
    region._mapping = use.block.mapping
    return region


def _bare(size: int, frozen: bool, fd: int) -> Region:
    region = Region.__new__(Region)
    region.size = size
    region._frozen = frozen
    region._fd = fd
    region._mapping = None
    return region
