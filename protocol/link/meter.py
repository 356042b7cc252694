"""Counts the messages of a link as they come in, for those who are granted so many a second and no more.

Sees the stream that a connection is given, and knows of it only where frames begin.
"""

from busway.protocol.wire import codes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_BITS_MAX: "Final" = 35  # of a length: what is longer ends the link
_KIND: "Final" = 0x70
_SIGNAL: "Final" = codes.SIGNAL << 4


class Meter:
    """Counts the messages of a stream of frames that is cut anywhere. Large ones in pieces are one. `signals`
    are those of them that are the bus's own, such as credit.
    """

    __slots__ = ("_begun", "_left", "_length", "_shift", "busy", "messages", "signals")

    def __init__(self) -> None:
        self.messages = 0
        self.signals = 0
        self.busy = False  # what was taken is being read
        self.restart()

    def restart(self) -> None:
        """Take what comes next for the beginning of a frame."""
        self._length = 0  # as far as it is known
        self._shift = 0
        self._begun = False  # it is known, and the frame's first byte comes next
        self._left = 0  # bytes of this frame that are to come; -1: the rest is no frames

    def skip(self, size: int) -> None:
        """So many bytes that come next are the rest of a frame."""
        self._left = size

    def take(self, data: bytes) -> None:
        """More of the stream."""
        pos = 0
        end = len(data)
        while pos < end and self._left >= 0:
            if self._left:
                step = min(self._left, end - pos)
                self._left -= step
                pos += step
                continue
            self._read(data[pos])
            pos += 1

    def give_back(self, data: bytes) -> None:
        """The rest of what is being read, from the beginning of a frame on, will be taken again. Of what has
        not been taken nothing is known here.
        """
        if self.busy:
            self.busy = False
            again = Meter()
            again.take(data)
            self.messages -= again.messages
            self.signals -= again.signals
            self.restart()

    def _read(self, byte: int) -> None:
        if self._begun:
            if byte >= codes.MESSAGE:
                self.messages += 1
                if byte & _KIND == _SIGNAL:
                    self.signals += 1
            self._left = self._length - 1
            self._length = self._shift = 0
            self._begun = False
            return
        self._length |= (byte & 0x7F) << self._shift
        self._begun = byte < 0x80
        self._shift += 7
        if not self._length if self._begun else self._shift >= _BITS_MAX:
            self._left = -1
