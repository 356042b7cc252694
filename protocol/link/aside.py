"""Abilities of a link between programs on one machine beside its bytes: it hands over things (open files,
memory) in order, and puts large payloads into memory that both sides see.

What a link can do is injected by who opens it, as the argument `aside` of Link: any object with these
methods, which are called while the core writes and reads, and must not block.

`give(payload)` puts a payload where the other side can see it, as its frame is about to be written: bytes, or
a memoryview of bytes that nobody changes, of at least SHARED_MIN (65536) bytes. It returns a description, 1
to 64 bytes that only `take` of the other side understands, and the thing to be handed over with it; the same
pair may go over several links. None: the payload goes as bytes.

`lags(size)` is asked before each payload that would be announced, of `size` bytes: whether so much that was
announced over this link lies there unread that this one is to go as bytes, which the link holds back as any.

`again(thing)` returns one more of a region or of what holds a payload, for one of several links that get the
same, so that who is at its other end can do nothing about what the others have. It never raises.

`take(description, thing)` looks at what the other side has given; neither is to be trusted. It returns the
payload, a memoryview of bytes that cannot be written to, whose memory stays as long as there is a view of it;
a thing that is not needed for that is dropped. It raises LocalError with a sentence if it is not what it
says, and Refusal TOO_LARGE rather than make room for more than a message may have: the link ends.

The core never looks into a thing. One that is dropped is freed by its last reference going: its class sees to
that. The adapter calls `Connection.receive_things` with what came beside some bytes, before `receive_data`
with these; and `things_to_send` right behind `buffers_to_send` or `data_to_send`: what that returns goes with
their first byte. It reads so, and no other way, as long as `takes_things` is true, which it is from the first
byte on.
"""

from busway.protocol.errors import LocalError, Refusal
from busway.protocol.fifo import Fifo
from busway.protocol.wire import codes
from busway.protocol.wire.messages import Frame
from busway.protocol.wire.things import BATCH_MAX, MESSAGE_MAX, WAITING_MAX, Things

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

_FULL: "Final" = BATCH_MAX - MESSAGE_MAX - 1  # beyond it the next message might be too many


class Beside:
    """All that goes beside the bytes of one link: what has come and belongs to frames still to be read, and
    what belongs to frames that have been written.
    """

    __slots__ = ("_came", "aside", "held", "leaving")

    def __init__(self, aside: "Any") -> None:
        self.aside = aside
        self._came = Fifo()
        self.leaving: "list[Any]" = []
        self.held = 0  # of messages that came over this link and wait in receivers' queues

    # Reading

    def came(self, things: "list[Any]") -> None:
        """These have come."""
        for thing in things:
            self._came.push(thing)

    def waiting(self) -> int:
        """How many have come and belong to no frame yet."""
        return len(self._came)

    def is_flooded(self) -> bool:
        """Whether these are more than may wait for their frames."""
        return len(self._came) > WAITING_MAX

    def clear(self) -> None:
        """The link has ended: no frame will be read any more."""
        self._came.drain()

    def attach(self, frame: Frame, things: Things, size_max: int) -> None:
        """Give a frame that has been read what came beside it; `size_max` of its payload. Raises Refusal."""
        shared = 1 if things.description else 0
        if len(self._came) < things.count + shared:
            raise Refusal(codes.MALFORMED, "fewer files and regions have come than a frame says")
        if shared:
            things.shared = (things.description, self._came.pop())
            frame.payload = self._look(things.shared, len(frame.payload), size_max)
            things.description = b""
        things.items = tuple([self._came.pop() for _ in range(things.count)])

    def _look(self, shared: "tuple[bytes, Any]", size: int, size_max: int) -> "Any":
        """The payload that lies in shared memory; `size` bytes came in its place. Raises Refusal."""
        if size:
            raise Refusal(codes.MALFORMED, "a payload in shared memory, and bytes")
        try:
            payload = self.aside.take(shared[0], shared[1])
        except LocalError as error:
            raise Refusal(codes.MALFORMED, str(error)) from None
        if len(payload) > size_max:
            text = "a message of %d bytes, but %d were agreed"
            raise Refusal(codes.TOO_LARGE, text % (len(payload), size_max))
        return payload

    # Writing

    def share(self, payload: "Any", things: "Things | None") -> "tuple[bytes, Any] | None":
        """Put a payload where the other side can see it, unless it lies there for another link already, or
        came so. None: it goes as bytes.
        """
        if self.aside.lags(len(payload)):
            return None
        shared = None if things is None else things.shared
        if shared is None:
            shared = self.aside.give(payload)
            if things is not None:
                things.shared = shared
        if shared is not None and things is not None and things.several:
            return shared[0], self.aside.again(shared[1])
        return shared

    def hand_over(self, things: Things) -> None:
        """The things of a message go with what is being written; others may get the same regions."""
        for at, thing in enumerate(things.items):
            self.leaving.append(self.aside.again(thing) if at < things.region_count else thing)

    def is_full(self) -> bool:
        """Whether no other message with things may go with what is being written."""
        return len(self.leaving) > _FULL

    def leave(self) -> "list[Any]":
        """All that belongs to what has just been written; none is here afterwards."""
        leaving = self.leaving
        if leaving:
            self.leaving = []
        return leaving
