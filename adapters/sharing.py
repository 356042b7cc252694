"""Large payloads between programs of one machine, as a bus shares them: memory that both sides see takes the
place of their bytes on a link (link/aside.py says when).

Light: what knows memory (busway/memory) is loaded with the first payload that is shared.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import ref

from busway.protocol import Limits, Node, codes
from busway.protocol.errors import LocalError, Refusal
from busway.protocol.wire.things import SHARED_MIN

if TYPE_CHECKING:
    from busway.adapters.opening import Loop
    from busway.drivers.channel import DescriptorChannel
    from busway.memory.large import Large

SWEEP_S: Final = 5.0
_UNREAD_MAX: Final = 64
_SOCKET_MAX: Final = 1 << 21  # bytes, at least as many as a socket holds with what is about to be written
# Bytes of others' payloads after which links are not read for a turn: a subscriber's queue takes four times
# that, and one write of each neighbour may announce half of it.
_LOOKED_MAX: Final = 1 << 24
_USUAL: Final = Limits().shared_memory


class Host(Protocol):
    """A bus as this needs it."""

    node: Node
    sharing: Sharing | None

    @property
    def loop(self) -> Loop: ...
    def soon(self, callback: Callable[[], object]) -> None: ...


class Sharing:
    """All that one bus shares, over all of its links."""

    def __init__(self, host: Host) -> None:
        self._host = ref(host)
        self.size_max = most_of(host.node.limits)
        self._payload_size_max = host.node.limits.message_size_max
        self.given = 0  # payloads that were put into memory
        self.taken = 0  # that others had put there
        self._looked = 0  # bytes of these, since who takes them had a turn
        self._resting = False  # they have it
        self._large: Large | None = None
        self._making = threading.Lock()

    def give(self, payload: Any) -> tuple[bytes, Any] | None:
        """As protocol/link/aside.py says, over any link."""
        large = self._memory() if self.size_max else None
        if large is None:
            return None
        found = large.put(payload)
        self.given += found is not None
        self._watch()
        return found

    def take(self, description: bytes, thing: Any, link: object) -> Any:
        """As protocol/link/aside.py says, of what came over this link."""
        try:
            large = self._memory() if self.size_max else None
            if large is not None:
                payload = large.look(description, thing, link)
            else:
                from busway.memory.described import read

                payload = read(description, thing.fd, self._payload_size_max)
        except (ValueError, ImportError, OSError) as error:
            raise _objection(error) from None
        self.taken += 1
        self._looked += len(payload)
        self._watch()
        return payload

    def wants_rest(self) -> bool:
        """Whether so much has come that no link is read before who takes it has had a turn: nothing slows
        publishers down, and what many announce at once would overrun the queue of a subscriber that keeps up.
        """
        host = self._host()
        if self._looked < _LOOKED_MAX or host is None:
            return False
        if not self._resting:
            self._resting = True
            host.loop.call_later(0.0, self._rested)
        return True

    def _rested(self) -> None:
        self._looked = 0
        self._resting = False

    def join(self, pieces: Sequence[Any]) -> memoryview | None:
        """The pieces of a payload in memory from which it need not be copied again; None: they stay what
        they are. Any thread may call it.
        """
        host = self._host()
        if not self.size_max or host is None or sum(map(len, pieces)) < SHARED_MIN:
            return None
        if not any(connection.aside_on for connection in host.node.connections):
            return None
        large = self._memory()
        if large is None:
            return None
        found = large.join(pieces)
        if large.wants_sweep():
            host.soon(partial(_sweep_later, ref(self)))
        return found

    def ended(self, link: object) -> None:
        """All that came over it last may be of a program that is gone: nothing of that is kept here."""
        if self._large is not None:
            self._large.cache.clear(link)

    def unread_max(self) -> tuple[int, int]:
        """How many payloads, and of how many bytes, may be announced over one link and not have been read: a
        quarter of what all have.
        """
        large = self._large
        if large is None or not large.size_max:
            return _UNREAD_MAX, 1 << 62  # what others have put there
        return max(1, large.leases_max // 4), max(1, large.size_max // 4)

    def _memory(self) -> Large | None:
        """None: this Python has no ctypes, or, as yet, no descriptor left to load what is needed."""
        if self._large is None:
            with self._making:
                try:
                    from busway.memory.large import Large

                    self._large = self._large or Large(self.size_max, self._payload_size_max)
                except ModuleNotFoundError:
                    self.size_max = 0
                except (ImportError, OSError):
                    pass
        return self._large

    def _watch(self) -> None:
        if self._large is not None and self._large.wants_sweep():
            _sweep_later(ref(self))

    def _sweep(self) -> None:
        if self._large is not None and self._large.sweep():
            _sweep_later(ref(self))

    def _bound(self) -> int:
        """Bytes that this shares at the most: none, also before anything was shared, if the system lacks what
        it takes.
        """
        if self._large is not None:
            return self._large.size_max
        with contextlib.suppress(ImportError, OSError):  # there is no descriptor left to load it
            from busway.memory.system import system

            return 0 if self.size_max and system.missing() else self.size_max
        return self.size_max

    def report(self) -> dict[str, object]:
        """For the node's report: docs/protocol.md, section 9."""
        row: dict[str, object] = {"given": self.given, "taken": self.taken, "size_max": self._bound()}
        registries = sys.modules.get("busway.memory.registry")
        row["registries"], row["registries_held"] = registries.in_use() if registries else (0, 0)
        large = self._large
        if large is None:
            return row | dict.fromkeys(("size", "regions", "held", "mapped", "leases"), 0)
        return row | {
            "size": large.pool.size,
            "regions": large.pool.count,
            "held": large.held(),
            "mapped": large.cache.mapped(),
            "leases": len(large.leases),
        }


class Unread:
    """All that was announced over one link and may lie unread in its socket, which has room for thousands of
    announcements: so one program that is stopped would hold all that a node shares.
    """

    __slots__ = ("_announced", "_as_bytes", "_channel", "_size")

    def __init__(self, channel: DescriptorChannel) -> None:
        self._channel = channel
        self._announced: deque[tuple[int, int]] = deque()  # with which write at the earliest, and its bytes
        self._size = 0
        self._as_bytes = 0  # of payloads that have gone so behind them

    def lags(self, size: int, count_max: int, size_max: int) -> bool:
        """Whether one more, of `size` bytes, is to go as bytes; else it counts."""
        if self._is_full(count_max, size_max):
            self._forget_read()
            if self._is_full(count_max, size_max):
                if self._as_bytes < _SOCKET_MAX:
                    self._as_bytes += size
                    return True
                self._announced.clear()  # what lies before so many bytes has been read
                self._size = 0
            self._as_bytes = 0
        self._announced.append((self._channel.handed_over, size))
        self._size += size
        return False

    def take_back(self) -> None:
        """The last one goes as bytes after all."""
        self._size -= self._announced.pop()[1]

    def _is_full(self, count_max: int, size_max: int) -> bool:
        return len(self._announced) >= count_max or self._size >= size_max

    def _forget_read(self) -> None:
        read = self._channel.handed_over - self._channel.unread()
        while self._announced and self._announced[0][0] < read:
            self._size -= self._announced.popleft()[1]


class LinkSharing:
    """The abilities of one link beside its bytes: those of its bus, which are told what came over which."""

    __slots__ = ("_link", "_sharing", "_took", "_unread")

    def __init__(self, sharing: Sharing, channel: DescriptorChannel) -> None:
        self._sharing = sharing
        self._link = object()  # not this itself: what is kept must not keep the bus
        self._took = False
        self._unread = Unread(channel)

    def lags(self, size: int) -> bool:
        """As protocol/link/aside.py says."""
        return self._unread.lags(size, *self._sharing.unread_max())

    def give(self, payload: Any) -> tuple[bytes, Any] | None:
        """As protocol/link/aside.py says."""
        found = self._sharing.give(payload)
        if found is None:
            self._unread.take_back()
        return found

    def again(self, thing: Any) -> Any:
        """As protocol/link/aside.py says: one more lease, which only its holder can give up."""
        try:
            from busway.memory.system import system

            return system.lease_like(thing.fd)
        except (ImportError, OSError):
            return thing

    def take(self, description: bytes, thing: Any) -> Any:
        """As protocol/link/aside.py says."""
        self._took = True
        return self._sharing.take(description, thing, self._link)

    def ended(self) -> None:
        """The link is over."""
        if self._took:
            self._sharing.ended(self._link)


def _sweep_later(sharing: ref[Sharing]) -> None:
    """As a callback of the bus's loop; a bus that was dropped is let go."""
    found = sharing()
    host = None if found is None else found._host()
    if host is not None:
        host.loop.call_later(SWEEP_S, partial(_sweep, sharing))


def _objection(error: Exception) -> Exception:
    """The exception that `take` raises for what came."""
    if not isinstance(error, ValueError):
        return LocalError(f"shared memory came, and what looks at it cannot be loaded: {error}")
    from busway.memory.described import TooLarge

    text = str(error)
    return Refusal(codes.TOO_LARGE, text) if isinstance(error, TooLarge) else LocalError(text)


def _sweep(sharing: ref[Sharing]) -> None:
    found = sharing()
    if found is not None:
        found._sweep()


def sharing_over_link(host: Host, channel: DescriptorChannel) -> LinkSharing:
    """The thing that one more link of a bus, over this channel, has beside its bytes."""
    if host.sharing is None:
        host.sharing = Sharing(host)
    return LinkSharing(host.sharing, channel)


def most_of(limits: Limits) -> int:
    """Bytes that a bus with these limits shares: none where memory is not used again (memory/shm.py)."""
    if sys.platform != "linux":
        return 0
    if limits.shared_memory != _USUAL:
        return limits.shared_memory
    try:
        return min(_USUAL, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)
    except (ValueError, OSError):
        return 0
