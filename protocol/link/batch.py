"""Plain broadcasts of one source to one endpoint that follow each other: kept once and made into bytes once,
whatever the number of links that they leave by.

A batch is one item in the queue of each of these links. It grows until the first of them is to write it, or
it is full: so it holds what comes between two writes. Until then each queue counts it as full, and so never
holds more than it counts; what was too much is given back when it grows no more.
"""

from busway.protocol.link.face import LinkFace, Outlet
from busway.protocol.link.queue import OVERHEAD, SendQueue
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasWriter
from busway.protocol.wire.fields import varint
from busway.protocol.wire.messages import Frame, RoutingHeader, write_header
from busway.protocol.wire.runs import count_run, payload_bytes, single_tails, write_together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_NO_KIND: "Final" = 8
SIZE_MAX: "Final" = 32768  # bytes that one may hold, overhead included
# Of the ways to write one, so many are kept: it stays for a link that does not read, and there may be as many
# as links.
_ENCODED_MAX: "Final" = 2


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
        self._encoded: "dict[bytes, bytes]" = {}  # by what stands before the number

    def join(self, link: Outlet) -> None:
        """Wait for one more link, behind what it has to write."""
        queue = link.broadcasts
        queue.items.append(self)
        queue.size += SIZE_MAX
        queue.growing += 1
        self._queues.append(queue)
        if not link.flush_wanted:
            link.touch()

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

    def prefix(self, aliases: AliasWriter, nodes: AliasWriter, direct: bytes, now: int) -> bytes:
        """All that stands before the number on a link with these numbers; b"": something is to be bound."""
        alias = aliases.numbers.get(self.endpoint, 0)
        if not alias:
            return b""
        return bytes((codes.MESSAGE | codes.PUBLISH << 4 | self.format,)) + varint(alias)

    def encoded(self, prefix: bytes, runs: bool) -> bytes:
        """All its frames, each with that before its number; `runs`: several messages may be in one."""
        key = prefix if runs else b"\0" + prefix
        data = self._encoded.get(key)
        if data is None:
            if len(self._encoded) >= _ENCODED_MAX:
                self._encoded = {}
            parts: "list[bytes]" = []
            self._encode(prefix, runs, parts)
            data = self._encoded[key] = b"".join(parts)
        return data

    def _encode(self, prefix: bytes, runs: bool, parts: "list[bytes]") -> None:
        _encode(self.payloads, self.number, prefix, runs, parts)


class Passing(Batch):
    """Broadcasts of another node. `payloads` has each with its number before it."""

    __slots__ = ("_branch", "others")

    def __init__(self, branch: "Branch", others: "list[LinkFace]") -> None:
        super().__init__(branch.endpoint, branch.format, 0)
        self.destination = branch.root
        self.route = branch.route
        self.others = others  # the links that take each message by itself
        self._branch = branch

    def closed(self) -> None:
        del self._branch.growing[self._branch.lane]

    def takes(self, branch: "Branch", weight: int) -> bool:
        """Whether one more of that weight, which came by that branch, has a place here."""
        return self.grows and self._branch is branch and self.size + weight <= SIZE_MAX

    def message(self, at: int) -> Frame:
        tail = self.payloads[at]
        number = tail[0] << 8 | tail[1]
        frame = Frame(codes.PUBLISH, self.destination, self.endpoint, number, tail[2:], self.format, b"")
        frame.route = self.route
        return frame

    def prefix(self, aliases: AliasWriter, nodes: AliasWriter, direct: bytes, now: int) -> bytes:
        numbers = nodes.numbers
        bound = self.endpoint in aliases.numbers and self._branch.route.source in numbers
        if not bound or (self.destination and self.destination not in numbers):
            return b""
        return write_header(self.message(0), aliases, nodes, direct, now)[:-2]

    def _encode(self, prefix: bytes, runs: bool, parts: "list[bytes]") -> None:
        first = number = -1
        row: "list[bytes]" = []
        for tail in self.payloads:
            number = number + 1 & 0xFFFF
            if tail[0] << 8 | tail[1] != number or not row:
                _encode(row, first, prefix, runs, parts)
                row = []
                first = number = tail[0] << 8 | tail[1]
            row.append(tail[2:])
        _encode(row, first, prefix, runs, parts)


def _encode(payloads: "list[bytes]", number: int, prefix: bytes, runs: bool, parts: "list[bytes]") -> None:
    """Frames of messages numbered from `number` on."""
    add = parts.append
    before = len(prefix) + 2
    high = -1
    size = -1
    start = b""
    at = 0
    while at < len(payloads):
        if runs and at + 1 < len(payloads):
            taken = write_together(payloads, at, SIZE_MAX, SIZE_MAX, prefix, number, parts)
            if taken:
                number += taken
                at += taken
                continue
        payload = payloads[at]
        if len(payload) != size or number >> 8 != high:
            size = len(payload)
            high = number >> 8
            start = varint(size + before) + prefix + bytes((high & 0xFF,))
        add(start)
        add(bytes((number & 0xFF,)))
        add(payload)
        number += 1
        at += 1


class Branch:
    """Broadcasts of one source to one endpoint that pass through here, and the links that they take."""

    __slots__ = ("endpoint", "format", "growing", "lane", "links", "root", "route")

    def __init__(
        self,
        frame: Frame,
        root: bytes,
        route: RoutingHeader,
        links: "list[LinkFace]",
        growing: "dict[bytes, Passing]",
    ) -> None:
        self.endpoint = frame.endpoint
        self.format = frame.format
        self.root = root  # whose tree it is; b"": the source's
        self.route = route  # on the next links
        self.links = links
        self.growing = growing  # the batches that may take more
        self.lane = route.source + frame.endpoint

    def holds(self) -> bool:
        """Whether the tree is still the same."""
        raise NotImplementedError

    def passed(self, count: int) -> None:
        """So many have gone on."""
        raise NotImplementedError

    def take_run(self, data: bytes, pos: int, end: int, frame_max: int, prefix: bytes) -> int:
        """Pass on the frames from `pos` on that have that before their number. Returns where the first other
        one starts.
        """
        if not self.holds():
            return pos
        size = len(prefix)
        before = pos
        count = 0
        batch = self.growing.get(self.lane)
        while pos + 5 < end:
            length = data[pos]
            start = pos + 1
            if length >= 0x80:
                length = length & 0x7F | (data[start] & 0x7F) << 7
                if data[start] >= 0x80:
                    break  # longer than a batch takes
                start += 1
            stop = start + length
            at = start + size
            weight = stop - at - 2 + OVERHEAD
            if stop > end or length > frame_max or length < size + 2 or data[start:at] != prefix:
                break
            if batch is None or not batch.takes(self, weight):
                batch = self._begin(batch)
                if batch is None:
                    break
            batch.payloads.append(data[at:stop])
            batch.size += weight
            if batch.others:
                out = batch.message(len(batch.payloads) - 1)
                for link in batch.others:
                    link.broadcast(out)
            count += 1
            pos = stop
        if pos > before:
            self.passed(count)
        return pos

    def take_together(self, data: bytes, at: int, stop: int) -> bool:
        """Pass on the messages of a RUN, the first one's number at `at`. False: nothing is done. Raises
        Refusal.
        """
        if not self.holds():
            return False
        count = count_run(data, at + 2, stop)
        weight = payload_bytes(data, at + 2, stop, count) + count * OVERHEAD
        if weight > SIZE_MAX:
            return False
        batch = self.growing.get(self.lane)
        if batch is None or not batch.takes(self, weight):
            batch = self._begin(batch)
        if batch is None:
            return False
        for tail in single_tails(data, at, stop, count):
            batch.payloads.append(tail)
            if batch.others:
                out = batch.message(len(batch.payloads) - 1)
                for link in batch.others:
                    link.broadcast(out)
        batch.size += weight
        self.passed(count)
        return True

    def _begin(self, before: "Passing | None") -> "Passing | None":
        """Another batch for as many of the links as take one; None if none does."""
        if before is not None:
            before.close()
        sharing = [link for link in self.links if link.takes_batches()]
        if not sharing:
            return None
        batch = Passing(self, [link for link in self.links if link not in sharing])
        self.growing[self.lane] = batch
        for link in sharing:
            batch.join(link)
        return batch
