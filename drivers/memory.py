"""Links inside one process, for tests: two channels with a delay, a loss, a capacity and a seed.

Opens nothing. `write()` only copies: the other end's callbacks are called by `Pair.advance` or by the clock.

    a, b = pair()                                      # bytes written at one end can be read at the other
    net = pair(delay_ms=20, loss=0.1, seed=7, sort="packet", mtu=64)
    while (due_ms := net.next_deadline()) is not None:
        net.advance(due_ms)                            # virtual time: the same seed gives the same run
    pair(delay_ms=5, clock=asyncio.get_running_loop()) # real time: the loop calls
"""

from __future__ import annotations

import errno
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

from busway.drivers.channel import READ_SIZE

if TYPE_CHECKING:
    from busway.drivers.descriptors import Descriptor

CAPACITY: Final = 65536  # bytes on their way or unread, each direction

_SORTS: Final = ("stream", "message", "packet")
_REALMS: Final = ("userspace", "localnet", "global")
_PACKET_MTU: Final = 256

Callback = Callable[[], object]


class Handle(Protocol):
    """The handle that a clock returns for a call to come."""

    def cancel(self) -> object: ...


class Clock(Protocol):
    """A clock that runs a pair in real time, as an asyncio event loop. Times in seconds, of any origin."""

    def time(self) -> float: ...
    def call_at(self, when: float, callback: Callback, /) -> Handle: ...


class Pair:
    """Two joined channels, the dialler `a` and `b`, and the time between them: `a, b = pair()`,
    or the pair itself, which can `advance` time and `fail`.

    Args: `delay_ms` that bytes take; `loss` the share of packets that vanish, 0 to 1, drawn from `seed`;
    `sort` "stream", "message" or "packet"; `mtu` in bytes of a message or packet, 0 for none (256 for packets
    unless given); `name` of the link's address: two links of one name between the same nodes count as one;
    `capacity` in bytes for each direction, beyond which `write` takes only a part; `clock` such as an asyncio
    loop to call the channels' callbacks by itself: without one, time stands still until `advance`.
    Raises ValueError for values outside these ranges, and for a loss or an MTU on a sort that has none.
    """

    def __init__(
        self,
        *,
        delay_ms: int = 0,
        loss: float = 0.0,
        seed: int = 0,
        sort: str = "stream",
        mtu: int | None = None,
        realm: str = "userspace",
        name: str = "pair",
        capacity: int = CAPACITY,
        clock: Clock | None = None,
    ) -> None:
        self.sort = sort
        self.mtu = mtu if mtu is not None else _PACKET_MTU if sort == "packet" else 0
        self.realm = realm
        self.address = f"memory://{name}"
        self.delay_ms = delay_ms
        self.loss = loss
        self.capacity = capacity
        self._check()
        self.broken = False
        self.lost = 0  # packets
        self._random = random.Random(seed)
        self._clock = clock
        self._now_ms = 0
        self._timer: Handle | None = None
        self._timer_ms = 0
        to_a, to_b = _Lane(), _Lane()
        self.a = MemoryChannel(self, to_a, to_b, dialled=True)
        self.b = MemoryChannel(self, to_b, to_a, dialled=False)

    def _check(self) -> None:
        if self.sort not in _SORTS:
            raise ValueError(f"sort must be one of {', '.join(_SORTS)}, not {self.sort!r}")
        if self.realm not in _REALMS:
            raise ValueError(f"realm must be one of {', '.join(_REALMS)}, not {self.realm!r}")
        if self.mtu < 0 or (self.mtu and self.sort == "stream"):
            wanted = "0 for a stream and at least 0 otherwise"
            raise ValueError(f"mtu must be {wanted}, not {self.mtu}: a stream has no packets")
        if self.delay_ms < 0:
            raise ValueError(f"delay_ms must be at least 0, not {self.delay_ms}")
        if not 0 <= self.loss <= 1:
            raise ValueError(f"loss must be a share from 0 to 1, not {self.loss}")
        if self.loss and self.sort != "packet":
            raise ValueError(f'a {self.sort} link loses nothing: give sort="packet" with loss={self.loss}')
        if self.capacity < 1:
            raise ValueError(f"capacity must be at least 1 byte, not {self.capacity}")

    def __iter__(self) -> Iterator[MemoryChannel]:
        yield self.a
        yield self.b

    def now_ms(self) -> int:
        """The clock's time, or without one that of the last `advance`."""
        if self._clock is not None:
            self._now_ms = max(self._now_ms, int(self._clock.time() * 1000))
        return self._now_ms

    def next_deadline(self) -> int | None:
        """The time to `advance` next because a callback is due: `now_ms()` if at once, None if never.

        Only ends with callbacks set have anything due: without them, read when you like.
        """
        dues = [due_ms for channel in self if (due_ms := channel._next_ms()) is not None]
        return min(dues, default=None)

    def advance(self, now_ms: int) -> None:
        """Lets time pass up to `now_ms` and calls each callback that is due, once.

        Raises ValueError if time would run backwards.
        """
        if now_ms < self._now_ms:
            raise ValueError(
                f"time runs forwards: it is {self._now_ms} ms already, and {now_ms} ms was asked for"
            )
        self._now_ms = now_ms
        for channel in self:
            channel._call(now_ms)
        self._arm()

    def fail(self) -> None:
        """Breaks the link: both ends raise ConnectionResetError from now on; what was on its way is lost."""
        self.broken = True
        for channel in self:
            channel._lane_in.items.clear()
            channel._lane_in.size = 0
        self._arm()

    def _loses(self) -> bool:
        lost = self.loss > 0 and self._random.random() < self.loss
        self.lost += lost
        return lost

    def _arm(self) -> None:
        """Has the clock call no later than the next deadline; a call that is too early just arms again."""
        if self._clock is None:
            return
        due_ms = self.next_deadline()
        if self._timer is not None:
            if due_ms is not None and due_ms >= self._timer_ms:
                return
            self._timer.cancel()
            self._timer = None
        if due_ms is not None:
            self._timer_ms = due_ms
            self._timer = self._clock.call_at(due_ms / 1000, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        # A clock may call a little early, within its resolution.
        self.advance(max(self.now_ms(), self._timer_ms))


pair = Pair  # for who wants but the two channels


class _Lane:
    """One direction, and what travels in it."""

    __slots__ = ("closed_ms", "items", "short", "size")

    def __init__(self) -> None:
        # When it arrives, what, and the descriptors that come with its first byte.
        self.items: deque[tuple[int, bytes, Sequence[Descriptor]]] = deque()
        self.size = 0  # bytes in items
        self.short = False  # a write took less than all, so its writer waits for room
        self.closed_ms: int | None = None  # when the writer's end of file arrives


class MemoryChannel:
    """One end of a pair. See `busway.drivers.channel.PushChannel`, and `DescriptorChannel`."""

    def __init__(self, pair: Pair, lane_in: _Lane, lane_out: _Lane, *, dialled: bool) -> None:
        self.sort = pair.sort
        self.hands_over = pair.sort == "stream"
        self.resting = 0
        self.handed_over = 0
        self.mtu = pair.mtu
        self.realm = pair.realm
        self.address = pair.address
        self.via = pair.address if dialled else ""
        self.dialled = dialled
        self._pair = pair
        self._lane_in = lane_in
        self._lane_out = lane_out
        self._closed = False
        self._ended = False  # the end of file, or the failure, has been read
        self._on_readable: Callback | None = None
        self._on_writable: Callback | None = None
        self._came: Callable[[Sequence[Descriptor]], object] | None = None
        self._given: Callable[[], Sequence[Descriptor]] | None = None
        self._kept: Sequence[Descriptor] = ()  # until the byte that they belong to has left

    def carry(
        self, came: Callable[[Sequence[Descriptor]], object], given: Callable[[], Sequence[Descriptor]]
    ) -> None:
        self._came, self._given = came, given

    @property
    def on_readable(self) -> Callback | None:
        return self._on_readable

    @on_readable.setter
    def on_readable(self, callback: Callback | None) -> None:
        self._on_readable = callback
        self._pair._arm()

    @property
    def on_writable(self) -> Callback | None:
        return self._on_writable

    @on_writable.setter
    def on_writable(self, callback: Callback | None) -> None:
        self._on_writable = callback
        self._pair._arm()

    def fileno(self) -> int:
        return -1

    def connected(self) -> bool:
        return True

    def read(self, size_max: int = READ_SIZE) -> bytes | None:
        if size_max < 1:
            raise ValueError(f"size_max must be at least 1 byte, not {size_max}")
        self._check_usable()
        now_ms = self._pair.now_ms()
        lane = self._lane_in
        if lane.items and lane.items[0][0] <= now_ms:
            data = self._take_bytes(size_max, now_ms) if self.sort == "stream" else lane.items.popleft()[1]
            lane.size -= len(data)
            self._pair._arm()
            return data
        if not lane.items and lane.closed_ms is not None and lane.closed_ms <= now_ms:
            self._ended = True
            return b""
        return None

    def _take_bytes(self, size_max: int, now_ms: int) -> bytes:
        items = self._lane_in.items
        parts = []
        while size_max and items and items[0][0] <= now_ms:
            due_ms, data, came = items.popleft()
            if len(data) > size_max:
                items.appendleft((due_ms, data[size_max:], ()))
                data = data[:size_max]
            size_max -= len(data)
            parts.append(data)
            if came and self._came is not None:
                self._came(came)
                break  # as a socket does
        return b"".join(parts)

    def write(self, data: bytes | memoryview) -> int:
        self._check_usable()
        now_ms = self._pair.now_ms()
        if self._lane_in.closed_ms is not None and self._lane_in.closed_ms <= now_ms:
            raise BrokenPipeError(errno.EPIPE, "the other end of the pair is closed")
        if self.mtu and len(data) > self.mtu:
            raise ValueError(f"a {self.sort} of this link has at most {self.mtu} bytes, not {len(data)}")
        lane = self._lane_out
        taken = self._room_for(len(data))
        lane.short = taken < len(data)
        if self._given is not None and not self._kept:
            self._kept = self._given() or ()  # never a list that somebody goes on filling
        if taken and not self._pair._loses():
            copies = [each.copy() for each in self._kept]
            self.handed_over += bool(copies)
            self._kept = ()
            lane.items.append((now_ms + self._pair.delay_ms, bytes(data[:taken]), copies))
            lane.size += taken
            self._pair._arm()
        return taken

    def unread(self) -> int:
        return sum(bool(copies) for _, _, copies in self._lane_out.items)

    def _room_for(self, size: int) -> int:
        room = self._pair.capacity - self._lane_out.size
        if self.sort == "stream":
            return max(0, min(size, room))
        # Whole or not at all; one that is larger than all the room there is must still pass some time.
        return size if size <= room or not self._lane_out.items else 0

    def _check_usable(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "this end of the pair is closed")
        if self._pair.broken:
            self._ended = True
            raise ConnectionResetError(errno.ECONNRESET, "the pair was broken by fail()")

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._lane_out.closed_ms = self._pair.now_ms() + self._pair.delay_ms
        self._lane_in.items.clear()
        self._lane_in.size = 0
        self._came = self._given = None
        self._kept = ()
        self._pair._arm()

    def abandon(self) -> None:
        self._closed = True

    def _readable_ms(self) -> int | None:
        """The time when `on_readable` is due: the first arrival, the end of file or the failure."""
        if self._closed or self._ended or self._on_readable is None:
            return None
        if self._pair.broken:
            return self._pair.now_ms()
        due_ms = self._lane_in.items[0][0] if self._lane_in.items else self._lane_in.closed_ms
        return None if due_ms is None else max(due_ms, self._pair.now_ms())

    def _is_writable(self) -> bool:
        """Whether `on_writable` is due: a write fell short, and now there is room, or a failure to tell."""
        if self._closed or self._on_writable is None or not self._lane_out.short:
            return False
        return self._lane_out.size < self._pair.capacity or self._pair.broken

    def _next_ms(self) -> int | None:
        return self._pair.now_ms() if self._is_writable() else self._readable_ms()

    def _call(self, now_ms: int) -> None:
        if self._is_writable() and self._on_writable is not None:
            self._lane_out.short = False
            self._on_writable()
        # Asked only now: the callback may have closed this end.
        due_ms = self._readable_ms()
        if due_ms is not None and due_ms <= now_ms and self._on_readable is not None:
            self._on_readable()
