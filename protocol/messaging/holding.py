"""Messages that have brought things, or whose payload lies in shared memory, on their way into a receiver's
queue: as far as more of these may wait.

What is only a payload is copied if it may not; so shared memory changes nothing but how quick it is.
"""

from busway.protocol.messaging.carried import Carried
from busway.protocol.messaging.endpoints import Message, Receiver
from busway.protocol.messaging.leaving import note_lost
from busway.protocol.messaging.marked import MarkedMessage
from busway.protocol.messaging.payload import size_of
from busway.protocol.messaging.replaying import Replaying
from busway.protocol.wire import codes
from busway.protocol.wire.messages import Frame
from busway.protocol.wire.things import Things

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.aside import Beside
    from busway.protocol.link.face import LinkFace


class Holding(Replaying):
    """Queues what has brought things."""

    def deliver(self, message: Message) -> None:
        """Queue a message at its receiver, or apply the receiver's policy."""
        raise NotImplementedError

    def reject(self, message: Message, reason: int) -> None:
        """A message that had been queued, or would have been, is not taken."""
        raise NotImplementedError

    def deliver_with(self, message: Message, frame: Frame, link: "LinkFace | None") -> None:
        """Queue a message at its receivers with what its frame has brought over that link; None: it is of
        this node itself.
        """
        things = frame.things()
        if things is None or (not things.count and type(message.payload) is not memoryview):
            self.deliver(message)
            return
        endpoint = message.flow.endpoint
        broadcast = endpoint.kind == codes.BROADCAST
        for receiver in list(endpoint.receivers) if broadcast else [endpoint.pick()]:
            one = message
            if len(endpoint.receivers) > 1 and broadcast:
                one = _copy_of(message)
            self._put_with(receiver, one, things, None if link is None else link.beside)

    def _put_with(
        self, receiver: Receiver, message: Message, things: Things, beside: "Beside | None"
    ) -> None:
        endpoint = receiver.endpoint
        size = size_of(message.payload)
        endpoint.message_size = max(endpoint.message_size, size)
        endpoint.note_things(things.count)
        count = things.count + (1 if type(message.payload) is memoryview else 0)
        if not self.pool.has_room(count, beside):
            if type(message.payload) is memoryview:
                message.payload = bytes(message.payload)
            count = things.count
        if not self.pool.has_room(count, beside):
            self._turn_away(receiver, message)
            return
        if count:
            message.beside = Carried(things)
            message.beside.hold(count, receiver, self.pool, beside)
            receiver.plain = False
        self.put(receiver, message, size)

    def _turn_away(self, receiver: Receiver, message: Message) -> None:
        """As many things wait as may."""
        if receiver.endpoint.kind == codes.BROADCAST:
            self.counters["dropped"] += 1
            note_lost(receiver, message)
        else:
            self.counters["refused"] += 1
            receiver.refused += 1
        self.reject(message, codes.FILES_FULL)


def _copy_of(message: Message) -> Message:
    """The same, for another receiver."""
    if isinstance(message, MarkedMessage):
        return message.copy()
    flow, format = message.flow, message.format
    return Message(
        flow, message.seq, message.payload, format, message.type_id, message.missed, message.arrived
    )
