"""The packet layer of who has people to tell: it also takes the texts that come over the line, logged or
merely printed by a board.

Knows what a text looks like. Boards go without it. docs/protocol.md, section 12.5.
"""

from busway.protocol.packet.packets import PacketLayer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_TEXT_MS: "Final" = 100  # a text without a delimiter behind it is read after that
_TEXT_ROOM: "Final" = 8192  # bytes of text a second


class TextLayer(PacketLayer):
    """As `PacketLayer`; `texts` are what came for people: the caller takes them."""

    def __init__(self, nonce: bytes, mtu: int, window: int, now: int, said: int = 0) -> None:
        super().__init__(nonce, mtu, window, now, said)
        self.texts: "list[bytes]" = []
        self._text_at = -1  # when what came is read as a text, without a delimiter behind it
        self._room = _TEXT_ROOM
        self._room_at = now

    def receive(self, data: bytes, now: int) -> bytes:
        """As of `PacketLayer`."""
        stream = super().receive(data, now)
        self._text_at = now + _TEXT_MS if self._buffer else -1
        return stream

    def deadline(self) -> int:
        """As of `PacketLayer`."""
        due = super().deadline()
        at = self._text_at if not self._stopped else -1
        return at if due < 0 or 0 <= at < due else due

    def handle_timer(self, now: int) -> None:
        """As of `PacketLayer`."""
        super().handle_timer(now)
        if 0 <= self._text_at <= now:
            self._text_at = -1
            if self._is_text(self._buffer, now):
                self._buffer = b""

    def _is_text(self, raw: bytes, now: int) -> bool:
        plain = len(raw) < 32  # longer ones may hold UTF-8
        if len(raw) < 2:
            return False
        for byte in raw:
            if (byte < 32 and byte not in b"\t\n\r\x1b\x08") or byte == 127 or (byte > 127 and plain):
                return False
        self._note_log(raw, now)
        return True

    def _note_log(self, text: bytes, now: int) -> None:
        if now - self._room_at >= 1000:
            self._room_at = now
            self._room = _TEXT_ROOM
        if len(text) > self._room:
            self.log_dropped += 1
            return
        self._room -= len(text)
        self.texts.append(text)
