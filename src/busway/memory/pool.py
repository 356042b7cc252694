"""Regions that are used again when nobody holds them any more: by size and tag, within a bound. Knows no bus.

A block is out while a program writes or reads it (a Use is there), then lent for as long as anybody has a
lease of it, then idle. Nobody says when a lease ends: blocks that are lent are looked at when another is
wanted, and in `sweep`.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections import deque
from functools import partial
from typing import Final
from weakref import WeakSet

from busway.drivers.descriptors import Descriptor, Sole
from busway.memory.mapping import Mapping
from busway.memory.system import system

IDLE_S: Final = 10.0
COUNT_MAX: Final = 1 << 20
_LOOKED_AT_MAX: Final = 8  # of those that are lent, each time that one is wanted

Key = tuple[str, int]  # tag and bytes


class Block(Sole):
    """A sealed file of `size` bytes, mapped by its owner, who alone can write in it."""

    __slots__ = ("fd", "key", "mapping", "since")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.since = 0.0  # when it was found to be idle
        self.fd = system.make(key[1])
        try:
            self.mapping = Mapping(self.fd, key[1], writable=True)
            if system.REUSES:
                system.freeze(self.fd)
        except BaseException:
            os.close(self.fd)
            self.fd = -1
            raise

    def __del__(self) -> None:
        fd, self.fd = getattr(self, "fd", -1), -1
        if fd >= 0:
            os.close(fd)


class Use(Sole):
    """A block while the owner's program has it; kept by all views of it."""

    __slots__ = ("__weakref__", "_back", "block", "lease")

    def __init__(self, block: Block, back: deque[Block]) -> None:
        self.block = block
        self._back = back
        self.lease: Descriptor | None = None  # of a child, which has it from its parent

    def __del__(self) -> None:
        self._back.append(self.block)  # in whatever thread, and amid whatever: no more than this


class Pool:
    """Blocks of `size_max` bytes in all, `count_max` at the most, each with a descriptor. Any thread may call
    it.
    """

    def __init__(self, size_max: int, idle_s: float = IDLE_S, count_max: int = COUNT_MAX) -> None:
        self.size_max = size_max
        self.count_max = count_max
        self.idle_s = idle_s
        self.size = 0  # of all blocks, in bytes
        self.count = 0
        self._swept = False  # somebody will
        self._leases: list[tuple[Use, Descriptor | None]] = []  # for a child that is being made
        self._lock = threading.Lock()
        self._uses: WeakSet[Use] = WeakSet()
        self._back: deque[Block] = deque()  # which the program has let go of
        self._lent: dict[Key, deque[Block]] = {}
        self._idle: dict[Key, list[Block]] = {}  # the one that was found idle last is at the end
        with _forking:
            _pools.add(self)

    def take(self, size: int, tag: str = "") -> Use | None:
        """A block of `size` bytes or more, less than twice as many, in which anything may stand; None if the
        bound is reached. Raises OSError: the system has no more.
        """
        key = (tag, 1 << (size - 1).bit_length())
        with self._lock:
            self._collect()
            block = self._reused(key) or self._made(key)
            if block is None:
                return None
            use = Use(block, self._back)
            self._uses.add(use)
            return use

    def _collect(self) -> None:
        while self._back:
            block = self._back.popleft()
            if not system.REUSES:
                self._drop(block)
                continue
            self._lent.setdefault(block.key, deque()).append(block)

    def _reused(self, key: Key) -> Block | None:
        lent = self._lent.get(key)
        if lent:
            # One more than is wanted: what was needed for a backlog stays idle then, and what was used last,
            # which the processor's caches still have, is used again.
            self._look(lent, _LOOKED_AT_MAX, enough=2)
            if not lent:
                del self._lent[key]
        idle = self._idle.get(key)
        if not idle:
            return None
        block = idle.pop()
        if not idle:
            del self._idle[key]
        return block

    def _look(self, lent: deque[Block], most: int, enough: int) -> None:
        """Find blocks that nobody holds any more, among those lent longest; what is held goes to the end."""
        for _ in range(min(most, len(lent))):
            block = lent.popleft()
            if system.is_held(block.fd):
                lent.append(block)
                continue
            block.since = time.monotonic()
            self._idle.setdefault(block.key, []).append(block)
            enough -= 1
            if not enough:
                return

    def _made(self, key: Key) -> Block | None:
        wanted = _taken(key)
        if wanted > self.size_max:
            return None
        if not self._has_room(wanted):
            self._make_room(wanted)
            if not self._has_room(wanted):
                return None
        block = Block(key)
        self.size += wanted
        self.count += 1
        return block

    def _has_room(self, wanted: int) -> bool:
        return self.size + wanted <= self.size_max and self.count < self.count_max

    def _make_room(self, wanted: int) -> None:
        """Give back idle blocks of other sizes and tags, the largest first; of many some more, so that not
        all have to be looked through for each that is wanted.
        """
        for lent in self._lent.values():
            self._look(lent, _LOOKED_AT_MAX, enough=_LOOKED_AT_MAX)
        self._forget_empty()
        more = len(self._idle) // 8
        for key in sorted(self._idle, key=lambda key: -key[1]):
            idle = self._idle[key]
            while idle and (more > 0 or not self._has_room(wanted)):
                self._drop(idle.pop(0))
                more -= 1
            if idle:
                return
            del self._idle[key]

    def _forget_empty(self) -> None:
        self._lent = {key: lent for key, lent in self._lent.items() if lent}
        self._idle = {key: idle for key, idle in self._idle.items() if idle}

    def _drop(self, block: Block) -> None:
        self.size -= _taken(block.key)
        self.count -= 1

    def sweep(self, more: bool = False) -> bool:
        """Give back what has been idle for long; whether there is anything left to be looked at later, here
        or where the caller says that there is `more`.
        """
        with self._lock:
            self._collect()
            now = time.monotonic()
            for lent in self._lent.values():
                self._look(lent, len(lent), enough=len(lent))
            for idle in self._idle.values():
                while idle and now - idle[0].since >= self.idle_s:
                    self._drop(idle.pop(0))
            self._forget_empty()
            self._swept = more or self.count > 0
            return self._swept

    def wants_sweep(self) -> bool:
        """Whether whoever asks is to call `sweep` from now and then, until that says that nothing is left."""
        with self._lock:
            wanted = not self._swept
            self._swept = True
            return wanted

    def held(self) -> int:
        """How many blocks others hold."""
        with self._lock:
            self._collect()
            for lent in self._lent.values():
                self._look(lent, len(lent), enough=len(lent))
            return sum(map(len, self._lent.values()))

    def lent(self) -> int:
        """The same as far as was found out when one was wanted last: nobody is asked now."""
        return sum(map(len, self._lent.copy().values()))

    def before_fork(self) -> None:
        """Until `forked` nothing changes here."""
        self._lock.acquire()
        self._leases = [(use, _lease(use)) for use in self._uses if system.REUSES]

    def forked(self, *, child: bool) -> None:
        """A child has none of the blocks, which its parent uses anew, but for what it saw at that moment:
        that it holds as any reader, as long as it has a view of it.
        """
        leases, self._leases = self._leases, []
        if child:
            for use, lease in leases:
                use.lease = lease
            self.size = self.count = 0
            self._swept = False  # the thread that would is the parent's
            self._uses = WeakSet()
            self._back, self._lent, self._idle = deque(), {}, {}
        self._lock.release()


def _lease(use: Use) -> Descriptor | None:
    try:
        return system.lease(use.block.fd, writable=False)
    except OSError:
        return None  # no descriptor is left


_pools: Final[WeakSet[Pool]] = WeakSet()
_forking: Final = threading.Lock()


def _before_fork() -> None:
    _forking.acquire()
    for pool in _pools:
        pool.before_fork()


def _forked(*, child: bool) -> None:
    for pool in _pools:
        pool.forked(child=child)
    _forking.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=partial(_forked, child=False),
        after_in_child=partial(_forked, child=True),
    )


def _taken(key: Key) -> int:
    """Bytes that a block takes."""
    return max(key[1], mmap.PAGESIZE)
