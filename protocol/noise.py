"""The packet layer of a node that people watch: it also finds what a board prints right behind noise.

Knows what a text looks like; nothing of sessions and packets. Boards go without it.
"""

from busway.protocol.packets import PacketLayer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_CONTROLS: "Final" = b"\t\n\r\x1b\b"
_SIZE_MIN: "Final" = 16  # and a line feed: a damaged packet seldom ends in so much that is no text


class ListeningLayer(PacketLayer):
    """As `PacketLayer`; of a chunk that is neither a packet nor a text it reads the text at the end.

    A chip's boot loader speaks at another rate than the program that follows, with no zero between them.
    """

    def _take_text(self, raw: bytes, now: int) -> bool:
        if super()._take_text(raw, now):
            return True
        at = len(raw)
        while at and (31 < raw[at - 1] < 127 or raw[at - 1] in _CONTROLS):
            at -= 1
        if len(raw) - at < _SIZE_MIN or raw.find(b"\n", at) < 0:
            return False
        self.damaged += 1
        self._add_text(raw[at:], now)
        return True
