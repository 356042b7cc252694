"""The packet layer of a node that people watch and that talks to boards which start: it also finds what a
board prints right behind noise, and does not say Ctrl-C to it, nor to one that may have been reset.

Knows what a text looks like, and that a terminal stops a program at a byte 3. Boards go without it.
"""

from busway.protocol.packet.cobs import encode
from busway.protocol.packet.packets import ANSWER, SYN, VERSION_BITS, seal_syn
from busway.protocol.packet.texts import TextLayer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Final

_CONTROLS: "Final" = b"\t\n\r\x1b\b"
_CTRL_C = b"\3"
_PADS: "Final" = 64  # more than are ever needed, unless the board's own nonce has a 3
_SIZE_MIN: "Final" = 16  # and a line feed: a damaged packet seldom ends in so much that is no text


class ListeningLayer(TextLayer):
    """As `TextLayer`; of a chunk that is neither a packet nor a text it reads the text at the end.

    A chip's boot loader speaks at another rate than the program that follows, with no zero between them.

    A peer that lets packets time out may have been reset, and be a terminal with Ctrl-C on again. Until it is
    heard, what holds a 3 is withheld, and a SYN, which does not, asks for it.
    """

    _doubted = False  # it has let a packet time out, and was not heard since
    _withheld = False  # a packet that counts as written

    offered = 0  # the bits that the peer's SYN says of it

    def __init__(self, nonce: bytes, mtu: int, window: int, now: int, said: int = 0) -> None:
        # Without a 3, and without a 0, which COBS may make into one.
        nonce = nonce.replace(b"\0", b"\x10").replace(_CTRL_C, b"\x13")
        super().__init__(nonce, mtu, window, now, said)

    def _adopt(self, nonce: bytes, packet_max: int, window: int, said: int) -> None:
        self.offered = said & ~VERSION_BITS & ~ANSWER
        super()._adopt(nonce, packet_max, window, said)

    def _is_text(self, raw: bytes, now: int) -> bool:
        if super()._is_text(raw, now):
            return True
        at = len(raw)
        while at and (31 < raw[at - 1] < 127 or raw[at - 1] in _CONTROLS):
            at -= 1
        if len(raw) - at < _SIZE_MIN or raw.find(b"\n", at) < 0:
            return False
        self.damaged += 1
        self._note_log(raw[at:], now)
        return True

    def _write_syn(self, now: int) -> bytes:
        """On a serial line, which may be the terminal of a board that is about to start: without a byte 3. A
        byte more, which readers ignore, gives another checksum.
        """
        packet = super()._write_syn(now)
        if self.mtu or _CTRL_C not in encode(packet):
            return packet
        for pad in range(_PADS):
            padded = seal_syn(packet[:-2] + bytes((pad,)))
            if _CTRL_C not in encode(padded):
                return padded
        return packet

    def _time_out(self) -> None:
        super()._time_out()
        self._doubted = not self.mtu
        self._withheld = False

    def _take_packet(self, packet: bytes, parts: "list[bytes]", now: int) -> bool:
        taken = super()._take_packet(packet, parts, now)
        if taken and self._doubted and (packet[0] != SYN or packet[2:6] == self._theirs):
            self._doubted = False
            if self._withheld:
                self._withheld = False
                for one in self._sent:
                    if one.turn == self._turn and not one.arrived:
                        one.due = True
        return taken

    def _next(self, source: "Callable[[int, int], bytes]", now: int) -> bytes:
        if self._withheld and not self._probe and not self._answer:
            return b""
        packet = super()._next(source, now)
        if self._doubted and packet and packet[0] != SYN and _CTRL_C in encode(packet):
            self._withheld = self._probe = True
            if self._rto_at < 0:  # to ask again
                self._rto_at = now + self._rto
            packet = super()._next(source, now)
        return packet

    def wants_write(self) -> bool:
        """As of `PacketLayer`."""
        if self._withheld:
            return bool(self._spill) or self._probe or self._answer
        return super().wants_write()

    def has_room(self) -> bool:
        """As of `PacketLayer`."""
        return not self._withheld and super().has_room()
