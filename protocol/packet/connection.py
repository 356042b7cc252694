"""The state machine of a packet link: a Connection whose stream travels in packets (packets.py).

Knows when a session begins and ends, and who is asleep; nothing of frames and packets themselves.
"""

from busway.protocol.errors import Refusal
from busway.protocol.link.connection import Connection
from busway.protocol.link.face import LinkHost
from busway.protocol.link.link import Link
from busway.protocol.link.states import SECURED
from busway.protocol.packet.noise import ListeningLayer
from busway.protocol.packet.packets import DIALLED, PacketLayer
from busway.protocol.timers import Call
from busway.protocol.wire import codes
from busway.protocol.wire.hello import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from busway.protocol.outcomes import Event

_ECHO = (
    b"error 4 (SELF): this line gives back what is written to it: TX and RX are joined, or a transceiver"
    b" hears itself\n"
)
_NOISE = (
    b"what comes over this line is neither packets nor text: is the rate (baud) the same at both ends, and"
    b" ground joined to ground?\n"
)
_NOISE_MIN: "Final" = 4  # pieces of it before anybody has answered; a chip's boot loader makes fewer
_LIVE: "Final" = 1 << codes.OPEN | 1 << codes.CLOSING


class PacketConnection(Connection):
    """As `Connection`; made by `Node.connection` for a link of sort "packet".

    It waits for its peer for ever. When the peer starts anew it ends with RESTARTED and is `done` at once:
    make another one on the same channel.
    """

    def __init__(self, host: LinkHost, link: Link, nonce: bytes, limits: Limits, now: int) -> None:
        said = (DIALLED if link.dialled else 0) | (0 if link.security is None else link.security.offers)
        layer = ListeningLayer(nonce, link.mtu, link.window, now, said)
        self._layer = layer
        self._offered = 0  # what the peer said when the protection was chosen
        self._packet_timer = Call(self._packets_due)  # repetition, an acknowledgement, a peer that comes
        frame_size_max, *others = limits.values()  # frames short enough that they do not keep others waiting
        longest = codes.PACKET_FRAME_SIZE_SLOW if link.lookups else codes.PACKET_FRAME_SIZE_MAX
        limits = Limits(min(frame_size_max, longest), *others)
        super().__init__(host, link, limits, now)
        if link.security is None:  # else nothing travels beside the records
            self.outbox.layer = layer
        if link.lookups:
            self.outbox.hasty = True
            self.outbox.piece_max = codes.PACKET_PIECE_SIZE_SLOW
        self.waits_for_peer = True  # nobody has answered yet
        self._echo_told = self._noise_told = False
        self.broadcast_size_max = codes.PACKET_BROADCAST_SIZE_MAX
        host.timers.disarm(self)

    @property
    def done(self) -> bool:
        """True when nothing will be read or written any more."""
        return self.state == codes.CLOSED and not self._has_bytes() and self._layer.settled()

    @property
    def wants_write(self) -> bool:
        """Whether `data_to_send` has something now."""
        return self._layer.wants_write() or (self._layer.has_room() and self.stream_wants_write())

    def receive_data(self, data: "bytes | bytearray | memoryview", now: int) -> "list[Event]":
        """Take in bytes, or one packet, at time `now` in ms. Never raises for what they are."""
        layer = self._layer
        self.bytes_in += len(data)
        stream = layer.receive(bytes(data), now)
        if layer.heard_at > self.last_read:
            self.last_read = layer.heard_at
        self._note_texts()
        if self.state != codes.CLOSED:
            self._go_on(stream, now)
        self._arm()
        if self.state == codes.CLOSED or self.wants_write:
            self.touch()
        return self.host.take_events()

    def _go_on(self, stream: bytes, now: int) -> None:
        """Take in what has come, for the link is live."""
        layer = self._layer
        if layer.restarted or (layer.offered != self._offered and not self.waits_for_peer):
            self._end(codes.RESTARTED, "the other side has started anew", True, now)
        elif layer.wrong_version >= 0:
            text = "the other side speaks version %d of packet links: update the older one"
            self._end(codes.BAD_VERSION, text % layer.wrong_version, False, now)
        elif layer.established:
            if self.waits_for_peer:
                self.waits_for_peer = False
                self._offered = layer.offered
                if self.link.security is not None:
                    self._choose(self.link.security)
                self.host.timers.arm(self, now + codes.HELLO_TIMEOUT_MS)
                self.host.peer_answered(self, now)
            if stream:
                self.asleep_until = -1
                if self.channel is not None:
                    self._take_protected(self.channel, stream, now)
                elif self.waits_for is not None:
                    self._hold(stream, now)
                else:
                    self._take_in(stream, now)
                layer.pause(self.asleep_until >= 0)
            if layer.frames:
                self._take_frames(layer, now)

    def _choose(self, security: "Any") -> None:
        """Somebody is there: what protects the link follows from what each side said."""
        layer = self._layer
        chosen = security.facing(layer.offered)
        if chosen is not None:
            self._protect(chosen, layer.initiates)
            return
        self._go(SECURED)
        self.role = security.plain_role
        self.outbox.layer = layer
        self._say_hello()

    def _take_frames(self, layer: PacketLayer, now: int) -> None:
        """Messages that came in packets of their own."""
        frames = layer.frames
        layer.frames = []
        self.best_effort = True
        for body in frames:
            live = 1 << self.state & _LIVE and self.waits_for is None
            if not body or not live or body[0] & 0xE0 != 0x80 or self.channel is not None:
                self.skipped_frames += 1  # SEND and PUBLISH only, and no other is sent; none is protected
                continue
            try:
                self._frame(body[0], body, 1, len(body), now)
            except Refusal as refusal:
                self.fail(refusal.code, refusal.text, now)
        self.best_effort = False

    def is_busy(self) -> bool:
        """Whether so much waits already that a best-effort message would be old when it leaves."""
        return self._layer.asleep or self.queued_bytes() > codes.BEST_EFFORT_SIZE_MAX

    def data_to_send(self, size_max: int, now: int) -> bytes:
        """Bytes to write now: at most `size_max` bytes; on a link of whole packets one packet."""
        self.flush_wanted = False
        data = self._layer.write(self._to_send, size_max, now)
        self._arm()
        self.bytes_out += len(data)
        return data

    def buffers_to_send(self, size_max: int, now: int) -> "list[Any]":
        """The same in a list, for there is nothing large."""
        data = self.data_to_send(size_max, now)
        return [data] if data else []

    def _to_send(self, size_max: int, now: int) -> bytes:
        """Our stream, in records where the link is protected."""
        if self.channel is None:
            return self._stream_to_send(size_max, now)
        return self.channel.write(self._stream_to_send, size_max, now)

    def _arm(self) -> None:
        deadline = self._layer.deadline()
        if deadline < 0:
            self.host.timers.disarm(self._packet_timer)
        elif deadline != self._packet_timer.deadline:
            self.host.timers.arm(self._packet_timer, deadline)

    def _packets_due(self, now: int) -> None:
        self._layer.handle_timer(now)
        self._note_texts()
        self._arm()
        self.touch()

    def _note_texts(self) -> None:
        layer = self._layer
        for text in layer.texts:
            self.host.log_came(self, text)
        layer.texts = []
        if layer.echoed and not self._echo_told:
            self._echo_told = True  # a real peer may share such a line: it goes on
            self.host.log_came(self, _ECHO)
        if layer.damaged >= _NOISE_MIN and self.waits_for_peer and not self._noise_told:
            self._noise_told = True
            self.host.log_came(self, _NOISE)

    def log(self, text: bytes) -> None:
        """Show `text` to people at the other end, who get a LogEvent. What does not fit 8 packets is dropped
        and counted.
        """
        if self.state == codes.OPEN:
            self._layer.log(text)
            self.touch()

    def _drop_bytes(self, now: int) -> None:
        super()._drop_bytes(now)
        self._layer.stop()
        self.host.timers.disarm(self._packet_timer)

    def _end(self, code: int, text: str, by_peer: bool, now: int) -> None:
        super()._end(code, text, by_peer, now)
        if code == codes.RESTARTED or not self._layer.established:
            self._drop_bytes(now)
        else:
            self._layer.pause(False)
            self.host.timers.arm(self, now + codes.LINGER_MS)  # for the acknowledgement of what was said last

    def fire(self, now: int) -> None:
        """The link's timer, or the end of its patience with the last packets."""
        if self.state == codes.CLOSED:
            self._drop_bytes(now)
            self.touch()
        else:
            super().fire(now)
