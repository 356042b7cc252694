"""Broadcasts that a link's full queue has no room for: of each source and endpoint the newest is kept until
there is room, what is older is lost with a count.

So a subscriber that was slow for a while ends up with the last value, and hears what it missed, also if
nothing is published any more. Knows the link's queue, and nothing of trees and subscribers.
"""

from busway.protocol.link import batch
from busway.protocol.link.face import LinkFace
from busway.protocol.link.outbox import Outbox
from busway.protocol.link.queue import weight_of
from busway.protocol.wire import codes
from busway.protocol.wire.address import Address
from busway.protocol.wire.messages import Frame, has_things, signal_about

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_HEADER_SIZE: "Final" = codes.HEADER_SIZE_MAX + 1  # and a byte of the payload


def _key(out: Frame) -> bytes:
    return out.source() + out.endpoint


class Backlog:
    """The broadcasts that a link is behind with."""

    __slots__ = ("_link", "_outbox", "_ranked", "_roots", "kept", "lost", "size", "skipped")

    def __init__(self, link: LinkFace, outbox: Outbox) -> None:
        self._link = link
        self._outbox = outbox
        self.kept: "dict[bytes, Frame]" = {}
        self._roots: "dict[bytes, bool] | None" = None  # of what is kept; None: to be found out
        self._ranked = False  # there have been others than of normal priority
        self.size = 0  # bytes kept, overhead included: never more than the queue may hold
        self.skipped: "dict[bytes, int]" = {}  # of ours, those lost in a row, by endpoint
        self.lost = 0  # in all

    def take(self, out: Frame, busy: bool) -> None:
        """Into the queue, or kept, or lost with a count. `busy`: there is no time for what may be lost."""
        if busy and out.is_best_effort():
            self._lose(out)
            return
        if not self._link.addressing and out.lane() != codes.NORMAL:
            self._link.host.count("broadcast_dropped")
            return
        limits = self._link.limits
        named = 0 if out.options is None else out.options.named_size()
        excess = len(out.payload) > limits.message_size_max or (has_things(out) and not self._link.aside_on)
        if excess or limits.frame_size_max < _HEADER_SIZE + named:
            self._lose(out)
            self._tell(out.endpoint)
            return
        if self.kept:
            older = self._pop(_key(out))
            if older is not None and self.has_room(older):
                self._queue(older)
            elif older is not None:
                self._lose(older)
        if self.has_room(out):
            self._queue(out)
        elif out.is_best_effort():
            self._lose(out)
        else:
            self._keep(out)

    def has_room(self, out: Frame) -> bool:
        """Whether there is room for it; what is lower gives way."""
        while not self._link.has_broadcast_room_for(out):
            lower = self._link.give_way(out)
            if lower is None:
                return False
            if _key(lower) in self.kept or lower.is_best_effort():
                self._lose(lower)
            else:
                self._keep(lower)  # the newest of its pair
        return True

    def takes_batches(self) -> bool:
        """Whether the queue has room for a batch, whatever that will hold, and nothing goes before it."""
        link = self._link
        limits = link.limits
        return (
            link.broadcasts.size + batch.SIZE_MAX <= link.broadcast_size_max
            and limits.frame_size_max - codes.HEADER_SIZE_MAX >= batch.SIZE_MAX
            and limits.message_size_max >= batch.SIZE_MAX
            and not (self.kept or self.skipped)
        )

    def catch_up(self, now: int) -> None:
        """Something has been written: if the queue is low, what waits for that goes on."""
        link = self._link
        queue = link.broadcasts
        low = link.broadcast_size_max >> 2
        if queue.growing and queue.size > low:
            link.host.close_batches()
        if queue.size <= low:
            link.lagging = False
            self._drain()
            link.resume_broadcasts(now)

    def _drain(self) -> None:
        """The queue is low: what was kept goes on, and losses that nothing shows are told."""
        for key, out in list(self.kept.items()):
            if self._link.has_broadcast_room_for(out):
                self._queue(self._pop(key))
        if not self.kept:
            for uuid in list(self.skipped):
                self._tell(uuid)

    def take_all(self, root: "bytes | None") -> "list[Frame]":
        """Take out what is kept of the tree of `root`, b"" for our own, None: of all."""
        taken: "list[Frame]" = []
        if self._roots is None:
            self._roots = {out.root(): True for out in self.kept.values()}
        if root is not None and root not in self._roots:
            return taken
        for key, out in list(self.kept.items()):
            if root is None or out.root() == root:
                self._pop(key)
                taken.append(out)
        return taken

    def _keep(self, out: Frame) -> None:
        size = weight_of(out)
        while self.kept and self.size + size > self._link.broadcast_size_max:
            self._lose(self._pop(self._first_to_go()))
        self._ranked = self._ranked or out.lane() != codes.NORMAL
        self.kept[_key(out)] = out
        self._roots = None
        self.size += size

    def _first_to_go(self) -> bytes:
        """The one kept for longest of those of the lowest priority."""
        if not self._ranked:
            return next(iter(self.kept))
        return min(self.kept, key=lambda key: self.kept[key].lane() & 3)

    def _pop(self, key: bytes) -> "Frame | None":
        out = self.kept.pop(key, None)
        if out is not None:
            self._roots = None
            self.size -= weight_of(out)
        return out

    def _queue(self, out: "Frame | None") -> None:
        assert out is not None
        if self.skipped and out.route is None:
            if self.skipped.pop(out.endpoint, 0) >= codes.BRIDGE_MIN:
                self._probe(out.endpoint, out.number - 1)  # or so large a step would look like one back
        self._link.queue_broadcast(out)

    def _lose(self, out: "Frame | None") -> None:
        assert out is not None
        self.lost += 1
        self._link.host.count("best_effort_dropped" if out.is_best_effort() else "broadcast_dropped")
        if out.route is None:
            self.skipped[out.endpoint] = self.skipped.get(out.endpoint, 0) + 1

    def _tell(self, uuid: bytes) -> None:
        """Say how many have been published, for nothing may follow that shows it. Not where broadcasts of the
        pair may travel beside the stream: they and this could pass each other.
        """
        number = self._link.host.published(uuid)
        if number < 0 or self._outbox.layer is not None or not self._link.has_broadcast_room():
            return
        if self.skipped.pop(uuid, 0):
            self._probe(uuid, number)

    def _probe(self, address: Address, number: int) -> None:
        self._link.queue_broadcast(signal_about(codes.PROBE, b"", address, number))
