"""What a link's full broadcast queue has no room for: of each source and endpoint the newest is kept until
there is room, what is older is lost with a count.

So a subscriber that was slow for a while ends up with the last value, and hears what it missed, also if
nothing is published any more. Knows the queue's link, and nothing of trees and subscribers.
"""

from busway.protocol.link.outbox import OVERHEAD
from busway.protocol.messaging.endpoints import size_of
from busway.protocol.wire import codes
from busway.protocol.wire.messages import Frame, signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.connection import Connection


def _key(out: Frame) -> bytes:
    return out.source() + out.endpoint


class Backlog:
    """The broadcasts that a link is behind with."""

    __slots__ = ("connection", "kept", "lagging", "size")

    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.kept: "dict[bytes, Frame]" = {}
        self.size = 0  # bytes kept, overhead included: never more than the queue may hold
        self.lagging = False  # a publish has waited for room in vain: none does until the queue is low

    def take(self, out: Frame) -> None:
        """A broadcast: into the queue, or kept, or lost with a count."""
        connection = self.connection
        if out.is_best_effort() and connection.is_busy():
            self._lose(out)
            return
        if size_of(out.payload) > connection.limits.message_size_max:
            self._lose(out)
            self._tell(out.endpoint)
            return
        if self.kept:
            older = self._pop(_key(out))
            if older is not None and connection.has_broadcast_room():
                self._queue(older)
            elif older is not None:
                self._lose(older)
        if connection.has_broadcast_room():
            self._queue(out)
        elif out.is_best_effort():
            self._lose(out)
        else:
            self._keep(out)

    def drain(self) -> None:
        """The queue is low: what was kept goes on, and losses that nothing shows are told."""
        self.lagging = False
        for key in list(self.kept):
            if self.connection.has_broadcast_room():
                self._queue(self._pop(key))
        if not self.kept:
            for uuid in list(self.connection.skipped):
                self._tell(uuid)

    def take_all(self, root: "bytes | None") -> "list[Frame]":
        """What is kept of the tree of `root`, b"" for our own, None: of all; it is not any more."""
        taken: "list[Frame]" = []
        for key, out in list(self.kept.items()):
            if root is None or (out.destination or out.source()) == root:
                self._pop(key)
                taken.append(out)
        return taken

    def _keep(self, out: Frame) -> None:
        size = size_of(out.payload) + OVERHEAD
        while self.kept and self.size + size > self.connection.broadcast_size_max:
            self._lose(self._pop(next(iter(self.kept))))
        self.kept[_key(out)] = out
        self.size += size

    def _pop(self, key: bytes) -> "Frame | None":
        out = self.kept.pop(key, None)
        if out is not None:
            self.size -= size_of(out.payload) + OVERHEAD
        return out

    def _queue(self, out: "Frame | None") -> None:
        assert out is not None
        connection = self.connection
        if connection.skipped and out.route is None:
            if connection.skipped.pop(out.endpoint, 0) >= codes.BRIDGE_MIN:
                self._probe(out.endpoint, out.number - 1)  # or so large a step would look like one back
        connection.enqueue_broadcast(out)

    def _lose(self, out: "Frame | None") -> None:
        assert out is not None
        connection = self.connection
        connection.node.origin.counters[
            "best_effort_dropped" if out.is_best_effort() else "broadcast_dropped"
        ] += 1
        if out.route is None:
            connection.skipped[out.endpoint] = connection.skipped.get(out.endpoint, 0) + 1

    def _tell(self, uuid: bytes) -> None:
        """Say how many have been published, for nothing may follow that shows it. Not where broadcasts of
        the pair may travel beside the stream: they and this could pass each other.
        """
        connection = self.connection
        flow = connection.node.origin.publisher.flows.get(uuid)
        if flow is None or connection.outbox.layer is not None or not connection.has_broadcast_room():
            return
        if connection.skipped.pop(uuid, 0):
            self._probe(uuid, flow.sent)

    def _probe(self, uuid: bytes, number: int) -> None:
        self.connection.enqueue_broadcast(signal(codes.PROBE, b"", uuid, number))
