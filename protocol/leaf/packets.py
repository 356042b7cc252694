"""The link of a leaf over packets that get lost: what packet/connection.py is for routers."""

from busway.protocol.errors import Refusal
from busway.protocol.leaf.link import LeafConnection
from busway.protocol.leaf.state import Event
from busway.protocol.packet.packets import DIALLED, PacketLayer
from busway.protocol.wire import codes
from busway.protocol.wire.fields import Reader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from busway.protocol.leaf.link import LeafHost
    from busway.protocol.link.link import Link


class PacketLeafConnection(LeafConnection):
    """As `LeafConnection`; it waits for its router for ever, and ends with RESTARTED if that starts anew."""

    def __init__(self, leaf: "LeafHost", link: "Link", nonce: bytes, now: int) -> None:
        # The router says it back, perhaps to a board that was reset meanwhile: no byte of it is a 3 (Ctrl-C).
        nonce = bytes((nonce[0] | 16, nonce[1] | 16, nonce[2] | 16, nonce[3] | 16))
        # First, for it takes most memory in one piece.
        self.packets = PacketLayer(nonce, link.mtu, link.window, now, DIALLED if link.dialled else 0)
        super().__init__(leaf, link, now)
        self.deadline = -1  # until its router has answered

    @property
    def done(self) -> bool:
        """True when nothing will be read or written any more."""
        return self.state == codes.CLOSED and not self.has_bytes() and self.packets.settled()

    @property
    def wants_write(self) -> bool:
        """Whether `data_to_send` may have something now."""
        return self.packets.wants_write() or (self.packets.has_room() and self.has_stream())

    def next_deadline(self) -> int:
        """When `fire` is due, in ms; -1: never."""
        due = self.packets.deadline()
        return self.deadline if due < 0 or 0 <= self.deadline < due else due

    def receive_data(self, data: "bytes | bytearray | memoryview", now: int) -> "list[Event]":
        """Take in bytes, or one packet, at time `now` in ms. Never raises for what they are."""
        layer = self.packets
        stream = layer.receive(bytes(data), now)
        if self.state != codes.CLOSED:
            if layer.heard_at > self._last_read:
                self._last_read = layer.heard_at
                if self._suspect:
                    self._suspect = False
            if layer.restarted:
                self._end(codes.RESTARTED, "the other side has started anew", True, now)
            elif layer.wrong_version >= 0:
                self._end(codes.BAD_VERSION, "the other side speaks another version", False, now)
            elif layer.established:
                if self.state < codes.OPEN and self.deadline < 0:
                    self.deadline = now + codes.HELLO_TIMEOUT_MS
                    if self.channel is not None and layer.initiates:
                        self.channel.begin()
                self.take_stream(stream, now)
                self._take_frames(now)
        return self.leaf.take_events()

    def _take_frames(self, now: int) -> None:
        """Messages that came in packets of their own: SEND and PUBLISH only."""
        frames = self.packets.frames
        if frames:
            self.packets.frames = []
        for body in frames:
            if self.state != codes.OPEN or not body or body[0] & 0xE0 != 0x80 or self.channel is not None:
                self.skipped_frames += 1
                continue
            try:
                self._frame(body[0], Reader(body, 1, len(body)), now)
            except Refusal as refusal:
                self._fail(refusal.code, refusal.text, now)

    def data_to_send(self, size_max: int, now: int) -> bytes:
        """The bytes to write now: at most `size_max` bytes; on a link of whole packets one packet."""
        return self.packets.write(self.bytes_to_send, size_max, now)

    def fire(self, now: int) -> None:
        """A deadline has come: the link's, or the packets'."""
        self.packets.handle_timer(now)
        if 0 <= self.deadline <= now:
            if self.state == codes.CLOSED:
                self.deadline = -1
                self.stop()
            else:
                super().fire(now)

    def log(self, text: bytes) -> None:
        """Show `text` to people at the other end. What does not fit 8 packets is dropped and counted."""
        if self.state == codes.OPEN:
            self.packets.log(text)

    def stop(self) -> None:
        """Nothing more leaves."""
        super().stop()
        self.packets.stop()

    def _end(self, code: int, text: str, by_peer: bool, now: int) -> None:
        super()._end(code, text, by_peer, now)
        if code == codes.RESTARTED or not self.packets.established:
            self.stop()
        else:
            self.deadline = now + codes.LINGER_MS  # for the acknowledgement of what was said last
