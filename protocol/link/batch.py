"""Plain broadcasts of one source to one endpoint that follow each other: kept once and made into bytes once,
whatever the number of links that they leave by.

A batch is one item in the queue of each of these links. It grows until the first of them is to write it, or
it is full: so it holds what comes between two writes. Until then each queue counts it as full, and so never
holds more than it counts; what was too much is given back when it grows no more.
"""

from struct import pack

from busway.protocol.link.queue import SendQueue
from busway.protocol.wire import codes
from busway.protocol.wire.fields import varint
from busway.protocol.wire.messages import Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_NO_KIND: "Final" = 8
SIZE_MAX: "Final" = 32768  # bytes that one may hold, overhead included


class Batch(Frame):
    """One item of several queues, among messages, and of no kind of theirs. `number` is that of the first."""

    __slots__ = ("_encoded", "_queues", "grows", "payloads", "size")

    def __init__(self, endpoint: bytes, format: int, first: int) -> None:
        self.kind = _NO_KIND
        self.destination = b""
        self.endpoint = endpoint
        self.number = first
        self.payload = b""
        self.format = format
        self.route = None
        self.options = None
        self.payloads: "list[bytes]" = []
        self.size = 0
        self.grows = True
        self._queues: "list[SendQueue]" = []  # that count it as full
        self._encoded: "dict[int, bytes]" = {}  # by the endpoint's alias

    def join(self, queue: SendQueue) -> None:
        """Wait in one more queue, behind what is there."""
        queue.items.append(self)
        queue.size += SIZE_MAX
        queue.growing += 1
        self._queues.append(queue)

    def close(self) -> None:
        """It grows no more."""
        if self.grows:
            self.grows = False
            spare = SIZE_MAX - self.size
            for queue in self._queues:
                queue.size -= spare
                queue.growing -= 1
            self._queues = []
            self.closed()

    def closed(self) -> None:
        """Tell who adds to it."""
        raise NotImplementedError

    def frames(self) -> "list[Frame]":
        """All that it holds, in the general form."""
        return [self.message(at) for at in range(len(self.payloads))]

    def message(self, at: int) -> Frame:
        """One of its messages."""
        number = self.number + at
        return Frame(codes.PUBLISH, b"", self.endpoint, number, self.payloads[at], self.format, b"")

    def encoded(self, alias: int) -> bytes:
        """All its frames, for a link that has that number for the endpoint."""
        data = self._encoded.get(alias)
        if data is None:
            data = self._encoded[alias] = self._encode(alias)
        return data

    def _encode(self, alias: int) -> bytes:
        parts: "list[bytes]" = []
        add = parts.append
        head = codes.MESSAGE | codes.PUBLISH << 4 | self.format
        number = self.number
        for payload in self.payloads:
            body = len(payload)
            if alias >= 0x80:
                low = alias & 0x7F | 0x80
                add(varint(body + 5) + pack(">BBBH", head, low, alias >> 7, number & 0xFFFF))
            elif body < 0x7C:
                add(pack(">BBBH", body + 4, head, alias, number & 0xFFFF))
            else:
                add(varint(body + 4) + pack(">BBH", head, alias, number & 0xFFFF))
            add(payload)
            number += 1
        return b"".join(parts)
