"""Large payloads in memory: put there once, described in a few bytes, looked at by whoever gets the
description and a descriptor. Knows no link.

What comes from others is not trusted: a descriptor is looked at before it is mapped (memfd.py), a description
is held against the size that the kernel tells, and nothing is read of the memory itself here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final
from weakref import WeakSet

from busway.drivers.descriptors import Descriptor
from busway.memory.cache import Cache
from busway.memory.described import BEYOND, PAYLOAD_SIZE_MAX, copied, describe, read_description
from busway.memory.mapping import Mapping, keeper_of, place_of
from busway.memory.pool import Pool, Use
from busway.memory.region import Region
from busway.memory.room import Room
from busway.memory.system import missing, system

# Descriptors of payloads that came and are held here, and of those that were put into memory: each so many,
# or a quarter of what the process may have open.
DESCRIPTORS_MAX: Final = 256

_COMPARED_MAX: Final = 4096  # bytes of what stands between arrays: more is copied


class Large:
    """All that one bus has put into memory, and sees of others. Any thread may call `put` and `join`.

    size_max: bytes of all that it puts there; 0: it puts nothing there, and copies what comes.
    payload_size_max: bytes of a payload that comes: no room is made for more.
    """

    def __init__(self, size_max: int, payload_size_max: int = PAYLOAD_SIZE_MAX) -> None:
        self.payload_size_max = payload_size_max
        self.size_max = 0 if missing() or not system.REUSES else size_max
        most = _descriptors_max()
        self.pool = Pool(self.size_max, count_max=most)
        self.cache = Cache(self.size_max)
        self.leases: WeakSet[Descriptor] = WeakSet()
        self._last: tuple[object, Use] | None = None  # what was put last, which may go to others as well
        self.leases_max = most

    def put(self, payload: bytes | memoryview) -> tuple[bytes, Descriptor] | None:
        """A description of a payload, and what is to be handed over with it; None: it does not get there.

        A view of a region, or of what has come, stays where it is, and is not copied. What is handed over is
        a lease of its own: who gets one could give it up.
        """
        if not self.size_max:
            return None
        try:
            if type(payload) is memoryview:
                lies = self._described(payload)
                if lies is not None:
                    return lies
            last, self._last = self._last, None
            use = last[1] if last is not None and last[0] is payload else None
            del last  # the block of what was put before can be used for this
            if use is None:
                use = self._filled((payload,), len(payload))
            if use is None:
                return None
            self._last = (payload, use)
            return describe(0, len(payload)), system.lease(use.block.fd, writable=False)
        except OSError:
            return None  # no descriptor or no memory is left

    def _described(self, view: memoryview) -> tuple[bytes, Descriptor] | None:
        place = place_of(view)
        if place is None or (fd := _fd_of(place.keep)) < 0:
            return None
        return describe(place.offset, view.nbytes), system.lease(fd, writable=False)

    def join(self, pieces: Sequence[bytes | memoryview]) -> memoryview | None:
        """The pieces of a payload one after the other, in memory from which it need not be copied again;
        None: there is no room. Those that lie so in memory that can be handed over are not copied.
        """
        if not self.size_max:
            return None
        lying = _lying(pieces)
        if lying is not None:
            return lying
        size = sum(map(len, pieces))
        self._last = None  # its block can be used for this
        try:
            use = self._filled(pieces, size)
        except OSError:
            return None
        return None if use is None else use.block.mapping.view(use)[:size].toreadonly()

    def _filled(self, pieces: Sequence[bytes | memoryview], size: int) -> Use | None:
        use = self.pool.take(size)
        if use is not None:
            view, at = use.block.mapping.view(), 0
            for piece in pieces:
                view[at : at + len(piece)] = piece
                at += len(piece)
        return use

    def look(self, description: bytes, descriptor: Descriptor, source: object = None) -> memoryview:
        """The payload that is described, read only. Its memory is held as long as there is a view of it, by
        that descriptor; with many of those it is copied. `source` as of Cache. Raises ValueError if it is not
        what it says, TooLarge.
        """
        offset, size = read_description(description, self.payload_size_max)
        try:
            if not self.size_max or len(self.leases) >= self.leases_max:
                return copied(descriptor.fd, offset, size)
            mapping = self.cache.mapping_of(descriptor.fd, source, whole=True)
        except OSError:
            return copied(descriptor.fd, offset, size)
        if offset + size > mapping.size:
            raise ValueError(BEYOND % (size, offset, mapping.size))
        self.leases.add(descriptor)
        return mapping.view(descriptor)[offset : offset + size]

    def held(self) -> int:
        """How many blocks others hold."""
        last = self._last
        return self.pool.held() + (last is not None and system.is_held(last[1].block.fd))

    def wants_sweep(self) -> bool:
        """Whether whoever asks is to call `sweep` from now and then, until that says that nothing is left."""
        return self.pool.wants_sweep()

    def sweep(self) -> bool:
        """Give back what has been idle for long; whether there is anything left to be looked at later."""
        self._last = None
        kept = self.cache.sweep()
        return self.pool.sweep(bool(kept))


def _descriptors_max() -> int:
    if sys.platform == "win32":
        return DESCRIPTORS_MAX
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return DESCRIPTORS_MAX if most == resource.RLIM_INFINITY else min(DESCRIPTORS_MAX, most // 4)


def _fd_of(keeper: object) -> int:
    """The descriptor of memory that is kept so; -1: there is none to be handed over."""
    if isinstance(keeper, Use):
        return keeper.block.fd
    if isinstance(keeper, Region):
        return keeper._fd
    if isinstance(keeper, Room):
        return keeper.use.block.fd
    return keeper.fd if isinstance(keeper, Descriptor) else -1


def _lying(pieces: Sequence[bytes | memoryview]) -> memoryview | None:
    """The pieces where they lie, one after the other; None: nowhere.

    As a view of a region does, alone; or an array that came, and is sent with the same before and behind it;
    or one of a registry, with room for these.
    """
    if len(pieces) == 1 and isinstance(view := pieces[0], memoryview):
        keeper = keeper_of(view)
        if not isinstance(keeper, Room) and _fd_of(keeper) >= 0:
            return view.toreadonly()
    number = max(range(len(pieces)), key=lambda number: len(pieces[number]))
    place = place_of(memoryview(pieces[number]))
    if place is None or _fd_of(place.keep) < 0:
        return None
    at = place.offset - sum(map(len, pieces[:number]))
    size = sum(map(len, pieces))
    if not 0 <= at <= place.mapping.size - size:
        return None
    if isinstance(place.keep, Room):
        place.keep.fill(at, pieces, number)
    whole = place.mapping.view(place.keep).toreadonly()
    for each, piece in enumerate(pieces):
        if each != number and not _lies_at(whole, place.mapping, at, piece):
            return None
        at += len(piece)
    return whole[at - size : at]


def _lies_at(whole: memoryview, mapping: Mapping, at: int, piece: bytes | memoryview) -> bool:
    if len(piece) <= _COMPARED_MAX:
        return bytes(whole[at : at + len(piece)]) == bytes(piece)
    place = place_of(memoryview(piece))
    return place is not None and place.mapping is mapping and place.offset == at
