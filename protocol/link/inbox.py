"""Message frames as they come in over one link: read, put together, and handed to who they are for.

The counterpart of outbox.py: knows frames and aliases; what a message means is the desk's and the origin's.
"""

from busway.protocol.errors import Refusal
from busway.protocol.link.runs import read_far_run, read_run
from busway.protocol.link.switching import Path, Switch, prefix_end
from busway.protocol.messaging.endpoints import InFlow
from busway.protocol.wire import codes
from busway.protocol.wire.aliases import AliasReader
from busway.protocol.wire.fields import Reader
from busway.protocol.wire.messages import Frame, HaveFrame, Options, RoutingHeader, TreeFrame, read_frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.link.connection import Connection
    from busway.protocol.routing.peers import Peer

_LIVE = 1 << codes.OPEN | 1 << codes.CLOSING
_PREFIX_MAX = 9  # bytes of a header that binds nothing, up to the number


class Assembly:
    """A large message whose pieces are coming in."""

    __slots__ = ("begun", "data", "frame", "left")

    def __init__(self, frame: Frame, size: int, first: bytes, now: int) -> None:
        self.frame = frame
        self.data = bytearray(first)  # not a list of pieces: tiny ones would cost many times their size
        self.left = size - len(first)
        self.begun = now


class Inbox:
    """The messages of one link on their way in."""

    __slots__ = ("aliases", "assemblies", "best_effort", "connection", "node", "switch")

    def __init__(self, connection: "Connection", aliases_max: int) -> None:
        self.connection = connection
        self.node = connection.node
        self.aliases = AliasReader(aliases_max)
        self.assemblies: "dict[int, Assembly]" = {}
        self.best_effort = False  # what is read now came in a packet that is not repeated
        self.switch = Switch()

    def run(self, head: int, data: bytes, pos: int, start: int, end: int, now: int) -> int:
        """The short way for runs of plain messages (runs.py). Returns where it got to; `pos`: go the long
        way.
        """
        peer = self.connection.peer
        if (
            peer is None
            or end - start < 4
            or head & 3 == codes.TYPED
            or not 1 << self.connection.state & _LIVE
        ):
            return pos
        number = data[start + 1]
        uuids = self.aliases.uuids
        if number >= len(uuids) or number >= 0x80:
            return pos
        flow = peer.in_flows.get(uuids[number])
        if flow is None or not flow.active:
            return pos
        endpoint = flow.endpoint
        receivers = endpoint.receivers
        if (
            len(receivers) != 1
            or receivers[0].lost
            or receivers[0].policy == codes.LATEST
            or flow.session is not self.connection
            or flow.bridged
            or endpoint.realm < self.connection.realm
            or (head & 0x10 != 0) != (endpoint.kind == codes.BROADCAST)
            or (head & 0x10 and self.node.forwarder.spreads(peer))
        ):
            return pos
        receiver = receivers[0]
        empty = not receiver.queue.items
        before = flow.received
        pos = read_run(data, pos, end, self.connection.frame_max, head, number, flow, receiver, now)
        if flow.received > before:
            self.node.desk.noted_run(flow, receiver, flow.received - before, empty, now)
        return pos

    def switched(self, data: bytes, pos: int, start: int, stop: int, end: int, now: int) -> int:
        """The short way for plain messages with a routing header (switching.py). Returns as `run`."""
        switch = self.switch
        epoch = self.aliases.epoch + self.connection.advertiser.reader.epoch
        if switch.epoch != epoch:
            switch.epoch = epoch
            switch.known = {}
        at = prefix_end(data, start, stop)
        if not at:
            return pos
        prefix = data[start:at]
        known = switch.known.get(prefix)
        if isinstance(known, Path):
            return self._pass_run(known, prefix, data, pos, end)
        if isinstance(known, InFlow):
            return self._take_run(known, prefix, data, pos, end, now)
        return pos

    def _pass_run(self, path: Path, prefix: bytes, data: bytes, pos: int, end: int) -> int:
        """To the next hop with all that have this prefix, as long as that is the way and takes them whole."""
        hop = path.hop
        if path.peer.hop is not hop or hop.state != codes.OPEN:
            return pos
        size = len(prefix)
        room = min(hop.limits.frame_size_max - codes.HEADER_SIZE_MAX, hop.limits.message_size_max)
        outbox = hop.outbox
        before = pos
        while pos + 5 < end:
            length = data[pos]
            start = pos + 1
            if length >= 0x80:
                if data[start] >= 0x80:
                    break
                length = length & 0x7F | data[start] << 7
                start += 1
            stop = start + length
            at = start + size
            if stop > end or length > self.connection.frame_max or length < size + 2 or stop - at - 2 > room:
                break
            if data[start:at] != prefix or not outbox.push_parcel(path, data[at:stop]):
                break
            pos = stop
        if pos > before:
            hop.touch()
        return pos

    def _take_run(self, flow: InFlow, prefix: bytes, data: bytes, pos: int, end: int, now: int) -> int:
        """Into the queue with all that continue a flow from afar."""
        endpoint = flow.endpoint
        receivers = endpoint.receivers
        if (
            not flow.active
            or len(receivers) != 1
            or receivers[0].lost
            or flow.session is not self.connection
            or flow.bridged
            or endpoint.realm < max(self.connection.realm, prefix[1] & 3)
        ):
            return pos
        receiver = receivers[0]
        empty = not receiver.queue.items
        before = flow.received
        pos = read_far_run(data, pos, end, self.connection.frame_max, prefix, flow, receiver, now)
        if flow.received > before:
            self.node.desk.noted_run(flow, receiver, flow.received - before, empty, now)
        return pos

    def message(self, head: int, reader: Reader, now: int) -> None:
        start = reader.pos - 1
        frame = read_frame(head, reader, self.aliases, self.connection.advertiser.reader, now)
        if self.best_effort:
            frame.options = frame.options or Options()
            frame.options.best_effort = True
        options = frame.options
        if options is not None and options.partial >= 0:
            self._begin(frame, options, reader.rest(), now)
            return
        size = reader.pos - 2 - start
        route = frame.route
        frame.payload = reader.rest()
        self._dispatch(frame, now)
        if head & 0xFC == 0x88 and frame.format != codes.TYPED and size <= _PREFIX_MAX:
            self._learn(reader.data[start : start + size], frame, route)

    def _begin(self, frame: Frame, options: Options, first: bytes, now: int) -> None:
        """The first piece of a large message."""
        limits = self.connection.limits
        number = options.partial
        options.partial = -1
        if options.size > limits.message_size_max:
            text = "a message of %d bytes, but %d were agreed"
            raise Refusal(codes.TOO_LARGE, text % (options.size, limits.message_size_max))
        if number >= limits.partials_max or number in self.assemblies:
            raise Refusal(codes.TOO_MANY, "more large messages at once than were agreed")
        if len(first) >= options.size:
            raise Refusal(codes.MALFORMED, "a cut message that is none")
        self.assemblies[number] = Assembly(frame, options.size, first, now)

    def _learn(self, prefix: bytes, frame: Frame, route: "RoutingHeader | None") -> None:
        """The next like this one, which came with that routing header, may go the short way."""
        node = self.node
        peer = self.connection.peer
        assert peer is not None and route is not None
        source = route.source or peer.key
        if not frame.destination or frame.destination == node.me.key:
            origin = node.routes.find(source)
            flow = None if origin is None else origin.in_flows.get(frame.endpoint)
            if flow is not None:
                self.switch.learn(prefix, flow)
            return
        to = node.routes.peers.get(frame.destination[: codes.ID_SIZE])
        if to is not None and to.key == frame.destination and to.hop is not None and route.hops:
            onward = RoutingHeader(source, max(route.realm, self.connection.realm), route.hops - 1)
            self.switch.learn(prefix, Path(to, to.hop, frame, onward))

    def more(self, reader: Reader, now: int) -> None:
        number = reader.u8()
        piece = reader.rest()
        assembly = self.assemblies.get(number)
        if assembly is None:
            raise Refusal(codes.TOO_MANY, "a piece of no message under way")
        if not piece or len(piece) > assembly.left:
            raise Refusal(codes.MALFORMED, "a piece that is empty or more than was announced")
        assembly.data.extend(piece)
        assembly.left -= len(piece)
        if not assembly.left:
            del self.assemblies[number]
            frame = assembly.frame
            frame.payload = bytes(assembly.data)
            if frame.expires:
                frame.expires += now - assembly.begun  # its time counts from its last piece
            self._dispatch(frame, now)

    def _dispatch(self, frame: Frame, now: int) -> None:
        """A whole message: on its way to another node, to the desk what is for our endpoints, to the origin
        what answers us.
        """
        node = self.node
        peer = self.connection.peer
        assert peer is not None
        source = frame.source() or peer.key
        kind = frame.kind
        if source != peer.key and peer.leaf:
            raise Refusal(codes.MALFORMED, "a leaf sent a message of another node")
        if frame.destination and frame.destination != node.me.key and kind != codes.PUBLISH:
            node.forwarder.pass_on(self.connection, source, frame, now)
            return
        if source == node.me.key:
            node.forwarder.counters["strayed"] += 1
            return  # ours, come back
        if source != peer.key:
            peer = node.mesh.peer_of(source, now)
        if kind == codes.PUBLISH:
            node.take_broadcast(self.connection, peer, frame, now)
        elif kind <= codes.REQUEST:
            node.desk.arrive(self.connection, peer, frame, now)
        elif kind == codes.REPLY:
            node.origin.answers.reply(peer, frame.id, frame.payload, frame.format, frame.type_id)
        elif kind == codes.PART:
            node.origin.answers.part(peer, frame, now)
        elif kind == codes.ERROR:
            node.origin.answers.error(peer, frame.id, frame.code, lenient_text(frame.payload), now)
        else:
            self._dispatch_signal(peer, frame, now)

    def _dispatch_signal(self, peer: "Peer", frame: Frame, now: int) -> None:
        signal = frame.signal
        node = self.node
        if signal == codes.CREDIT:
            node.origin.credit(peer, frame.endpoint, frame.number, now)
        elif signal == codes.PROBE:
            node.desk.probed(self.connection, peer, frame.endpoint, frame.number, now)
        elif signal == codes.UNDELIVERABLE:
            node.origin.undelivered(peer, frame.endpoint, frame.number, frame.code, now)
        elif signal == codes.CANCEL:
            node.desk.cancelled(peer, frame.id)
        elif signal == codes.PART_CREDIT:
            node.desk.part_credit(peer, frame.id, frame.number, now)
        elif signal == codes.END:
            node.origin.answers.end(peer, frame.id, frame.number, now)
        else:
            self._dispatch_mesh_signal(peer, frame, now)

    def _dispatch_mesh_signal(self, peer: "Peer", frame: Frame, now: int) -> None:
        signal = frame.signal
        node = self.node
        if signal == codes.WHO:
            node.lookups.who(self.connection, peer, frame.endpoint, now)
        elif isinstance(frame, HaveFrame):
            node.lookups.have(peer, frame.endpoint, frame.holders, now)
        elif isinstance(frame, TreeFrame) and peer is self.connection.peer:
            if signal == codes.PRUNE:
                node.forwarder.pruned(self.connection, frame.node, frame.endpoint)
            else:
                node.forwarder.grafted(self.connection, frame.node, frame.endpoint)
        elif signal == codes.TRACE:
            node.forwarder.traced(self.connection, peer.key, frame.id, now)
        elif signal == codes.TRACED:
            node.origin.tracer.traced(peer, frame.id, frame.payload)
        else:
            self.connection.skipped_frames += 1


def lenient_text(raw: bytes) -> str:
    """Text for people, from a peer: bytes that are not UTF-8 are shown as question marks."""
    try:
        return raw.decode()
    except (UnicodeError, ValueError):
        return "".join([chr(byte) if 32 <= byte < 127 else "?" for byte in raw])
